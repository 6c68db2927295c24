"""The data contract: one task's videos, what is known about them, and how they are split.

Everything that reads a data set returns a `SkillDataset`; nothing above it knows where the numbers came from.
Host NumPy, immutable, validated once when built.

V videos, T segments (rows of a stream), P pairs. A scored data set may have no pairs at all (P = 0).
"""

from __future__ import annotations

import dataclasses
import errno
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import DTypeLike

from jaxskill.data.dataset_checks import WORDS, check_dataset

NO_IDS, NO_PAIRS = np.zeros(0, np.int32), np.zeros((0, 2), np.int32)
SIMULATED_NOTE = "SIMULATED.txt"      # lies beside features in an official layout that were never recorded


class Fold(NamedTuple):
  """One split: positions in `SkillDataset.videos` and rows of `SkillDataset.pairs`, all int32."""

  name: str
  train_videos: np.ndarray
  test_videos: np.ndarray
  train_pairs: np.ndarray
  test_pairs: np.ndarray
  validation_videos: np.ndarray = NO_IDS
  validation_pairs: np.ndarray = NO_IDS


@dataclasses.dataclass(frozen=True, eq=False)
class SkillDataset:
  """The videos of one task, padded to common lengths, and the labels.

  Attributes:
    name: what results and plots call it; simulated data say so here.
    source: file or folder it was read from, named in errors.
    videos: V video ids, unique.
    streams: name -> `[V, T, ...]` features (`rgb` `[V, T, 1024]`, `static` `[V, N, 2048]`, `maps` `[V, N, H, W, C]`);
      rows from `lengths` on are padding.
    lengths: name -> `[V]` int32 number of real rows of each video, at least 1.
    row_seconds: name -> `[V]` float32 seconds from one row of a stream to the next; 1 where unknown.
    row_times: name -> `[V, T]` float32 seconds at which the rows of a stream were seen, where each is known.
    columns: name -> names of the columns of a stream, where they are known.
    recorded_seconds: `row_seconds` before `config.data.rows_per_second` averaged rows; empty where it did not.
    pairs: `[P, 2]` int32 positions in `videos`: (better, worse); `[0, 2]` where only scores are known.
    similar: `[S, 2]` int32 positions of videos that were compared and found alike; empty where that is not known.
    folds: the splits, at least one.
    score, difficulty: `[V]` float32, or None where the data set has none.
    criteria: name -> `[V]` float32: further scores of the same videos (parts of the score, other raters).
    score_range: `[V, 2]` float32 (lowest, highest) possible score of each video, or None where unknown; one pair
      `(lowest, highest)` may be given for all. Where the score is execution times difficulty, the highest is too.
    category, subject, group, competition: `[V]` strings (what is done, by whom, of which group of people or places, at
      which event), or None.
    ratings: what several raters said: "scores" `[V, raters]`, nan where one has not seen a video; "votes" `[N, 3]` int
      (better, worse, rater); empty where one label is all that is known.
    truth: what only a simulation knows (name -> array with leading axis V); empty for recorded data.
    missing: ids of videos that the labels name and the disk, or the scores, lack; they and their pairs were left out.
    dropped_pairs: number of labelled pairs left out, because a video is missing.
    tied_pairs: number of pairs left out because scores lie within the tie margin, or those who compared did not agree.
    simulated: True when no camera was involved.
    features_checked: True when whoever wrote the arrays has verified that they are finite (prepared data sets);
      the check that reads every number is then not repeated.
  """

  name: str
  source: str
  videos: tuple[str, ...]
  streams: Mapping[str, np.ndarray]
  lengths: Mapping[str, np.ndarray]
  pairs: np.ndarray
  folds: tuple[Fold, ...]
  similar: np.ndarray = dataclasses.field(default_factory=lambda: NO_PAIRS)
  row_seconds: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  row_times: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  recorded_seconds: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  columns: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  score: np.ndarray | None = None
  difficulty: np.ndarray | None = None
  category: np.ndarray | None = None
  subject: np.ndarray | None = None
  group: np.ndarray | None = None
  competition: np.ndarray | None = None
  truth: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  missing: tuple[str, ...] = ()
  dropped_pairs: int = 0
  tied_pairs: int = 0
  simulated: bool = False
  features_checked: bool = False
  criteria: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  score_range: np.ndarray | tuple[float, float] | None = None
  ratings: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    check_dataset(self)
    seconds = {name: np.asarray(self.row_seconds.get(name, np.ones(len(self.videos))), np.float32)
               for name in self.streams}

    def freeze(mapping: Mapping[str, Any] | Mapping[str, np.ndarray]) -> Mapping[str, Any]:
      return types.MappingProxyType({k: _read_only(v) for k, v in mapping.items()})

    def put(name: str, value: Any) -> None:
      object.__setattr__(self, name, value)
    put("criteria", {name: np.asarray(values, np.float32) for name, values in self.criteria.items()})
    if self.score_range is not None:
      ranges = np.broadcast_to(np.asarray(self.score_range, np.float32), (len(self.videos), 2))
      put("score_range", _read_only(ranges))
    for name in ("streams", "lengths", "row_times", "truth", "criteria", "ratings"):
      put(name, freeze(getattr(self, name)))
    put("row_seconds", freeze(seconds))
    put("pairs", _read_only(self.pairs))
    put("similar", _read_only(self.similar))
    put("folds", tuple(Fold(f.name, *(_read_only(np.asarray(ids, np.int32)) for ids in f[1:])) for f in self.folds))
    for name in ("score", "difficulty", *WORDS):
      if getattr(self, name) is not None:
        put(name, _read_only(getattr(self, name)))

  @property
  def num_videos(self) -> int:
    """Returns V."""
    return len(self.videos)

  def seconds(self, stream: str, video: int) -> np.ndarray:
    """Returns the times at which the real rows of a stream of one video were seen, `[T]` in seconds."""
    real = self.lengths[stream][video]
    if stream in self.row_times:
      return self.row_times[stream][video, :real]
    return np.arange(real) * self.row_seconds[stream][video]

  def labels(self, criterion: str = "score") -> np.ndarray:
    """Returns the `[V]` scores by one criterion.

    Args:
      criterion: "score", or one of `criteria`.

    Raises:
      ValueError: if there is no such criterion, or no score at all.
    """
    if criterion == "score":
      if self.score is None and self.criteria:
        raise ValueError(f"{self.source}: there is no score to learn from, only {', '.join(self.criteria)}; set "
                         f"config.data.criteria, e.g. --config.data.criteria='(\"{next(iter(self.criteria))}\",)'.")
      if self.score is None:
        raise ValueError(f"{self.source}: there are no scores to learn from; add them (scores.csv), or use a method "
                         "that learns from pairs, e.g. configs/pros_cons.py.")
      return self.score
    if criterion not in self.criteria:
      raise ValueError(f"{self.source}: there is no criterion {criterion!r}, only "
                       f"{', '.join(['score', *self.criteria])}; set config.data.criteria to some of them.")
    return self.criteria[criterion]


