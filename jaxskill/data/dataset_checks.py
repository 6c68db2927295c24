"""What must hold of the arrays and labels of a data set: each check names the file, the video and the remedy.

V videos, T segments (rows of a stream), P pairs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WORDS = ("category", "subject", "group", "competition")      # labels of videos that are strings


def check_features(array: np.ndarray, stream: str, video: str, source: str | os.PathLike[str]) -> None:
  """Raises a `ValueError` that names the file and the video if one video's `[T, ...]` features cannot be used."""
  if array.dtype == np.uint8:
    kind_ok = array.ndim == 4
  else:
    kind_ok = np.issubdtype(array.dtype, np.floating) and array.ndim >= 2
  if not kind_ok:
    remedy = ("convert them with array.astype(np.float32)" if array.ndim >= 2 and array.dtype.kind in "biu" else
              "store one row per segment")
    raise ValueError(f"{source}: video {video!r}, stream {stream!r}: expected floating-point features [segments, "
                     f"channels, ...] but found {array.dtype} of shape {array.shape}; {remedy}, and save them again.")
  if not array.shape[0] or 0 in array.shape:
    raise ValueError(f"{source}: video {video!r}, stream {stream!r} is empty (shape {array.shape}); "
                     "extract its features again or remove the video from the labels.")
  if array.dtype != np.uint8:
    finite = np.isfinite(array)
    if not finite.all():
      row = int(np.argwhere(~finite)[0][0])
      raise ValueError(f"{source}: video {video!r}, stream {stream!r} holds {int((~finite).sum())} NaN or infinite "
                       f"numbers, the first in segment {row}; extract its features again or remove the video.")


def check_times(times: np.ndarray, count: int, video: str, source: str | os.PathLike[str]) -> None:
  """Raises a `ValueError` unless the `[T]` times of one video's `count` rows are finite and increase."""
  if np.shape(times) != (count,) or times.dtype.kind not in "iuf":
    raise ValueError(f"{source}: video {video!r} has {count} frames but times of shape {np.shape(times)}; give one "
                     "number of seconds for each frame.")
  if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
    raise ValueError(f"{source}: video {video!r}: the times of its frames must be finite and increase; sort the frames "
                     "by time.")


def check_pairs(pairs: np.ndarray, videos: Sequence[str], source: str) -> None:
  """Raises a `ValueError` for ids out of range, a pair of a video with itself, and a pair given in both orders."""
  if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
    raise ValueError(f"{source}: pairs must be integers of shape [pairs, 2] (better, worse), got {pairs.dtype} of "
                     f"shape {pairs.shape}.")
  if not len(pairs):
    return
  if pairs.min() < 0 or pairs.max() >= len(videos):
    raise ValueError(f"{source}: pairs name video number {pairs.max() if pairs.max() >= len(videos) else pairs.min()} "
                     f"but there are {len(videos)} videos (0 to {len(videos) - 1}).")
  same = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
  if same.size:
    video = videos[pairs[same[0], 0]]
    raise ValueError(f"{source}: pair {same[0] + 1} compares video {video!r} with itself; remove it.")
  codes = pairs[:, 0].astype(np.int64) * len(videos) + pairs[:, 1]
  reverse = pairs[:, 1].astype(np.int64) * len(videos) + pairs[:, 0]
  both = np.flatnonzero(np.isin(codes, reverse))
  if both.size:
    better, worse = (videos[i] for i in pairs[both[0]])
    raise ValueError(f"{source}: contradictory pair: {better!r} is better than {worse!r} and also worse; keep the "
                     "order that the annotators agreed on and remove the other.")


def _check_similar(similar: np.ndarray, pairs: np.ndarray, videos: Sequence[str], source: str) -> None:
  """Raises a `ValueError` for a pair that is similar and in the list of (better, worse) too."""
  if not len(similar) or not len(pairs):
    return
  codes = [either.min(axis=1).astype(np.int64) * len(videos) + either.max(axis=1) for either in (similar, pairs)]
  both = np.flatnonzero(np.isin(*codes))
  if both.size:
    first, second = (videos[i] for i in similar[both[0]])
    raise ValueError(f"{source}: contradictory pair: {first!r} and {second!r} are similar, and one is better than the "
                     "other; keep one of the two.")


def check_seconds(segment_seconds: float, stream_seconds: Mapping[str, float]) -> None:
  """Raises a `ValueError` unless seconds from one row to the next are positive: of all streams, and of single ones."""
  given = {"segment_seconds": segment_seconds} | {f"stream_seconds.{k}": v for k, v in stream_seconds.items()}
  for name, seconds in given.items():
    if not 0 < seconds < np.inf:
      raise ValueError(f"config.data.{name}={seconds} must be positive and finite.")


