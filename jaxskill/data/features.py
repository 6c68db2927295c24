"""A user's own features and labels: a folder of NumPy files and one or two csv tables.

  <dir>/<video>.npy   float [T, D], the stream `rgb`
  <dir>/<video>.npz   one such array, or several streams under their own names; feature maps are `rgb` and `flow`, float
                      [frames, h, w, C], which become the stream `maps`, or `maps` itself; with them `times` [frames] in
                      seconds, if known, and uint8 `frames` [n, H, W, 3] to draw attention on
  <dir>/pairs.csv     better,worse[,rater][,split][,fold]: a pair may be repeated over folds (see `pair_folds`), or over
                      raters (see `raters`)
  <dir>/scores.csv    video,score[,difficulty,category,subject,split|fold,criterion.<name>...,rater.<name>...]

  <dir>/<video>.mp4, or <dir>/<video>/*.jpg                    in place of features: see `frames`
  <dir>/extraction.json                    if `jaxskill.extract` made the features: seconds a row, weights
  <dir>/SIMULATED.txt                      if they are of simulated videos: every result says so

Either table will do. With both, `pairs.csv` gives the pairs and `scores.csv` the rest. Video ids may hold sub-folders.
A column `criterion.execution` holds a further score of each video, `SkillDataset.criteria["execution"]`. Labels of
several raters: `data.raters`.

V videos, T segments, D channels, P pairs.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from jaxskill.data import frames, pair_folds, raters, splits
from jaxskill.data.arrays import MAX_BYTES, read_arrays
from jaxskill.data.dataset import SIMULATED_NOTE, SkillDataset, check_features, check_seconds, check_times, pad_streams
from jaxskill.data.extraction_note import EXTRACTION, noted_seconds, read_extraction
from jaxskill.data.tables import check_separators, read_rows
from jaxskill.data.video_names import spellings, video_name

__all__ = ["EXTRACTION", "as_features", "check_widths", "load_features", "noted_seconds", "number", "read_arrays",
           "read_extraction", "read_streams", "read_table", "take_times", "with_maps"]

CRITERION = "criterion."     # what the name of a column begins with that holds a further score
SPLITS = ("auto", "given", "subject", "random", "folds", "all")
_VIDEOS = ("video", "better", "worse")       # columns that name videos
_LARGEST = float(np.finfo(np.float32).max)   # labels are kept as float32


def load_features(dir, *, split="auto", tie_margin=0.0, pairs_within="", validation_share=None, test_share=0.25, seed=0,
                  allow_missing=False, seconds_per_segment=1.0, make_pairs=True, score_range=None,
                  stream_seconds=None, sampling=None, prepared_dir="", max_bytes=MAX_BYTES) -> SkillDataset:
  """Reads a folder of features, or of videos, and labels.

  Args:
    dir: the folder.
    split: "given" (the split or fold column), "subject" (leave one out), "random" (one split by videos), or "auto": the
      first of these that the labels allow (`splits.folds_unasked`). "folds" deals the videos out at random, each tested
      once; "all" trains on every video and tests none.
    tie_margin: pairs made from scores need a difference above it, in the unit of the scores; `pairs.csv` knows no ties.
    pairs_within: "", "subject" or "category": pairs made from scores compare videos of the same one only.
    validation_share: share of each fold's training videos that validates (of its subjects, where they are known and the
      split is not random); 0 for none. None: `splits.default_validation_share`, none unless the split is random.
    test_share: share of the videos that a random split holds out, or that one of "folds" tests.
    seed: of random splits.
    allow_missing: leave videos without a feature file out, with their pairs, and report them.
    seconds_per_segment: seconds from one row of features to the next, where `extraction.json` does not say.
    stream_seconds: {stream: seconds from one row to the next}, for streams where it is another.
    make_pairs: make pairs from scores where there is no `pairs.csv`; False leaves a data set of scores without pairs.
    score_range: (lowest, highest) possible score, or None if unknown; every score must lie inside.
    sampling: a `frames.Sampling`: instead of features, the frames of the videos of the folder, the stream `frames`.
    prepared_dir: where decoded frames are kept; `<dir>/prepared` if empty.
    max_bytes: that the arrays of one file may take in memory.

  Returns:
    The data set, float32, padded to the longest video; frames are uint8, mapped from disk.

  Raises:
    ValueError: for every fault of the folder, a file, a line or an option; it names the place and the remedy.
  """
  folder = Path(dir)
  if split not in SPLITS:
    raise ValueError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}.")
  if pairs_within not in ("", "subject", "category"):
    raise ValueError(f"pairs_within={pairs_within!r} is unknown; use '', 'subject' or 'category'.")
  stream_seconds = dict(stream_seconds or {})
  check_seconds(seconds_per_segment, stream_seconds)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder; set config.data.dir to the folder of your features and labels.")
  pairs_file, scores_file = folder / "pairs.csv", folder / "scores.csv"
  if not pairs_file.is_file() and not scores_file.is_file():
    raise ValueError(f"{folder}: neither pairs.csv (better,worse) nor scores.csv (video,score) is there; add one.")
  labels = _read_scores(scores_file) if scores_file.is_file() else None
  listed, votes, tied = _read_pairs(pairs_file, labels) if pairs_file.is_file() else (None, [], 0)

  if labels:
    named = tuple(labels["video"])
  else:
    compared = [vote[:2] for vote in votes] or zip(listed["better"], listed["worse"])      # also those of tied pairs
    named = tuple(dict.fromkeys(video for pair in compared for video in pair))
  if sampling:
    files = frames.own_videos(folder, named, Path(prepared_dir or folder / "prepared") / "frames", sampling, allow_missing)
    streams, lengths, between = ({frames.STREAM: x} for x in frames.stream_of(files.values()))
    row_times = {}
  else:
    files = {video: file for video in named if (file := _feature_file(folder, video))}
    _check_missing(folder, named, tuple(video for video in named if video not in files), allow_missing)
    streams, lengths, row_times, between = take_times(*read_streams(files, max_bytes=max_bytes))
  videos, missing = tuple(files), tuple(video for video in named if video not in files)

  present = np.array([video in files for video in named])
  column = {name: np.asarray(values)[present] for name, values in (labels or {}).items()}
  if pairs_within and pairs_within not in column:
    raise ValueError(f"{folder}: pairs_within={pairs_within!r} needs a column {pairs_within!r} in scores.csv.")
  if listed:
    position = {video: i for i, video in enumerate(videos)}
    sides = [[position.get(video, -1) for video in listed[side]] for side in ("better", "worse")]
    pairs = np.array(sides, np.int32).T                                                   # [P, 2], -1 where missing
    kept = (pairs >= 0).all(axis=1)
    pairs = pairs[kept]
    dropped = int((~kept).sum())
    of_pairs = {name: np.asarray(values)[kept] for name, values in listed.items() if name in ("split", "fold")}
    if "fold" in of_pairs:
      pairs, of_pairs["row"] = pair_folds.merge_repeated(pairs, of_pairs["fold"])
  elif make_pairs:
    all_pairs, _ = splits.pairs_from_scores(labels["score"], tie_margin, labels[pairs_within] if pairs_within else None)
    pairs, tied = splits.pairs_from_scores(column["score"], tie_margin, column[pairs_within] if pairs_within else None)
    dropped, of_pairs = len(all_pairs) - len(pairs), {}
  else:
    pairs, dropped, of_pairs = np.zeros((0, 2), np.int32), 0, {}
  if not len(pairs) and (listed or make_pairs):
    raise ValueError(f"{folder}: no pairs are left of {len(videos)} videos ({tied} tied, {dropped} of missing videos); "
                     "label more pairs, lower config.data.tie_margin, or set config.data.make_pairs=False where scores "
                     "without pairs will do.")

  folds = _folds(folder, split, column, of_pairs, pairs, len(videos), seed, test_share, validation_share)
  floats = lambda name: column[name].astype(np.float32) if name in column else None
  extraction = read_extraction(folder)
  seconds = {name: np.array([noted_seconds(extraction["videos"].get(video, {}), name,
                                           stream_seconds.get(name, seconds_per_segment)) for video in videos],
                            np.float32) for name in streams}
  random_weights = "features of RANDOM weights: " if extraction["recipe"].get("random_weights") else ""
  simulated = (folder / SIMULATED_NOTE).is_file()
  return SkillDataset(
      name=random_weights + "simulated " * simulated + folder.resolve().name, simulated=simulated, source=str(folder),
      videos=videos, streams=streams, lengths=lengths, pairs=pairs, folds=folds, row_times=row_times,
      row_seconds=seconds | between,
      score=floats("score"), difficulty=floats("difficulty"), category=column.get("category"),
      subject=column.get("subject"), missing=missing, dropped_pairs=dropped, tied_pairs=tied, features_checked=True,
      criteria={name.removeprefix(CRITERION): floats(name) for name in column if name.startswith(CRITERION)},
      score_range=score_range if score_range is None else tuple(score_range), ratings=_ratings(column, votes, videos))


def with_maps(arrays, video, source):
  """One video's arrays, with maps of appearance `rgb` and motion `flow` side by side as `maps` `[frames, h, w, C]`.

  Raises:
    ValueError: if one of them is missing, they differ in frames or places, or `times` are not those of their frames.
  """
  for name, array in arrays.items():
    check_is_a_stream(array, name, arrays.keys() - {name}, video, source)
  is_map = lambda array: array.ndim == 4 and array.dtype != np.uint8
  kinds = [name for name in ("rgb", "flow") if name in arrays and is_map(arrays[name])]
  if len(kinds) == 1:
    other, = {"rgb", "flow"} - set(kinds)
    raise ValueError(f"{source}: video {video!r} has maps `{kinds[0]}` {list(arrays[kinds[0]].shape)} but no maps "
                     f"`{other}`; save both, or, where there is one kind only, save it as `maps` in all files.")
  if kinds:
    rgb, flow = arrays["rgb"], arrays["flow"]
    if rgb.shape[:3] != flow.shape[:3]:
      raise ValueError(f"{source}: video {video!r} has maps `rgb` {list(rgb.shape)} and `flow` {list(flow.shape)}; "
                       "both need the same frames and places: extract them at the same times and sizes.")
    arrays = {"maps": np.concatenate([rgb, flow], axis=-1)} | {k: v for k, v in arrays.items() if k not in kinds}
  if "maps" in arrays and "times" in arrays:
    check_times(arrays["times"], len(arrays["maps"]), video, source)
    arrays = arrays | {"times": arrays["times"].astype(np.float32)}
  return arrays


def check_is_a_stream(array, name, others, video, source):
  """Raises a `ValueError` for an array beside others that is no stream at all: a single number, or text."""
  what = "text" if array.dtype.kind in "SUO" else "a single number" if not array.ndim else ""
  if not what:
    return
  if others:
    raise ValueError(f"{source}: video {video!r}: `{name}` is {what}, no stream [rows, ...] of features; save the file "
                     f"without it, with {', '.join(sorted(others))} alone. How long a row lasts is said by "
                     "config.data.segment_seconds.")
  raise ValueError(f"{source}: video {video!r}: holds {what}, no features; expected [segments, channels] in "
                   "floating-point numbers: extract its features again.")


def take_times(streams, lengths):
  """Takes the times of frames, read like a stream, out of the streams.

  Args:
    streams, lengths: name -> `[V, T, ...]`, `[V]`; "times", if there, are those of "maps", and of as many "frames".

  Returns:
    (streams, lengths, `row_times`, seconds from one frame to the next by stream: the mean of each video).
  """
  if not {"maps", "times"} <= streams.keys():
    return streams, lengths, {}, {}
  times, count = streams["times"], lengths["times"]
  last = np.take_along_axis(times, count[:, None] - 1, axis=1)[:, 0]
  mean = np.where(count > 1, (last - times[:, 0]) / np.maximum(count - 1, 1), 1.0).astype(np.float32)
  others = lambda mapping: {name: values for name, values in mapping.items() if name != "times"}
  timed = [name for name in ("maps", "frames") if name in streams and np.array_equal(lengths[name], count)]
  return others(streams), others(lengths), dict.fromkeys(timed, times), dict.fromkeys(timed, mean)


def as_features(array, stream, video, source):
  """One video's features as float32 (frames stay uint8), checked; `rgb` and `static` are `[T, D]`."""
  if stream in ("rgb", "static") and array.ndim != 2:
    raise ValueError(f"{source}: video {video!r}, stream {stream!r} has {array.ndim} axes (shape {array.shape}); "
                     "expected [segments, channels]; reshape it and save it again.")
  if np.issubdtype(array.dtype, np.floating) and array.dtype != np.float32:
    with np.errstate(over="ignore"):   # a float64 too large for float32 becomes inf, which the check reports
      array = array.astype(np.float32)
  check_features(array, stream, video, source)
  return array


