"""The data contract: one task's videos, what is known about them, and how they are split.

Everything that reads a data set returns a `SkillDataset`; nothing above it knows where the numbers came from.
Host NumPy, immutable, validated once when built.

V videos, T segments (rows of a stream), P pairs. A scored data set may have no pairs at all (P = 0).
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxskill import wording
from jaxskill.data.audit_features import audit_features, describe_features, same_features
from jaxskill.data.audit_labels import audit_labels, describe_labels

NO_IDS = np.zeros(0, np.int32)
WORDS = ("category", "subject", "competition")      # labels of videos that are strings
FEW = 10                              # training videos of a category or difficulty; with fewer, the audit says so
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
    recorded_seconds: `row_seconds` before `config.data.rows_per_second` averaged rows; empty where it did not.
    pairs: `[P, 2]` int32 positions in `videos`: (better, worse); `[0, 2]` where only scores are known.
    folds: the splits, at least one.
    score, difficulty: `[V]` float32, or None where the data set has none.
    criteria: name -> `[V]` float32: further scores of the same videos (parts of the score, other raters).
    score_range: `[V, 2]` float32 (lowest, highest) possible score of each video, or None where unknown; one pair
      `(lowest, highest)` may be given for all. Where the score is execution times difficulty, the highest is too.
    category, subject, competition: `[V]` strings (what is done, by whom, at which event), or None.
    ratings: what several raters said: "scores" `[V, raters]`, nan where one has not seen a video; "votes" `[N, 3]` int
      (better, worse, rater); empty where one label is all that is known.
    truth: what only a simulation knows (name -> array with leading axis V); empty for recorded data.
    missing: ids of videos that the labels name and the disk, or the scores, lack; they and their pairs were left out.
    dropped_pairs: number of labelled pairs left out, because a video is missing.
    tied_pairs: number of pairs of videos left out because their scores lie within the tie margin.
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
  row_seconds: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  row_times: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  recorded_seconds: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  score: np.ndarray | None = None
  difficulty: np.ndarray | None = None
  category: np.ndarray | None = None
  subject: np.ndarray | None = None
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

  def __post_init__(self):
    _validate(self)
    seconds = {name: np.asarray(self.row_seconds.get(name, np.ones(len(self.videos))), np.float32)
               for name in self.streams}
    freeze = lambda mapping: types.MappingProxyType({k: _read_only(v) for k, v in mapping.items()})
    put = lambda name, value: object.__setattr__(self, name, value)
    put("criteria", {name: np.asarray(values, np.float32) for name, values in self.criteria.items()})
    if self.score_range is not None:
      ranges = np.broadcast_to(np.asarray(self.score_range, np.float32), (len(self.videos), 2))
      put("score_range", _read_only(ranges))
    for name in ("streams", "lengths", "row_times", "truth", "criteria", "ratings"):
      put(name, freeze(getattr(self, name)))
    put("row_seconds", freeze(seconds))
    put("pairs", _read_only(self.pairs))
    put("folds", tuple(Fold(f.name, *(_read_only(np.asarray(ids, np.int32)) for ids in f[1:])) for f in self.folds))
    for name in ("score", "difficulty", *WORDS):
      if getattr(self, name) is not None:
        put(name, _read_only(getattr(self, name)))

  @property
  def num_videos(self) -> int:
    return len(self.videos)

  def seconds(self, stream, video):
    """`[T]` times at which the real rows of a stream of one video were seen."""
    real = self.lengths[stream][video]
    if stream in self.row_times:
      return self.row_times[stream][video, :real]
    return np.arange(real) * self.row_seconds[stream][video]

  def labels(self, criterion="score"):
    """`[V]` scores by one criterion: "score", or one of `criteria`; None where the data set has no scores at all.

    Raises:
      ValueError: if there is no such criterion.
    """
    if criterion == "score":
      return self.score
    if criterion not in self.criteria:
      raise ValueError(f"{self.source}: there is no criterion {criterion!r}, only "
                       f"{', '.join(['score', *self.criteria])}; set config.data.criteria to some of them.")
    return self.criteria[criterion]


class VideoFiles:
  """A stream `[V, T, ...]` of which every video is a `.npy` file, mapped when it is asked for; it reads like the array."""

  def __init__(self, files):
    """Args: files: of the videos, all of one shape and dtype."""
    self._files = tuple(files)
    first = self[0]
    self.shape, self.dtype, self.ndim = (len(self._files), *first.shape), first.dtype, first.ndim + 1

  def __len__(self):
    return len(self._files)

  def __getitem__(self, index):
    """One video, or some as one array; further indices are those of a video, and so need a single one."""
    video, *rest = index if isinstance(index, tuple) else (index,)
    if isinstance(video, (int, np.integer)):
      rows = np.load(self._files[video], mmap_mode="r")
      return rows[tuple(rest)] if rest else rows
    if rest:
      raise TypeError("rows of several videos at once are not kept; take one video after the other.")
    return np.stack([self[int(one)] for one in np.arange(len(self))[video]])

  def __iter__(self):
    return (self[video] for video in range(len(self)))

  def __array__(self, dtype=None, copy=None):
    return np.asarray(self[:], dtype)


def _read_only(array):
  if isinstance(array, VideoFiles):
    return array
  view = np.asarray(array).view()
  view.flags.writeable = False
  return view


def check_features(array, stream, video, source):
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


def check_times(times, count, video, source):
  """Raises a `ValueError` unless the `[T]` times of one video's `count` rows are finite and increase."""
  if np.shape(times) != (count,) or times.dtype.kind not in "iuf":
    raise ValueError(f"{source}: video {video!r} has {count} frames but times of shape {np.shape(times)}; give one "
                     "number of seconds for each frame.")
  if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
    raise ValueError(f"{source}: video {video!r}: the times of its frames must be finite and increase; sort the frames "
                     "by time.")


