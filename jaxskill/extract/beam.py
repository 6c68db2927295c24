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

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxskill import cli, files
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.user.extraction_note import EXTRACTION, FORMAT, read_extraction
from jaxskill.data.video.persons import Boxes
from jaxskill.extract import feature_files, kinds, storage, words
from jaxskill.extract.folder import alone, remove_notes_of_shards
from jaxskill.extract.pose import overlay as overlays
from jaxskill.extract.shards import Shard
from jaxskill.extract.worker import PARTS, Job, Loaded, gather_parts


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

  from jaxskill.extract import pipeline
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
    there, notes = _notes(out, scratch)
    with _naming(out, notes):
      config = kind.settle(config, read_extraction(notes), here=False)
    recipe = config.to_dict() | loaded.about
    of_workers = given._replace(detector=_from_anywhere(given.detector),
                                overlay=given.overlay and storage.absolute(given.overlay))
    job = Job(config, _from_anywhere(weights), of_workers, json.loads(files.to_json(recipe)), out)
    known = _known(job, films, there, notes)
    note = dict(format=FORMAT, recipe=recipe, videos=known, failed={}, left_out=left_out)
    words.say_older({video: about for video, about in known.items() if video not in films}, out, say)
    words.say_first(left_out, loaded.about, kind.remarks(loaded.networks), say)
    _put_beside(films, out, kind.notice)
    _save(out, note)
    items = [(video, storage.absolute(address), known.get(video)) for video, address in films.items()]
    try:
      pipeline.run(items, job, options)
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


def _from_anywhere(file: Any) -> Any:
  """Returns the name of a file, or {stream: name}, as workers in other folders need it; what is no file as it is."""
  if isinstance(file, Mapping):
    return {stream: _from_anywhere(one) for stream, one in file.items()}
  return os.path.abspath(file) if os.path.exists(file) else file


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


def _notes(out: str, scratch: pathlib.Path) -> tuple[set[str], pathlib.Path]:
  """Returns ({files of the folder of features}, where on this disk its notes lie)."""
  there, notes = storage.names(out), pathlib.Path(out)
  if not storage.is_local(out):
    notes = scratch / "notes"
    notes.mkdir()
    for name in {EXTRACTION} & there:
      storage.fetch(f"{out}/{name}", notes)
  return there, notes


@contextlib.contextmanager
def _naming(out: str, notes: pathlib.Path) -> Iterator[None]:
  """Lets what the body says is wrong with notes name the folder that they come from."""
  try:
    yield
  except ValueError as error:
    raise ValueError(str(error).replace(str(notes), out)) from error


def _known(job: Job, films: Mapping[str, str], there: set[str], notes: pathlib.Path) -> dict[str, Any]:
  """Returns {video: what the folder's notes say of it} where the features lie there, see `_notes`."""
  with _naming(job.out, notes):
    known = feature_files.known(notes, job.recipe)
    feature_files.check_unknown(notes, films, there.__contains__)
  return {video: about for video, about in known.items() if feature_files.feature_name(video, job.config) in there}


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
