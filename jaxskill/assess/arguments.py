"""What assess and compare are asked: the arguments of the functions, and the command lines that give the same."""

from __future__ import annotations

import argparse
import collections
import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from jaxskill import cli

if TYPE_CHECKING:                # they import JAX, which a command does after it listens to signals
  from jaxskill.assess import new_videos
  from jaxskill.report import explain

SHOWN = ("nothing", "blurred faces", "one blurred face", "everything")    # what answers may show, from the least
FILMS = ("link", "copy", "none")       # how a page comes by its videos
LEVEL = 0.9           # conformal.LEVEL, which imports NumPy
Path = str | os.PathLike[str]
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Pages(NamedTuple):
  """What is written for a browser, and what may be seen of the videos.

  Attributes:
    html: whether every answer gets a page.
    films: how pages come by their videos: "link", "copy", or "none": then nothing shows them.
    pairs: on a page to label pairs of videos on, 0 for no such page.
    blur_faces: whether faces are made unrecognizable in all that shows a video, see `faces`.
  """

  html: bool = False
  films: str = "link"
  pairs_to_label: int = 0
  blur_faces: bool = False

  @property
  def blurs(self) -> bool:
    """Says whether something is shown, with blurred faces."""
    return self.blur_faces and self.films != "none"

  @property
  def hides(self) -> bool:
    """Says whether earlier answers about these videos may show what is hidden now."""
    return self.blur_faces or self.films == "none"

  def shown(self, others: bool) -> str:
    """Returns what may be seen of the videos, one of `SHOWN`.

    Args:
      others: whether faces of others than the person who is followed are looked for, to be blurred.
    """
    if not self.blurs:
      return SHOWN[0 if self.films == "none" else -1]
    return SHOWN[1 if others else 2]

  @property
  def any(self) -> bool:
    """Says whether a page is asked for."""
    return self.html or self.pairs_to_label > 0


class Question(NamedTuple):
  """A run, videos, which of its models answer, where the answers go ("": into the run's folder), who is told, pages."""

  workdir: Path
  sources: new_videos.Sources
  models: explain.Models
  out: str
  say: Callable[[str], None]
  pages: Pages = Pages()


def question(
    workdir: Path, videos: Path | Sequence[Path] = (), *, features: Path | Sequence[Path] = (), out: Path = "",
    weights: str | dict[str, str] = "", extractor: str = "", boxes: Path = "", detector: Path = "", person: str = "",
    labels: Path = "", category: str = "", difficulty: str | float = "", row_seconds: float = 0.0,
    row: str | None = None, criterion: str | None = None, fold: str | int | None = None, seed: int | None = None,
    checkpoint: str = "last", level: float = LEVEL, html: bool = False, films: str = "link",
    pairs_to_label: int = 0, blur_faces: bool = False, free_ends: bool = False,
    say: Callable[[str], None] = cli.say) -> Question:
  """Returns what is asked, given the arguments of `jaxskill.assess.run` and `jaxskill.compare.run`: see there.

  Raises:
    ValueError: for a level that is none, and for pages that cannot be written as they are asked for.
  """
  from jaxskill.assess import new_videos
  from jaxskill.data.video import decoding
  from jaxskill.evaluate import conformal
  from jaxskill.report import explain
  conformal.check_level(level)
  known = new_videos.Known(labels=cli.path(labels), category=category, difficulty=difficulty)
  extraction = new_videos.Extraction(extractor=extractor, weights=weights, boxes=cli.path(boxes),
                                     detector=cli.path(detector), person=cli.path(person))
  sources = new_videos.Sources(new_videos.paths(videos), new_videos.paths(features), known, extraction, row_seconds)
  models = explain.Models(row=row, criterion=criterion, fold=fold, seed=seed, checkpoint=checkpoint, level=level,
                          free_ends=free_ends)
  pages = Pages(html, films, pairs_to_label, blur_faces)
  if pages.any:
    from jaxskill.assess import page
    page.html.require()
  if pages.blurs:
    decoding.require_av()
  if films not in FILMS:
    raise ValueError(f"--videos={films} is unknown; use {', '.join(FILMS)}.")
  if pairs_to_label < 0 or pairs_to_label and films == "none":
    raise ValueError(f"--pairs-to-label={pairs_to_label}: a number of pairs is expected, and --videos link or copy: "
                     "both videos are shown.")
  return Question(workdir, sources, models, cli.path(out), say, pages)


