"""Videos of one's own for a finished run: from files to features that the run can read, each with what is odd about it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile

import ml_collections
import numpy as np
from flax import traverse_util

from jaxskill import cli, encoders, extract, feature_files, feed, finished, likeness, wording
from jaxskill.data import derived, extraction_note, frames, names, stream_files, tables, video as video_files
from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.video_files import describe, find_videos, name_of

ORIGIN = ("weights", "random_weights", "weights_sha256", "persons")     # what `jaxskill.extract` adds to a recipe
HARMLESS = ("weights", "weights_from", "name", "batch", "dtype", "draw", "persons")     # what of a recipe may differ


@dataclasses.dataclass
class Own:
  """One video.

  Attributes:
    name, file: the video's, or its features'.
    arrays: {stream: `[T, ...]`}; row_seconds: {stream: seconds from row to row}; row_times: {stream: `[T]`}.
    frames: (`[n, H, W, 3]` uint8, `[n]` seconds) that came with prepared features, or None.
    known: {"category", "difficulty"}, as far as they were said.
    warnings: sentences.
    digest: of the features, see `finished.digest`.
  """

  name: str
  file: pathlib.Path
  arrays: dict
  row_seconds: dict
  row_times: dict
  frames: tuple | None
  known: dict
  warnings: list
  digest: str = ""

  def seconds(self, stream):
    """`[T]` when each row begins."""
    if stream in self.row_times:
      return self.row_times[stream]
    return np.arange(len(self.arrays[stream])) * self.row_seconds[stream]

  def duration(self, stream):
    return len(self.arrays[stream]) * self.row_seconds[stream]


def add_arguments(parser):
  """The arguments that say which run, which videos and how they become features."""
  add = parser.add_argument
  add("videos", nargs="*", type=cli.path, help="video files, or folders of them")
  add("--workdir", required=True, type=cli.path, help="folder of a finished run")
  add("--features", nargs="+", default=[], type=cli.path, metavar="FILE", help="in place of videos: .npy or .npz files, or folders")
  add("--out", default="", type=cli.path, help="folder of the answers; default within WORKDIR")
  add("--weights", action="append", default=[], type=cli.weights, help="of the network that extracts, as the run's features were "
      "made: a file, random:SEED, or STREAM=FILE where a recipe has several; may be repeated")
  add("--extractor", default="", help="recipe, e.g. configs/features/pros_cons.py, where the run does not know its own")
  add("--boxes", default="", type=cli.path, help="csv of where persons are, for recipes that cut them out, see jaxskill.extract")
  add("--detector", default="", type=cli.path, help="ONNX file that finds them, likewise")
  add("--labels", default="", type=cli.path, help="csv: video[,category][,difficulty] of the videos, where the run compares within these")
  add("--category", default="", help="of all videos; --labels says it for each")
  add("--difficulty", default="", help="of all videos; --labels says it for each")
  add("--row-seconds", type=float, default=0.0, help="seconds from one row of features to the next, where they do not say")
  add("--row", default=None, help="row of a table of ablations that answers; default the first")
  add("--criterion", default=None, help="score that is asked for, where a run has learnt several; default the first")
  add("--fold", default=None, help="answer by the models of this fold alone; default the mean of all")
  add("--seed", type=int, default=None, help="answer by the models of this seed alone; default the mean of all")


def read(run, options, out, say):
  """Features of the videos that the options name.

  Returns:
    (list of `Own`, {video: why it failed}).

  Raises:
    ValueError: if nothing can be begun.
  """
  if bool(options.videos) == bool(options.features):
    raise ValueError("give video files, or --features with prepared features, and not both.")
  if not (options.row_seconds == 0 or 0 < options.row_seconds < 1e9):
    raise ValueError(f"--row-seconds={options.row_seconds} must be positive, seconds from one row to the next.")
  known = _known(options)
  if options.features:
    found, failed, notes = _prepared(options.features)
  else:
    found, failed, notes = _extracted(run, options, out, say)
  videos = []
  for name, path in found.items():
    try:
      videos.append(_read_one(run, name, path, notes[name], known(name), options))
    except (ValueError, OSError) as error:
      failed[name] = str(error).removeprefix(f"{path}: ")
  return videos, failed


def _known(options):
  """video -> {"category", "difficulty"} as the options say."""
  common = {name: getattr(options, name) for name in ("category", "difficulty") if getattr(options, name)}
  listed = {}
  if options.labels:
    if not pathlib.Path(options.labels).is_file():
      raise ValueError(f"--labels={options.labels}: there is no such file.")
    table, lines = tables.read_table(options.labels, ("video",), ("category", "difficulty"))
    for number, name in enumerate(table["video"]):
      listed[name] = {column: table[column][number] for column in ("category", "difficulty") if column in table}
      if "difficulty" in listed[name]:
        tables.number(listed[name]["difficulty"], "difficulty", name, f"{options.labels}, line {lines[number]}")
  elif options.difficulty:
    tables.number(options.difficulty, "difficulty", "every", "--difficulty")
  return lambda name: common | listed.get(name, {})


def _unique(found, name, path):
  if name in found:
    raise ValueError(f"{found[name]} and {path} are two videos of one name ({name!r}); rename one.")
  found[name] = path


def _decoded(run, files, failed, options):
  """The same of a run that was trained on frames: they are decoded as its own were."""
  recipe = run.about["extraction"]
  folder = pathlib.Path(options.out) / "frames" if options.out else run.workdir / "own_frames"
  names = {_place(name): name for name in files}
  ready, why = frames.prepare({place: frames.Source(files[name]) for place, name in names.items()}, folder,
                              frames.Sampling(**recipe["frames"] | dict(size=tuple(recipe["frames"]["size"]))))
  ready, why = ({names[place]: one for place, one in found.items()} for found in (ready, why))
  notes = {name: (recipe, dict(row_seconds=one.row_seconds, file=str(files[name]))) for name, one in ready.items()}
  return {name: one.file for name, one in ready.items()}, failed | why, notes


def _prepared(given):
  """({name: file}, {}, {name: (recipe, what `extraction.json` says of the video)}) of prepared features."""
  found, notes = {}, {}
  for one in map(pathlib.Path, given):
    if one.is_dir():
      files = {}
      for path in sorted(one.rglob("*.np[yz]")):
        if not path.name.startswith("._"):                       # what Macs leave beside files on other disks
          _unique(files, names.plain(path.relative_to(one).with_suffix("").as_posix()), path)
      if not files:
        raise ValueError(f"{one}: holds no features (.npy or .npz).")
    elif one.is_file():
      files = {names.plain(one.stem): one}
    else:
      raise ValueError(f"{one}: there are no such features.")
    note = extraction_note.read_extraction(one if one.is_dir() else one.parent)
    for name in files:
      _unique(found, name, files[name])
      notes[name] = (note["recipe"], note["videos"].get(name, {}))
  return found, {}, notes


def _extracted(run, options, out, say):
  """({name: file of features}, {name: why it failed}, {name: (recipe, note)}) of videos; what is there already stays."""
  files, failed = {}, {}
  for one in map(pathlib.Path, options.videos):
    if one.is_dir():
      found, left_out = find_videos(one)
      for line in describe(left_out):
        say(line)
      for name, path in found.items():
        _unique(files, name, path)
    else:
      name = name_of(one)
      _unique(files, name, one)
      if not one.is_file():
        failed[name] = "there is no such file."
  if (run.about["extraction"] or {}).get("frames"):
    return _decoded(run, {name: path for name, path in files.items() if name not in failed}, failed, options)
  config, weights = recipe_of(run, options)
  folder = pathlib.Path(out) / "features" if options.out else run.workdir / "own_features"     # that all commands share
  places = {name: _place(name) for name in files if name not in failed}
  with tempfile.TemporaryDirectory() as links:
    linked = {}
    for name, place in places.items():
      path = files[name]
      ending = path.suffix if path.suffix.lower() in video_files.ENDINGS else ".mp4"         # FFmpeg looks inside
      link = pathlib.Path(links) / f"{place}{ending}"
      try:
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), link)
      except OSError as error:
        failed[name] = f"cannot be read ({error.strerror}); rename it."
      linked[name] = str(link)
    if len(failed) == len(files):
      return {}, failed, {}
    persons = {name: getattr(options, name) for name in ("boxes", "detector") if getattr(options, name)}
    quiet = lambda line: None if line.startswith(("warning: ", "failed: ")) else say(line)      # these come again
    note = extract.run(config, links, folder, weights, say=quiet, **persons)
  failed |= {name: note["failed"][place].replace(linked[name], str(files[name]))
             for name, place in places.items() if place in note["failed"]}
  ready = {name: place for name, place in places.items() if place in note["videos"]}
  failed |= {name: "is no film that FFmpeg can read." for name in places if name not in ready and name not in failed}
  notes = {name: (note["recipe"], note["videos"][place] | dict(file=str(files[name]))) for name, place in ready.items()}
  return {name: feature_files.feature_file(folder, place, config) for name, place in ready.items()}, failed, notes


def _place(name):
  """The name of files about a video, without their ending: the video's own, where an ending can be added to it."""
  usable = all(part.strip(".") and len(os.fsencode(part)) <= 200 for part in name.split("/"))
  return name if usable else wording.folder(name)


