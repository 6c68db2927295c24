"""From video files to a folder of features: runs with good and bad files, several streams, what is refused, Beam."""

import json
import os
import re
import shutil

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jaxskill import cli, pretrained
from jaxskill.data.arrays import read_arrays
from jaxskill.data.user import features
from jaxskill.data.video import decoding, video_files
from jaxskill.extract import local, recipe_checks, words, worker
from jaxskill.modules import i3d, resnet
from jaxskill.modules.i3d import I3D
from jaxskill.modules.resnet import ResNet
from jaxskill.training.parallel import Parallel
from tests.data.video.test_decoding import encode
from tests.extract.pictures import IN_PROCESS
from tests.extract.test_extraction import REPO, move, recipe
from tests.test_interop import resnet_state

ACTION_NET = ["--config", str(REPO / "configs" / "features" / "action_net.py"),
              *(f"--config.streams.{name}.{field}={value}" for name in ("rgb", "static")
                for field, value in dict(short_side=32, crop=32, batch=2).items()),
              "--config.streams.rgb.sampling.length=9", "--config.streams.static.sampling.fps=2.0"]


@pytest.fixture(scope="module", autouse=True)
def quick():
  """Networks of few blocks, compiled with few optimisations and for one device; random weights are drawn once."""
  jax.config.update("jax_disable_most_optimizations", True)
  drawn, draw = {}, pretrained.random_variables

  def draw_once(module, inputs, seed):
    key = (module, inputs.shape, seed)
    if key not in drawn:
      drawn[key] = draw(module, inputs, seed)
    return drawn[key]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(local, "Parallel", lambda: Parallel(1))
    patch.setattr(pretrained, "random_variables", draw_once)
    for depth, blocks in {50: (1, 1, 2, 1), 101: (1, 1, 11, 1)}.items():
      patch.setitem(resnet.DEPTHS, depth, blocks)
    patch.setattr(i3d, "BLOCKS", {name: i3d.BLOCKS[name] for name in ("mixed_3b", "mixed_4b", "mixed_5b", "mixed_5c")})
    yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Videos that are well, damaged, too short and none at all, and where persons are."""
  pytest.importorskip("av")
  root = tmp_path_factory.mktemp("videos")
  (root / "monday").mkdir()
  encode(root / "a.mp4", np.arange(40) / 10)
  encode(root / "monday" / "b.mkv", np.arange(60) / 10, size=(50, 70))
  encode(root / "short.mp4", np.arange(4) / 10)
  encode(root / "nobody.mp4", np.arange(40) / 10)
  encode(root / "cut.mkv", np.arange(150) / 10)
  content = (root / "cut.mkv").read_bytes()
  (root / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
  (root / "empty.mp4").touch()
  (root / "notes.txt").write_text("not looked at")
  boxes = ["video,time,x1,y1,x2,y2", *(f"{name},{time},16,8,48,40" for name in ("a", "monday/b", "short", "cut")
                                       for time in np.arange(0, 8, 0.5))]
  (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
  return root


def command(capsys, *words):
  """(exit code, what was printed, what was complained)."""
  with pytest.raises(SystemExit) as ended:
    local.main([str(word) for word in words])
  return ended.value.code, *capsys.readouterr()


@pytest.fixture(scope="module")
def extracted(folder, tmp_path_factory):
  """(folder of the features, what was said, the note) of ACTION-NET's two streams."""
  out, said = tmp_path_factory.mktemp("out") / "features", []
  boxes = folder / "boxes.csv"
  return out, said, local.run(small_action_net(), folder, out, "random:0", boxes=boxes, say=said.append)


def small_action_net():
  config = recipe("action_net")
  config.streams.rgb.sampling.length, config.streams.static.sampling.fps = 9, 2.0
  return config