def check_pairs(pairs, videos, source):
  """Raises a `ValueError` for ids out of range, a pair of a video with itself, and a pair given in both orders."""
  if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
    raise ValueError(f"{source}: pairs must be integers of shape [pairs, 2] (better, worse), got {pairs.dtype} of "
                     f"shape {pairs.shape}.")
  if not len(pairs):
    return
  if pairs.min() < 0 or pairs.max() >= len(videos):
    raise ValueError(f"{source}: pairs name video number {pairs.max() if pairs.max() >= len(videos) else pairs.min()} "
                     f"but there are {len(videos)} videos (0 to {len(videos) - 1}).")
  own = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
  if own.size:
    raise ValueError(f"{source}: pair {own[0] + 1} compares video {videos[pairs[own[0], 0]]!r} with itself; remove it.")
  codes = pairs[:, 0].astype(np.int64) * len(videos) + pairs[:, 1]
  reverse = pairs[:, 1].astype(np.int64) * len(videos) + pairs[:, 0]
  both = np.flatnonzero(np.isin(codes, reverse))
  if both.size:
    better, worse = (videos[i] for i in pairs[both[0]])
    raise ValueError(f"{source}: contradictory pair: {better!r} is better than {worse!r} and also worse; keep the "
                     "order that the annotators agreed on and remove the other.")


def check_seconds(segment_seconds, stream_seconds):
  """Raises a `ValueError` unless seconds from one row to the next are positive: of all streams, and of single ones."""
  given = {"segment_seconds": segment_seconds} | {f"stream_seconds.{k}": v for k, v in stream_seconds.items()}
  for name, seconds in given.items():
    if not 0 < seconds < np.inf:
      raise ValueError(f"config.data.{name}={seconds} must be positive and finite.")


def check_scores(score, score_range, videos, source):
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


def _validate(data: SkillDataset):
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
    lengths = data.lengths.get(name)
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
    for video, own, length in zip(data.videos, times, data.lengths[name]):
      check_times(own[:length], length, video, source)
  check_pairs(np.asarray(data.pairs), data.videos, source)
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


