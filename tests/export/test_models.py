"""One model as StableHLO and as ONNX: the same answers as the run's own, for every method, also in a process without us."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxskill import export
from jaxskill.assess import new_videos
from jaxskill.export import onnx_file
from jaxskill.report import explain
from jaxskill.training import finished_run
from tests.assess.own_videos import SYSTEMS, trained

pytestmark = pytest.mark.usefixtures("quick_answers")

METHODS = (*SYSTEMS, *(pytest.param(name, marks=pytest.mark.slow) for name in ("usdl", "lstm")))     # train for it alone
ANY, MORE, FIXED = "any number of rows", "rows or more", "exactly"      # how general each program is
LENGTHS = dict(pros_cons=ANY, core=ANY, usdl=ANY, action_net=MORE, spatial_attention=MORE, skilldiff=FIXED, lstm=FIXED)


def asked(run, number):
  """(features of a test video, its group and difficulty, the run's own answer by one model {name: array})."""
  video = int(run.dataset.folds[0].test_videos[0])
  path = run.save(video)
  loaded = finished_run.load(run.workdir)
  known = new_videos.Known(labels=str(run.labels))
  (read,), failed = new_videos.read(loaded, new_videos.Sources(features=(str(path),), known=known), "", print)
  assert not failed
  said = explain.pick(loaded.assess([read]), np.array([number]), 0)
  named = {jax.tree_util.keystr(way, simple=True, separator="/"): np.asarray(leaf)[0]
           for way, leaf in jax.tree_util.tree_flatten_with_path(said)[0]}
  group = loaded.group(read.known) if loaded.about["groups"] else 0
  return read.arrays, dict(group=group, difficulty=run.dataset.difficulty[video]), named


def given(about, arrays, known):
  """What a file takes, by what stands beside it; longer by zeros where it wants more rows."""
  made = {}
  for one in about["inputs"]:
    name, stream = one["name"], one["name"].removesuffix("_rows")
    if name in arrays:
      rows = next(int(number) for number in (*re.findall(r"(\d+) rows", one["words"]), len(arrays[name])))
      made[name] = np.zeros((rows, *arrays[name].shape[1:]), one["dtype"])
      made[name][: len(arrays[name])] = arrays[name]
    else:
      made[name] = np.array(len(arrays[stream]) if stream in arrays else known[name], one["dtype"])
  return made


def same(found, expected):
  """Answers are alike in the rows that both have."""
  assert set(found) == set(expected) and "score" in found and len(found) > 1
  for name, value in expected.items():
    common = tuple(slice(min(sizes)) for sizes in zip(value.shape, np.shape(found[name])))
    np.testing.assert_allclose(np.asarray(found[name])[common], value[common], rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("system", METHODS)
def test_stablehlo_answers_as_the_run(tmp_path, system):
  pytest.importorskip("flatbuffers", reason="flatbuffers is not installed: pip install '.[export]'")
  run = trained(system)
  arrays, known, expected = asked(run, 1)
  file, described, _ = export.run(run.workdir, tmp_path / "one.stablehlo", model=1, say=print)
  about = json.loads(described.read_text())
  assert about["platforms"] == ["cpu", "cuda", "tpu"] and about["model"]["seed"] == 1
  assert all(LENGTHS[system] in one["words"] for one in about["inputs"] if one["name"] in arrays)
  assert b".py" not in file.read_bytes()                                 # no path of this machine
  program = jax.export.deserialize(bytearray(file.read_bytes()))
  found = program.call(given(about, arrays, known))
  assert list(found) == sorted(one["name"] for one in about["outputs"])
  same(found, expected)


@pytest.mark.parametrize("system", METHODS)
def test_onnx_answers_as_the_run(tmp_path, system):
  for package in onnx_file.PACKAGES:
    pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[export]'")
  import onnxruntime
  run = trained(system)
  arrays, known, expected = asked(run, 0)
  file, described, _ = export.run(run.workdir, tmp_path / "one.onnx", model=0, say=print)
  about = json.loads(described.read_text())
  assert about["differs"] < 1e-5 and all(LENGTHS[system] in one["words"] for one in about["inputs"] if one["name"] in arrays)
  session = onnxruntime.InferenceSession(str(file))
  names = [value.name for value in session.get_outputs()]
  assert names == [one["name"] for one in about["outputs"]]
  same(dict(zip(names, session.run(names, given(about, arrays, known)))), expected)


def test_the_lines_of_the_card_answer_without_jaxskill(tmp_path):
  """In a process of their own, which is given the file and the features alone."""
  pytest.importorskip("flatbuffers", reason="flatbuffers is not installed: pip install '.[export]'")
  run = trained("pros_cons")
  arrays, _, expected = asked(run, 0)
  *_, card = export.run(run.workdir, tmp_path / "one.stablehlo", model=0, say=print)
  assert "seed 0; learns which of two videos is better." in card.read_text()
  np.save(tmp_path / "rgb.npy", arrays["rgb"].astype(np.float32))
  lines, = re.findall(r"```python\n(.*?)```", card.read_text(), flags=re.S)
  program = ("import sys, numpy as np; rgb = np.load('rgb.npy')\n" + lines +
             "assert 'jaxskill' not in sys.modules\nnp.savez('said.npz', **answer)")
  done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=os.environ, text=True, capture_output=True,
                        check=False)
  assert not done.returncode, done.stderr
  with np.load(tmp_path / "said.npz") as said:
    same(dict(said), expected)


def test_a_model_that_cannot_be_converted_is_refused_in_a_line(tmp_path, monkeypatch):
  """Whatever stops the converter; so is one whose answers onnxruntime finds to be others."""
  for package in onnx_file.PACKAGES:
    pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[export]'")
  run, file = trained("pros_cons"), tmp_path / "one.onnx"

  def fails(*_):
    raise RuntimeError("no\nsuch operation")
  monkeypatch.setattr(onnx_file, "drawn", fails)
  with pytest.raises(ValueError, match=r"one.onnx: this model cannot be written as ONNX \(no\); write --format stable"):
    export.run(run.workdir, file, model=0)
  monkeypatch.undo()
  monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
  with pytest.raises(ValueError, match="onnxruntime's '.*' differs from JAX's by "):
    export.run(run.workdir, file, model=0)
  assert not file.exists()
