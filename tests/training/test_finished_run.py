"""The folder of a finished run, as it may come from somebody else: what is no run is refused in one line."""

import json
import pathlib

import numpy as np
import pytest

from jaxskill.assess import new_videos
from jaxskill.data.published.recipes import RECIPES
from jaxskill.training import finished_run
from tests.places import CONFIGS


@pytest.mark.parametrize("content", ["[1]", "null", "5", '"x"', "{}", '{"model": null, "train": {}, "data": {}}', "[" * 100000,
                                     '{"model": [1], "train": {}, "data": {}}', '{"method": "core"'])
def test_a_config_that_is_none(tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(ValueError, match="config.json: ") as refused:
    finished_run.load(tmp_path)
  assert "\n" not in str(refused.value)


def test_a_config_that_is_no_text(tmp_path):
  (tmp_path / "config.json").write_bytes(json.dumps({"name": "é"}, ensure_ascii=False).encode("latin1"))
  with pytest.raises(ValueError, match="config.json: cannot be read"):
    finished_run.load(tmp_path)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_seconds_of_a_row_that_cannot_be(seconds):
  sources = new_videos.Sources(features=("x.npy",), row_seconds=seconds)
  with pytest.raises(ValueError, match="--row-seconds=.* must be positive, seconds from one row to the next"):
    new_videos.read(None, sources, "", print)


def test_a_training_video_that_comes_again_has_no_vote():
  """Two videos for three votes: places that are left bear the name of the first video, which asks here."""
  names = np.array(["first", "second", "first", "first"])[:, None]                         # [M + 1, R]
  arrays = {"videos": np.array(["first", "second"]), "digests": np.array(["of first", "of second"]), "bank/videos": names,
            "bank/mask": np.array([True, True, False, False])[:, None]}
  run = finished_run.FinishedRun(pathlib.Path("run"), None, None, dict(groups=[{}]), arrays, None, None, None)
  rows, mask = run.references(["of first", "of second", "of a new one"], [{}] * 3)
  assert rows.shape == mask.shape == (3, 1, 3)
  votes = [names[video_rows[0][voting[0]], 0].tolist() for video_rows, voting in zip(rows, mask)]
  assert votes == [["second"], ["first"], ["first", "second"]]


def test_recipes_of_published_features_exist():
  for recipe in RECIPES.values():
    assert (CONFIGS / "features" / f"{recipe}.py").is_file()