def check_widths(array, first, stream, source, first_source):
  """Raises a `ValueError` if two files disagree about a stream in anything but the number of segments."""
  if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
    raise ValueError(f"{source}: stream {stream!r} is {array.dtype} {list(array.shape)} but {first_source} has "
                     f"{first.dtype} {list(first.shape)}; all but the number of segments must agree: extract both with "
                     "the same model.")


def read_table(path, required, optional, prefix=None, split_and_fold=False):
  """The columns of a csv file that are asked for.

  Args:
    path: the file; its first line names the columns.
    required, optional: names of columns; others are not read.
    prefix: columns whose names begin with it, or with one of several, are read as well; None for none. Cells of raters
      may be empty, and their columns may stand in place of a score.
    split_and_fold: whether a table may have both of these columns.

  Returns:
    (name -> list of str, line number of each row); names of videos in their one spelling, see `video_name`.

  Raises:
    ValueError: for a missing or doubled column, other separators than commas, a row of another width, an empty cell, a
      name that leads out of the folder, or an unknown split value.
  """
  rows = read_rows(path)
  header = rows[0][1] if rows else []
  further = dict.fromkeys(name for name in header if prefix and name.startswith(prefix) and name.partition(".")[2])
  lacking = [name for name in required if name not in header]
  if lacking and not (lacking == ["score"] and any(name.startswith(raters.RATER) for name in further)):
    check_separators(path, header, lacking)
    raise ValueError(f"{path}: column {lacking[0]!r} is not in the first line ({','.join(header)}); expected "
                     f"{','.join(required)}[,{','.join(optional)}].")
  names = [name for name in (*required, *optional, *further) if name in header]
  twice = [name for name in names if header.count(name) > 1]
  if twice:
    raise ValueError(f"{path}: column {twice[0]!r} appears more than once in the first line; keep one.")
  if "split" in names and "fold" in names and not split_and_fold:
    raise ValueError(f"{path}: has both a split and a fold column; keep one.")
  if len(rows) < 2:
    raise ValueError(f"{path}: no lines below the first; add the labels.")
  for line, row in rows[1:]:
    if len(row) != len(header):
      raise ValueError(f"{path}, line {line}: {len(row)} cells but the first line has {len(header)}; fill in what is "
                       "missing, or remove the line.")
    empty = [name for name in names if not row[header.index(name)] and not name.startswith(raters.RATER)]
    if empty:
      raise ValueError(f"{path}, line {line}: the cell {empty[0]!r} is empty; fill it in, or remove the line.")
  table = {name: [row[header.index(name)] for _, row in rows[1:]] for name in names}
  lines = [line for line, _ in rows[1:]]
  for column in set(_VIDEOS) & table.keys():
    table[column] = [video_name(text, f"{path}, line {line}") for text, line in zip(table[column], lines)]
  for line, value in zip(lines, table.get("split", ())):
    if value not in splits.SPLIT_VALUES:
      raise ValueError(f"{path}, line {line}: unknown split value {value!r}; expected train, validation (or val) or "
                       "test.")
  return table, lines


