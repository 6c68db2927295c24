"""Statistics of motion: a movement as a few numbers that surgeons and movement scientists name, in place of its rows.

A video of T rows becomes one row of the stream `statistics`. Of every point that moves, a column or several columns
that are its coordinates (`config.data.points`), it holds the numbers of `OF_POINT`, in this order, and of the whole the
duration: four points make 29. With thirty videos, a network or a ridge regression finds skill in these where it finds
none in the means of raw columns, which say where somebody stood.

Where the times of rows are known, more than `GAP` usual (median) steps from one row to the next are a gap, in which
nobody was seen. But a film that drops pictures has steps of one, two and three of them all over, whoever is seen; rows
of an even rate have few of these where somebody is missed now and then. So steps of up to `DROPPED` usual ones are no
gap where they are several and more than `FEW` of all. Where they are more than half, the usual step is no median but a
rate that is known, as of averaged rows, and they are gaps.

What lies on both sides of a gap is not joined: speeds, their deviation, the idle share and the jerk are those of
the time in which somebody was seen, the path is the way that was seen, without what gaps hide, and the spread is that
of the rows. The duration alone is that of the whole video, with its gaps.

T rows, C columns, K points, S = 7 K + 1 statistics.

Reference: Zia and Essa, Automated surgical skill assessment in RMIS training, IJCARS 2018, on such features of JIGSAWS;
Balasubramanian et al., On the analysis of movement smoothness, JNER 2015, on jerk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxskill.data.dataset import SkillDataset

STREAM = "statistics"
# Of a point, in its own unit u, of the time in which it is seen: mean speed and standard deviation of the speed in u/s;
# length of its path in u; root mean square of the jerk in u/s^3; idle share; the 95th percentile of the speed in u/s;
# root mean square distance from its mean place in u.
OF_POINT = ("mean speed", "deviation of speed", "path", "jerk", "idle share", "high speed", "spread")
IDLE = 0.1       # a point is idle while it is slower than this share of its own mean speed
# Usual steps from row to row beyond which rows are not joined: one row without anybody makes two. A film of 24 pictures
# a second in a file of 60 has steps of 2/60 and 3/60 s: their ratio, 1.5, is not to be decided by rounded times.
GAP = 1.6
DROPPED = 3.5    # the same, where the film itself drops pictures
FEW = 0.05       # share of the steps between both up to which they are gaps


def check_points(points: Sequence[tuple[int, ...]], columns: int, source: str) -> list[tuple[int, ...]]:
  """Returns the columns of every point.

  Args:
    points: of columns, e.g. ((0, 1, 2), (19, 20, 21)); () makes every column a point.
    columns: C.
    source: what errors name.

  Raises:
    ValueError: if a point has no column, or one that is not there.
  """
  points = [tuple(point) if isinstance(point, (tuple, list)) else (point,) for point in points]
  for point in points:
    if not point or any(isinstance(c, bool) or not isinstance(c, int) or not 0 <= c < columns for c in point):
      raise ValueError(f"{source}: config.data.points: {point} are no columns of 0 to {columns - 1}; give those of the "
                       "coordinates of every point, e.g. '((0, 1, 2), (19, 20, 21))', or () to take each column by "
                       "itself.")
  return points or [(column,) for column in range(columns)]


def names(points: tuple) -> tuple[str, ...]:
  """Returns `[S]` what the numbers of `motion_statistics` are."""
  of_columns = [" ".join(map(str, point)) for point in points]
  return tuple(f"{name}, columns {columns}" for columns in of_columns for name in OF_POINT) + ("duration",)


def motion_statistics(rows: np.ndarray, row_seconds: float, points: Sequence[tuple[int, ...]] = (),
                      times: np.ndarray | None = None) -> np.ndarray:
  """Returns the statistics of one video.

  Args:
    rows: `[T, C]` floats.
    row_seconds: seconds from one row to the next, of rows that are seen one after the other.
    points: see `check_points`.
    times: `[T]` seconds when the rows were seen, where that is known: rows in which nobody was are not among them. What
      is a gap, says the top of this file.

  Returns:
    `[S]` float32, finite for finite rows: a point that never moves, or is seen once, has no speed, path or jerk, and is
    idle all the time.

  Raises:
    ValueError: if a point has no column, or one that is not there.
  """
  rows, row_seconds = np.asarray(rows, np.float64), float(np.float32(row_seconds))     # as data sets keep it
  steps = np.full(len(rows) - 1, row_seconds)                                               # [T - 1] seconds
  if times is not None:
    steps = np.diff(np.asarray(times, np.float64))
  joined = _joined(steps, row_seconds) if times is not None else np.ones(len(steps), bool)
  total = float(steps.sum() + row_seconds)
  found = [value for point in check_points(points, rows.shape[1], "rows")
           for value in _of_point(rows[:, point], steps, joined)]
  largest = np.finfo(np.float32).max
  return np.clip(np.array([*found, total]), -largest, largest).astype(np.float32)


def _joined(steps: np.ndarray, usual: float) -> np.ndarray:
  """Returns `[T - 1]` which steps are no gap, out of seconds from row to row; see the top of this file."""
  joined = steps <= GAP * usual
  longer = ~joined & (steps <= DROPPED * usual)
  by_the_film = max(1, FEW * len(steps)) < longer.sum() <= len(steps) / 2
  return joined | longer if by_the_film else joined


def _of_point(place: np.ndarray, steps: np.ndarray, joined: np.ndarray) -> tuple[float, ...]:
  """Returns `OF_POINT` of `[T, d]` places, `steps` `[T - 1]` seconds apart; of those steps that are `joined` by no gap.
  """
  spread = np.sqrt(((place - place.mean(axis=0)) ** 2).sum(axis=1).mean())
  if not joined.any():
    return (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, spread)
  velocity = np.diff(place, axis=0) / steps[:, None]                                       # [T - 1, d]
  speed, lasts = np.sqrt((velocity ** 2).sum(axis=1))[joined], steps[joined]
  mean = np.average(speed, weights=lasts)
  deviation = np.sqrt(np.average((speed - mean) ** 2, weights=lasts))
  idle = np.average(speed <= IDLE * mean, weights=lasts)
  return (mean, deviation, (speed * lasts).sum(), _jerk(velocity, steps, joined), idle, np.quantile(speed, 0.95),
          spread)


def _jerk(velocity: np.ndarray, steps: np.ndarray, joined: np.ndarray) -> float:
  """Root mean square over time of the third derivative, out of `[T - 1, d]` velocities; 0 without four joined rows."""
  change = velocity
  for _ in range(2):
    if len(change) < 2:
      return 0.0
    steps, joined = (steps[1:] + steps[:-1]) / 2, joined[1:] & joined[:-1]
    change = np.diff(change, axis=0) / steps[:, None]
  return np.sqrt((change[joined] ** 2).sum(axis=1).mean()) if joined.any() else 0.0


def with_statistics(dataset: SkillDataset, stream: str,
                    points: Sequence[tuple[int, ...]] = ()) -> SkillDataset:
  """Returns a data set with the stream `statistics` `[V, 1, S]` beside the others.

  Args:
    dataset: a `SkillDataset`.
    stream: what they are of, `[V, T, C]`; "" adds nothing.
    points: see `check_points`.

  Raises:
    ValueError: if there is no such stream, it holds no plain rows, or a point is none of its columns.
  """
  if not stream:
    return dataset
  source = dataset.source
  if stream not in dataset.streams or stream == STREAM:
    raise ValueError(f"{source}: config.data.statistics={stream!r}: there is no such stream to make statistics of, "
                     f"only {', '.join(dataset.streams)}.")
  values = dataset.streams[stream]
  if values.ndim != 3:
    raise ValueError(f"{source}: config.data.statistics={stream!r}: a row of the stream is of shape "
                     f"{list(values.shape[2:])}; expected the columns of kinematics, poses or other plain features.")
  check_points(points, values.shape[2], source)
  rows, seconds = [], []
  for video in range(dataset.num_videos):
    times = dataset.seconds(stream, video) if stream in dataset.row_times else None
    real = values[video, : dataset.lengths[stream][video]]
    rows.append(motion_statistics(real, dataset.row_seconds[stream][video], points, times))
    seconds.append(rows[-1][-1])                                    # the one row lasts as long as the video
  one = np.ones(dataset.num_videos, np.int32)
  return dataclasses.replace(
      dataset, streams=dict(dataset.streams) | {STREAM: np.stack(rows)[:, None]},
      lengths=dict(dataset.lengths) | {STREAM: one},
      row_seconds=dict(dataset.row_seconds) | {STREAM: np.array(seconds, np.float32)})
