"""Videos of one's own for a finished run: from files to features that the run can read, and what is odd about each."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill import cli
from jaxskill.data import derived, stream_files, tables
from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.published import official_files
from jaxskill.data.user import extraction_note, motion
from jaxskill.data.video import decoding as video_files
from jaxskill.data.video import frames, video_names
from jaxskill.data.video.persons import Boxes
from jaxskill.data.video.video_files import describe, find_videos, name_of
from jaxskill.extract import feature_files, local, recipes
from jaxskill.extract.pose.choice import Choice
from jaxskill.files import folder, passing_folder
from jaxskill.training import batches, finished_run, similarity, training_videos
from jaxskill.training.finished_run import NewVideo

PERSON = ("subject", "date")     # columns of labels that say who is seen, and when


class Known(NamedTuple):
  """What is said of the videos: a csv table of each, the category and the difficulty of all; "" where nothing is."""

  labels: str = ""
  category: str = ""
  difficulty: str | float = ""


class Extraction(NamedTuple):
  """How videos become features, where the run does not know it itself, see `jaxskill.assess.run`; "" if it does."""

  extractor: str = ""
  weights: str | dict[str, str] = ""
  boxes: str = ""
  detector: str = ""
  person: str = ""


class Sources(NamedTuple):
  """Where videos come from: files and folders, of videos or of prepared features; see `jaxskill.assess.run`."""

  videos: tuple = ()
  features: tuple = ()
  known: Known = Known()
  extraction: Extraction = Extraction()
  row_seconds: float = 0.0


def paths(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
  """Returns a tuple of paths that are given as one or as several, each with `~` as in `cli.path`."""
  return tuple(map(cli.path, [given] if isinstance(given, (str, os.PathLike)) else given))


def read(run: finished_run.FinishedRun, sources: Sources, out: str,
         say: Callable[[str], None], shown: bool = True) -> tuple[list[NewVideo], dict[str, str]]:
  """Reads the features of the videos of `sources`.

  Args:
    out: folder that keeps features of videos, or "" for the run's own.
    shown: whether pictures of them may be shown; where not, none that were decoded for a run on frames are kept.

  Returns:
    (list of `NewVideo`, {video: why it failed}).

  Raises:
    ValueError: if nothing can be begun.
  """
  if bool(sources.videos) == bool(sources.features):
    raise ValueError("give video files, or --features with prepared features, and not both.")
  if not (sources.row_seconds == 0 or 0 < sources.row_seconds < 1e9):
    raise ValueError(f"--row-seconds={sources.row_seconds} must be positive, seconds from one row to the next.")
  known, person = _said(sources.known)
  videos = []
  with passing_folder() as passing:
    if sources.features:
      found, failed, notes = _prepared(sources.features, say)
    else:
      found, failed, notes = _extracted(run, sources.videos, sources.extraction, out, say,
                                        "" if shown else str(passing))
    for name, path in found.items():
      try:
        video = _read_one(run, name, path, notes[name], known(name), sources.row_seconds)
        videos.append(dataclasses.replace(video, person=person.get(name, {}), shown=shown))
      except (ValueError, OSError) as error:
        failed[name] = str(error).removeprefix(f"{path}: ")
  return videos, failed


def _said(said: Known) -> tuple[Callable[..., Any], dict[str, dict]]:
  """(video -> {"category", "difficulty"}, {video: {"subject", "date"}}), texts, as far as they are said."""
  of_all = dict(category=said.category, difficulty=said.difficulty)
  common = {name: str(value) for name, value in of_all.items() if value not in ("", None)}
  listed, person = {}, {}
  if said.labels:
    if not pathlib.Path(said.labels).is_file():
      raise ValueError(f"--labels={said.labels}: there is no such file.")
    table, lines = tables.read_table(said.labels, ("video",), ("category", "difficulty", *PERSON))
    for number, name in enumerate(table["video"]):
      listed[name] = {column: table[column][number] for column in ("category", "difficulty") if column in table}
      place = f"{said.labels}, line {lines[number]}"
      person[name] = {column: table[column][number] for column in PERSON if column in table}
      if "date" in table:
        person[name]["date"] = _day(person[name]["date"], name, place)
      if "difficulty" in listed[name]:
        tables.number(listed[name]["difficulty"], "difficulty", name, place)
  elif "difficulty" in common:
    tables.number(common["difficulty"], "difficulty", "every", "--difficulty")
  return lambda name: common | listed.get(name, {}), person


def _day(text: str, name: str, place: str) -> str:
  """Returns a date of a table as 2024-05-31."""
  try:
    return datetime.date.fromisoformat(text).isoformat()
  except ValueError:
    raise ValueError(f"{place}: the date of {name!r} is {text!r:.40}; expected year, month and day as 2024-05-31."
                     ) from None


def _unique(found: dict[str, pathlib.Path], name: str, path: pathlib.Path) -> None:
  if name in found:
    raise ValueError(f"{found[name]} and {path} are two videos of one name ({name!r}); rename one.")
  found[name] = path


def _decoded(run: finished_run.FinishedRun, files: Mapping[str, pathlib.Path], failed: dict[str, str],
             out: str | os.PathLike[str], say: Callable[[str], None], passing: str) -> tuple:
  """The same of a run that was trained on frames: they are decoded as its own were; into `passing`, if given."""
  recipe = run.about["extraction"]
  kept = pathlib.Path(out) / "frames" if out else pathlib.Path(run.folder) / "own_frames"
  folder = pathlib.Path(passing) / "frames" if passing else kept
  if passing and kept.exists():
    say(f"{kept} holds pictures that earlier commands decoded; remove it if nobody is to see them.")
  names = {_place(name): name for name in files}
  ready, why = frames.prepare({place: frames.Source(files[name]) for place, name in names.items()}, folder,
                              frames.Sampling(**recipe["frames"] | dict(size=tuple(recipe["frames"]["size"]))))
  decoded = {names[place]: one for place, one in ready.items()}
  notes = {name: (recipe, dict(row_seconds=one.row_seconds, file=str(files[name]))) for name, one in decoded.items()}
  unread = {names[place]: reason for place, reason in why.items()}
  return {name: one.file for name, one in decoded.items()}, failed | unread, notes


def _prepared(given: Sequence[str],
              say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """({name: file}, {}, {name: (recipe, what `extraction.json` says of the video)}) of prepared features."""
  found, notes = {}, {}
  for one in map(pathlib.Path, given):
    if one.is_dir() and not motion.is_motion(one):
      files, left_out = _features_in(one)
      for line in describe(left_out):
        say(line)
      if not files:
        raise ValueError(f"{one}: holds no features (.npy or .npz) and no recorded movements (.csv, .trc, .txt, or "
                         "folders of OpenPose).")
    elif one.exists():
      files = {video_names.plain(motion.place_of(one).name): one}
    else:
      raise ValueError(f"{one}: there are no such features.")
    note = extraction_note.read_extraction(one if one.is_dir() else one.parent)
    for name in files:
      _unique(found, name, files[name])
      notes[name] = (note["recipe"], note["videos"].get(name, {}))
  return found, {}, notes


def _features_in(folder: pathlib.Path) -> tuple[dict[str, pathlib.Path], dict[str, str]]:
  """({name: file} of the arrays and recorded movements below a folder, {file: why it is left out})."""
  files: dict[str, pathlib.Path] = {}
  for path in sorted(folder.rglob("*.np[yz]")):
    if not path.name.startswith("._"):                       # what Macs leave beside files on other disks
      _unique(files, video_names.plain(path.relative_to(folder).with_suffix("").as_posix()), path)
  recorded, left_out = motion.recordings_in(folder)
  for name, path in recorded.items():
    if name in files:
      left_out[path.relative_to(folder).as_posix()] = "for there are features (.npy, .npz) of the same name"
    else:
      files[name] = path
  return files, left_out


def _extracted(run: Any, videos: Sequence[pathlib.Path] | tuple[str], extraction: Extraction,
               out: str | os.PathLike[str],
               say: Callable[[str], None],
               passing: str = "") -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """({name: file of features}, {name: why it failed}, {name: (recipe, note)}) of videos; what is there stays.

  Args:
    passing: folder for decoded pictures that are not to be kept, or "".
  """
  files, failed = {}, {}
  for one in map(pathlib.Path, videos):
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
    return _decoded(run, {name: path for name, path in files.items() if name not in failed}, failed, out, say,
                    passing)
  config, weights = recipes.recipe_of(run, extraction.extractor, extraction.weights)
  kept = pathlib.Path(out) if out else pathlib.Path(run.folder)
  folder = kept / ("features" if out else "own_features")                              # that all commands share
  places = {name: _place(name) for name in files if name not in failed}
  with passing_folder() as links:
    linked = {}
    for name, place in places.items():
      path = files[name]
      ending = path.suffix if path.suffix.lower() in video_files.ENDINGS else ".mp4"         # FFmpeg looks inside
      link = links / f"{place}{ending}"
      try:
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), link)
      except OSError as error:
        failed[name] = f"cannot be read ({error.strerror}); rename it."
      linked[name] = str(link)
    if len(failed) == len(files):
      return {}, failed, {}
    boxes = extraction.boxes and Boxes(extraction.boxes).renamed(places)
    person = extraction.person and Choice(extraction.person).renamed(places)
    quiet = lambda line: None if line.startswith(("warning: ", "failed: ")) else say(line)      # these come again
    note = local.run(config, links, folder, weights, boxes=boxes, detector=extraction.detector, person=person,
                     say=quiet)
  failed |= {name: note["failed"][place].replace(linked[name], str(files[name]))
             for name, place in places.items() if place in note["failed"]}
  ready = {name: place for name, place in places.items() if place in note["videos"]}
  failed |= {name: "is no film that FFmpeg can read." for name in places if name not in ready and name not in failed}
  notes = {name: (note["recipe"], note["videos"][place] | dict(file=str(files[name]))) for name, place in ready.items()}
  return {name: feature_files.feature_file(folder, place, config) for name, place in ready.items()}, failed, notes


def _place(name: str) -> str:
  """The name of files about a video, without their ending: the video's own, where an ending can be added to it."""
  usable = all(part.strip(".") and len(os.fsencode(part)) <= 200 for part in name.split("/"))
  return name if usable else folder(name)


