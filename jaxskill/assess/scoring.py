"""The work of `jaxskill.assess.run`: new videos are scored, explained and drawn; where one fails, the others go on."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxskill import cli, files
from jaxskill.assess import new_videos
from jaxskill.evaluate import published_weights
from jaxskill.methods import Assessment
from jaxskill.report import explain
from jaxskill.training import finished_run

NAME = "assessment.json"
FORMAT = 3            # of it, and of comparison.json; in 2 "probability" was the share of the models that agree, 1 and
                      # none had timelines in place of attention and curves


def run(workdir: str | os.PathLike[str], sources: new_videos.Sources, models: explain.Models, out: str,
        say: Callable[[str], None]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
  """Assesses videos, see `jaxskill.assess.run` for what is returned and raises a `ValueError`.

  Args:
    workdir: folder of the run.
    sources: the videos, a `new_videos.Sources`; models: who answers, an `explain.Models`.
    out: folder of the answers, or "".
    say: called with each text for the user.
  """
  started = time.perf_counter()
  trained = finished_run.load(workdir, models.checkpoint)
  answers = folder_of(trained, out, "assessments")
  ids, words = explain.choose(trained, models)
  say(f"{trained.config.method}, {how_made(trained)}: {cli.plain(words)}, {step_of(trained)}")
  videos, failed = new_videos.read(trained, sources, out, say)
  folders = {name: answers / place for name, place in files.folders(video.name for video in videos).items()}
  for video in videos:
    check_free(folders[video.name] / NAME, made_from(trained, [video], ids))
  read, results = time.perf_counter(), {}
  if videos:
    assessments = trained.assess(videos)
    assessed = time.perf_counter()
    for number, video in enumerate(videos):
      one = explain.pick(assessments, ids, number)
      try:
        result = explain.answer(trained, video, one, ids, words, models.level) | dict(
            format=FORMAT, checkpoint=trained.checkpoint, made_from=made_from(trained, [video], ids))
        results[video.name], undrawn = write(folders[video.name], trained, video, one, result)
      except (ValueError, OSError) as error:
        failed[video.name] = str(error)
        continue
      failed |= {f"pictures of {video.name}": undrawn} if undrawn else {}
      say(explain.describe(results[video.name]))
    say(f"{len(videos)} videos read in {read - started:.1f} s, assessed in {assessed - read:.1f} s, drawn in "
        f"{time.perf_counter() - assessed:.1f} s")
  for name, why in failed.items():
    say(f"failed: {cli.plain(name)}: {cli.plain(why)}")
  if results:
    say("wrote " + "\n      ".join(cli.plain(folders[name] / NAME) for name in results))
  return results, failed


def how_made(trained: finished_run.FinishedRun) -> str:
  """Returns what the models of a run are made of, in words: training, or parameters that it measured as they are."""
  data = cli.plain(trained.about["data"])
  if trained.config.get("evaluate_only"):
    return f"{cli.plain(published_weights.origin(trained.config))} as they are, beside {data}"
  return f"trained on {data}"


def folder_of(trained: finished_run.FinishedRun, out: str, name: str) -> pathlib.Path:
  """Opens the folder of the answers: `out`, or, where that is "", `name` in the run's own; see `files.open_folder`."""
  return files.open_folder(pathlib.Path(out or trained.workdir / name))


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
    files.check_format(path, stored, FORMAT, "give another --out")
    there = stored["made_from"]
  except files.OtherFormat:
    raise
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    there = None
  if there != source:
    raise ValueError(f"{path} is there and answers for another video of this name, another run or other models; "
                     "give another --out, or remove it.")


def write(folder: pathlib.Path, trained: finished_run.FinishedRun, video: new_videos.NewVideo, assessment: Assessment,
          result: dict[str, Any]) -> tuple[dict[str, Any], str]:
  """Writes one video's answer and pictures; returns the answer with their names, and why there are none, or ""."""
  folder.mkdir(parents=True, exist_ok=True)
  maps, seconds = explain.maps(trained, video, assessment)
  if maps:
    with files.writing(folder / "maps.npz") as file:
      arrays: dict[str, Any] = maps | {f"{name}_seconds": times for name, times in seconds.items()}
      np.savez_compressed(file, **arrays)
    result = result | dict(maps="maps.npz")
  paths, undrawn = drawn(lambda pictures: pictures.draw(folder, video, result, maps, seconds))
  result = result | dict(pictures=[path.name for path in paths])
  files.save_json(folder / NAME, result)
  return result, undrawn


def drawn(draw: Callable[[Any], list[pathlib.Path]]) -> tuple[list[pathlib.Path], str]:
  """Returns what `draw(pictures)` does, and ""; or no picture and why: one that fails must not cost the answer."""
  try:
    from jaxskill.assess import pictures  # matplotlib takes half a second to import
    return draw(pictures), ""
  except Exception as error:              # pylint: disable=broad-except   so many things can go wrong in drawing
    return [], f"cannot be drawn ({type(error).__name__}: {error}); the answer itself is complete."
