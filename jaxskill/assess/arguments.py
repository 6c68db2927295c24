"""The command lines of jaxskill.assess and jaxskill.compare: which run, which videos, how they become features."""

from __future__ import annotations

import argparse
import pathlib

from jaxskill import cli


def parser(prog, description):
  """Returns the parser of a command; every name that it fills is an argument of `run`, see `keywords`."""
  made = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
  add = made.add_argument
  add("videos", nargs="*", type=cli.path, help="video files, or folders of them")
  add("--workdir", required=True, type=cli.path, help="folder of a finished run")
  add("--features", nargs="+", default=[], type=cli.path, metavar="FILE",
      help="in place of videos: .npy or .npz files, or folders")
  add("--checkpoint", choices=("last", "validation"), default="last",
      help="whose models answer: those of the end of training, or of the step that was best on validation videos")
  add("--out", default="", type=cli.path, help="folder of the answers; default within WORKDIR")
  add("--weights", action="append", default=[], type=cli.weights,
      help="of the network that extracts, as the run's features were made: a file, random:SEED, or "
      "STREAM=FILE where a recipe has several; may be repeated")
  add("--extractor", default="", help="recipe, e.g. configs/features/pros_cons.py, where the run does not know its own")
  add("--boxes", default="", type=cli.path,
      help="csv of where persons are, for recipes that cut them out, see jaxskill.extract")
  add("--detector", default="", type=cli.path, help="ONNX file that finds them, likewise")
  add("--labels", default="", type=cli.path,
      help="csv: video[,category][,difficulty] of the videos, where the run compares within these")
  add("--category", default="", help="of all videos; --labels says it for each")
  add("--difficulty", default="", help="of all videos; --labels says it for each")
  add("--row-seconds", type=float, default=0.0,
      help="seconds from one row of features to the next, where they do not say")
  add("--row", default=None, help="row of a table of ablations that answers; default the first")
  add("--criterion", default=None, help="score that is asked for, where a run has learnt several; default the first")
  add("--fold", default=None, help="answer by the models of this fold alone; default the mean of all")
  add("--seed", type=int, default=None, help="answer by the models of this seed alone; default the mean of all")
  return made


def keywords(options):
  """Returns what was given on a command line as the arguments of `jaxskill.assess.run` and `jaxskill.compare.run`."""
  return vars(options) | dict(weights=_weights(options.weights))


def _weights(words):
  """What --weights says: {stream: file} where streams are named, else the first, "" where there is none."""
  named = dict(word.split("=", 1) for word in words if _is_named(word))
  return named or next((word for word in words if not _is_named(word)), "")


def _is_named(word):
  return "=" in word and not pathlib.Path(word).exists()
