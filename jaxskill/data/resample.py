"""Fewer rows a second: streams with a known time from row to row, averaged within windows.

A recorder writes thirty rows of kinematics a second; a method that compares every row with every other needs five. Rows
are averaged within windows of the new row's length, not read off at single moments: of a movement that is faster than
the new rate, a row read off keeps whatever phase it happens to hit (aliasing), a mean keeps a fifth of it or less. A
window may begin and end within a row, which then counts in part, so any rate will do and the mean of a video stays what
it was. Where times are known and leave a gap, in which nobody is seen, nothing counts, and there is no new row.

T rows, N new rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxskill.data.dataset import SkillDataset, pad_streams

NEAR = 1e-4      # share of a row: times in files are rounded
GAP = 3.0        # usual steps from row to row beyond which the times leave a gap: a row lasts no longer


def check_rate(rows_per_second: float) -> None:
  """Raises a `ValueError` unless a rate is a finite number of at least 0, which is none."""
  if not 0 <= rows_per_second < np.inf:
    raise ValueError(f"config.data.rows_per_second={rows_per_second} must be a positive number of rows, or 0 to leave "
                     "the rows as they are.")


def edges_of(count: int, row_seconds: float, times: np.ndarray | None = None) -> np.ndarray:
  """Returns `[T + 1]` seconds at which rows begin, and the last one ends: a row lasts until the next one.

  Args:
    count: T.
    row_seconds: seconds from one row to the next.
    times: `[T]` when the rows were seen, where that is known.
  """
  if times is None:
    return np.arange(count + 1) * float(row_seconds)
  return np.append(np.asarray(times, np.float64), float(times[-1]) + float(row_seconds))


def average_rows(rows: np.ndarray, edges: np.ndarray, new_edges: np.ndarray,
                 longest: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
  """Returns means of rows within windows.

  Args:
    rows: `[T, ...]` of floats.
    edges: `[T + 1]` increasing seconds between which the rows lie.
    new_edges: `[N + 1]` increasing seconds, within those of `edges`.
    longest: seconds that a row lasts at most; what follows until the next one counts for nothing.

  Returns:
    (`[N, ...]` of the same dtype, `[N]` whether any row lasts into the window; zeros where none does).
  """
  flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
  lasts = np.minimum(np.diff(edges), longest)                                            # [T]
  sums = np.cumsum(flat * lasts[:, None], axis=0)
  sums = np.concatenate([np.zeros((1, flat.shape[1])), sums])                            # [T + 1, C]
  row = np.clip(np.searchsorted(edges, new_edges, side="right") - 1, 0, len(rows) - 1)
  within = np.minimum(new_edges - edges[row], longest)
  until = sums[row] + flat[row] * within[:, None]                                        # integral up to every edge
  filled = np.diff(new_edges)
  if longest < np.inf:
    filled = np.diff(np.append(0.0, np.cumsum(lasts))[row] + within)
  seen = filled > NEAR * np.diff(new_edges)
  means = np.diff(until, axis=0) / np.where(seen, filled, np.inf)[:, None]
  return means.reshape(-1, *rows.shape[1:]).astype(rows.dtype), seen


def resample_rows(rows: np.ndarray, row_seconds: float, rows_per_second: float,
                  times: np.ndarray | None = None) -> tuple[np.ndarray, float, np.ndarray | None]:
  """Returns one video's rows at a lower rate.

  Args:
    rows: `[T, ...]` features; frames (uint8) stay as they are.
    row_seconds: seconds from one row to the next.
    rows_per_second: the new rate; 0 leaves the rows as they are, and so does one that is not below theirs.
    times: `[T]` seconds when the rows were seen, where that is known.

  Returns:
    (`[N, ...]` rows, seconds from one to the next, `[N]` times or None). The last window takes what is left, between
      half a new row and one and a half; a video shorter than a new row becomes one. Windows within a gap are left out.
  """
  row_seconds = float(np.float32(row_seconds))     # as data sets keep it: a video is the same wherever it is read
  step = 1 / rows_per_second if rows_per_second else 0.0
  if step <= row_seconds * (1 + NEAR) or rows.dtype == np.uint8:
    return rows, row_seconds, times
  edges = edges_of(len(rows), row_seconds, times)
  count = max(1, round((edges[-1] - edges[0]) / step))
  starts = edges[0] + np.arange(count) * step
  new_edges = np.append(starts, edges[-1])
  if times is None:
    return average_rows(rows, edges, new_edges)[0], step, None
  new, seen = average_rows(rows, edges, new_edges, GAP * row_seconds)
  return new[seen], step, starts[seen].astype(np.float32)


def resample(dataset: SkillDataset, rows_per_second: float) -> SkillDataset:
  """Returns a data set whose streams have at most so many rows a second.

  Args:
    dataset: a `SkillDataset`; streams of a lower rate, and frames, stay as they are.
    rows_per_second: the new rate.

  Raises:
    ValueError: if no stream has more rows a second, or a simulation knows the truth of every row.
  """
  check_rate(rows_per_second)
  if not rows_per_second:
    return dataset
  if dataset.truth:
    raise ValueError(f"{dataset.source}: config.data.rows_per_second is for recorded data; set config.data.simulated."
                     "num_segments instead.")
  names = "streams", "lengths", "row_seconds", "row_times"
  parts: dict[str, Any] = {name: dict(getattr(dataset, name)) for name in names}
  changed = False
  for name, stream in dataset.streams.items():
    if stream.dtype == np.uint8:
      continue
    rows, seconds, times = zip(*(resample_rows(
        stream[video, : dataset.lengths[name][video]], dataset.row_seconds[name][video], rows_per_second,
        dataset.seconds(name, video) if name in dataset.row_times else None) for video in range(dataset.num_videos)))
    if np.array_equal(seconds, dataset.row_seconds[name]):
      continue
    changed = True
    parts["streams"][name], parts["lengths"][name] = pad_streams(dataset.videos, rows)
    parts["row_seconds"][name] = np.array(seconds, np.float32)
    if name in dataset.row_times:
      parts["row_times"][name] = pad_streams(dataset.videos, times)[0]
  if not changed:
    rates = ", ".join(f"{name} {1 / seconds.min():.4g}" for name, seconds in dataset.row_seconds.items())
    raise ValueError(f"{dataset.source}: config.data.rows_per_second={rows_per_second:g} is not below the rows a "
                     f"second of any stream ({rates}); give a lower rate, or 0 to leave the rows as they are. Where "
                     "the rate of the features is not noted, say it with config.data.segment_seconds.")
  return dataclasses.replace(dataset, recorded_seconds=dataset.row_seconds, **parts)
