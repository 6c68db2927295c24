"""From video files to a folder of features: plans of the recipes, a run with good and bad files, what it refuses."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import benchmark, extract
from jaxskill.data import features, video
from jaxskill.modules.i3d import I3D
from tests.data.test_video import encode

REPO = pathlib.Path(__file__).resolve().parents[1]
SMALL = dict(short_side=32, crop=32, batch=2)


def recipe(name="action_net", **changes):
  config, _ = benchmark.read_config(str(REPO / "configs" / "features" / f"{name}.py"), [])
  config.update(SMALL)
  config.sampling.update(changes)
  return config


def test_stacks():
  times, every = extract.plan(recipe("pros_cons").sampling, 100.0)
  assert times.shape == (400, 16) and every == 0.25
  np.testing.assert_allclose(np.diff(times), 0.1)
  assert times[0, 0] == 0 and times[-1, -1] == pytest.approx(99.9) and (np.diff(times[:, 0]) > 0).all()
  short, _ = extract.plan(recipe("pros_cons").sampling, 1.7)      # fewer frames than stacks: they repeat
  assert short.shape == (400, 16) and len(np.unique(short[:, 0])) == 2


def test_snippets():
  times, every = extract.plan(recipe("core").sampling, 10.3)
  assert times.shape == (10, 16) and every == pytest.approx(1.03)
  np.testing.assert_allclose(times[:, 0], (np.array([0, 10, 20, 30, 40, 50, 60, 70, 80, 86]) + 0.5) / 10)
  assert times[-1, -1] < 10.3


def test_segments():
  times, every = extract.plan(recipe().sampling, 10.0)
  assert times.shape == (3, 16) and every == 3.2                   # 50 frames; two are left over
  np.testing.assert_allclose(times.ravel(), np.arange(48) / 5)


@pytest.mark.parametrize("name", ["pros_cons", "action_net"])
def test_shorter_than_a_clip(name):
  with pytest.raises(ValueError, match="lasts 1.00 s, which is shorter than a clip of 16 frames"):
    extract.plan(recipe(name).sampling, 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Videos that are well, damaged, too short and none at all."""
  pytest.importorskip("av")
  root = tmp_path_factory.mktemp("videos")
  (root / "monday").mkdir()
  encode(root / "a.mp4", np.arange(40) / 10)
  encode(root / "monday" / "b.mkv", np.arange(60) / 10, size=(50, 70))
  encode(root / "short.mp4", np.arange(4) / 10)
  encode(root / "cut.mkv", np.arange(150) / 10)
  content = (root / "cut.mkv").read_bytes()
  (root / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
  (root / "empty.mp4").touch()
  (root / "notes.txt").write_text("not looked at")
  return root


@pytest.fixture(scope="module")
def extracted(folder, tmp_path_factory):
  """(folder of the features, what the command printed, its exit code)."""
  out = tmp_path_factory.mktemp("out") / "features"
  done = command(folder, out)
  return out, done.stdout, done.returncode


def command(videos, out, *more, weights="random:0"):
  arguments = ["--config", "configs/features/action_net.py", "--videos", videos, "--out", out,
               "--config.sampling.length=9", "--weights", weights, *(f"--config.{name}={value}" for name, value in SMALL.items()), *more]
  return subprocess.run([sys.executable, "-m", "jaxskill.extract", *map(str, arguments)], cwd=REPO, text=True,
                        capture_output=True, timeout=300, check=False)


def test_every_video_that_can_be_read(folder, extracted):
  out, printed, code = extracted
  note = json.loads((out / "extraction.json").read_text())
  assert code == 1 and set(note["videos"]) == {"a", "monday/b", "cut"} and set(note["failed"]) == {"short", "empty"}
  assert np.load(out / "a.npy").shape == (2, 1024) and np.load(out / "monday" / "b.npy").shape == (3, 1024)
  assert note["videos"]["a"]["row_seconds"] == pytest.approx(1.8) and note["recipe"]["random_weights"]
  assert re.search(r"warning: cut: damaged: of 1[45]\.\d+ s only \d", printed) and note["videos"]["cut"]["warnings"]
  assert 2 <= len(np.load(out / "cut.npy")) < 8
  assert "failed: short: lasts 0." in printed and "failed: empty: is empty" in printed
  assert "RANDOM weights" in printed
  assert not list(out.rglob("*.unfinished"))


def test_features_are_those_of_the_frames(folder, extracted):
  """The whole way once more, by hand."""
  config = recipe(length=9)
  variables, _ = extract.load_weights(config, "random:0")
  times = np.arange(18).reshape(2, 9) / 5
  images = np.stack(list(video.frames_at(folder / "a.mp4", times.ravel(), video.scale_short_side(32))))
  clips = images[:, :, 5: 37].reshape(2, 9, 32, 32, 3) / np.float32(127.5) - 1              # 43 x 32: the middle
  expected = jax.jit(I3D().apply)(variables, jnp.asarray(clips))["features"].mean(axis=1)
  np.testing.assert_allclose(np.load(extracted[0] / "a.npy"), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_second_run_does_what_is_missing(folder, extracted, tmp_path):
  out = tmp_path / "features"
  shutil.copytree(extracted[0], out)
  (out / "a.npy").unlink()
  stamp = (out / "cut.npy").stat().st_mtime_ns
  done = command(folder, out)
  assert "2 of 5 videos are there already" in done.stdout and (out / "cut.npy").stat().st_mtime_ns == stamp
  np.testing.assert_array_equal(np.load(out / "a.npy"), np.load(extracted[0] / "a.npy"))
  other = command(folder, out, weights="random:1")
  assert other.returncode == 2 and "holds features of another recipe or other weights" in other.stderr


def test_own_features_know_their_seconds_and_weights(extracted, tmp_path):
  out = tmp_path / "features"
  shutil.copytree(extracted[0], out)
  (out / "pairs.csv").write_text("better,worse,split\na,monday/b,train\ncut,a,test\n")
  data = features.load_features(out, seconds_per_segment=7)
  np.testing.assert_allclose(data.row_seconds["rgb"], 1.8, rtol=1e-6)
  assert data.name == "features of RANDOM weights: features"
  (out / "extraction.json").write_text("{")
  with pytest.raises(ValueError, match="extraction.json: is not what jaxskill.extract wrote"):
    features.load_features(out)


def test_a_decoder_that_dies_costs_one_video(folder, tmp_path):
  long = encode(tmp_path / "long.mp4", np.arange(300) / 10)
  decoders = extract.Decoders({"long": str(long), "a": str(folder / "a.mp4")}, recipe(length=9), 1, 60.0)
  seen = {}
  for name, kind, content in decoders:
    if not seen:
      decoders._processes[0].kill()
    seen.setdefault(name, []).append((kind, content))
  assert seen["long"][-1][0] == "failed" and "the decoder died" in seen["long"][-1][1]
  assert [kind for kind, _ in seen["a"]] == ["clips", "done"]


def test_a_decoder_that_stands_still_is_replaced(folder):
  decoders = extract.Decoders({"a": str(folder / "a.mp4")}, recipe(length=9), 1, patience=2.0)
  os.kill(decoders._processes[0].pid, signal.SIGSTOP)
  assert [kind for _, kind, _ in decoders] == ["clips", "done"]       # by the one that took its place


@pytest.mark.parametrize("changes,weights,message", [
    ({}, "", "--weights is not given. This recipe wants an I3D trained on Kinetics, RGB: rgb_imagenet.pt"),
    ({}, "random:x", "expected random:SEED"),
    ({}, "nowhere.pt", "there is no such file of weights"),
    ({"crop": 64}, "random:0", "config.crop=64 must lie between 32 and config.short_side=32"),
    ({"scaling": "none"}, "random:0", "config.scaling='none' is unknown; use one of symmetric, imagenet"),
    ({"sampling.length": 4}, "random:0", "needs clips of at least 9 frames"),
    ({"sampling.plan": "all"}, "random:0", "config.sampling.plan='all' is unknown"),
])
def test_refused(folder, tmp_path, changes, weights, message):
  config = recipe()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    extract.run(config, folder, tmp_path / "out", weights)
  assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be(tmp_path):
  with pytest.raises(ValueError, match="no such folder of videos"):
    extract.find_videos(tmp_path / "none")
  with pytest.raises(ValueError, match="holds no video"):
    extract.find_videos(tmp_path)
  for name in ("a.mp4", "a.mkv"):
    (tmp_path / name).touch()
  with pytest.raises(ValueError, match="a.mkv and a.mp4 are two videos of one name"):
    extract.find_videos(tmp_path)