def takes(make: Callable[Given, Question]) -> Callable[[Callable[[Question], Answer]], Callable[Given, Answer]]:
  """Returns a decorator: a function of a question takes the arguments of `make` in its place, which makes it."""
  def decorate(work: Callable[[Question], Answer]) -> Callable[Given, Answer]:
    @functools.wraps(work)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
      return work(make(*args, **kwargs))
    returns = inspect.signature(work).return_annotation
    signature = inspect.signature(make).replace(return_annotation=returns)
    setattr(run, "__signature__", signature)              # what `help` shows
    return run
  return decorate


def parser(prog: str, description: str) -> argparse.ArgumentParser:
  """Returns the parser of a command; every name that it fills is an argument of `question`, with the same default."""
  made = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
  add = made.add_argument
  add("videos", nargs="*", type=cli.path, help="video files, or folders of them")
  add("--workdir", required=True, type=cli.path, help="folder of a finished run")
  add("--features", nargs="+", type=cli.path, metavar="FILE",
      help="in place of videos: .npy or .npz files, or folders")
  add("--checkpoint", choices=("last", "validation"),
      help="whose models answer: those of the end of training, or of the step that was best on validation videos")
  add("--out", type=cli.path, help="folder of the answers; default within WORKDIR")
  add("--weights", action="append", type=cli.weights,
      help="of the network that extracts, as the run's features were made: a file, random:SEED, or "
      "STREAM=FILE where a recipe has several; may be repeated")
  add("--extractor", help="recipe, e.g. configs/features/pros_cons.py, where the run does not know its own")
  add("--boxes", type=cli.path,
      help="csv of where persons are, for recipes that cut them out, see jaxskill.extract")
  add("--detector", type=cli.path, help="ONNX file that finds them, likewise")
  add("--person", type=cli.path, help="who is followed, for recipes of poses: x,y in pixels, or a csv table, likewise")
  add("--labels", type=cli.path,
      help="csv: video[,category][,difficulty][,subject][,date] of the videos; the first two where the run compares "
      "within these, the others, date as 2024-05-31, to show a person over time")
  add("--category", help="of all videos; --labels says it for each")
  add("--difficulty", help="of all videos; --labels says it for each")
  add("--row-seconds", type=float,
      help="seconds from one row of features to the next, where they do not say")
  add("--row", help="row of a table of ablations that answers; default the first")
  add("--criterion", help="score that is asked for, where a run has learnt several; default the first")
  add("--fold", help="answer by the models of this fold alone; default the mean of all")
  add("--seed", type=int, help="answer by the models of this seed alone; default the mean of all")
  add("--level", type=float,
      help="share of new videos whose range is to hold their score, where the run can say it; default 0.9")
  add("--html", action="store_true", help="write a page beside each answer that opens in a browser without a network")
  add("--videos", dest="films", choices=FILMS,
      help="of pages: hard links to the videos, or copies; none shows no picture of them at all (link)")
  add("--pairs-to-label", type=int, metavar="N",
      help="write a page to say on which of two videos is better, N times, always of the pair that is least certain")
  add("--blur-faces", action="store_true",
      help="where features are poses: make faces unrecognizable in all films and pictures that are written")
  add("--free-ends", action="store_true",
      help="of two videos that are compared directly, the longer one shows more, before or after: align a piece of it")
  made.set_defaults(**{name: argument.default for name, argument in inspect.signature(question).parameters.items()
                       if name not in ("workdir", "say")} | dict(weights=[]))          # it is appended to
  return made


def keywords(options: argparse.Namespace) -> dict[str, Any]:
  """Returns what was given on a command line as the arguments of `question`.

  Raises:
    ValueError: for several weights that do not each name another stream.
  """
  return vars(options) | dict(weights=_weights(options.weights))


def _weights(words: Sequence[str]) -> dict[str, str] | str:
  """Returns what --weights says: {stream: file} where streams are named, else the file, "" where there is none."""
  if len(words) <= 1 and not any(map(_is_named, words)):
    return words[0] if words else ""
  unnamed = [word for word in words if not _is_named(word)]
  if unnamed:
    raise ValueError(f"--weights={unnamed[0]}: of several weights each must say its stream, e.g. --weights rgb=FILE "
                     "--weights flow=FILE; or give one alone.")
  named = [word.split("=", 1) for word in words]
  stream, count = collections.Counter(stream for stream, _ in named).most_common(1)[0]
  if count > 1:
    given = ", ".join(file for name, file in named if name == stream)
    raise ValueError(f"--weights: stream {stream!r} has {count} files, {given}; give one.")
  return dict(named)


def _is_named(word: str) -> bool:
  return "=" in word and not pathlib.Path(word).exists()
