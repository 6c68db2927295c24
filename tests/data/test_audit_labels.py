"""Labels far out of line are named, and none of the published label sets has one."""

import types

import numpy as np
import pytest

from jaxskill.data.audit_labels import audit_labels, describe_labels
from jaxskill.data.published.labels_scores import read_scores
from tests.places import SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
SETS = dict(mtl_aqa="MTL-AQA", unlv_dive="MTL-AQA/Ready_2_Use", aqa7="AQA-7", jigsaws="JIGSAWS", finediving="converted",
            rhythmic_gymnastics="RhythmicGymnastics", fis_v="Fis-V_and_MIT-Skate", mit_skating="Fis-V_and_MIT-Skate")


def labelled(score, **more):
  return types.SimpleNamespace(videos=[f"v{i}" for i in range(len(score))], score=np.asarray(score, float), **(
      dict(difficulty=None, criteria={}, category=None) | more))


def published(name):
  """The labels of a data set, from the first folder that has them."""
  folder = ANNOTATIONS / SETS[name]
  for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
    try:
      return read_scores(name, place)
    except ValueError:
      continue
  pytest.skip(f"there are no labels of {name} in {folder}; set JAXSKILL_SHARED to the folder above data/annotations")


@pytest.mark.parametrize("name", SETS)
def test_published_labels(name):
  """As they are none is out of line; with a digit too many, most of those that are not small are."""
  labels = published(name)
  assert audit_labels(labels) == []
  median = np.median(labels.score)
  usual = np.flatnonzero(labels.score >= median)[:: max(1, len(labels.videos) // 20)]
  for video in usual:
    score = labels.score.copy()
    score[video] *= 10
    found = audit_labels(labels._replace(score=score))
    assert [(one["video"], one["label"], one["value"]) for one in found if one["video"] == labels.videos[video]] == [
        (labels.videos[video], "score", score[video])]
    assert len(found) == 1


@pytest.mark.parametrize("score,found", [
    ([7, 6, 8, 7, 75, 6, 7, 5], ["v4"]), ([85.5, 90, 72, 66, 855, 81, 77, 69, 0], ["v4"]), ([3, 4, 2, 5, 3, 3, 44, 1],
        ["v6"]),
    ([.5, .6, .4, .7, .5, .3, 5.5, .6], ["v6"]), ([-85, -90, -72, -66, -855, -81, -77, -69], ["v4"]), ([5] * 12 + [50],
        ["v12"]),
    ([.1, -.2, .3, -.1, .2, -.3, .1, 21], ["v7"]), ([5] * 12 + [4], []), ([0] * 12 + [3], []),
        ([1, 1, 1, 1, 1, 1, 1, 2], []),
    ([1, 2, 3, 4, 5, 1, 2, 3], []), ([7, 6, 8, 75], []), ([0, 0, 1, 1, 0, 1, 0, 1], []), (list(range(30)), []),
        ([3] * 20, [])])
def test_a_digit_too_many(score, found):
  assert [one["video"] for one in audit_labels(labelled(score))] == found


def test_out_of_line_within_a_category():
  """145 is usual for dives, and a vault with a digit too many."""
  score = [140, 150, 130, 120, 160, 90, 110, 145, 14.5, 13.9, 15.1, 14.7, 14.2, 15, 14.8, 145]
  category = np.array(["dive"] * 8 + ["vault"] * 8)
  found = audit_labels(labelled(score, category=category))
  assert found == [dict(label="score", video="v15", value=145.0, median=pytest.approx(14.75))]
  assert describe_labels(found) == ["WARNING: 1 label(s) far out of line: score of v15 is 145, the median 14.75; a digit "
                                    "or a decimal point may be wrong"]


def test_difficulties_and_criteria():
  score, usual = np.arange(10.0, 19), np.array([3.2, 2.9, 3.0, 3.4, 30.0, 3.1, 2.8, 3.3, 3.0])
  found = audit_labels(labelled(score, difficulty=usual, criteria=dict(flow=usual[::-1])))
  assert [(one["label"], one["video"]) for one in found] == [("difficulty", "v4"), ("criterion flow", "v4")]
  assert describe_labels([]) == []
  assert audit_labels(types.SimpleNamespace(videos=["a"], score=None, difficulty=None, criteria={},
      category=None)) == []
