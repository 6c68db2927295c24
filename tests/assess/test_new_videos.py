"""Which files of a folder are features or recorded movements to assess, and what they are called."""

import types

import numpy as np
import pytest

from jaxskill.assess import new_videos
from tests import recordings
from tests.assess.page import samples

TIMES, POINTS = recordings.squats(.8)


def prepared(*given, say=lambda line: None):
  """{name: file} of what is given as prepared features."""
  return new_videos._prepared(given, say)[0]


def test_points_in_the_names_of_folders_are_no_endings(tmp_path):
  takes = {name: tmp_path / name for name in ("P01.take1", "P01.take2")}
  for folder in takes.values():
    recordings.write_openpose(folder, TIMES, POINTS)
  assert prepared(tmp_path) == prepared(*takes.values()) == takes


def test_features_hide_no_recordings_but_their_own(tmp_path):
  """What is left out is said, and does not fail."""
  for name in ("v1", "v2"):
    recordings.write_csv(tmp_path / f"{name}.csv", TIMES, POINTS)
  recordings.write_npz(tmp_path / "v1.npz", TIMES, POINTS)
  (tmp_path / "README.txt").write_text("Of Monday.")
  (tmp_path / "labels.csv").write_text("video,category\nv1,squat\n")
  said = []
  assert prepared(tmp_path, say=said.append) == dict(v1=tmp_path / "v1.npz", v2=tmp_path / "v2.csv")
  assert said == ["left out, no table of numbers: README.txt", "left out, neither a time nor coordinates: labels.csv",
                  "left out, for there are features (.npy, .npz) of the same name: v1.csv"]


def test_decoded_pictures_are_not_kept_where_none_may_be_shown(tmp_path, monkeypatch):
  """Of a run on frames; those that are there already are told."""
  pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
  film = samples.film(tmp_path / "film.mp4", 2.0)
  recipe = dict(frames=dict(count=16, size=(32, 32)))
  run = types.SimpleNamespace(about=dict(extraction=recipe), workdir=tmp_path / "run")
  monkeypatch.setattr(new_videos, "_read_one", lambda run, name, path, *_: new_videos.NewVideo(
      name, path, dict(frames=np.load(path)), {}, {}, None, {}, []))
  out, said = tmp_path / "out", []
  for shown, kept in ((False, False), (True, True), (False, True)):
    (video,), failed = new_videos.read(run, new_videos.Sources((str(film),)), str(out), said.append, shown)
    assert not failed and video.shown == shown and len(video.arrays["frames"]) == 16 and out.exists() == kept
    assert video.file.exists() == shown
  assert said == [f"{out / 'frames'} holds pictures that earlier commands decoded; remove it if nobody is to see them."]