def test_every_video_that_can_be_read(extracted):
  out, said, note = extracted
  assert note == json.loads((out / "extraction.json").read_text()) and note["format"] == 2
  assert set(note["videos"]) == {"a", "monday/b", "cut"} and set(note["failed"]) == {"short", "empty", "nobody"}
  with np.load(out / "a.npz") as arrays:
    assert {name: arrays[name].shape for name in arrays.files} == dict(rgb=(2, 1024), static=(7, 2048))
  about = note["videos"]["a"]
  assert about["rows"] == dict(rgb=2, static=7) and about["row_seconds"] == dict(rgb=pytest.approx(1.8), static=0.5)
  assert note["recipe"]["random_weights"] and note["recipe"]["weights"] == dict(rgb="random:0", static="random:0")
  said = "\n".join(said)
  assert re.search(r"warning: cut: damaged: of 1[45]\.\d+ s only \d", said) and note["videos"]["cut"]["warnings"]
  assert "failed: short: lasts 0." in said and "failed: empty: is empty" in said
  assert "failed: nobody: no person found: boxes.csv has no box of this video" in said and "RANDOM weights" in said
  assert note["left_out"] == {"boxes.csv": "text", "notes.txt": "text"}
  assert "left out, text: boxes.csv, notes.txt" in said
  assert not list(out.rglob("*.unfinished"))


def test_names_are_printed_as_text(capsys):
  note = dict(videos={"a\nb": dict(warnings=["odd\x1b[31m"])}, failed={"c\x1b": "gone"})
  words.say_last(note, "out", "extraction.json", 1.0, cli.say)
  assert capsys.readouterr().out.splitlines()[:2] == ["warning: a\\nb: odd\\x1b[31m", "failed: c\\x1b: gone"]


