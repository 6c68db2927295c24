"""What methods read, made of what was recorded: fewer rows a second (`resample`), statistics of motion (`statistics`).

A data set and a single video that a finished run assesses go through the same functions, so that they are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data import resample, statistics
from jaxskill.data.dataset import SkillDataset

ALIKE = 0.05     # share by which the times from row to row may differ


def options(config: ConfigDict) -> tuple[float, str, tuple]:
  """Returns (rows a second or 0, stream of statistics or "", points) of `config.data`; older ones lack the fields."""
  return (getattr(config, "rows_per_second", None) or 0.0, getattr(config, "statistics", None) or "",
          getattr(config, "points", None) or ())


def of_dataset(config: ConfigDict, dataset: SkillDataset) -> SkillDataset:
  """Returns the data set as `config.data` wants its rows.

  Raises:
    ValueError: if an option does not fit the data set.
  """
  rate, stream, points = options(config)
  return statistics.with_statistics(resample.resample(dataset, rate), stream, points)


def recorded(config: ConfigDict, streams: Sequence[str]) -> tuple[str, ...]:
  """Returns the streams that a video must be recorded with, for those that a method reads."""
  _, stream, _ = options(config)
  return tuple(dict.fromkeys(stream if name == statistics.STREAM and stream else name for name in streams))


def check_rates(config: ConfigDict, row_seconds: Mapping[str, float], training: Mapping[str, np.ndarray]) -> None:
  """Raises a `ValueError` if a video's rows are too far apart, or for statistics too near, to become like others.

  Args:
    row_seconds: {stream: seconds from row to row} of the video as it was recorded.
    training: {stream: `[U]` the same of the videos that it should be like}.
  """
  rate, source, _ = options(config)
  for name, seconds in row_seconds.items():
    low, high = (1 - ALIKE) * training[name].min(), (1 + ALIKE) * training[name].max()
    if rate and seconds > high or name == source and not (low <= seconds <= high or rate and seconds < low):
      known = f"{training[name].min():.4g} to {training[name].max():.4g}"
      raise ValueError(f"its rows of {name!r} are {seconds:.4g} s apart, those of the training videos {known} s, and "
                       "fewer or more rows of the same movement give other "
                       f"{'statistics' if name == source else 'rows'}; record it at their rate, or say its own with "
                       "--row-seconds where this one is wrong.")


def of_video(config: ConfigDict, streams: Sequence[str], arrays: Mapping[str, np.ndarray],
             row_seconds: Mapping[str, float],
             row_times: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float],
                                                           dict[str, np.ndarray]]:
  """Returns one video as `of_dataset` makes the videos of a data set.

  Args:
    streams: those that a method reads.
    arrays, row_seconds: of the `recorded` streams: {stream: `[T, ...]`}, {stream: seconds from row to row}.
    row_times: {stream: `[T]` seconds}, where known.

  Returns:
    (arrays, row_seconds, row_times) of `streams`.
  """
  rate, source, points = options(config)
  made = {name: resample.resample_rows(rows, row_seconds[name], rate, row_times.get(name))
          for name, rows in arrays.items()}
  if statistics.STREAM in streams and source:
    rows, seconds, times = made[source]
    row = statistics.motion_statistics(rows, seconds, points, times)
    made[statistics.STREAM] = row[None], float(row[-1]), None
  seen = {name: made[name][2] for name in streams}
  return ({name: made[name][0] for name in streams}, {name: float(made[name][1]) for name in streams},
          {name: times for name, times in seen.items() if times is not None})