def count_cycles(pairs, num_videos):
  """Contradictions among the pairs of `[P, 2]` (better, worse): no ranking of the videos satisfies a cycle.

  Returns:
    (number of cycles of three videos, number of videos that lie on any cycle).
  """
  pairs = np.unique(np.asarray(pairs).reshape(-1, 2), axis=0)
  before = len(pairs) + 1
  while len(pairs) < before:               # who only wins or only loses lies on no cycle, nor do their pairs
    before, (wins, loses) = len(pairs), np.zeros((2, num_videos), bool)
    wins[pairs[:, 0]], loses[pairs[:, 1]] = True, True
    pairs = pairs[loses[pairs[:, 0]] & wins[pairs[:, 1]]]
  if not len(pairs):
    return 0, 0
  from scipy.sparse import coo_array       # slow to import, and most annotators do not contradict themselves
  from scipy.sparse.csgraph import connected_components
  graph = coo_array((np.ones(len(pairs), np.int64), (pairs[:, 0], pairs[:, 1])), shape=(num_videos, num_videos)).tocsr()
  triangles = int((graph @ graph).multiply(graph.T).sum()) // 3
  _, component = connected_components(graph, directed=True, connection="strong")
  sizes = np.bincount(component, minlength=num_videos)
  return triangles, int(sizes[sizes > 1].sum())


def audit(data: SkillDataset) -> dict:
  """What is lawful but must be known: counted here, printed and stored with every result."""
  triangles, on_cycles = count_cycles(data.pairs, data.num_videos)
  first = same_features(data)
  distinct = lambda values: None if values is None else len(np.unique(values))
  return dict(
      videos=data.num_videos, pairs=len(data.pairs), missing_videos=list(data.missing),
      dropped_pairs=int(data.dropped_pairs), tied_pairs_left_out=int(data.tied_pairs),
      repeated_pairs=len(data.pairs) - len(np.unique(np.asarray(data.pairs).reshape(-1, 2), axis=0)),
      cycles_of_three=triangles, videos_on_cycles=on_cycles, simulated=data.simulated, scored=data.score is not None,
      criteria=sorted(data.criteria), categories=distinct(data.category), difficulties=distinct(data.difficulty),
      **audit_features(data, first), labels_out_of_line=audit_labels(data),
      folds=[_audit_fold(data, fold, first) for fold in data.folds])


def _audit_fold(data, fold, first):
  """Of one fold; `first` are the `same_features`: two names of equal features are one video."""
  test, pairs = first[data.pairs[fold.test_pairs]], first[data.pairs[fold.train_pairs]]
  trained_on = np.isin(test, pairs).sum(axis=1) if len(test) else np.zeros(0, int)
  known = first[np.concatenate([fold.train_videos, fold.validation_videos])]
  return dict(
      name=fold.name, train_videos=len(fold.train_videos), validation_videos=len(fold.validation_videos),
      test_videos=len(fold.test_videos), train_pairs=len(fold.train_pairs),
      validation_pairs=len(fold.validation_pairs), test_pairs=len(fold.test_pairs),
      test_pairs_with_one_training_video=int((trained_on == 1).sum()),
      test_pairs_of_two_training_videos=int((trained_on == 2).sum()),
      test_videos_with_features_of_training=int(np.isin(first[fold.test_videos], known).sum()),
      cycles_of_three_in_training=count_cycles(data.pairs[fold.train_pairs], data.num_videos)[0],
      test_videos_of_training_subjects=_count_seen(data.subject, fold),
      test_videos_of_training_competitions=_count_seen(data.competition, fold),
      test_videos_of_rare_category=_count_rare(data.category, fold),
      test_videos_of_rare_difficulty=_count_rare(data.difficulty, fold))


