"""Whether features were made as those of a run."""

import types

import pytest

from jaxskill.extract import recipes


def about(persons, **changes):
  return dict(name="action_net", weights="a.pth", weights_sha256="0", persons=persons, **changes)


def check(of_run, mine):
  return recipes.check_recipe(types.SimpleNamespace(about=dict(extraction=of_run), random_weights=False), mine)


POSES = dict(detector="one.whl", sha256=dict(pose_detection="1", pose_landmark="2"))


def test_other_networks_that_find_persons():
  other = dict(detector="other.task", sha256=dict(pose_detection="1", pose_landmark="3"))
  with pytest.raises(ValueError, match="found by other.task, .* those of one.whl; extract .* that --detector"):
    check(about(POSES), about(other))
  assert check(about(POSES), about(POSES | dict(detector="folder"))) == []             # the same ones
  assert check(about("a table of boxes"), about(dict(detector="a.onnx", sha256="5"))) == []
  assert check(about(dict(detector="a.onnx", sha256="5")), about("a table of boxes")) == []
