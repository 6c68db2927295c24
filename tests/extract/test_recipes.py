"""Whether features were made as those of a run."""

import types

import pytest

from jaxskill.extract import kinds, recipe_checks, recipes
from tests.extract.test_extraction import recipe


def about(persons, **changes):
  return dict(name="action_net", weights="a.pth", weights_sha256="0", persons=persons, **changes)


def check(of_run, mine):
  return recipes.check_recipe(types.SimpleNamespace(about=dict(extraction=of_run), random_weights=False), mine)


@pytest.mark.parametrize("regions,option,message", [
    (("pose", "person"), "boxes", "--boxes: the recipe cuts persons out by region=person and pose, which does not take"),
    (("pose", "pose"), "boxes", "by region=pose, which"), (("person", "person"), "person", "by region=person, which")])
def test_options_that_a_region_does_not_take(regions, option, message):
  config = recipe("action_net")
  config.streams.rgb.region, config.streams.static.region = regions
  with pytest.raises(ValueError, match=message):
    recipe_checks.find_persons(config, None, kinds.Given(**{option: "1,2"}))


POSES = dict(detector="one.whl", sha256=dict(pose_detection="1", pose_landmark="2"))


def test_other_networks_that_find_persons():
  other = dict(detector="other.task", sha256=dict(pose_detection="1", pose_landmark="3"))
  with pytest.raises(ValueError, match="found by other.task, .* those of one.whl; extract .* that --detector"):
    check(about(POSES), about(other))
  assert check(about(POSES), about(POSES | dict(detector="folder"))) == []             # the same ones
  assert check(about("a table of boxes"), about(dict(detector="a.onnx", sha256="5"))) == []
  assert check(about(dict(detector="a.onnx", sha256="5")), about("a table of boxes")) == []
