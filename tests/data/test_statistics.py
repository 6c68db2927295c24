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


def naive(rows, times, longest):
  """`OF_POINT` of one point in plain loops, of the runs of rows that are no farther apart than `longest`."""
  runs = [[0]]
  for row in range(1, len(rows)):
    if times[row] - times[row - 1] <= longest:
      runs[-1].append(row)
    else:
      runs.append([row])
  speeds, lasts, jerks = [], [], []
  for run in runs:
    at, values = [times[row] for row in run], [rows[row] for row in run]
    for order in range(3):
      values = [(after - before) / (t1 - t0) for before, after, t0, t1 in zip(values, values[1:], at, at[1:])]
      if order == 0:
        speeds += [np.linalg.norm(value) for value in values]
        lasts += [t1 - t0 for t0, t1 in zip(at, at[1:])]
      at = [(t0 + t1) / 2 for t0, t1 in zip(at, at[1:])]
    jerks += [value @ value for value in values]
  seen = sum(lasts)
  mean = sum(v * dt for v, dt in zip(speeds, lasts)) / seen
  middle = sum(rows) / len(rows)
  return {"mean speed": mean, "path": sum(v * dt for v, dt in zip(speeds, lasts)),
          "deviation of speed": np.sqrt(sum((v - mean) ** 2 * dt for v, dt in zip(speeds, lasts)) / seen),
          "jerk": np.sqrt(np.mean(jerks)) if jerks else 0.0, "high speed": np.quantile(speeds, 0.95),
          "idle share": sum(dt for v, dt in zip(speeds, lasts) if v <= 0.1 * mean) / seen,
          "spread": np.sqrt(sum((row - middle) @ (row - middle) for row in rows) / len(rows))}


def of_times(rows, seconds, times):
  found = motion_statistics(rows, seconds, (tuple(range(rows.shape[1])),), times)
  return dict(zip(OF_POINT, found)) | dict(duration=found[-1])


@pytest.mark.parametrize("lost", [[], [9], [4, 5, 6, 20, 22, 23, 24, 25, 39], list(range(1, 40, 2)), list(range(2, 40))])
def test_a_jump_over_a_gap_is_no_speed(lost):
  """At uneven times, rows lost: one, several, every second one, all but the first two. Each side of a gap is its own."""
  rng = np.random.default_rng(3)
  times = np.cumsum(rng.uniform(0.09, 0.11, 40))
  rows = np.cumsum(rng.normal(size=(40, 2)), axis=0)
  rows[9:] += 100                                                     # a jump, unless row 9 is lost
  kept = np.setdiff1d(np.arange(40), lost)
  found, longest = of_times(rows[kept], 0.1, times[kept]), statistics.GAP * np.float32(0.1)
  if len(lost) == 20:                                                 # no two rows are joined
    expected = dict.fromkeys(OF_POINT, 0.0) | {"idle share": 1.0, "spread": found["spread"]}
  else:
    expected = naive(rows[kept], times[kept], longest)
  for name in OF_POINT:
    assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
  assert found["duration"] == pytest.approx(times[kept[-1]] - times[kept[0]] + 0.1, rel=1e-5)
  assert (found["path"] > 100) == (not {8, 9} & set(lost))                                # the jump was seen


def test_who_leaves_and_comes_back_elsewhere_has_walked_no_farther():
  """The walk of one who is away for three seconds has the speed, path and jerk of the walk that was seen."""
  times = np.arange(60) * 0.1
  rows = (times * 0.5)[:, None]
  kept = np.r_[0:20, 50:60]
  moved = np.where(times[:, None] > 3, rows + 40.0, rows)
  for places in (rows, moved):
    found = of_times(places[kept], 0.1, times[kept])
    assert found["mean speed"] == pytest.approx(0.5) == pytest.approx(found["high speed"])
    assert found["path"] == pytest.approx(0.05 * 28, rel=1e-5) and found["jerk"] == pytest.approx(0, abs=1e-6)
    assert found["idle share"] == 0 and found["duration"] == pytest.approx(6.0)


@pytest.mark.parametrize("parts, rate", [
    ((1, 2, 1, 2, 1), 30), ((1, 1, 1, 1, 2), 30), ((1, 1, 1, 2, 1, 1, 3), 30), ((2, 3), 60), ((2, 2, 3), 60)])
def test_a_film_that_drops_pictures_has_no_gaps(parts, rate):
  """All of whose pictures show somebody; who is away for three seconds is not there all the same."""
  steps = np.tile(parts, 40) / rate
  steps[60] = 3.0
  times = np.append(0, np.cumsum(steps)).astype(np.float32)
  rng = np.random.default_rng(0)
  rows = np.cumsum(rng.normal(size=(len(times), 2)), axis=0)
  rows[61:] += 100
  usual = float(np.median(np.diff(times)))                            # as it is where files are read
  found, expected = of_times(rows, usual, times), naive(rows, times.astype(float), 1.0)
  for name in OF_POINT:
    assert found[name] == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("rate", [25, 30, 100])
def test_single_rows_that_are_missing_in_an_even_sampling_are_gaps(rate):
  """As where a detector misses somebody now and then, or a marker is covered: the way in them is left out."""
  times = (np.arange(200) / rate).astype(np.float32)
  kept = np.setdiff1d(np.arange(200), [20, 60, 61, 62, 110, 111, 150])
  rows = np.arange(200.0)[:, None]
  found = of_times(rows[kept], float(np.median(np.diff(times[kept]))), times[kept])
  assert found["path"] == pytest.approx(199 - 2 - 4 - 3 - 2, rel=1e-5)


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