def test_features_are_those_of_the_frames(folder, extracted):
  """The whole way once more, by hand."""
  variables, _ = pretrained.load(small_action_net(), "random:0")
  times = np.arange(18).reshape(2, 9) / 5
  images = np.stack(list(decoding.frames_at(folder / "a.mp4", times.ravel(), decoding.scale_short_side(32))))
  clips = images[:, :, 5: 37].reshape(2, 9, 32, 32, 3) / np.float32(127.5) - 1              # 43 x 32: the middle
  expected = jax.jit(I3D().apply)(variables["rgb"], jnp.asarray(clips))["features"].mean(axis=1)
  found = np.load(extracted[0] / "a.npz")
  np.testing.assert_allclose(found["rgb"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
  images = np.stack(list(decoding.frames_at(folder / "a.mp4", np.arange(7) / 2)))[:, 8:40, 16:48]
  images = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
  expected = jax.jit(ResNet(50).apply)(variables["static"], jnp.asarray(images, jnp.float32))["feature"]
  np.testing.assert_allclose(found["static"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_second_run_does_what_is_missing(folder, extracted, tmp_path):
  out, said = tmp_path / "features", []
  shutil.copytree(extracted[0], out)
  (out / "a.npz").unlink()
  stamp = (out / "cut.npz").stat().st_mtime_ns
  config = ml_collections.ConfigDict(json.loads((out / "extraction.json").read_text())["recipe"])   # as others build it
  note = local.run(config, folder, out, dict(rgb="random:0", static="random:0"), boxes=folder / "boxes.csv",
                     say=said.append)
  assert said[0] == "2 of 6 videos are there already" and (out / "cut.npz").stat().st_mtime_ns == stamp
  assert note == extracted[2]
  for stream in ("rgb", "static"):
    np.testing.assert_array_equal(np.load(out / "a.npz")[stream], np.load(extracted[0] / "a.npz")[stream])
  with pytest.raises(ValueError, match="holds features of another recipe or other weights"):
    local.run(config, folder, out, "random:1", boxes=folder / "boxes.csv")
  (out / "extraction.json").unlink()
  with pytest.raises(ValueError, match="a.npz: is there already, and no extraction.json says that it was made here"):
    local.run(config, folder, out, "random:0", boxes=folder / "boxes.csv")


def test_own_features_know_their_seconds_and_weights(extracted, tmp_path):
  out = tmp_path / "features"
  shutil.copytree(extracted[0], out)
  (out / "pairs.csv").write_text("better,worse,split\na,monday/b,train\ncut,a,test\n")
  data = features.load_features(out, seconds_per_segment=7)
  np.testing.assert_allclose(data.row_seconds["rgb"], 1.8, rtol=1e-6)
  np.testing.assert_allclose(data.row_seconds["static"], 0.5)
  assert data.name == "features of RANDOM weights: features"
  (out / "extraction.json").write_text("{")
  with pytest.raises(ValueError, match="extraction.json: is not what jaxskill.extract wrote"):
    features.load_features(out)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
  """Weights of a ResNet-50 as torchvision writes them."""
  safetensors = pytest.importorskip("safetensors.numpy")
  file = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
  variables = pretrained.load(recipe("action_net:static"), "random:3")[0]["static"]
  safetensors.save_file({name: np.ascontiguousarray(value) for name, value in resnet_state(variables).items()}, file)
  return file


def test_one_stream_of_a_file_of_weights(folder, resnet_file, tmp_path, capsys, monkeypatch):
  """The command, frame by frame in the middle of the picture; one file of videos; a folder that grows."""
  words = ["--config", f"{ACTION_NET[1]}:static", "--config.streams.static.region=centre", "--out", tmp_path / "out",
           "--config.streams.static.short_side=32", "--config.streams.static.crop=32",
           "--weights", f"static={resnet_file}", "--config.engine=jax"]
  code, printed, _ = command(capsys, *words, "--videos", folder / "a.mp4")
  assert code == 0 and "RANDOM" not in printed and np.load(tmp_path / "out" / "a.npy").shape == (3, 2048)
  one = np.load(tmp_path / "out" / "a.npy")
  monkeypatch.setattr(local, "Parallel", lambda: Parallel(2))
  command(capsys, *words, "--out", tmp_path / "two", "--videos", folder / "a.mp4")
  np.testing.assert_allclose(np.load(tmp_path / "two" / "a.npy"), one, rtol=1e-4, atol=1e-4 * one.max())
  monkeypatch.setattr(local, "Parallel", lambda: Parallel(1))
  code, *_ = command(capsys, *words, "--videos", folder / "monday")
  note = json.loads((tmp_path / "out" / "extraction.json").read_text())
  assert code == 0 and set(note["videos"]) == {"a", "b"} and note["videos"]["b"]["row_seconds"] == 1.0
  assert note["recipe"]["weights"] == "resnet50.safetensors" and len(note["recipe"]["weights_sha256"]) == 64


def test_maps_with_flow(tmp_path):
  """Appearance and flow of the same frames, their times, and small pictures; read as training reads them."""
  pytest.importorskip("cv2.optflow")
  config = recipe("spatial_attention", segments=2, per_segment=2, fps=10.0)
  config.draw = 16
  for stream in config.streams.values():
    stream.update(network="resnet50", crop=64)
  config.streams.flow.stack = 2
  (tmp_path / "videos").mkdir()
  for name, step in (("a", 1), ("b", 3), ("c", 2)):
    move(tmp_path / "videos" / f"{name}.mp4", 20, step, size=(96, 64))
  note = local.run(config, tmp_path / "videos", tmp_path / "out", "random:0", say=lambda _: None)
  assert not note["failed"] and note["videos"]["a"]["rows"] == dict(rgb=4, flow=4)
  arrays = read_arrays(tmp_path / "out" / "a.npz")
  assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == dict(
      rgb=((4, 2, 2, 2048), np.float16), flow=((4, 2, 2, 2048), np.float16), times=((4,), np.float32),
      frames=((4, 16, 16, 3), np.uint8))
  (tmp_path / "out" / "pairs.csv").write_text("better,worse,split\na,b,train\na,c,test\n")
  data = features.load_features(tmp_path / "out")
  assert data.streams["maps"].shape == (3, 4, 2, 2, 4096)
  np.testing.assert_allclose(data.row_times["maps"][0], [0.5, 1.0, 1.5, 2.0], atol=2e-3)
  other = read_arrays(tmp_path / "out" / "b.npz")
  assert np.abs(arrays["flow"].astype(float) - other["flow"]).max() > 0.1                  # another speed


def test_weights_of_another_network(resnet_file):
  with pytest.raises(ValueError, match="lack layer3.10.bn1.bias, which ResNet-101 has"):
    pretrained.load(recipe("spatial_attention:rgb"), str(resnet_file))
  config = recipe("spatial_attention")
  config.streams.flow.network = config.streams.rgb.network = "resnet50"
  with pytest.raises(ValueError, match=r"the first layer takes 3 channels and this stream \(flow\) gives 10; give a R"):
    pretrained.load(config, dict(rgb="random:0", flow=str(resnet_file)))
  with pytest.raises(ValueError, match="stream rgb: the weights lack conv3d_1a_7x7.batch3d.bias, which I3D has"):
    pretrained.load(recipe("action_net"), dict(rgb=str(resnet_file), static="random:0"))


@pytest.mark.parametrize("name,weights,message", [
    ("core", "", "--weights is not given. This recipe wants an I3D trained on Kinetics, RGB: rgb_imagenet.pt"),
    ("pros_cons:flow", "", "optical flow: flow_imagenet.pt"),
    ("core", "random:x", "expected random:SEED"),
    ("core", "nowhere.pt", "there is no such file of weights"),
    ("action_net", "nowhere.pt", "has the streams rgb, static, each with its own network; say --weights rgb=FILE"),
    ("action_net", dict(rgb="random:0"), "not given for static. This recipe wants for static a ResNet-50 trained on"),
    ("action_net", dict(rgb="random:0", flow="random:0"), "--weights flow=...: this recipe has no stream 'flow'"),
])
def test_weights_that_cannot_be(name, weights, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    pretrained.load(recipe(name), weights)


@pytest.mark.parametrize("name,changes,message", [
    ("core", {"rgb.crop": 64}, "rgb.crop=64 must be at least 32 and at most config.streams.rgb.short_side=32"),
    ("core", {"rgb.scaling": "none"}, "rgb.scaling='none' is unknown; use one of symmetric, imagenet, tsn"),
    ("core", {"rgb.sampling.length": 4}, "needs clips of at least 9 frames"),
    ("core", {"rgb.sampling.plan": "all"}, "rgb.sampling.plan='all' is unknown"),
    ("core", {"rgb.sampling.frames": 90}, "from frame 86 on ends after the last of 90"),
    ("action_net", {"static.sampling.length": 2}, "the network takes single frames; use 1"),
    ("action_net", {"static.network": "resnet18"}, "network='resnet18' is unknown"),
    ("action_net", {"static.person.missing": "skip"}, "person.missing='skip' is unknown; use one of nearest, discard"),
    ("spatial_attention", {"rgb.sampling.segments": 5}, "the maps flow and rgb need the same sampling and crop"),
    ("spatial_attention", {"rgb.crop": 64}, "the maps flow and rgb need the same sampling and crop"),
    ("spatial_attention", {"rgb.crop": 100, "flow.crop": 100}, "draw=112 must divide config.streams.rgb.crop=100"),
    ("spatial_attention", {"flow.scaling": "imagenet"}, "optical flow has neither"),
    ("pros_cons:flow", {"flow.network": "resnet50", "flow.sampling.length": 1},
     "stacks of flow want the plan 'frames'"),
])
def test_recipes_that_cannot_be(name, changes, message):
  config = ml_collections.ConfigDict(json.loads(recipe(name).to_json()))
  for path, value in changes.items():
    config.update_from_flattened_dict({f"streams.{path}": value})
  with pytest.raises(ValueError, match=re.escape(message)):
    recipe_checks.check(config)


@pytest.mark.parametrize("words,message", [
    ([], "stream static shows the largest person: give --boxes FILE.csv .* or --detector FILE.onnx, or take"),
    (["--boxes", "none.csv"], "none.csv: there is no such table of boxes"),
    (["--detector", "none.onnx"], "none.onnx: there is no such file of a detector"),
    (["--boxes", "a.csv", "--detector", "b.onnx"], "give one of --boxes"),
    (["--config.streams.static.region=centre", "--boxes", "a.csv"], "no stream of this recipe cuts persons out"),
    (["--config.streams.flow.crop=32"],
     "--config.streams.flow.crop=32: config.streams has no field 'flow', only rgb, static"),
    (["--config.streams.rgb.crop=wide"], "--config.streams.rgb.crop=wide: invalid"),
    (["--config", "configs/features/none.py"], "none.py"),
    (["--runner", "cloud"], "--runner cloud: use one of local, beam"),
    (["--weights", "random:0"], "given more than once, each needs its own stream"),
    (["--", "--runner=DirectRunner"], "options after -- are those of --runner beam"),
    (["--speed", "2"], "unknown option '--speed'"),
])
def test_refused(folder, tmp_path, capsys, monkeypatch, words, message):
  monkeypatch.chdir(REPO)
  code, _, complaint = command(capsys, *ACTION_NET, "--videos", folder, "--out", tmp_path / "out",
                               "--weights", "random:0", *words)
  assert code == 2 and re.search(message, complaint) and "Traceback" not in complaint
  assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="no such folder of videos"):
    video_files.find_videos(tmp_path / "none")
  with pytest.raises(ValueError, match="holds no video"):
    video_files.find_videos(tmp_path)
  for name in ("a.mp4", "a.mkv"):
    (tmp_path / name).touch()
  with pytest.raises(ValueError, match="a.mkv and a.mp4 are two videos of one name"):
    video_files.find_videos(tmp_path)
  (tmp_path / "a.mkv").unlink()
  (tmp_path / "file").touch()
  with pytest.raises(ValueError, match="cannot be written .*; give another --out"):
    local.run(recipe("core"), tmp_path, tmp_path / "file" / "out", "random:0")

  def closed(top, onerror, followlinks):
    del followlinks
    onerror(PermissionError(13, "Permission denied", str(top)))
    return iter(())
  monkeypatch.setattr(os, "walk", closed)
  with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\); change its permissions"):
    video_files.find_videos(tmp_path)


@pytest.mark.parametrize("option", ["videos", "out", "overlay"])
def test_an_address_is_no_folder_of_this_machine(tmp_path, monkeypatch, option):
  """Where it would be one called "gs:"."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(local.overlays, "check", pytest.fail)
  given = dict(videos=".", out="out", weights="random:0") | {option: "gs://BUCKET/x"}
  with pytest.raises(ValueError, match=f"--{option} gs://BUCKET/x: is read and written by --runner beam alone"):
    local.run(recipe("core"), **given)
  assert not list(tmp_path.iterdir())


def test_several_hosts_are_refused(monkeypatch, folder, tmp_path):
  monkeypatch.setattr(local.jax, "process_count", lambda: 4)
  with pytest.raises(ValueError, match="one of 4 hosts; features are extracted on one, or on many with --runner beam"):
    local.run(recipe("core"), folder, tmp_path, "random:0")


def test_beam(folder, tmp_path, monkeypatch):
  """A pipeline writes the same features and the same note."""
  pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'jaxskill[beam]'")
  from jaxskill.extract import pipeline
  monkeypatch.setattr(pipeline, "Parallel", lambda: Parallel(1))
  config = recipe("action_net:static")
  arguments = dict(boxes=folder / "boxes.csv", say=lambda _: None)
  expected = local.run(config, folder, tmp_path / "here", "random:0", **arguments)
  out = tmp_path / "beam"
  found = local.run(config, folder, out, "random:0", runner="beam", beam_options=IN_PROCESS, **arguments)
  assert found == expected and len(found["videos"]) == 3 and not (out / worker.PARTS).exists()
  for name in found["videos"]:
    np.testing.assert_array_equal(np.load(out / f"{name}.npy"), np.load(tmp_path / "here" / f"{name}.npy"))
