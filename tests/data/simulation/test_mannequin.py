"""The drawn person: joints, pictures, films with scores, and what is refused."""

import json

import numpy as np
import pytest

from jaxskill.data.simulation import mannequin
from jaxskill.data.user import own_labels

POSTURE = mannequin.Posture(100, 220, 200, left=90, right=0)


def test_joints():
  joints = mannequin.joints_of(POSTURE)
  left, right = (joints[f"{side}_wrist"] - joints[f"{side}_shoulder"] for side in ("left", "right"))
  np.testing.assert_allclose(left[1], 0, atol=1e-9)                       # lifted to the side
  np.testing.assert_allclose(right[0], 0, atol=1e-9)                      # hanging
  assert left[0] > 0 and right[1] > 0 and np.hypot(*left) == pytest.approx(np.hypot(*right))
  assert joints["left_hip"][0] > joints["right_hip"][0]                   # faces the camera
  bent = mannequin.joints_of(POSTURE._replace(bend=90))
  assert bent["left_hip"][1] > joints["left_hip"][1] + 20
  for name in ("ankle", "knee", "hip"):
    np.testing.assert_allclose(bent[f"left_{name}"] + bent[f"right_{name}"] - (200, 2 * bent[f"left_{name}"][1]), 0,
                               atol=1e-9)
  np.testing.assert_allclose(bent["left_ankle"], joints["left_ankle"])


def test_a_picture():
  image = mannequin.draw([POSTURE], (200, 240))
  assert image.shape == (240, 200, 3) and image.dtype == np.uint8
  for name, color in (("left_elbow", mannequin.SKIN), ("right_knee", mannequin.TROUSERS)):
    x, y = mannequin.joints_of(POSTURE)[name].astype(int)
    assert np.abs(image[y + 8 * (name == "right_knee"), x + 8 * (name == "left_elbow")].astype(int) - color).max() < 20
  nobody = mannequin.draw([], (200, 240))
  assert (nobody[0] == mannequin.SKY).all() and (nobody[-1] == mannequin.GRASS).all()
  outside = mannequin.draw([POSTURE._replace(x=-500)], (200, 240))
  np.testing.assert_array_equal(outside, nobody)


def test_films(tmp_path):
  pytest.importorskip("av")
  from jaxskill.data.video import decoding
  scores = mannequin.write_videos(tmp_path / "videos", 8, seconds=1.0, height=48, command="a command")
  labels = own_labels.read_labels(tmp_path / "videos")
  assert set(labels.videos()) == set(scores) and labels.scores["split"].count("test") == 2
  assert "nobody was filmed" in (tmp_path / "videos" / "SIMULATED.txt").read_text()
  frames = list(decoding.decode(tmp_path / "videos" / "person0_000.mp4"))
  assert len(frames) == 25 and frames[0].image.shape == (48, 64, 3)
  truth = json.loads((tmp_path / "videos" / "truth" / "person0_000.json").read_text())
  assert truth["score"] == scores["person0_000"] == round(100 * truth["skill"], 1)
  with pytest.raises(ValueError, match="is not empty"):
    mannequin.write_videos(tmp_path / "videos", 1)


@pytest.mark.parametrize("words,message", [
    (["--videos", "0"], "--videos 0 must be at least 1"), (["--height", "50"], "--height 50 must be a multiple of 6")])
def test_bad_options_are_named(tmp_path, words, message, capsys):
  pytest.importorskip("av")
  with pytest.raises(SystemExit) as stopped:
    mannequin.main(["--out", str(tmp_path / "videos"), *words])
  assert stopped.value.code == 2 and message in capsys.readouterr().err