def recipe_of(run, options):
  """(config, weights) for `extract.run`: as the run's own features were made.

  Raises:
    ValueError: if that is not known, or the weights given are others.
  """
  recipe, given = run.about["extraction"], dict(one.partition("=")[::2] for one in options.weights if _is_named(one))
  plain = [one for one in options.weights if not _is_named(one)]
  weights = given or (plain[0] if plain else "")
  if recipe and not options.extractor:
    missing = [name for name in ("weights", "weights_sha256", "streams") if name not in recipe]
    if missing:
      raise ValueError(f"the recipe that the run ({run.workdir}) keeps of its features is not whole, it lacks "
                       f"{', '.join(missing)}: give --extractor, the recipe that made them, or prepared features with "
                       "--features.")
    check_weights(recipe, weights)
    return ml_collections.ConfigDict({name: value for name, value in recipe.items() if name not in ORIGIN}), weights
  published = run.about["published"] and f"configs/features/{run.about['published']}.py"
  path = options.extractor or (published if published and pathlib.Path(published).is_file() else "")
  if not path:
    raise ValueError(f"how the features of this run ({run.about['data']}) were made is not known: give --extractor, the "
                     f"recipe that made them ({published or 'e.g. configs/features/pros_cons.py'}), or prepared features "
                     "with --features.")
  config, _ = cli.read_config(path)
  return config, weights


