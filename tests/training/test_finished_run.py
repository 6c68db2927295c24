"""The folder of a finished run, as it may come from somebody else: what is no run is refused in one line."""

import json

import pytest

from jaxskill.assess import new_videos
from jaxskill.training import finished_run


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