def _read_scores(path):
  table, lines = read_table(path, ("video", "score"), ("difficulty", "category", "subject", "split", "fold"),
                            (CRITERION, raters.RATER))
  table = raters.of_scores(table, lines, path)
  seen = {}
  for line, video in zip(lines, table["video"]):
    if video in seen:
      raise ValueError(f"{path}, line {line}: video {video!r} has a score in line {seen[video]} already; keep one.")
    seen[video] = line
  for name in table:
    if name in ("score", "difficulty") or name.startswith(CRITERION):
      cells = zip(table[name], table["video"], lines)
      table[name] = [number(text, name, video, f"{path}, line {line}") for text, video, line in cells]
  return table


def number(text, name, video, place):
  """A finite number of a label file, or a `ValueError` that names the place."""
  try:
    value = math.nan if isinstance(text, np.ndarray) else float(text)
  except (ValueError, TypeError, OverflowError):
    value = math.nan
  if not abs(value) <= _LARGEST:
    hint = ", decimals with a point" if isinstance(text, str) and "," in text else ""
    shown = " ".join(repr(text).split())[:60]
    raise ValueError(f"{place}: {name} {shown} of video {video!r} is not a finite number below 3.4e38; correct it"
                     f"{hint}.")
  return value


def _read_pairs(path, labels):
  """(columns of pairs.csv, one row a pair where there are raters; all their votes; number of pairs they tie in)."""
  table, lines = read_table(path, ("better", "worse"), ("split", "fold", "rater"), split_and_fold=True)
  scored = set(labels["video"]) if labels else None
  seen = {}
  for line, better, worse in zip(lines, table["better"], table["worse"]):
    if better == worse:
      raise ValueError(f"{path}, line {line}: compares video {better!r} with itself; remove it.")
    if (worse, better) in seen and "rater" not in table:
      raise ValueError(f"{path}, line {line}: contradictory pair: {better!r} is better than {worse!r} here and worse "
                       f"in line {seen[worse, better]}; keep the order that the annotators agreed on, or say in a "
                       "column 'rater' whose each line is.")
    for video in (better, worse):
      if scored is not None and video not in scored:
        raise ValueError(f"{path}, line {line}: video {video!r} is not in scores.csv; add it, or remove the pair.")
    seen.setdefault((better, worse), line)
  if "split" in table and "fold" in table:
    pair_folds.check_sides(table["fold"], table["split"], list(zip(table["better"], table["worse"])),
                           lambda number: f"{path}, line {lines[number]}")
  return raters.of_pairs(table, lines, path) if "rater" in table else (table, [], 0)


