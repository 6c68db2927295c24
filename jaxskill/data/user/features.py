"""A user's own features and labels: a folder of NumPy files and one or two csv tables.

  <dir>/<video>.npy   float [T, D], the stream `rgb`
  <dir>/<video>.npz   one such array, or several streams under their own names; feature maps are `rgb` and `flow`, float
                      [frames, h, w, C], which become the stream `maps`, or `maps` itself; with them `times` [frames] in
                      seconds, if known, and uint8 `frames` [n, H, W, 3] to draw attention on
  <dir>/pairs.csv     better,worse[,similar][,rater][,split][,fold]: a pair may be repeated over folds (see
                      `pair_folds`), or over raters (see `raters`); in a row with similar=yes neither video is better
  <dir>/scores.csv    video,score[,difficulty,category,subject,group,split|fold,criterion.<name>...,rater.<name>...]

  <dir>/<video>.csv, .trc, .txt, or <dir>/<video>/*.json       recorded movements in place of features: see `motion`
  <dir>/<video>.mp4, or <dir>/<video>/*.jpg                    in place of features: see `frames`
  <dir>/extraction.json                    if `jaxskill.extract` made the features: seconds a row, weights
  <dir>/SIMULATED.txt                      if they are of simulated videos: every result says so

Either table will do. With both, `pairs.csv` gives the pairs and `scores.csv` the rest. Video ids may hold sub-folders.
A column `criterion.execution` holds a further score of each video, `SkillDataset.criteria["execution"]`. Labels of
several raters: `data.raters`.

V videos, T segments, D channels, P pairs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxskill import cli
from jaxskill.data import pair_folds, splits
from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.dataset import NO_PAIRS, SIMULATED_NOTE, Fold, SkillDataset
from jaxskill.data.dataset_checks import check_seconds
from jaxskill.data.stream_files import read_streams, take_times
from jaxskill.data.user import motion
from jaxskill.data.user.extraction_note import noted_seconds, read_extraction
from jaxskill.data.user.own_labels import CRITERION, OwnLabels, ratings_of, read_labels
from jaxskill.data.video import frames
from jaxskill.data.video.video_names import spellings

SPLITS = ("auto", "given", "subject", "random", "folds", "all")


def load_features(dir: str | os.PathLike[str], *, split: str = "auto", tie_margin: float = 0.0, pairs_within: str = "",
                  validation_share: float | None = None, test_share: float = 0.25, seed: int = 0,
                  allow_missing: bool = False, seconds_per_segment: float = 1.0, make_pairs: bool = True,
                  score_range: tuple[float, float] | None = None, stream_seconds: Mapping[str, float] | None = None,
                  sampling: frames.Sampling | None = None, prepared_dir: str = "", max_bytes: int = MAX_BYTES,
                  moves: motion.Options = motion.Options()) -> SkillDataset:
  """Reads a folder of features, or of videos, and labels.

  Args:
    dir: the folder.
    split: "given" (the split or fold column), "subject" (leave one out), "random" (one split by videos), or "auto": the
      first of these that the labels allow (`splits.folds_unasked`). "folds" deals the videos out at random, each tested
      once; "all" trains on every video and tests none.
    tie_margin: pairs made from scores need a difference above it, in the unit of the scores; `pairs.csv` needs none.
    pairs_within: "", "subject" or "category": pairs made from scores compare videos of the same one only.
    validation_share: share of each fold's training videos that validates (of its subjects, where they are known and the
      split is not random); 0 for none. None: `splits.default_validation_share`, none unless the split is random.
    test_share: share of the videos that a random split holds out, or that one of "folds" tests.
    seed: of random splits; moves: how recorded movements are read.
    allow_missing: leave videos without a feature file out, with their pairs, and report them.
    seconds_per_segment: seconds from one row of features to the next, where `extraction.json` does not say.
    stream_seconds: {stream: seconds from one row to the next}, for streams where it is another.
    make_pairs: make pairs from scores where there is no `pairs.csv`; False leaves a data set of scores without pairs.
    score_range: (lowest, highest) possible score, or None if unknown; every score must lie inside.
    sampling: a `frames.Sampling`: instead of features, the frames of the videos of the folder, the stream `frames`.
    prepared_dir: of decoded frames, `<dir>/prepared` if empty; max_bytes: of the arrays of one file in memory.

  Returns:
    The data set, float32, padded to the longest video; frames are uint8, mapped from disk.

  Raises:
    ValueError: for every fault of the folder, a file, a line or an option; it names the place and the remedy.
  """
  folder, stream_seconds = Path(dir), dict(stream_seconds or {})
  _check_options(folder, split, pairs_within, seconds_per_segment, stream_seconds)
  labels = read_labels(folder)
  named = labels.videos()
  if sampling:
    cache = Path(prepared_dir or folder / "prepared") / "frames"
    files: Any = frames.videos_in(folder, named, cache, sampling, allow_missing)
    (streams, lengths, row_times, between), columns = frames.streams_of(files.values()), {}
  else:
    files = _feature_files(folder, named, allow_missing)
    *read, columns = read_streams(files, max_bytes=max_bytes, moves=moves, row_seconds=seconds_per_segment)
    streams, lengths, row_times, between = take_times(*read)
  videos = tuple(files)
  column = _columns_of_present(labels.scores, videos)
  of = _some_pairs(folder, labels, videos, column, tie_margin, pairs_within, make_pairs)
  folds = _folds(folder, split, column, of, len(videos), seed, test_share, validation_share)
  extraction, simulated = read_extraction(folder), (folder / SIMULATED_NOTE).is_file()
  random_weights = "features of RANDOM weights: " if extraction["recipe"].get("random_weights") else ""
  seconds = {name: _row_seconds(extraction, videos, name, stream_seconds.get(name, seconds_per_segment))
             for name in streams}
  return SkillDataset(
      name=random_weights + "simulated " * simulated + folder.resolve().name, simulated=simulated, source=str(folder),
      videos=videos, streams=streams, lengths=lengths, pairs=of.pairs, folds=folds, columns=columns,
      row_times=row_times, row_seconds=seconds | between, missing=tuple(video for video in named if video not in files),
      dropped_pairs=of.dropped, tied_pairs=of.tied, similar=of.similar, features_checked=True,
      score_range=score_range, ratings=ratings_of(column, labels.votes, videos), **_known(column))


def _known(column: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns what the columns of scores.csv say of the videos, as fields of a `SkillDataset`."""
  criteria = {name.removeprefix(CRITERION): values.astype(np.float32) for name, values in column.items()
              if name.startswith(CRITERION)}
  numbers = {name: column[name].astype(np.float32) for name in ("score", "difficulty") if name in column}
  words = {name: column[name] for name in ("category", "subject", "group") if name in column}
  return numbers | words | dict(criteria=criteria)