def check_scores(score: np.ndarray | None, score_range: np.ndarray | tuple[float, float] | None, videos: Sequence[str],
                 source: str | os.PathLike[str]) -> None:
  """Raises a `ValueError` that names the video if a score lies outside its possible range.

  Args:
    score: `[V]`, or None.
    score_range: `[V, 2]` or `[2]` (lowest, highest), or None.
    videos: V ids.
    source: file or folder that the error names.
  """
  if score_range is None:
    return
  ranges = np.asarray(score_range, np.float64)
  if ranges.shape not in ((2,), (len(videos), 2)):
    raise ValueError(f"{source}: score_range must be (lowest, highest) or of shape ({len(videos)}, 2), got "
                     f"{ranges.shape}.")
  if score is None:
    raise ValueError(f"{source}: score_range is given, but no scores; give scores or leave it out.")
  low, high = np.broadcast_to(ranges, (len(videos), 2)).T
  bad = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (low < high)))
  if bad.size:
    raise ValueError(f"{source}: score_range of video {videos[bad[0]]!r} is ({low[bad[0]]:g}, {high[bad[0]]:g}); "
                     "expected two finite numbers, the lowest possible score and a higher one.")
  rounding = 4 * np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))   # 30 x 3.8 in float32 is not 114
  bad = np.flatnonzero((score < low - rounding) | (score > high + rounding))
  if bad.size:
    raise ValueError(f"{source}: video {videos[bad[0]]!r} has the score {score[bad[0]]:g}, outside the possible "
                     f"{low[bad[0]]:g} to {high[bad[0]]:g}; correct the score or score_range.")


def check_dataset(data: Any) -> None:
  """Raises a `ValueError` that names what is wrong with a `SkillDataset`, and where."""
  source, count = data.source, len(data.videos)
  if not count:
    raise ValueError(f"{source}: no videos; check the folder and the video ids in the labels.")
  if len(set(data.videos)) != count:
    twice = next(v for v in data.videos if data.videos.count(v) > 1)
    raise ValueError(f"{source}: video {twice!r} appears more than once; ids must be unique.")
  if not data.streams:
    raise ValueError(f"{source}: no feature stream; a data set needs at least one, e.g. 'rgb' [videos, segments, "
                     "1024].")
  for name, stream in data.streams.items():
    lengths: Any = data.lengths.get(name)
    if stream.ndim < 3 or stream.shape[0] != count:
      raise ValueError(f"{source}: stream {name!r} has shape {stream.shape}; expected [{count} videos, segments, ...].")
    if lengths is None or np.shape(lengths) != (count,):
      raise ValueError(f"{source}: stream {name!r} needs lengths of shape ({count},), got {np.shape(lengths)}.")
    bad = np.flatnonzero((lengths < 1) | (lengths > stream.shape[1]))
    if bad.size:
      raise ValueError(f"{source}: video {data.videos[bad[0]]!r}, stream {name!r}: {lengths[bad[0]]} segments, "
                       f"expected 1 to {stream.shape[1]}; an empty video must be extracted again or removed from the "
                       "labels.")
    if not data.features_checked:
      for video, features, length in zip(data.videos, stream, lengths):
        check_features(features[:length], name, video, source)
  for name, times in data.row_times.items():
    for video, of_video, length in zip(data.videos, times, data.lengths[name]):
      check_times(of_video[:length], length, video, source)
  check_pairs(np.asarray(data.pairs), data.videos, source)
  check_pairs(np.asarray(data.similar), data.videos, source)
  _check_similar(np.asarray(data.similar), np.asarray(data.pairs), data.videos, source)
  labels = {name: getattr(data, name) for name in ("score", "difficulty", *WORDS)}
  labels |= {f"criterion {name!r}": values for name, values in data.criteria.items()}
  for name, values in labels.items():
    if values is not None and np.shape(values) != (count,):
      raise ValueError(f"{source}: {name} must have shape ({count},), got {np.shape(values)}.")
    if values is not None and name not in WORDS and not np.isfinite(values).all():
      video = data.videos[int(np.flatnonzero(~np.isfinite(values))[0])]
      raise ValueError(f"{source}: {name} of video {video!r} is not a finite number.")
  check_scores(data.score, data.score_range, data.videos, source)
  if not data.folds:
    raise ValueError(f"{source}: no folds; give at least one split into training and test videos.")
  for fold in data.folds:
    for field, limit in (("train_videos", count), ("test_videos", count), ("validation_videos", count),
                         ("train_pairs", len(data.pairs)), ("test_pairs", len(data.pairs)),
                         ("validation_pairs", len(data.pairs))):
      ids = np.asarray(getattr(fold, field))
      if ids.ndim != 1 or (ids.size and (ids.min() < 0 or ids.max() >= limit)):
        raise ValueError(f"{source}: fold {fold.name!r}: {field} must be positions 0 to {limit - 1}, got {ids}.")
