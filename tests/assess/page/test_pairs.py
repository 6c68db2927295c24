"""The page on which a user says which of two videos is better: which pairs it asks for, and of which films."""

import pathlib
import shutil
import types

import numpy as np
import pytest

from jaxskill.assess import arguments, scoring
from jaxskill.assess.page import films, pairs
from tests.assess.page import samples
from tests.assess.page.reading import Read

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_the_least_certain_pairs_come_first():
  """Those that are near each other and, alike near, those on which the models disagree."""
  scores = np.array([[0.0, 1.0, 5.0], [0.2, 1.1, 5.0], [0.1, 0.9, 5.0]])
  assert pairs.uncertain(*pairs.prior(scores), 9) == [(0, 1), (1, 2), (0, 2)]
  assert pairs.uncertain(*pairs.prior(scores[:1]), 2) == [(0, 1), (1, 2)]
  means, spreads = pairs.prior(np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.4, 2.6]]) + [[7.0], [0.0]])
  assert np.diff(means) == pytest.approx(np.diff([0, 1, 2.2, 2.8]) * 2 / np.std([0, 1, 2.2, 2.8]))
  assert spreads[0] < spreads[2] == spreads[3] and pairs.uncertain(means, spreads, 1) == [(2, 3)]
  means, spreads = pairs.prior(np.ones((2, 3)))                         # no difference and no spread
  assert (means == 0).all() and (spreads == pairs.SLOPE * pairs.LEAST).all()


def test_pairs_need_two_films(tmp_path, film):
  both = dict(a=samples.answer("a"), b=samples.answer("b"))
  with pytest.raises(ValueError, match="of 2 videos, 1 can be shown; give two video files"):
    pairs.write(tmp_path, both, dict(a=film, b=tmp_path / "b.npy"), 3, "link")
  path, failed = pairs.write(tmp_path, both, dict(a=film, b=film), 3, "link")
  assert not failed
  read = Read(path)
  assert read.data["count"] == 1 and {one["name"] for one in read.data["videos"]} == both.keys()
  assert all((tmp_path / one["file"]).samefile(film) for one in read.data["videos"])
  again, _ = pairs.write(tmp_path, both, dict(a=film, b=film), 9, "link")
  assert Read(again).data["key"] == read.data["key"]                     # so that its answers stay
  both["b"]["made_from"]["params_sha256"] = "0" * 64
  assert Read(pairs.write(tmp_path, both, dict(a=film, b=film), 3, "link")[0]).data["key"] != read.data["key"]


def test_pairs_of_many_videos_are_looked_for_once(tmp_path, monkeypatch, film):
  """Not anew for each film; and files are resolved once, not by each check."""
  count = 30
  videos = [types.SimpleNamespace(name=str(number), file=film) for number in range(count)]
  resolved, found = [], []
  resolve, uncertain = pathlib.Path.resolve, pairs.uncertain
  monkeypatch.setattr(pathlib.Path, "resolve", lambda path, *rest: resolved.append(path) or resolve(path, *rest))
  monkeypatch.setattr(pairs, "uncertain", lambda *given: found.append(1) or uncertain(*given))
  folders = {video.name: tmp_path / video.name for video in videos}
  scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 5))
  assert sum(path == film for path in resolved) == count
  answers = {video.name: samples.answer(video.name, score=number) for number, video in enumerate(videos)}
  pairs.write(tmp_path, answers, dict.fromkeys(answers, film), 5, "link")
  assert len(list((tmp_path / "pairs").glob("*.mp4"))) > 5 and len(found) == 2


def test_a_film_that_cannot_be_shown_costs_no_page_of_pairs(tmp_path, monkeypatch, film):
  """Others take its place, and only films of pairs are looked at and linked."""
  scores = dict(a=0.0, b=0.1, bad=0.15, c=0.5, far=9.0)
  answers = {name: samples.answer(name, score=score) for name, score in scores.items()}
  files = {name: shutil.copyfile(film, tmp_path / f"{name}.mp4") for name in scores}
  asked, read_timeline = [], films.timeline.read_timeline

  def read(path):
    asked.append(path.stem)
    if path.stem == "bad":
      raise av.error.UnknownError(1, "odd")                             # neither a ValueError nor an OSError
    return read_timeline(path)
  monkeypatch.setattr(films.timeline, "read_timeline", read)
  path, failed = pairs.write(tmp_path, answers, files, 1, "link")
  assert list(failed) == ["bad"] and "bad.mp4: FFmpeg cannot make the film of its page" in failed["bad"]
  assert sorted(one["name"] for one in Read(path).data["videos"]) == ["a", "b"] and "far" not in asked
  with pytest.raises(ValueError, match="of 2 videos, 1 can be shown; .* bad: .*FFmpeg cannot"):
    pairs.write(tmp_path, {name: answers[name] for name in ("b", "bad")}, files, 1, "link")