def _is_named(weights):
  return "=" in weights and not pathlib.Path(weights).exists()


def check_weights(recipe, weights):
  """Raises a `ValueError` unless the weights are those of a recipe."""
  several = isinstance(recipe["weights"], dict)
  wanted = {(name,): value for name, value in recipe["weights"].items()} if several else {(): recipe["weights"]}
  for place, name in wanted.items():
    one = weights.get(place[0], "") if place and isinstance(weights, dict) else weights
    flag = f"--weights {place[0]}=" if place else "--weights "
    sha = recipe["weights_sha256"][place[0]] if several else recipe["weights_sha256"]
    if not one:
      raise ValueError(f"{flag.strip()} is not given: the features of this run were made with {name}; give {flag}{name}.")
    if str(name).startswith(encoders.RANDOM) or one.startswith(encoders.RANDOM):
      if one != name:
        raise ValueError(f"{flag}{one}: the features of this run were made with {name}; other weights make other features. "
                         f"Give {flag}{name}.")
      continue
    try:
      with open(one, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
      raise ValueError(f"{flag}{one}: cannot be read ({error}).") from error
    if found != sha:
      raise ValueError(f"{flag}{one} is another file (sha256 {found[:12]}...) than {name} (sha256 {sha[:12]}...), with "
                       "which the features of this run were made; other weights make other features.")


def _plain(recipe):
  """A recipe without what may differ, flat."""
  flat = traverse_util.flatten_dict(json.loads(json.dumps(recipe)), sep=".")
  return {name: value for name, value in flat.items() if not set(name.split(".")) & set(HARMLESS)}


def check_recipe(run, recipe):
  """What to say of the way that features were made: warnings.

  Raises:
    ValueError: if the run's were made in another way.
  """
  own = run.about["extraction"]
  if own and recipe:
    mine, theirs = _plain(recipe), _plain(own)
    for name in {**theirs, **mine}:
      if mine.get(name) != theirs.get(name):
        weights = "weights_sha256" in name or name == "random_weights"
        here, there = ((recipe.get("weights"), own.get("weights")) if weights else
                       (f"{name}={mine.get(name)}", f"{name}={theirs.get(name)}"))
        raise ValueError(f"its features were made with {here}, those of the run with {there}; extract them "
                         "again as the run's.")
    return ["RANDOM weights made the features: for trials only, the score means nothing"] if run.random_weights else []
  warnings = []
  if run.random_weights or recipe.get("random_weights"):
    warnings.append("RANDOM weights made the features: for trials only, the score means nothing")
  if not run.about["simulated"]:
    which = "of the run" if recipe else "of this video" if own else "of this video and of the run"
    warnings.append(f"how the features {which} were made was not noted: they must have been made alike")
  return warnings


def _read_one(run, name, path, note, known, options):
  """The `Own` of one file of features, checked against what the run reads."""
  recipe, about = note
  wanted = run.recorded
  streams, lengths = stream_files.read_streams({name: path}, next(iter(wanted)) if len(wanted) == 1 else "the only array",
                                           run.config.data.get("max_bytes", MAX_BYTES))
  streams, lengths, row_times, between = stream_files.take_times(streams, lengths)
  arrays = {stream: array[0, : lengths[stream][0]] for stream, array in streams.items()}
  for stream, expected in wanted.items():
    if stream not in arrays:
      raise ValueError(f"there is no stream {stream!r}, only {', '.join(arrays)}; this run reads {', '.join(wanted)}: save "
                       "them by these names in one .npz file.")
    shape = list(expected["shape"][1:])
    if list(arrays[stream].shape[1:]) != shape:
      raise ValueError(f"a row of stream {stream!r} is of shape {list(arrays[stream].shape[1:])}, those that the run was "
                       f"trained on of {shape}; extract the features as theirs were.")
  warnings, row_seconds = check_recipe(run, recipe), {}
  warnings += about.get("warnings", [])
  for stream in wanted:
    training = run.recorded_seconds(stream)
    noted = extraction_note.noted_seconds(about, stream, 0.0)
    noted = float(between[stream][0]) if stream in between else noted or options.row_seconds
    row_seconds[stream] = noted or float(np.median(training))
    if not noted and np.ptp(training) > 1e-3:
      warnings.append(f"seconds are a guess: the features do not say how long a row of {stream!r} is, and those of the "
                      f"training videos differ; taken is their median, {row_seconds[stream]:.3g} s (--row-seconds says it)")
  shown = None
  if "frames" in arrays:
    at = row_times["frames"][0] if "frames" in row_times else None
    last = max(len(arrays[stream]) * row_seconds[stream] for stream in wanted)
    shown = arrays["frames"], (np.arange(len(arrays["frames"])) + 0.5) / len(arrays["frames"]) * last if at is None else at
  arrays = {stream: arrays[stream] for stream in wanted}
  times = {stream: times[0, : len(arrays[stream])] for stream, times in row_times.items() if stream in arrays}
  data = run.config.data
  derived.check_rates(data, row_seconds, {stream: run.recorded_seconds(stream) for stream in wanted})
  arrays, row_seconds, times = derived.of_video(data, tuple(run.about["streams"]), arrays, row_seconds, times)
  own = Own(name, pathlib.Path(about.get("file", path)), arrays, row_seconds, times, shown, known, warnings,
            finished.digest(arrays))
  others = run.rows_compared(own) if run.about["groups"] else None
  run.method.check(finished.own_videos(run, [own], str(path)), others)
  if run.config.model.get("with_difficulty") and "difficulty" not in known:
    raise ValueError("its score is execution times difficulty: say the difficulty with --difficulty or --labels.")
  own.warnings += _unlike(run, own)
  return own


def _unlike(run, own):
  """What is odd about a video, beside those that the run was trained on."""
  warnings = []
  first = next(iter(own.arrays))
  same = np.flatnonzero(run.arrays["digests"] == own.digest)
  if same.size:
    warnings.append(f"this is {str(run.arrays['videos'][same[0]])!r}, which the run was trained on: its score is no "
                    "assessment of something new")
  warnings.append(likeness.of_duration(own.duration(first), run.durations(first)))
  for stream, rows in own.arrays.items():
    known = {what: run.arrays[f"{stream}/{what}"] for what in ("mean", "deviation", "distance")}
    far = likeness.distance(feed.channel_sums(rows), (known["mean"], known["deviation"]))
    warnings.append(likeness.of_features(stream, far, known["distance"]))
  return [warning for warning in warnings if warning]
