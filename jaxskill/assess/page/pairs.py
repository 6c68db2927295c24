"""Which pairs of videos a person should judge next: a page that shows two films at a time and saves pairs.csv.

The first pair follows from the scores of the models, each further one from the answers too: pairs.js has the rule, and
`prior` and `uncertain` are its beginning.

n models, V videos.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxskill import files, written
from jaxskill.assess.faces import Faces
from jaxskill.assess.page import films, html
from jaxskill.assess.page.texts import TEXTS

NAME, FOLDER = "pairs.html", "pairs"
SLOPE = 2.0           # of who is preferred: of two videos one standard deviation apart the better one in 88 %
LEAST = 0.1           # spread of the models about a video, in standard deviations: an answer can always change it


def prior(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns what the models believe of the videos: means and spreads, `[V]` each.

  The unit makes the difference of two means the logit of the chance that a person prefers the first: the standard
  deviation of the scores over the videos, by `SLOPE`. What a model adds to all scores decides no pair and is no spread.
  Where one model answers, its spread is unknown and taken for that standard deviation.

  Args:
    scores: `[n, V]`.
  """
  centered = scores - scores.mean(axis=1, keepdims=True)
  means = centered.mean(axis=0)
  deviation = means.std() or 1.0
  spreads = centered.std(axis=0, ddof=1) / deviation if len(scores) > 1 else np.ones_like(means)
  return SLOPE * means / deviation, SLOPE * np.maximum(spreads, LEAST)


def uncertain(means: np.ndarray, spreads: np.ndarray, count: int) -> list[tuple[int, int]]:
  """Returns the pairs of videos that a first answer would tell most about, the foremost first.

  That is p (1 - p) s², of the chance p that the first of them is better and of the variance s² of their difference: how
  far an answer is expected to narrow it, to first order.

  Args:
    means, spreads: of `prior`; count: at most so many pairs.
  """
  first, second = np.triu_indices(len(means), 1)
  variances = spreads[first] ** 2 + spreads[second] ** 2
  gaps = (means[first] - means[second]) / np.sqrt(1 + np.pi * variances / 8)      # mean of a logistic over a normal
  chances = 1 / (1 + np.exp(-gaps))
  order = np.argsort(-chances * (1 - chances) * variances, kind="stable")[:count]
  return list(zip(first[order].tolist(), second[order].tolist()))


def check(folder: pathlib.Path, count: int, sources: Collection[pathlib.Path]) -> None:
  """Raises a `ValueError` if the page of `count` videos would take the place of files that are not ours.

  Args:
    sources: the files of all videos that are asked for, resolved.
  """
  written.Record(folder).check(NAME)
  beside = written.Record(folder / FOLDER)
  for number in range(count):
    films.check(beside, str(number), sources)


def remove(folder: pathlib.Path) -> list[str]:
  """Removes the page and its films, as far as they are ours; returns the paths of those that stay."""
  there = os.path.lexists(folder / NAME)
  written.Record(folder).remove(NAME)
  left = [str(folder / NAME)] if os.path.lexists(folder / NAME) else []
  left += written.Record(folder / FOLDER).remove_old(*films.PLAYED if there else ())    # else they may be another's
  with contextlib.suppress(OSError):              # not there, or not empty
    (folder / FOLDER).rmdir()
  return left


def write(folder: pathlib.Path, results: Mapping[str, Mapping[str, Any]], sources: Mapping[str, pathlib.Path],
          count: int, how: str, faces: Mapping[str, Faces | None] | None = None) -> tuple[pathlib.Path, dict[str, str]]:
  """Writes the page, and its videos beside it into `pairs/`: those of the `count` pairs that are foremost at first.

  Args:
    results: {video: what `explain.answer` says of it}; sources: {video: its file}.
    count: of pairs that are asked for, at most; how: see `arguments.Pages`.
    faces: {video: what blurs its faces, or None}.

  Returns:
    The page's path, and {video: why it cannot be shown}; others take the place of such a one.

  Raises:
    ValueError: if there are fewer than two videos that can be shown.
  """
  (folder / FOLDER).mkdir(exist_ok=True)
  beside, placed, failed = written.Record(folder / FOLDER), dict[str, films.Film](), dict[str, str]()
  numbers = {name: number for number, name in enumerate(results)}
  while True:                                     # until all that the pairs need are there
    names = [name for name in results if name not in failed and films.is_film(sources[name])]
    if len(names) < 2:
      raise ValueError(f"--pairs-to-label: of {len(results)} videos, {len(names)} can be shown; give two video files."
                       + "".join(f" {name}: {why}" for name, why in failed.items()))
    means, spreads = prior(np.array([[model["score"] for model in results[name]["models"]] for name in names]).T)
    chosen = dict.fromkeys(number for pair in uncertain(means, spreads, count) for number in pair)
    missing = [names[number] for number in chosen if names[number] not in placed]
    if not missing:
      break
    try:
      for name in missing:
        film = films.place(sources[name], beside, str(numbers[name]), how, faces[name] if faces else None)
        if film is None:
          raise ValueError(f"{sources[name]}: there is no such file any more.")
        placed[name] = film
    except (ValueError, OSError) as error:        # others take its place
      failed[name] = str(error)
  beside.remove_old()
  drawn = np.random.default_rng(0).permutation(list(chosen))          # so that no side of a pair is the better one
  videos = [dict(name=names[number], file=f"{FOLDER}/{placed[names[number]].file}", mean=means[number],
                 spread=spreads[number]) for number in drawn]
  data = dict(videos=videos, count=min(count, len(videos) * (len(videos) - 1) // 2), key=_key(results))
  notes = {TEXTS[film.note] for film in placed.values() if film.note}
  return html.write(written.Record(folder), NAME, "pairs.html", data, ("pairs.js",), title=TEXTS["title_pairs"],
                    notes=notes), failed


def _key(results: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns where a browser keeps answers about these videos by these models: pages of other runs have another."""
  asked = [[name, *(one["made_from"][what] for what in ("params_sha256", "features"))] for name, one in results.items()]
  return f"jaxskill pairs {hashlib.sha256(files.to_json(sorted(asked)).encode()).hexdigest()}"