def _read_one(run: finished_run.FinishedRun, name: str, path: pathlib.Path, note: tuple[dict[str, Any], dict[str, Any]],
              known: dict[str, Any], said_seconds: float) -> NewVideo:
  """The `NewVideo` of one file of features, checked against what the run reads."""
  recipe, about = note
  wanted = run.recorded
  only = next(iter(wanted)) if len(wanted) == 1 else "the only array"
  data = run.config.data
  streams, lengths, columns = stream_files.read_streams(
      {name: path}, only, data.get("max_bytes", MAX_BYTES), motion.options(data),
      said_seconds or data.get("segment_seconds", 1.0), official_files.text_reader(data.name, wanted, path))
  streams, lengths, row_times, between = stream_files.take_times(streams, lengths)
  arrays = {stream: array[0, : lengths[stream][0]] for stream, array in streams.items()}
  for stream, expected in wanted.items():
    if stream not in arrays:
      raise ValueError(f"there is no stream {stream!r}, only {', '.join(arrays)}; this run reads {', '.join(wanted)}: "
                       "save them by these names in one .npz file.")
    shape = list(expected["shape"][1:])
    if list(arrays[stream].shape[1:]) != shape:
      raise ValueError(f"a row of stream {stream!r} is of shape {list(arrays[stream].shape[1:])}, those that the run "
                       f"was trained on of {shape}; extract the features as theirs were.")
    if stream in columns and expected.get("columns"):
      stream_files.check_columns(columns[stream], expected["columns"],
                                 f"stream {stream!r} has other columns than the run was trained on")
  warnings, row_seconds = recipes.check_recipe(run, recipe), {}
  warnings += about.get("warnings", [])
  for stream in wanted:
    training = run.recorded_seconds(stream)
    noted = extraction_note.noted_seconds(about, stream, 0.0)
    noted = float(between[stream][0]) if stream in between else noted or said_seconds
    row_seconds[stream] = noted or float(np.median(training))
    if not noted and np.ptp(training) > 1e-3:
      warnings.append(f"seconds are a guess: the features do not say how long a row of {stream!r} is, and those of the "
                      f"training videos differ; taken is their median, {row_seconds[stream]:.3g} s (--row-seconds "
                      "says it)")
  shown = None
  if "frames" in arrays:
    at = row_times["frames"][0] if "frames" in row_times else None
    last = max(len(arrays[stream]) * row_seconds[stream] for stream in wanted)
    count = len(arrays["frames"])
    shown = arrays["frames"], (np.arange(count) + 0.5) / count * last if at is None else at
  arrays = {stream: arrays[stream] for stream in wanted}
  times = {stream: times[0, : len(arrays[stream])] for stream, times in row_times.items() if stream in arrays}
  derived.check_rates(data, row_seconds, {stream: run.recorded_seconds(stream) for stream in wanted})
  arrays, row_seconds, times = derived.of_video(data, tuple(run.about["streams"]), arrays, row_seconds, times)
  video = NewVideo(name, pathlib.Path(about.get("file", path)), arrays, row_seconds, times, shown, known, warnings,
                   training_videos.digest(arrays), features=path, film_sha256=about.get("sha256", ""))
  others = run.rows_compared(video) if run.about["groups"] else None
  run.method.check(finished_run.as_dataset(run, [video], str(path)), others)
  if run.config.model.get("with_difficulty") and "difficulty" not in known:
    raise ValueError("its score is execution times difficulty: say the difficulty with --difficulty or --labels.")
  video.warnings += _unlike(run, video)
  return video


def _unlike(run: finished_run.FinishedRun, video: NewVideo) -> list[str]:
  """What is odd about a video, beside those that the run was trained on."""
  warnings: list[str | None] = []
  first = next(iter(video.arrays))
  same = np.flatnonzero(run.arrays["digests"] == video.digest)
  if same.size:
    warnings.append(f"this is {str(run.arrays['videos'][same[0]])!r}, which the run was trained on: its score is no "
                    "assessment of something new")
  warnings.append(similarity.of_duration(video.duration(first), run.durations(first)))
  for stream, rows in video.arrays.items():
    known = {what: run.arrays[f"{stream}/{what}"] for what in ("mean", "deviation", "distance")}
    far = similarity.distance(batches.channel_sums(rows), (known["mean"], known["deviation"]))
    warnings.append(similarity.of_features(stream, far, known["distance"]))
  return [warning for warning in warnings if warning]