def _feature_file(folder, video):
  found = [file for place in spellings(folder, video) for ending in (".npy", ".npz")
           if (file := place.with_name(place.name + ending)).is_file()]
  if len(found) > 1:
    kinds = "both a .npy and a .npz file" if found[0].stem == found[1].stem else "two files, spelt alike"
    raise ValueError(f"{folder}: video {video!r} has {kinds} ({found[0].name}, {found[1].name}); remove one.")
  return found[0] if found else None


def _check_missing(folder, named, missing, allow_missing):
  if len(missing) == len(named):
    raise ValueError(f"{folder}: none of the {len(named)} videos of the labels has a feature file; expected e.g. "
                     f"{folder / named[0]}.npy or .npz.")
  if missing and not allow_missing:
    shown = ", ".join(repr(video) for video in missing[:3]) + (", ..." if len(missing) > 3 else "")
    raise ValueError(f"{folder}: {len(missing)} of {len(named)} videos are in the pairs or scores but not on disk: "
                     f"{shown} (expected <video>.npy or <video>.npz); add the files, or set "
                     "config.data.allow_missing=True to leave these videos and their pairs out and report them.")


def read_streams(files, only="rgb", max_bytes=MAX_BYTES):
  """Streams `[V, T, ...]` and lengths `[V]` by name, of files by video; `only` is what a single array is called."""
  ragged, first = {}, None
  for video, file in files.items():
    arrays = with_maps(read_arrays(file, max_bytes), video, file)
    if len(arrays) == 1 and "maps" not in arrays:
      arrays = {only: next(iter(arrays.values()))}
    if first is None:
      first = (file, arrays)
    if arrays.keys() != first[1].keys():
      raise ValueError(f"{file}: holds the streams {sorted(arrays)} but {first[0]} holds {sorted(first[1])}; every "
                       "video needs the same streams.")
    for stream, array in arrays.items():
      if not (stream == "times" and "maps" in arrays):
        array = as_features(array, stream, video, file)
      of_stream = ragged.setdefault(stream, [])
      of_stream.append(array)
      check_widths(array, of_stream[0], stream, file, first[0])
  padded = {stream: pad_streams(tuple(files), arrays) for stream, arrays in ragged.items()}
  return tuple({name: both[i] for name, both in padded.items()} for i in (0, 1))


