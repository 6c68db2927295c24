"""What the features themselves show: the same ones under two names, videos and channels in which nothing changes, a
shape that looks turned.

Of a data set that is mapped from disk little is read: a few rows of each video, more only where these leave a doubt.

V videos, T rows of a stream, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.data.dataset import SkillDataset

_USUAL_CHANNELS = (512, 768, 1024, 1536, 2048, 4096)    # widths of video networks' features
_SHOWN = 5


def same_features(data: SkillDataset) -> np.ndarray:
  """Returns which videos have equal features in all streams.

  Args:
    data: the `SkillDataset`.

  Returns:
    `[V]` int positions: of the first video with the features that a video has, which may be itself.
  """
  alike = {}
  for video in range(data.num_videos):
    alike.setdefault(_few_rows(data, video), []).append(video)
  first = np.arange(data.num_videos)
  for group in alike.values():
    while len(group) > 1:
      equal = [video for video in group if video == group[0] or _equal(data, group[0], video)]
      first[equal] = group[0]
      group = [video for video in group if video not in equal]
  return first


def _rows(data: SkillDataset, stream: str, video: int) -> np.ndarray:
  """Returns the real rows `[T, ...]` of a video, mapped where the stream is."""
  return data.streams[stream][video][: data.lengths[stream][video]]


def _few_rows(data: SkillDataset, video: int) -> bytes:
  """Of a few rows of each stream; videos with equal features have an equal one."""
  digest = hashlib.sha256()
  for stream in sorted(data.streams):
    rows = _rows(data, stream, video)
    digest.update(f"{stream} {rows.shape}".encode())
    for row in sorted({0, len(rows) // 2, len(rows) - 1}):
      digest.update(np.ascontiguousarray(rows[row]).data)
  return digest.digest()


def _equal(data: SkillDataset, one: int, other: int) -> bool:
  return all(np.array_equal(_rows(data, stream, one), _rows(data, stream, other)) for stream in data.streams)


def audit_features(data: SkillDataset, first: np.ndarray) -> dict:
  """Returns what the features show.

  Args:
    data: the `SkillDataset`.
    first: of `same_features`.

  Returns:
    equal_features: groups of names of videos with equal features; constant_videos: {stream: names of videos whose rows
    are all the same, or whose only row is zero}; constant_channels: {stream: numbers of channels that have one value in
    all videos}; turned: {stream: its usual shape [T, C]} of streams that look as if they were [C, T].
  """
  names = np.array(data.videos)
  groups = [names[first == video].tolist() for video in np.unique(first) if (first == video).sum() > 1]
  constant = {stream: [name for video, name in enumerate(data.videos) if _is_constant(_rows(data, stream, video))]
              for stream in data.streams}
  channels = {stream: _constant_channels(data, stream) for stream in data.streams}
  turned = {stream: [int(data.lengths[stream][0]), data.streams[stream].shape[2]]
            for stream in data.streams if _looks_turned(data, stream)}
  return dict(equal_features=groups, constant_videos={stream: found for stream, found in constant.items() if found},
              constant_channels={stream: found for stream, found in channels.items() if found}, turned=turned)


def _is_constant(rows: np.ndarray) -> bool:
  if len(rows) == 1:
    return not np.any(rows)
  return np.array_equal(rows[0], rows[-1]) and np.array_equal(rows[0], rows[len(rows) // 2]) and bool(
      np.all(rows == rows[:1]))


def _constant_channels(data: SkillDataset, stream: str) -> list:
  """Numbers of the channels, of the last axis, that have one value in all rows of all videos."""
  value = np.asarray(_rows(data, stream, 0)[0]).reshape(-1, data.streams[stream].shape[-1])[0]
  left = np.arange(len(value))
  some, all_of = lambda rows: rows[:: max(1, len(rows) - 1)], lambda rows: rows
  for part in (some, all_of):                     # mostly the first and last rows leave none
    for video in range(data.num_videos):
      if not left.size:
        return []
      rows = part(_rows(data, stream, video))
      left = left[(rows[..., left] == value[left]).reshape(-1, len(left)).all(axis=0)]
  return left.tolist()


def _looks_turned(data: SkillDataset, stream: str) -> bool:
  """Whether a stream looks like [C, T]: its files have one shape, and what lies side by side in it follows in time."""
  rows, shape = data.lengths[stream], data.streams[stream].shape
  if len(shape) != 3 or np.ptp(rows) or rows[0] == shape[2] or min(rows[0], shape[2]) < 3 or data.num_videos < 2:
    return False
  some = np.linspace(0, data.num_videos - 1, min(data.num_videos, 16)).astype(int)
  along_rows, along_columns = np.median([[_smoothness(video), _smoothness(video.T)] for video in (
      np.asarray(_rows(data, stream, number), np.float64) for number in some)], axis=0)
  usual = rows[0] in _USUAL_CHANNELS and shape[2] not in _USUAL_CHANNELS
  return bool(along_columns > along_rows + (-0.2 if usual else 0.2))


def _smoothness(values: np.ndarray) -> float:
  """How alike neighbours along the first axis are, each column about its mean: 1 if equal, about 0 if unrelated."""
  about = values - values.mean(axis=0)
  spread = np.square(about).mean()
  return 1 - np.square(np.diff(about, axis=0)).mean() / (2 * spread) if spread > 0 else 0.0


def describe_features(facts: Mapping[str, Any]) -> list[str]:
  """Returns what `audit_features` found, as sentences; none where there is nothing to say."""
  lines = []
  if groups := facts["equal_features"]:
    lines.append(f"equal features under several names: {sum(map(len, groups))} videos in {len(groups)} group(s) "
                 f"({_some([' = '.join(group) for group in groups])}); they count as one video among the leaks")
  for stream, names in facts["constant_videos"].items():
    lines.append(f"constant videos: {len(names)} whose stream {stream!r} never changes ({_some(names)}); extract them "
                 "again")
  for stream, numbers in facts["constant_channels"].items():
    lines.append(f"constant channels: {len(numbers)} of stream {stream!r} have one value in all videos "
                 f"({_some(numbers)})")
  for stream, (rows, channels) in facts["turned"].items():
    lines.append(f"WARNING: stream {stream!r} looks turned: every file is [{rows}, {channels}], and its columns look "
                 "like moments in time; expected [rows in time, channels]: save array.T if that is so")
  return lines


def _some(things: Sequence[Any]) -> str:
  return ", ".join(map(str, things[:_SHOWN])) + (", ..." if len(things) > _SHOWN else "")
