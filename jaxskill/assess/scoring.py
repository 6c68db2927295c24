"""Scores videos of one's own with a finished run, and says what decided.

  python -m jaxskill.assess --workdir RUN video.mp4 [...] [--weights FILE] [--out DIR]
  python -m jaxskill.assess --workdir RUN --features MY_FEATURES

The videos become features as the run's own features were made, with the same weights. For each of them DIR/<video>/ gets
`assessment.json` and pictures; one that cannot be read is listed with the reason, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time

import numpy as np

from jaxskill import cli, files
from jaxskill.assess import new_videos as own_videos
from jaxskill.report import explain
from jaxskill.training import finished_run

NAME = "assessment.json"


def run(options, say=cli.say):
  """Assesses the videos that the options name.

  Args:
    options: the arguments of the command line.

  Returns:
    ({video: the content of its `assessment.json`}, {video, or what of it: why it failed}).

  Raises:
    ValueError: if nothing can be begun, or an answer to something else would be overwritten.
  """
  started = time.perf_counter()
  trained = finished_run.load(options.workdir, options.checkpoint)
  out = folder_of(options, trained)
  ids, words = explain.choose(trained, options)
  say(f"{trained.config.method}, trained on {cli.plain(trained.about['data'])}: {cli.plain(words)}, {step_of(trained)}")
  videos, failed = own_videos.read(trained, options, out, say)
  folders = {name: out / place for name, place in files.folders(video.name for video in videos).items()}
  for video in videos:
    check_free(folders[video.name] / NAME, made_from(trained, [video], ids))
  read, results = time.perf_counter(), {}
  if videos:
    assessments = trained.assess(videos)
    assessed = time.perf_counter()
    for number, video in enumerate(videos):
      one = explain.pick(assessments, ids, number)
      try:
        result = explain.answer(trained, video, one, ids, words)
        result |= dict(checkpoint=trained.checkpoint, made_from=made_from(trained, [video], ids))
        results[video.name], undrawn = write(folders[video.name], trained, video, one, result)
      except (ValueError, OSError) as error:
        failed[video.name] = str(error)
        continue
      failed |= {f"pictures of {video.name}": undrawn} if undrawn else {}
      say(explain.describe(results[video.name]))
    say(f"{len(videos)} videos read in {read - started:.1f} s, assessed in {assessed - read:.1f} s, drawn in "
        f"{time.perf_counter() - assessed:.1f} s")
  for video, why in failed.items():
    say(f"failed: {cli.plain(video)}: {cli.plain(why)}")
  if results:
    say("wrote " + "\n      ".join(cli.plain(folders[video] / NAME) for video in results))
  return results, failed


def folder_of(options, trained, name="assessments"):
  """The folder of the answers, see `report.open_folder`."""
  return files.open_folder(pathlib.Path(options.out or trained.workdir / name))


def step_of(trained):
  """The step of training that answers, in words."""
  chosen = "" if trained.checkpoint["chosen"] == "last" else ", the best on validation videos"
  return f"step {trained.checkpoint['step']}{chosen}"


def made_from(trained, videos, ids):
  """What an answer is an answer to: it may be replaced by another one to the same."""
  return dict(features=[video.digest for video in videos], said=[video.known for video in videos],
              params_sha256=trained.about["params_sha256"], models=[int(i) for i in ids])


def check_free(path, source):
  """Raises a `ValueError` if an answer to something else stands there."""
  if not path.exists():
    return
  try:
    there = json.loads(path.read_text())["made_from"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    there = None
  if there != source:
    raise ValueError(f"{path} is there and answers for another video of this name, another run or other models; "
                     "give another --out, or remove it.")


def write(folder, trained, video, assessment, result):
  """Writes one video's answer and pictures; returns the answer with their names, and why there are none, or ""."""
  folder.mkdir(parents=True, exist_ok=True)
  maps, seconds = explain.maps(trained, video, assessment)
  if maps:
    unfinished = folder / "maps.unfinished"
    with open(unfinished, "wb") as file:
      np.savez_compressed(file, **maps, **{f"{name}_seconds": times for name, times in seconds.items()})
    unfinished.replace(folder / "maps.npz")
    result = result | dict(maps="maps.npz")
  paths, undrawn = drawn(lambda pictures: pictures.draw(folder, video, result, maps, seconds))
  result = result | dict(pictures=[path.name for path in paths])
  files.save_json(folder / NAME, result)
  return result, undrawn


def drawn(draw):
  """What `draw(pictures)` returns and ""; or no picture and why: one that cannot be drawn must not cost the answer."""
  try:
    from jaxskill.assess import pictures  # matplotlib takes half a second to import
    return draw(pictures), ""
  except Exception as error:              # pylint: disable=broad-except   so many things can go wrong in drawing
    return [], f"cannot be drawn ({type(error).__name__}: {error}); the answer itself is complete."


def main(argv=None):
  parser = argparse.ArgumentParser(prog="python -m jaxskill.assess", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  own_videos.add_arguments(parser)
  options = parser.parse_args(argv)
  with cli.command():
    cli.use_compilation_cache()
    _, failed = run(options)
  sys.exit(1 if failed else 0)
