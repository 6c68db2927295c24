"""Statistics of motion against what a movement is known to be, and at the corners."""

import dataclasses

import numpy as np
import pytest

from jaxskill.data import statistics
from jaxskill.data.statistics import OF_POINT, motion_statistics, with_statistics


def of(rows, seconds=0.1, points=()):
  """The statistics by name of the first point, and the duration."""
  found = motion_statistics(np.asarray(rows, np.float64), seconds, points)
  return dict(zip(OF_POINT, found)) | dict(duration=found[-1])


def test_a_steady_walk():
  found = of(np.stack([np.arange(50) * 0.3, np.arange(50) * 0.4], axis=1), points=((0, 1),))
  expected = {"mean speed": 5.0, "deviation of speed": 0, "path": 0.5 * 49, "jerk": 0, "idle share": 0, "high speed": 5.0,
              "spread": 0.5 * np.sqrt((50 ** 2 - 1) / 12), "duration": 5.0}
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, abs=1e-4), name


def test_a_pause_is_idle_and_a_stop_is_a_jerk():
  walk = np.concatenate([np.arange(30), np.full(30, 29), 29 + np.arange(30)])[:, None] * 1.0
  assert of(walk)["idle share"] == pytest.approx(31 / 89, abs=1e-6) and of(walk)["jerk"] > 100
  assert of(np.arange(90.0)[:, None])["jerk"] == pytest.approx(0, abs=1e-6)


def test_third_derivative_of_a_cube():
  time = np.arange(200) * 0.1
  assert of((time ** 3)[:, None])["jerk"] == pytest.approx(6.0, rel=1e-5)


def test_four_points_make_29_numbers_in_the_order_of_their_names():
  points = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
  rows = np.random.default_rng(0).normal(size=(40, 12))
  found = motion_statistics(rows, 0.1, points)
  assert found.shape == (29,) == (len(statistics.names(points)),) and found.dtype == np.float32
  alone = motion_statistics(rows[:, 3:6], 0.1, ((0, 1, 2),))
  np.testing.assert_array_equal(found[7:14], alone[:7])
  assert statistics.names(points)[7] == "mean speed, columns 3 4 5" and statistics.names(points)[-1] == "duration"
  assert motion_statistics(rows, 0.1).shape == (7 * 12 + 1,)


def test_what_moves_twice_as_fast_has_twice_the_speed_and_eight_times_the_jerk():
  rows = np.cumsum(np.random.default_rng(0).normal(size=(60, 1)), axis=0)
  slow, fast = of(rows, 0.2), of(rows, 0.1)
  for name, factor in (("mean speed", 2), ("high speed", 2), ("jerk", 8), ("path", 1), ("idle share", 1), ("spread", 1),
                       ("duration", 0.5)):
    assert fast[name] == pytest.approx(factor * slow[name], rel=1e-5), name


@pytest.mark.parametrize("rows", [
    np.zeros((1, 2)), np.full((9, 2), 3.0), np.zeros((2, 2)), np.ones((3, 2)), np.full((50, 1), 1e38), np.full((1, 1), -1e-38),
    np.where(np.arange(20) % 2, 3e38, -3e38)[:, None]], ids=lambda rows: f"{rows.shape}{rows[0, 0]:g}")
def test_finite_at_the_corners(rows):
  found = motion_statistics(rows.astype(np.float32), 1 / 30)
  assert np.isfinite(found).all()
  if np.ptp(rows) == 0:
    assert of(rows)["path"] == of(rows)["mean speed"] == of(rows)["jerk"] == 0 and of(rows)["idle share"] == 1


def test_times_that_are_known_rule():
  rows = np.array([[0.0], [1.0], [2.0], [3.0]])
  found = dict(zip(OF_POINT, motion_statistics(rows, 1.0, (), times=np.array([0.0, 1.0, 3.0, 4.0]))))
  assert found["mean speed"] == pytest.approx(3 / 4) and found["path"] == 3


def test_stream_beside_the_others(make_dataset):
  data = make_dataset(row_seconds=dict(rgb=np.full(11, 0.5)))
  found = with_statistics(data, "rgb", ((0, 1), 4))
  assert found.streams["statistics"].shape == (11, 1, 15) and set(found.streams) == {"rgb", "statistics"}
  np.testing.assert_allclose(found.row_seconds["statistics"], data.lengths["rgb"] * 0.5)  # a row lasts as long as the video
  rows = data.streams["rgb"][3, : data.lengths["rgb"][3]]
  np.testing.assert_array_equal(found.streams["statistics"][3, 0], motion_statistics(rows, 0.5, ((0, 1), 4)))
  assert with_statistics(data, "") is data


@pytest.mark.parametrize("stream,points,fault", [
    ("pose", (), "there is no such stream"), ("rgb", ((0, 9),), "are no columns of 0 to 4"), ("rgb", ((),), "are no columns"),
    ("rgb", (True,), "are no columns"), ("rgb", (1.5,), "are no columns"), ("rgb", (-1,), "are no columns"),
    ("statistics", (), "there is no such stream")])
def test_option_that_cannot_be(make_dataset, stream, points, fault):
  with pytest.raises(ValueError, match=fault):
    with_statistics(make_dataset(), stream, points)


def test_maps_have_no_statistics(make_dataset):
  data = make_dataset()
  maps = data.streams["rgb"][..., None, None]
  maps = dataclasses.replace(data, streams=dict(maps=maps), lengths=dict(maps=data.lengths["rgb"]))
  with pytest.raises(ValueError, match="expected the columns of kinematics"):
    with_statistics(maps, "maps")