def _check_options(folder: Path, split: str, pairs_within: str, seconds_per_segment: float,
                   stream_seconds: Mapping[str, float]) -> None:
  if split not in SPLITS:
    raise ValueError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}.")
  if pairs_within not in ("", "subject", "category"):
    raise ValueError(f"pairs_within={pairs_within!r} is unknown; use '', 'subject' or 'category'.")
  check_seconds(seconds_per_segment, stream_seconds)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder; set config.data.dir to the folder of your features and labels.")


def _feature_files(folder: Path, named: Sequence[str], allow_missing: bool) -> dict[str, Path]:
  """{video: file} of the named videos that have one; names in an error those that have none and may not be missing."""
  listings = {}
  found = {video: _feature_file(folder, video, listings) for video in named}
  files = {video: file for video, file in found.items() if file}
  _check_missing(folder, named, tuple(video for video in named if video not in files), allow_missing)
  return files


def _row_seconds(extraction: Mapping[str, Any], videos: Sequence[str], stream: str, otherwise: float) -> np.ndarray:
  """Returns `[V]` seconds from one row of a stream to the next, as `extraction.json` notes them."""
  noted = [extraction["videos"].get(video, {}) for video in videos]
  return np.array([noted_seconds(about, stream, otherwise) for about in noted], np.float32)


