"""`jaxskill.extract` as an Apache Beam pipeline: each worker fetches, decodes and encodes whole videos.

Needs Beam (pip install 'jaxskill[beam]'), and jaxskill on every worker, but no disk that they share: videos, weights,
detectors and the folder of features may have addresses that Beam's own file systems read (gs://, s3://). A worker
copies a video to its own disk, and removes the copy when its features are written; beside them it writes what is noted
of the video, one small file each. A bundle that a runner gives out again, and a pipeline that is started again, find
these and go on; what is written twice is the same file. The program that started the pipeline brings the notes
together, those of a pipeline that was stopped too.

Options after `--` are Beam's; ours among them are --accelerator and --min_ram, hints for the machines of the workers:

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos gs://B/videos --out gs://B/features \\
      --weights gs://B/rgb_imagenet.pt --runner beam -- --runner=DataflowRunner --project=P --region=R \\
      --temp_location=gs://B/tmp --sdk_container_image=IMAGE \\
      "--accelerator=type:nvidia-l4;count:1;install-nvidia-driver" --min_ram=16GB
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxskill import cli, files, pretrained
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.user.extraction_note import EXTRACTION, FORMAT, are_alike
from jaxskill.data.video.persons import Boxes
from jaxskill.data.video.timeline import READING
from jaxskill.extract import extraction, feature_files, kinds, storage, words
from jaxskill.extract.folder import alone, remove_notes_of_shards
from jaxskill.extract.pose import overlay as overlays
from jaxskill.extract.shards import Shard

PARTS = "extraction.parts"     # folder of what workers note, of each video
_READERS = 16                  # of these, at a time

Item = tuple[str, str, Any]    # (video, its address, what a note says of it or None)


class Job(NamedTuple):
  """What all workers are told.

  Attributes:
    config, weights, given: see `jaxskill.extract.run` and `kinds.Given`.
    recipe: of the note.
    out: address of the folder of features.
  """

  config: ConfigDict
  weights: str | Mapping[str, str]
  given: kinds.Given
  recipe: Mapping[str, Any]
  out: str


class Loaded:
  """The networks of a recipe and what finds persons, from wherever their files lie.

  Attributes:
    networks, persons: see `kinds.Kind`.
    about: what the note says of them.
  """

  def __init__(self, config: ConfigDict, weights: str | Mapping[str, str], given: kinds.Given,
               scratch: pathlib.Path) -> None:
    """
    Args:
      config, weights, given: see `Job`.
      scratch: a folder for files that are fetched; it is needed as long as the networks are.

    Raises:
      ValueError: if a file cannot be read, or is not what the recipe wants.
    """
    def here(address: str) -> str:
      if storage.is_local(address):
        return address
      try:
        return str(storage.fetch(address, pathlib.Path(tempfile.mkdtemp(dir=scratch))))
      except Exception as error:
        raise ValueError(f"{address}: cannot be read ({_why(error)}).") from error
    kind = kinds.of(config)
    local = here(weights) if isinstance(weights, str) else {stream: here(one) for stream, one in weights.items()}
    self.networks, origin = kind.load(config, local)
    self.persons, about = kind.look(config, self.networks, given._replace(detector=here(given.detector)))
    self.about = origin | about


def require() -> None:
  """Raises a `ValueError` where Beam is missing."""
  if importlib.util.find_spec("apache_beam") is None:
    raise ValueError("--runner beam needs Apache Beam, which is not installed: pip install 'jaxskill[beam]'.")


def run(config: ConfigDict, videos: str, out: str, weights: str | Mapping[str, str], given: kinds.Given,
        options: Sequence[str], say: words.Say) -> dict[str, Any]:
  """Extracts the features of all videos as a pipeline; see `jaxskill.extract.local.run`.

  Args:
    config, videos, out, weights: paths, or addresses of Beam's file systems.
    given: what else the command was told.
    options: of the pipeline, as on Beam's command line.
    say: called with each line for the user.

  Returns:
    The content of `extraction.json`.

  Raises:
    ValueError: if nothing can be begun, Beam is missing or the pipeline fails; what was finished then is kept.
  """
  require()
  from apache_beam.options.pipeline_options import PipelineOptions

  from jaxskill.extract import beam_worker
  start, kind, out = time.monotonic(), kinds.of(config), storage.absolute(out)
  if given.boxes and not isinstance(given.boxes, Boxes):
    given = given._replace(boxes=Boxes(str(given.boxes)))                            # workers do not see the table
  storage.use(PipelineOptions(list(options)))
  films, left_out = storage.find_videos(storage.absolute(videos))
  _check_overlay(given.overlay, videos, films)
  with contextlib.ExitStack() as held:
    scratch = held.enter_context(files.passing_folder())
    loaded = Loaded(config, weights, given, scratch)
    _take(out, given, films, held, say)
    recipe = config.to_dict() | loaded.about
    job = Job(config, weights, given, json.loads(files.to_json(recipe)), out)
    known, there = _known(job, films, scratch)
    note = dict(format=FORMAT, recipe=recipe, videos=known, failed={}, left_out=left_out)
    words.say_older({video: about for video, about in known.items() if video not in films}, out, say)
    words.say_first(left_out, loaded.about, kind.remarks(loaded.networks), say)
    _put_beside(films, out, kind.notice)
    _save(out, note)
    items = [(video, storage.absolute(address), known.get(video)) for video, address in films.items()]
    try:
      beam_worker.pipe(items, job, options)
    except Exception as error:      # whatever a runner raises; what is finished is kept
      _gather(note, job, films, there)
      kept, why = len(note["videos"].keys() & films.keys()), str(error).strip().rpartition("\n")[-1][:300]
      raise ValueError(f"the Beam pipeline failed ({type(error).__name__}: {why}); {kept} of {len(films)} videos are "
                       "done. Started again, it does the rest.") from error
    _gather(note, job, films, there, lost="no worker noted it; start again.")
    if storage.is_local(out):       # elsewhere nothing is locked: another pipeline may not have read them yet
      shutil.rmtree(f"{out}/{PARTS}", ignore_errors=True)
  words.say_last(note, out, EXTRACTION, time.monotonic() - start, say)
  return note


def _check_overlay(overlay: str, videos: str, films: Mapping[str, str]) -> None:
  """Raises a `ValueError` if overlays cannot be written, or would take the place of other files."""
  if not overlay:
    return
  if not storage.is_local(overlay):
    raise ValueError(f"--overlay {overlay}: is written to a disk that all workers share; give a folder there, or leave "
                     "it out.")
  overlays.check(overlay, videos, {video: pathlib.Path(address) for video, address in films.items()})


def _take(out: str, given: kinds.Given, films: Mapping[str, str], held: contextlib.ExitStack, say: words.Say) -> None:
  """Takes the folder of features for this extraction alone, where that can be done."""
  if given.person and (strangers := given.person.strangers(films)):  # type: ignore[attr-defined]  # a Choice
    say(cli.plain(strangers))
  if not storage.is_local(out):
    say(f"not locked: {out} is not on a disk; of two extractions at once into it each makes all videos, and "
        f"{EXTRACTION} is written by who ends last; started again, it holds what both made")
    return
  folder = files.open_folder(pathlib.Path(out))
  held.enter_context(alone(folder, given.overlay, Shard(), say))
  feature_files.check_names(folder, {video: pathlib.Path(address) for video, address in films.items()})


def _known(job: Job, films: Mapping[str, str], scratch: pathlib.Path) -> tuple[dict[str, Any], set[str]]:
  """Returns ({video: what the folder's notes say of it} where the features lie there, {files of the folder})."""
  there, notes = storage.names(job.out), pathlib.Path(job.out)
  if not storage.is_local(job.out):
    notes = scratch / "notes"
    notes.mkdir()
    for name in {EXTRACTION} & there:
      storage.fetch(f"{job.out}/{name}", notes)
  try:
    known = feature_files.known(notes, job.recipe)
    feature_files.check_unknown(notes, films, there.__contains__)
  except ValueError as error:
    raise ValueError(str(error).replace(str(notes), job.out)) from error
  known = {video: about for video, about in known.items() if feature_files.feature_name(video, job.config) in there}
  return known, there


def _put_beside(films: Mapping[str, str], out: str, notice: str) -> None:
  """Writes the notice of a licence, and copies the note beside simulated videos: their features are called so too."""
  if notice:
    storage.write(out, feature_files.LICENCE, notice.encode())
  places = (os.path.realpath(address) if storage.is_local(address) else address for address in films.values())
  for folder in sorted({place.rpartition("/")[0] for place in places}):
    if (drawn := storage.read(folder, SIMULATED_NOTE)) is not None:
      storage.write(out, SIMULATED_NOTE, drawn)


def _save(out: str, note: Mapping[str, Any]) -> None:
  """Writes the note, in place of those of shards too: it holds what they say."""
  storage.write(out, EXTRACTION, files.to_json(note, indent=1).encode())
  if storage.is_local(out):
    remove_notes_of_shards(pathlib.Path(out))


def _gather(note: dict[str, Any], job: Job, films: Mapping[str, str], there: set[str], lost: str = "") -> None:
  """Adds to a note what workers noted, of films also why they failed, and writes it.

  Args:
    note: is changed.
    job, films: of the extraction.
    there: files that were in the folder when it began.
    lost: why those failed of which nothing is noted; "": they wait.
  """
  done, failed = gather_parts(job.out, job.recipe)
  done = {video: about for video, about in done.items()
          if video in films or feature_files.feature_name(video, job.config) in there}
  note["videos"] = dict(sorted((note["videos"] | done).items()))
  if lost:
    failed = dict.fromkeys(films.keys() - note["videos"].keys(), lost) | failed
  for video in sorted(films.keys() & failed.keys()):
    note["videos"].pop(video, None)
    stale = feature_files.feature_name(video, job.config)
    note["failed"][video] = failed[video] + (
        f" {job.out}/{stale} is of another version of this video; remove it." if stale in there else "")
  _save(job.out, note)


def gather_parts(out: str, recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
  """Reads what workers noted in a folder, of the same recipe.

  Returns:
    ({video: what is noted of it}, {video: why it failed}).
  """
  done, failed = {}, {}
  names = sorted(name for name in storage.names(f"{out}/{PARTS}") if name.endswith(".json"))
  with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
    parts = list(readers.map(lambda name: _part(storage.read(f"{out}/{PARTS}", name), recipe), names))
  for part in parts:
    if "about" in part:
      done[part["video"]] = part["about"]
    elif part:
      failed[part["video"]] = part["failed"]
  return done, failed


def _part(content: bytes | None, recipe: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what a worker noted; {} of what is damaged, of an older version, or of another recipe."""
  try:
    part = json.loads(content or b"")
    whole = isinstance(part["video"], str) and are_alike(part["recipe"], recipe) and (
        isinstance(part["failed"], str) if "failed" in part else isinstance(part["about"]["sha256"], str))
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return {}
  return part if whole else {}


def extract_one(item: Item, job: Job, encode: Mapping[str, Callable[..., Any]], persons: Any) -> dict[str, Any]:
  """Makes the features of one video, unless they are there, and notes it.

  Args:
    item: the video.
    job: see `Job`.
    encode: {stream: items -> features}.
    persons: see `jaxskill.extract.extraction.Stream`.

  Returns:
    {"about": what is noted of it} or {"failed": why}; it is written too.
  """
  video, address, known = item
  folder, name = f"{job.out}/{PARTS}", f"{hashlib.sha256(os.fsencode(video)).hexdigest()}.json"
  earlier = _part(storage.read(folder, name), job.recipe)
  with files.passing_folder() as scratch:
    try:
      film = storage.fetch(address, scratch)
      content = dict(sha256=pretrained.digest(film), reading=READING, **(persons.about(video) if persons else {}))
    except Exception as error:   # pylint: disable=broad-except   whatever a file system raises costs this video alone
      found = dict(failed=f"cannot be read ({_why(error)}); change its permissions, or copy it again.")
    else:
      ready = [dict(about=about) for about in (earlier.get("about"), known) if _is_ready(about, content, video, job)]
      found = ready[0] if ready else _made(video, film, address, content, job, encode, persons)
  part = dict(video=video, recipe=job.recipe, **found)
  if part != earlier:
    storage.write(folder, name, files.to_json(part).encode())
  return found


def _is_ready(about: Any, content: Mapping[str, Any], video: str, job: Job) -> bool:
  """Returns whether features that something is noted of are there, and of the same content."""
  return (about is not None and content.items() <= about.items()
          and storage.exists(job.out, feature_files.feature_name(video, job.config))
          and (not job.given.overlay or os.path.isfile(f"{job.given.overlay}/{video}.mp4")))


def _made(video: str, film: pathlib.Path, address: str, content: Mapping[str, Any], job: Job,
          encode: Mapping[str, Callable[..., Any]], persons: Any) -> dict[str, Any]:
  """Writes the features of a video; returns {"about": what is noted of it} or {"failed": why}."""
  features = feature_files.Features(job.config, encode, job.out, video)
  extraction.decode_one(film, video, job.config, persons, features.take)
  if features.failed:
    return dict(failed=features.failed)
  return dict(about=dict(file=address.rpartition("/")[2], **content, **features.about))


def _why(error: Exception) -> str:
  return getattr(error, "strerror", "") or f"{type(error).__name__}: {error}"[:300]
