"""The command: what it writes by default, parameters as safetensors, the model card, and what is refused."""

import importlib.util
import json

import jax
import numpy as np
import pytest
from etils import epath

from jaxskill import export
from jaxskill.export import __main__ as command_line
from jaxskill.export import card, one_model
from jaxskill.training import finished_run
from tests.assess.own_videos import trained

pytestmark = pytest.mark.usefixtures("quick_answers")


def test_parameters_and_their_shapes(tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  run = trained("core")
  file, described, beside = export.run(run.workdir, tmp_path / "mine.safetensors", model=1)
  tensors, about = safetensors.load_file(file), json.loads(described.read_text())
  expected = one_model.variables_of(finished_run.load(run.workdir), 1)
  assert about["tensors"] == {name: dict(shape=list(value.shape), dtype=str(value.dtype)) for name, value in tensors.items()}
  for path, value in jax.tree_util.tree_flatten_with_path(expected)[0]:
    np.testing.assert_array_equal(tensors.pop(jax.tree_util.keystr(path, simple=True, separator="/")), value)
  assert not tensors and beside.name == "mine.safetensors.md"


def test_the_card_says_what_must_be_known(tmp_path, capsys):
  run = trained("core")
  command_line.main(["--workdir", str(run.workdir), "--pack", "--out", str(tmp_path / "mine.jaxskill")])
  assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'mine.jaxskill'}\n      {tmp_path / 'mine.jaxskill.md'}\n")
  text = (tmp_path / "mine.jaxskill.md").read_text()
  training = len(run.dataset.folds[0].train_videos) + len(run.dataset.folds[0].validation_videos)
  for words in ("Holds a finished run", "SIMULATED, made by jaxskill", "1 fold(s), 2 seed(s)", "baseline: duration only",
                "**SIMULATED DATA**", "**ONLY 2 MODELS**", "too few for a claim", "Apache-2.0", "encodings, not their names",
                run.results["git_revision"] or "not noted", run.results["params_sha256"], run.results["versions"]["jax"]):
    assert words in text, words
  assert training >= 8 and [line for line in text.splitlines() if line.startswith("## ")] == [
      f"## {title}" for title in ("Data", "Protocol", "Results", "Limits", "Licence", "Revision")]
  assert not any(name in text for name in run.dataset.videos)


def test_a_card_names_nobody_and_no_folder(tmp_path):
  """Folds may be named after people, and numbers may be undefined in one of them."""
  run = finished_run.load(trained("core").workdir)
  run.about["replicas"] = [one | dict(fold="Ann") for one in run.about["replicas"]]
  run.about.update(simulated=False, extraction=dict(weights=dict(rgb="/home/Ann/i3d.pt", static="r.pt"), random_weights=False))
  results = json.loads((run.workdir / "results.json").read_text())
  results["rows"]["core"]["spearman"]["last"]["over_folds"]["undefined"] = "labels are equal in fold Ann"
  (tmp_path / "results.json").write_text(json.dumps(results))
  file = tmp_path / "one.onnx"
  file.write_bytes(b"")
  text = card.write(run._replace(workdir=epath.Path(tmp_path)), 1, file, "torch", one_model.which(run, 1)).read_text()
  assert "Ann" not in text and "Model 1 of 2: fold 1, seed 1" in text and "made the features: rgb i3d.pt, static r.pt." in text
  run.config.unlock().init_from = "/home/Ann/published.pth"
  text = card.write(run._replace(workdir=epath.Path(tmp_path)), 1, file, "torch", one_model.which(run, 1)).read_text()
  assert "no test video chose them" not in text and "what these had seen is not known" in text


def test_what_nothing_is_said_of_lies_in_the_run(tmp_path):
  run = finished_run.load(trained("core").workdir)._replace(workdir=tmp_path)
  assert export.default_file(run, "onnx", 1) == tmp_path / "export" / "model_1.onnx"
  one = run._replace(about=run.about | dict(replicas=run.about["replicas"][:1]))
  assert export.default_file(one, "onnx", 0) == tmp_path / "export" / "model.onnx"
  packed = run._replace(workdir=tmp_path / "mine.jaxskill")
  assert export.default_file(packed, "pack", None) == tmp_path / "mine_answers" / "export" / "run.jaxskill"


@pytest.mark.parametrize("asked,why", [
    (dict(format="onnx"), r"has 2 models; say which one with --model NUMBER \(0: fold simulated, seed 0; 1: fold"),
    (dict(format="onnx", model=2), "has 2 models; say which one"),
    (dict(format="pack", model=0), "--model: a pack holds all models of a run; leave it out"),
    (dict(format="tflite"), "--format tflite: there is no such format; use one of torch, stablehlo, onnx"),
    (dict(), r"say what to write with --format, or where with --out.*\.jaxskill \(pack\)"),
    (dict(out="none/mine.onnx", model=0), "mine.onnx: there is no folder none; make it"),
    (dict(out="mine.onnx", format="stablehlo", model=0), r"a file of stablehlo is called \*.stablehlo; .* --format onnx"),
    (dict(out="mine.safetensors", format="torch", model=0), r"a file of torch is called \*.pth"),
    (dict(out="mine.bin", format="pack"), r"a file of pack is called \*.jaxskill")])
def test_what_is_refused(tmp_path, monkeypatch, asked, why):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=why):
    export.run(trained("core").workdir, **asked)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format,package", [("stablehlo", "flatbuffers"), ("onnx", "jax2onnx"), ("safetensors", "safetensors")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, format, package):
  known = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else known(name))
  with pytest.raises(ValueError, match=rf"needs .*{package}.*: pip install 'jaxskill\[export\]'"):
    export.run(trained("core").workdir, tmp_path / f"mine.{format}", model=0)
