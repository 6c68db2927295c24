"""Damaged files of a finished run: one line that names the file, what is wrong and what to do."""

import shutil

import numpy as np
import pytest

from jaxskill import assess
from jaxskill.training import finished_run
from tests.assess.own_videos import changed, trained

pytestmark = pytest.mark.usefixtures("quick_training")


@pytest.fixture
def copy(tmp_path):
  """copy(system) -> the folder of a run, to be damaged."""
  def make(system="pros_cons"):
    shutil.copytree(trained(system).workdir, tmp_path / system)
    return tmp_path / system
  return make


def refused(folder, *words):
  with pytest.raises(ValueError) as caught:
    finished_run.load(folder)
  message = str(caught.value)
  assert "\n" not in message, message
  for word in words:
    assert word in message, message


@pytest.mark.parametrize("text", ["[]", "null", "5", "", "{", "[" * 100_000, "{}", '"\udcff"',
                                  '{"method": "pros_cons"}',
                                  '{"method": "none", "model": {}, "data": {}, "train": {}}',
                                  '{"method": "pros_cons", "model": {}, "data": {}, "train": {}}',
                                  '{"method": "pros_cons", "model": 3, "data": 4, "train": null}'])
def test_a_config_that_training_did_not_write(copy, text):
  folder = copy()
  (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
  refused(folder, "config.json: cannot be read", "copy the run again")


@pytest.mark.parametrize("text", ["", '{"tested": tr', "[]", "5", "[" * 100_000])
def test_results_that_are_cut(copy, text):
  folder = copy()
  (folder / "results.json").write_text(text)
  refused(folder, "results.json: is not what training wrote", "start the training command again")


@pytest.mark.parametrize("about", [lambda _: None, lambda _: [], lambda _: 5, lambda a: a | dict(format="1"),
                                   lambda a: a | dict(replicas=[]), lambda a: a | dict(replicas=[{}]),
                                   lambda a: a | dict(streams={}), lambda a: a | dict(extraction=[]),
                                   lambda a: a | dict(extraction=3),
                                   lambda a: a | dict(step="x"),
                                   lambda a: {k: v for k, v in a.items() if k != "simulated"}])
def test_training_videos_that_lack_something(copy, about):
  folder = copy()
  changed(folder, about)
  refused(folder, "training_videos.npz: is not what training wrote", "start the training command again")


@pytest.mark.parametrize("name, values", [("score", None), ("videos", None), ("trained", np.zeros((2, 3), bool)),
                                          ("rgb/mean", None), ("rgb/lengths", np.ones(1)), ("digests", np.array(3)),
                                          ("score", np.array(["text"]))])
def test_training_videos_of_wrong_arrays(copy, name, values):
  folder = copy()
  changed(folder, **{name: values})
  refused(folder, "training_videos.npz: is not what training wrote")


def test_comparing_needs_its_bank(copy):
  folder = copy("core")
  changed(folder, **{"bank/mask": None})
  refused(folder, "training_videos.npz: is not what training wrote", "bank/mask")
  changed(folder, about=lambda a: a | dict(groups=[]), **{"bank/mask": np.ones((2, 2), bool)})
  refused(folder, "lacks the videos that new ones are compared with")


def test_garbage_and_what_is_gone(copy):
  folder = copy()
  whole = (folder / finished_run.FILE).read_bytes()
  for garbage in (b"", b"PK\x03\x04", b"garbage" * 100, whole[:-200], whole[:300] + b"\xff" * 50 + whole[350:]):
    (folder / finished_run.FILE).write_bytes(garbage)
    refused(folder, "training_videos.npz")
  (folder / finished_run.FILE).write_bytes(whole)
  shutil.rmtree(folder / "checkpoints")
  refused(folder, "has no checkpoint of step", "copy its folder again")
  (folder / "checkpoints").touch()
  refused(folder, "has no checkpoint of step")


def test_a_recipe_that_lacks_something_is_asked_for(copy, tmp_path):
  folder = copy()
  for recipe in (dict(streams={}), dict(weights="x", weights_sha256="")):
    changed(folder, lambda about, recipe=recipe: about | dict(extraction=recipe))
    with pytest.raises(ValueError, match="the recipe that the run .* keeps of its features is not whole.*--extractor"):
      assess.run(folder, out=tmp_path / "out", videos=[__file__])