def _ratings(column, votes, videos):
  """What several raters said, by the numbers of videos that are there; see `SkillDataset.ratings`."""
  names = [name for name in column if name.startswith(raters.RATER)]
  result = dict(scores=np.stack([column[name].astype(np.float64) for name in names], axis=1)) if names else {}
  if votes:
    position = {video: i for i, video in enumerate(videos)}
    number = {rater: i for i, rater in enumerate(dict.fromkeys(rater for *_, rater in votes))}
    kept = [(position[better], position[worse], number[rater]) for better, worse, rater in votes
            if better in position and worse in position]
    result["votes"] = np.array(kept, np.int32).reshape(-1, 3)
  return result


def _folds(folder, split, column, of_pairs, pairs, num_videos, seed, test_share, validation_share):
  given = [(name, values[name], of) for values, of in ((of_pairs, "pairs"), (column, "videos"))
           for name in ("fold", "split") if name in values]
  subjects = column.get("subject")
  split = "given" if split == "auto" and given else split
  try:
    folds = _folds_of(split, given, of_pairs, subjects, pairs, num_videos, seed, test_share)
    of = "pairs" if len(pairs) else "videos"
    several = subjects is not None and len(np.unique(subjects)) > 1
    at_random = split in ("random", "folds") or split == "auto" and not several
    drawn = (f"config.data.test_share={test_share} of {num_videos} videos decides how many are held out: choose another, "
             "or config.data.split=folds, which tests every video once") if at_random else ""
    splits.check_folds(folds, folder, of, drawn=drawn, tests=split != "all")
    if validation_share is None:
      validation_share = splits.default_validation_share(folds, at_random)
    return splits.with_validation(folds, pairs, validation_share, seed, None if at_random or not several else subjects)
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error


def _folds_of(split, given, of_pairs, subjects, pairs, num_videos, seed, test_share):
  """The folds of `load_features`, without validation; `given` are the columns (name, values, "pairs" or "videos")."""
  if split == "given":
    if not given:
      raise ValueError("split='given' needs a split or a fold column in pairs.csv or scores.csv.")
    name, values, of = given[0]
    if "row" in of_pairs:
      return pair_folds.folds_of_rows(pairs, of_pairs["row"], values, of_pairs.get("split"))
    return splits.folds_given(values, pairs, name, of)
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
