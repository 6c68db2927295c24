"""The work of `jaxskill.assess.run`: new videos are scored, explained and drawn; where one fails, the others go on."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxskill import cli, files, stores, written
from jaxskill.assess import arguments, earlier, faces, new_videos
from jaxskill.evaluate import published_weights
from jaxskill.extract.pose import networks, points
from jaxskill.methods import Assessment
from jaxskill.report import explain
from jaxskill.training import finished_run

if TYPE_CHECKING:
  from jaxskill.assess import page

NAME = earlier.ASSESSMENT
FORMAT = 4            # of it, and of comparison.json; what was written beside those of 3 and before is in no record


def run(workdir: str | os.PathLike[str], sources: new_videos.Sources, models: explain.Models, out: str,
        say: Callable[[str], None],
        pages: arguments.Pages = arguments.Pages()) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
  """Assesses videos, see `jaxskill.assess.run` for what is returned and raises a `ValueError`.

  Args:
    workdir: folder of the run.
    sources: the videos, a `new_videos.Sources`; models: who answers, an `explain.Models`.
    out: folder of the answers, or "".
    say: called with each text for the user.
    pages: an `arguments.Pages`.
  """
  if models.free_ends:
    raise ValueError("--free-ends is of jaxskill.compare: of two videos one may show a piece of the other.")
  started = time.perf_counter()
  trained = finished_run.load(workdir, models.checkpoint)
  answers = folder_of(trained, out, earlier.ASSESSMENTS)
  ids, words = explain.choose(trained, models)
  shown = pages.shown(others=bool(sources.extraction.weights))
  say(f"{trained.config.method}, {how_made(trained)}: {cli.plain(words)}, {step_of(trained)}")
  videos, failed = read_videos(trained, sources, out, say, pages)
  folders = {name: answers / place for name, place in files.folders(video.name for video in videos).items()}
  for video in videos:
    check_free(folders[video.name] / NAME, made_from(trained, [video], ids))
  check_pages(answers, folders, videos, pages)
  read, results = time.perf_counter(), {}
  if videos:
    assessments = trained.assess(videos)
    assessed = time.perf_counter()
    for number, video in enumerate(videos):
      one = explain.pick(assessments, ids, number)
      try:
        result = answer_of(trained, video, one, ids, words, models.level) | dict(
            format=FORMAT, shown=shown, checkpoint=trained.checkpoint,
            made_from=made_from(trained, [video], ids), **video.person)
        results[video.name], undrawn = write(folders[video.name], trained, video, one, result, pages)
      except (ValueError, OSError) as error:
        failed[video.name] = str(error)
        continue
      failed |= {f"{what} of {video.name}": why for what, why in undrawn.items()}
      say(explain.describe(results[video.name]))
    say(f"{len(videos)} videos read in {read - started:.1f} s, assessed in {assessed - read:.1f} s, drawn in "
        f"{time.perf_counter() - assessed:.1f} s")
  if pages.hides:
    failed |= earlier.forget(answers, trained.folder, videos, failed, shown,
                             [folders[name] for name in results], say)
  paths, faults = of_all(answers, results, videos, pages) if results and pages.any else ([], {})
  failed |= faults
  for name, why in failed.items():
    say(f"failed: {cli.plain(name)}: {cli.plain(why)}")
  if results:
    paths += [opened(folders[name], pages.html and f"page of {name}" not in failed) for name in results]
    say("wrote " + "\n      ".join(map(cli.plain, paths)))
  return results, failed


def read_videos(trained: finished_run.FinishedRun, sources: new_videos.Sources, out: str, say: Callable[[str], None],
                pages: arguments.Pages) -> tuple[list[new_videos.NewVideo], dict[str, str]]:
  """Returns the videos, what is not to be shown of them hidden, and {video: why it failed}; see `new_videos.read`.

  Raises:
    ValueError: besides, where pictures would be kept with faces as they are: those that a run on frames reads.
  """
  if pages.blurs and sources.videos and (trained.about["extraction"] or {}).get("frames"):
    raise ValueError("--blur-faces: this run is on frames, which would be kept as they are, and nothing says where "
                     "faces are in them; give --videos none, which shows and keeps no picture.")
  videos, failed = new_videos.read(trained, sources, out, say, pages.films != "none")
  if pages.blurs:
    videos = hide_faces(videos, sources.extraction.weights, failed, say)
  return videos, failed


def hide_faces(videos: Sequence[new_videos.NewVideo], weights: str | dict[str, str], failed: dict[str, str],
               say: Callable[[str], None]) -> list[new_videos.NewVideo]:
  """Returns videos with what blurs their faces; those where nothing says where a face is go into `failed`.

  Args:
    weights: with the detector of bodies, as a recipe of poses takes them; "" if faces of others than the person who is
      followed are not looked for.
    failed: {video: why}; say: called with each text for the user.

  Raises:
    ValueError: if the detector is not in the weights.
  """
  source = next(iter(weights.values())) if isinstance(weights, dict) else weights
  detector = networks.Networks(source, ("pose_detection",)) if source else None
  say("--blur-faces: faces of others are looked for in every picture" if detector else
      "--blur-faces: only the face of the person who is followed is blurred; give --weights, the networks of poses, to "
      "have those of others looked for")
  kept = []
  for video in videos:
    try:
      found = faces.of_video(video.file, video.features, video.film_sha256, detector)
      kept.append(dataclasses.replace(video, faces=found, frames=None))
    except (ValueError, OSError) as error:
      failed[video.name] = str(error)
  return kept


def check_pages(answers: pathlib.Path, folders: dict[str, pathlib.Path], videos: Sequence[new_videos.NewVideo],
                pages: arguments.Pages) -> None:
  """Raises a `ValueError` if something that is written for a browser would take the place of a file of the user's."""
  if not pages.any:
    return
  from jaxskill.assess import page  # Jinja2 is an extra
  from jaxskill.assess.page import index, pairs
  given = {video.file.resolve() for video in videos}
  if pages.html:
    written.Record(answers).check(index.NAME)
    for video in videos:
      page.check(folders[video.name], given, pages.films)
  if pages.pairs_to_label:
    pairs.check(answers, len(videos), given)


