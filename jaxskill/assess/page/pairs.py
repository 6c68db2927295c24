"""Which pairs of videos a person should judge next: a page that shows two films at a time and saves pairs.csv."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import written
from jaxskill.assess.faces import Faces
from jaxskill.assess.page import films, html
from jaxskill.assess.page.texts import TEXTS

NAME, FOLDER = "pairs.html", "pairs"


def uncertain(scores: np.ndarray, count: int) -> list[tuple[int, int]]:
  """Returns the pairs of videos of which the models are least certain who is better, the least certain first.

  That is the pair whose difference is smallest beside its spread over the models; of one model, the smallest
  difference. Which of the two stands on the left is drawn, so that no side is the better one.

  Args:
    scores: `[n, V]` of n models.
    count: at most so many pairs.
  """
  rng = np.random.default_rng(0)
  found = []
  for pair in itertools.combinations(range(scores.shape[1]), 2):
    gap = scores[:, pair[0]] - scores[:, pair[1]]
    spread = gap.std(ddof=1) if len(gap) > 1 else 1.0
    found.append((abs(gap.mean()) / max(spread, 1e-12), pair))
  return [(a, b) if rng.random() < 0.5 else (b, a) for _, (a, b) in sorted(found)[:count]]


def check(folder: pathlib.Path, count: int, sources: Sequence[pathlib.Path]) -> None:
  """Raises a `ValueError` if the page of `count` videos would take the place of files that are not ours.

  Args:
    sources: the files of all videos that are asked for.
  """
  written.Record(folder).check(NAME)
  for number in range(count):
    films.check(written.Record(folder / FOLDER), str(number), sources)


def remove(folder: pathlib.Path) -> list[str]:
  """Removes the page and its films, as far as they are ours; returns the paths of those that others changed."""
  left = written.Record(folder).remove(NAME) + written.Record(folder / FOLDER).remove_old()
  with contextlib.suppress(OSError):              # not there, or not empty
    (folder / FOLDER).rmdir()
  return left


def write(folder: pathlib.Path, results: Mapping[str, Mapping[str, Any]], sources: Mapping[str, pathlib.Path],
          count: int, how: str, faces: Mapping[str, Faces | None] | None = None) -> tuple[pathlib.Path, dict[str, str]]:
  """Writes the page, and the videos of its pairs beside it into `pairs/`.

  Args:
    results: {video: what `explain.answer` says of it}; sources: {video: its file}.
    count: pairs at most; how: see `arguments.Pages`.
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
    scores = np.array([[model["score"] for model in results[name]["models"]] for name in names]).T
    chosen = [(names[left], names[right]) for left, right in uncertain(scores, count)]
    missing = next((name for pair in chosen for name in pair if name not in placed), None)
    if missing is None:
      break
    try:
      film = films.place(sources[missing], beside, str(numbers[missing]), how, faces[missing] if faces else None)
      if film is None:
        raise ValueError(f"{sources[missing]}: there is no such file any more.")
      placed[missing] = film
    except (ValueError, OSError) as error:
      failed[missing] = str(error)
  beside.remove_old()
  shown = list(dict.fromkeys(name for pair in chosen for name in pair))
  data = dict(videos=[dict(name=name, file=f"{FOLDER}/{placed[name].file}") for name in shown],
              pairs=[[shown.index(name) for name in pair] for pair in chosen])
  notes = {TEXTS[placed[name].note] for name in shown if placed[name].note}
  return html.write(written.Record(folder), NAME, "pairs.html", data, title=TEXTS["title_pairs"], notes=notes), failed