def _count_rare(values, fold):
  """Number of test videos with fewer than `FEW` training videos of the same value; None where it is not known."""
  if values is None:
    return None
  names, counts = np.unique(values[fold.train_videos], return_counts=True)
  return int((~np.isin(values[fold.test_videos], names[counts >= FEW])).sum())


def _count_seen(values, fold):
  """Number of test videos whose value (a subject, a competition) a training video has too; None where unknown."""
  return None if values is None else int(np.isin(values[fold.test_videos], values[fold.train_videos]).sum())


def describe_audit(facts: dict) -> str:
  """The audit as the lines printed above every table."""
  known = [f"{facts[name]} {name}" for name in ("categories", "difficulties") if (facts[name] or 0) > 1]
  lines = [", ".join([f"{facts['videos']} videos", f"{facts['pairs']} pairs" if facts["pairs"] else "scores, no pairs",
                      *known, f"{len(facts['folds'])} fold(s)"])
           + ("; SIMULATED data, not recordings of people" if facts["simulated"] else "")]
  missing = facts["missing_videos"]
  shown = ", ".join(map(wording.plain, missing[:5])) + (", ..." if len(missing) > 5 else "")
  lines.append(f"missing videos: {len(missing)}" + (f" ({shown})" if missing else "")
               + (f", leaving out {facts['dropped_pairs']} pairs" if facts["dropped_pairs"] else ""))
  lines += [(_describe_pairs if facts["pairs"] else _describe_videos)(fold) + _describe_seen(fold)
            + _describe_rare(facts, fold) for fold in _plain_names(facts["folds"])]
  if facts["pairs"]:
    lines.append(f"cycles of three pairs: {facts['cycles_of_three']} ({facts['videos_on_cycles']} videos on cycles); "
                 f"repeated pairs: {facts['repeated_pairs']}; tied pairs left out: {facts['tied_pairs_left_out']}")
  lines += describe_features(facts) + describe_labels(facts["labels_out_of_line"])
  return "\n".join(lines)


def _plain_names(folds):
  return [fold | dict(name=wording.plain(fold["name"])) for fold in folds]


def _describe_pairs(fold):
  total, one, two = (fold["test_pairs"], fold["test_pairs_with_one_training_video"],
                     fold["test_pairs_of_two_training_videos"])
  return (f"fold {fold['name']}: {fold['train_pairs']} training / {fold['validation_pairs']} validation / {total} test "
          f"pairs of {fold['train_videos']} / {fold['validation_videos']} / {fold['test_videos']} videos; leaks: {one} "
          f"test pairs hold one training video, {two} hold two"
          + (f" ({100 * (one + two) / total:.0f} %)" if total else ""))


def _describe_videos(fold):
  return (f"fold {fold['name']}: {fold['train_videos']} training / {fold['validation_videos']} validation / "
          f"{fold['test_videos']} test videos")


def _describe_seen(fold):
  seen = [f"{count} by {one}" for one in ("subject", "competition")
          if (count := fold[f"test_videos_of_training_{one}s"]) is not None]
  if count := fold["test_videos_with_features_of_training"]:
    seen = [f"{count} by features equal to theirs: LEAKS", *seen]
  return f"; test videos that training knows: {', '.join(seen)}" if seen else ""


def _describe_rare(facts, fold):
  rare = [f"{fold['test_videos_of_rare_' + one]} by {one}" for one, many in
          (("category", "categories"), ("difficulty", "difficulties")) if (facts[many] or 0) > 1]
  return f"; test videos with fewer than {FEW} training videos of their kind: {', '.join(rare)}" if rare else ""


def pad_streams(videos, arrays):
  """Stacks ragged `[T_v, ...]` arrays of equal width into `[V, T, ...]` with zeros behind, and their lengths `[V]`."""
  lengths = np.array([len(a) for a in arrays], np.int32)
  stacked = np.zeros((len(videos), lengths.max(), *arrays[0].shape[1:]), arrays[0].dtype)
  for row, array in zip(stacked, arrays):
    row[: len(array)] = array
  return stacked, lengths