def of_all(answers: pathlib.Path, results: dict[str, Any], videos: Sequence[new_videos.NewVideo],
           pages: arguments.Pages) -> tuple[list[pathlib.Path], dict[str, str]]:
  """Writes the index and the pairs to label; returns their paths, and {page: why there is none}."""
  found, faults = list[pathlib.Path](), dict[str, str]()
  from jaxskill.assess import page
  from jaxskill.assess.page import pairs
  if pages.html and len(list(answers.rglob(NAME))) > 1:
    try:
      found += page.of_folder(answers, NAME, next(iter(results.values())))
    except (ValueError, OSError) as error:
      faults["index"] = str(error)
  if pages.pairs_to_label:
    try:
      path, unread = pairs.write(answers, results, {video.name: video.file for video in videos}, pages.pairs_to_label,
                                 pages.films, {video.name: video.faces for video in videos})
      found.append(path)
      faults |= {f"film of {name} in {pairs.NAME}": why for name, why in unread.items()}
    except (ValueError, OSError) as error:
      faults[pairs.NAME] = str(error)
  return found, faults


def opened(folder: pathlib.Path, paged: bool) -> pathlib.Path:
  """Returns the file of an answer that a user opens: its page, or where it has none the answer itself."""
  if not paged:
    return folder / NAME
  from jaxskill.assess import page
  return folder / page.NAME


def how_made(trained: finished_run.FinishedRun) -> str:
  """Returns what the models of a run are made of, in words: training, or parameters that it measured as they are."""
  data = cli.plain(trained.about["data"])
  if trained.config.get("evaluate_only"):
    return f"{cli.plain(published_weights.origin(trained.config))} as they are, beside {data}"
  return f"trained on {data}"


def folder_of(trained: finished_run.FinishedRun, out: str, name: str) -> pathlib.Path:
  """Opens the folder of the answers: `out`, or, where that is "", `name` in the run's own; see `files.open_folder`.

  Raises:
    ValueError: besides, if it would be on a store: answers are pages and films, with files that they share.
  """
  if not stores.is_local(out or trained.folder):
    raise ValueError(f"{out or trained.folder}: answers are written to this machine only; name a folder of it with "
                     "--out.")
  return files.open_folder(pathlib.Path(out or trained.folder / name))


def step_of(trained: finished_run.FinishedRun) -> str:
  """Returns the step of training that answers, in words."""
  chosen = "" if trained.checkpoint["chosen"] == "last" else ", the best on validation videos"
  return f"step {trained.checkpoint['step']}{chosen}"