class VideoFiles:
  """A stream `[V, T, ...]` of which every video is a `.npy` file, mapped when it is read; it reads like the array."""

  def __init__(self, files: Iterable[str | os.PathLike[str]]) -> None:
    """Args: files: of the videos, all of one shape and dtype."""
    self._files = tuple(files)
    first = self[0]
    self.shape, self.dtype, self.ndim = (len(self._files), *first.shape), first.dtype, first.ndim + 1

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int | np.integer | slice | np.ndarray | Sequence[int] | tuple) -> np.ndarray:
    """Reads one video, or some as one array; further indices are those within a video, and so need a single one.

    Raises:
      OSError: if a file is gone, or no longer whole.
      TypeError: for rows of several videos at once.
    """
    video, *rest = index if isinstance(index, tuple) else (index,)
    if isinstance(video, (int, np.integer)):
      try:
        rows = np.load(self._files[video], mmap_mode="r")
      except ValueError as error:
        raise OSError(errno.EIO, f"cannot be read ({error})", os.fspath(self._files[video])) from error
      return rows[tuple(rest)] if rest else rows
    if rest:
      raise TypeError("rows of several videos at once are not kept; take one video after the other.")
    return np.stack([self[int(one)] for one in np.arange(len(self))[video]])

  def __iter__(self) -> Iterator[np.ndarray]:
    return (self[video] for video in range(len(self)))

  def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
    return np.asarray(self[:], dtype)


def _read_only(array: np.ndarray) -> np.ndarray:
  if isinstance(array, VideoFiles):
    return array
  view = np.asarray(array).view()
  view.flags.writeable = False
  return view


def pad_streams(videos: Sequence[str], arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Stacks ragged arrays, with zeros behind.

  Args:
    videos: V ids.
    arrays: V arrays `[T_v, ...]` of equal width.

  Returns:
    `[V, T, ...]` rows, and `[V]` int32 lengths.
  """
  lengths = np.array([len(a) for a in arrays], np.int32)
  stacked = np.zeros((len(videos), lengths.max(), *arrays[0].shape[1:]), arrays[0].dtype)
  for row, array in zip(stacked, arrays):
    row[: len(array)] = array
  return stacked, lengths