def _columns_of_present(scores: Mapping[str, Any] | None, videos: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns the columns of scores.csv as arrays `[V]`, of the videos that are there."""
  present = np.isin(scores["video"], videos) if scores else None
  return {name: np.asarray(values)[present] for name, values in (scores or {}).items()}


class _Pairs(NamedTuple):
  """The pairs of videos that are there, and how many others there are.

  Attributes:
    pairs: `[P, 2]` (better, worse).
    dropped, tied: pairs left out for missing videos, and for ties.
    similar: `[S, 2]` tied pairs of videos that are there.
    sides: columns "split" and "fold" of pairs.csv, a value a row.
    rows: `[n]` row of `pairs` of every row of pairs.csv, where it has folds; a pair may be in several.
  """

  pairs: np.ndarray
  dropped: int
  tied: int
  similar: np.ndarray
  sides: dict
  rows: np.ndarray | None = None


def _some_pairs(folder: Path, labels: OwnLabels, videos: Sequence[str], column: Mapping[str, np.ndarray],
                tie_margin: float, pairs_within: str, make_pairs: bool) -> _Pairs:
  """Returns the `_Pairs` of a folder; raises a `ValueError` if none is left where there should be some."""
  if pairs_within and pairs_within not in column:
    raise ValueError(f"{folder}: pairs_within={pairs_within!r} needs a column {pairs_within!r} in scores.csv.")
  of = _pairs_of(labels, videos, column, tie_margin, pairs_within, make_pairs)
  if not len(of.pairs) and (labels.pairs or make_pairs):
    raise ValueError(f"{folder}: no pairs are left of {len(videos)} videos ({of.tied} tied, {of.dropped} of missing "
                     "videos); label more pairs, lower config.data.tie_margin, or set config.data.make_pairs=False "
                     "where scores without pairs will do.")
  return of


def _pairs_of(labels: OwnLabels, videos: Sequence[str], column: Mapping[str, np.ndarray], tie_margin: float,
              pairs_within: str, make_pairs: bool) -> _Pairs:
  """Returns the pairs of pairs.csv, else those that scores make if they may, else none."""
  if not labels.pairs and not make_pairs:
    return _Pairs(NO_PAIRS, 0, 0, NO_PAIRS, {})
  if not labels.pairs:
    made, tied = [], NO_PAIRS
    for columns in (labels.scores, column):
      groups = columns[pairs_within] if pairs_within else None
      pairs, tied = splits.pairs_from_scores(columns["score"], tie_margin, groups)
      made.append(pairs)
    return _Pairs(made[1], len(made[0]) - len(made[1]), len(tied), tied, {})
  position = {video: i for i, video in enumerate(videos)}

  def numbers(named: Any) -> np.ndarray:                     # [n, 2], -1 where missing
    return np.array([[position.get(video, -1) for video in pair] for pair in named], np.int32).reshape(-1, 2)
  pairs, similar = numbers(zip(labels.pairs["better"], labels.pairs["worse"])), numbers(labels.tied)
  kept = (pairs >= 0).all(axis=1)
  of = _Pairs(pairs[kept], int((~kept).sum()), len(similar), similar[(similar >= 0).all(axis=1)],
              {name: np.asarray(labels.pairs[name])[kept] for name in ("split", "fold") if name in labels.pairs})
  if "fold" not in of.sides:
    return of
  merged, rows = pair_folds.merge_repeated(of.pairs, of.sides["fold"])
  return of._replace(pairs=merged, rows=rows)


def _feature_file(folder: Path, video: str, listings: dict[Path, Any] | None) -> Path | None:
  places = [place.with_name(place.name + ending) for place in spellings(folder, video, listings)
            for ending in (".npy", ".npz")]
  found = [file for file in places if file.is_file()] or _motion_files(folder, video, listings)
  if len(found) > 1:
    kinds = (f"both a {found[0].suffix} and a {found[1].suffix} file" if found[0].stem == found[1].stem else
             "two files, spelt alike")
    raise ValueError(f"{folder}: video {video!r} has {kinds} ({found[0].name}, {found[1].name}); remove one.")
  return found[0] if found else None


def _motion_files(folder: Path, video: str, listings: Any) -> Any:
  """Returns the recorded movements of a video, for there are no arrays."""
  places = [place.with_name(place.name + ending) for place in spellings(folder, video, listings)
            for ending in ("", *motion.ENDINGS)]
  return [place for place in places if motion.is_motion(place)]


def _check_missing(folder: Path, named: Sequence[str], missing: Sequence[str], allow_missing: bool) -> None:
  if len(missing) == len(named):
    raise ValueError(f"{folder}: none of the {len(named)} videos of the labels has a feature file; expected e.g. "
                     f"{folder}/{cli.plain(named[0])}.npy or .npz, or a recorded movement (.csv, .trc, .txt).")
  if missing and not allow_missing:
    shown = ", ".join(repr(video) for video in missing[:3]) + (", ..." if len(missing) > 3 else "")
    raise ValueError(f"{folder}: {len(missing)} of {len(named)} videos are in the pairs or scores but not on disk: "
                     f"{shown} (expected <video>.npy or <video>.npz); add the files, or set "
                     "config.data.allow_missing=True to leave these videos and their pairs out and report them.")


def _folds(folder: Path, split: str, column: Mapping[str, np.ndarray], of: _Pairs, num_videos: int, seed: int,
           test_share: float, validation_share: float | None) -> tuple[Fold, ...]:
  """Returns the folds of `load_features`, with validation; `of` are the `_Pairs`."""
  pairs = of.pairs
  given = [(name, values[name], what) for values, what in ((of.sides, "pairs"), (column, "videos"))
           for name in ("fold", "split") if name in values]
  subjects = column.get("subject")
  split = "given" if split == "auto" and given else split
  try:
    folds = _folds_of(split, given, of, subjects, num_videos, seed, test_share)
    several = subjects is not None and len(np.unique(subjects)) > 1
    at_random = split in ("random", "folds") or split == "auto" and not several
    drawn = (f"config.data.test_share={test_share} of {num_videos} videos decides how many are held out: choose "
             "another, or config.data.split=folds, which tests every video once") if at_random else ""
    splits.check_folds(folds, "pairs" if len(pairs) else "videos", drawn=drawn, tests=split != "all")
    if validation_share is None:
      validation_share = splits.default_validation_share(folds, at_random)
    return splits.with_validation(folds, pairs, validation_share, seed, None if at_random or not several else subjects)
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error


def _folds_of(split: str, given: Sequence[tuple[str, Any, str]], of: _Pairs, subjects: np.ndarray | None,
              num_videos: int, seed: int, test_share: float) -> tuple[Fold, ...]:
  """The folds of `load_features`, without validation; `given` are the columns (name, values, "pairs" or "videos")."""
  pairs = of.pairs
  if split == "given":
    if not given:
      raise ValueError("split='given' needs a split or a fold column in pairs.csv or scores.csv.")
    name, values, what = given[0]
    if of.rows is not None:
      return pair_folds.folds_of_rows(pairs, of.rows, values, of.sides.get("split"))
    return splits.folds_given(values, pairs, name, what)
  if split == "subject":
    if subjects is None:
      raise ValueError("split='subject' needs a subject column in scores.csv.")
    return splits.leave_one_out(subjects, pairs)
  if split == "all":
    return splits.everything(num_videos, pairs)
  if split == "folds":
    return splits.random_folds(num_videos, pairs, seed, test_share)
  if split == "random":
    return (splits.random_split(num_videos, pairs, seed, test_share),)
  return splits.folds_unasked(num_videos, pairs, seed, test_share, subjects)