def made_from(trained: finished_run.FinishedRun, videos: Sequence[new_videos.NewVideo],
              ids: np.ndarray) -> dict[str, Any]:
  """Returns what an answer is an answer to: it may be replaced by another one to the same."""
  return dict(features=[video.digest for video in videos], said=[video.known for video in videos],
              params_sha256=trained.about["params_sha256"], models=[int(i) for i in ids])


def check_free(path: pathlib.Path, source: dict[str, Any]) -> None:
  """Raises a `ValueError` if an answer to something else stands there."""
  if not path.exists():
    return
  try:
    stored = json.loads(path.read_text(encoding="utf-8"))
    files.check_format(path, stored, FORMAT, "give another --out, or remove its folder: pages and pictures there may "
                       "show the video", oldest=FORMAT)
    there = stored["made_from"]
  except files.OtherFormat:
    raise
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    there = None
  if there != source:
    raise ValueError(f"{path} is there and answers for another video of this name, another run or other models; "
                     "give another --out, or remove it.")


def write(folder: pathlib.Path, trained: finished_run.FinishedRun, video: new_videos.NewVideo, assessment: Assessment,
          result: dict[str, Any], pages: arguments.Pages) -> tuple[dict[str, Any], dict[str, str]]:
  """Writes one video's answer, pictures and page; returns the answer, and {"pictures" or "page": why it has none}."""
  folder.mkdir(parents=True, exist_ok=True)
  record = written.Record(folder)
  if pages.hides:
    record.remove_old()                    # first, for a command may be stopped while it makes what shows less
  maps, seconds = explain.maps(trained, video, assessment)
  if maps:
    with record.writing("maps.npz") as path, open(path, "xb") as file:
      arrays: dict[str, Any] = maps | {f"{name}_seconds": times for name, times in seconds.items()}
      np.savez_compressed(file, **arrays)
    result = result | dict(maps="maps.npz")
  names, undrawn = draw_into(record, lambda pictures, new: pictures.draw(new, video, result, maps, seconds))
  result = result | dict(pictures=names)
  files.save_json(folder / NAME, result)
  faults = dict(pictures=undrawn) if undrawn else {}
  if pages.html:
    from jaxskill.assess import page  # Jinja2 is an extra
    try:
      page.of_video(record, result, material(video, result, maps, seconds), pages.films)
    except (ValueError, OSError) as error:
      faults["page"] = str(error)
  if pages.hides and (left := record.remove_old(*earlier.MAY_SHOW)):
    faults["earlier files"] = earlier.stay(left)
  return result, faults


def answer_of(trained: finished_run.FinishedRun, video: new_videos.NewVideo, *rest: Any) -> dict[str, Any]:
  """Returns what `explain.answer` does of a video; where that is hidden, without folders of the user's."""
  result = explain.answer(trained, video, *rest)
  folders = () if video.shown and not video.faces else ("file", "run")
  hidden = {name: pathlib.Path(result[name]).name for name in folders}
  return result | hidden


def material(video: new_videos.NewVideo, result: dict[str, Any], maps: dict[str, np.ndarray],
             seconds: dict[str, np.ndarray]) -> page.Material:
  """Returns what a page shows of a video beside its answer: key frames, heat maps, where the body is."""
  from jaxskill.assess import page
  times = page.key_times(result)
  shown, _ = drawn(lambda pictures: pictures.frames(video, times))
  return page.Material(video.file, list(zip(times, shown)), maps, seconds, points.read(video.features), video.faces)


def draw_into(record: written.Record,
              draw: Callable[[Any, pathlib.Path], list[pathlib.Path]]) -> tuple[list[str], str]:
  """Returns the names of the pictures that `draw(pictures, folder)` writes into the folder of a record, see `drawn`."""
  def work(pictures: Any) -> list[str]:
    with files.passing_folder(record.folder) as new:
      paths = draw(pictures, new)
      for path in paths:
        with record.writing(path.name) as target:
          path.replace(target)
    return [path.name for path in paths]
  return drawn(work)


def drawn(draw: Callable[[Any], list[Any]]) -> tuple[list[Any], str]:
  """Returns what `draw(pictures)` does, and ""; or no picture and why: one that fails must not cost the answer."""
  try:
    from jaxskill.assess import pictures  # matplotlib takes half a second to import
    return draw(pictures), ""
  except Exception as error:              # pylint: disable=broad-except   so many things can go wrong in drawing
    return [], f"cannot be drawn ({type(error).__name__}: {error}); the answer itself is complete."
