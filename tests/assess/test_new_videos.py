"""Which files of a folder are features or recorded movements to assess, and what they are called."""

from jaxskill.assess import new_videos
from tests import recordings

TIMES, POINTS = recordings.squats(.1)


def prepared(*given):
  """{name: file} of what is given as prepared features."""
  return new_videos._prepared(given)[0]


def test_points_in_the_names_of_folders_are_no_endings(tmp_path):
  takes = {name: tmp_path / name for name in ("P01.take1", "P01.take2")}
  for folder in takes.values():
    recordings.write_openpose(folder, TIMES, POINTS)
  assert prepared(tmp_path) == prepared(*takes.values()) == takes
