"""Names as text, one form of times, ranks in words, and what must be known before a score."""

import io
import os
import pathlib
import re

import pytest

from jaxskill import cli, files
from jaxskill.report import wording

# What others may call a video, subject, fold, criterion or row.
HOSTILE = (
    "$\\frac{1}{$", "a$_{b$", "$$", "\\$x^2_", "x^{", "50 % of_it", "%s{0}%(a)s", "\x1b[31mred\x1b[0m",
    "two\nlines\r\ttab\x00", "\u202egnp.exe", "\u200f\u2066right", "😀🧑‍⚕️", "日本語", "عمر", "x" * 250, "é" * 120, "../x",
    "..", ".", "con", "NUL.txt", "a/../../b", "<script>alert(1)</script>", "-rf", "~", " ", "a.", ".hidden", "features",
    "a:b|c?d*", "\udcff", "lpt1.csv")


def result(**changed):
  return dict(video="v", random_weights=False, simulated=False, tested=True, training_videos=60, ranked=True, score=0.5,
              spread=0.1, models=[dict(percentile=75.0)] * 3, meanings={}) | changed


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_line_of_printable_text(name):
  for text in (cli.plain(name), cli.short(name)):
    assert text.isprintable() and text.encode("utf-8") and "\n" not in text
  assert len(cli.short(name)) <= 40
  assert cli.plain(cli.plain(name)) == cli.plain(name)


def test_usual_names_stay():
  for name in ("sim0_000", "as it is", "Knot Tying_B001 (2)", "été", "日本語", "a$b", "50 %"):
    assert cli.plain(name) == cli.short(name) == files.folder(name) == name
  assert files.folder("subject/take 1") == "subject/take 1"
  assert cli.plain("a\nb", keep="\n") == "a\nb" and cli.plain("a\x1b\nb", keep="\n") == "a\\x1b\nb"
  long = cli.short("first_" + "x" * 100 + "_last")
  assert long.startswith("first_") and long.endswith("_last") and "…" in long


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_stays_where_it_belongs_and_can_be_made(tmp_path, name):
  base = tmp_path / "answers"
  path = base / files.folder(name)
  path.mkdir(parents=True)
  assert base in path.resolve().parents and path.resolve() == pathlib.Path(os.path.normpath(path.resolve()))
  for part in path.relative_to(base).parts:
    assert len(part.encode()) <= 120 and not re.search(r'[<>:"\\|?*\x00-\x1f]', part) and part.strip(" .") == part
    assert part.split(".")[0].lower() not in files.RESERVED


def test_what_stands_beside_the_answers_is_no_folder_of_a_video():
  """Of a video called pairs or index.html, the page of pairs or the index would take the place."""
  for name in ("features", "frames", "pairs", "Pairs", "index.html", "pairs.html", "a/pairs"):
    assert re.fullmatch(r"(a/)?_\w+(\.html)?-[0-9a-f]{8}", files.folder(name)), name


def test_two_names_never_become_one_folder():
  names = [*HOSTILE, "x" * 249, "a?b", "a*b", "a_b", "..x", "A", "a", "É", "é", "e\u0301", "con ", "CON"]
  found = files.folders(names)
  assert list(found) == list(dict.fromkeys(names))
  assert len({path.casefold() for path in found.values()}) == len(found)
  assert files.folders(names) == found


def test_times_have_one_form():
  assert [wording.clock(s) for s in (0, 5.04, 59.96, 65, 119.95, 3725.5)] == [
      "0:00.0", "0:05.0", "1:00.0", "1:05.0", "2:00.0", "62:05.5"]
  assert wording.span(65, 66.5) == "1:05.0-1:06.5"


def test_a_rank_among_few_is_told_in_numbers():
  assert wording.above([75.0] * 3, 4) == "above 3 of 4 training videos"
  assert wording.above([50.0, 75.0], 4) == "above 2 to 3 of 4 training videos"
  assert wording.above([62.5], 4) == "above 2 to 3 of 4 training videos"         # two are below, one is equal
  assert wording.above([100.0], 1) == "above 1 of 1 training video"
  assert wording.above([100 * 13 / 19], 19) == "above 13 of 19 training videos"
  assert wording.above([70.0, 80.0], 120) == "above 75 % of the 120 training videos"


def test_a_rank_score_cannot_be_taken_for_a_rating():
  ranked, rated = wording.standing(result(score=8.5)), wording.standing(result(score=8.5, ranked=False, spread=None))
  assert ranked == "above 75 % of the 60 training videos; rank score 8.5 ± 0.1 over 3 models (no unit)"
  assert rated == "above 75 % of the 60 training videos; score 8.5"


def test_what_must_be_known_comes_first():
  assert wording.cautions(result()) == [] and wording.warned("text", result()) == "text"
  every = wording.cautions(result(), result(random_weights=True, simulated=True, tested=False, training_videos=5,
                                            models=[dict(percentile=1.0)]))
  assert every == ["RANDOM WEIGHTS", "SIMULATED DATA"]                           # the run is the same for both
  every = wording.cautions(result(random_weights=True, simulated=True, tested=False, training_videos=5,
                                  models=[dict(percentile=1.0)]))
  assert every == ["RANDOM WEIGHTS", "SIMULATED DATA", "NOT TESTED: this model was trained on all videos",
                   "ONLY 5 TRAINING VIDEOS", "ONLY 1 MODEL"]
  assert wording.warned("text", result(tested=None)) == (
      "NOT TESTED as far as is known: the run has no results.json: text")


def test_a_legend_says_what_is_drawn():
  meanings = dict(curve=dict(words="moments that speak for skill", side=1))
  assert wording.curve(dict(meanings=meanings), "curve") == "moments that speak for skill (curve)"
  assert wording.curve(dict(meanings={}), "curve") == "curve"
  assert wording.amount(dict(share=0.31)) == "31 % of the attention"
  assert wording.amount(dict(score=3.14159, importance=0.2)) == "score 3.14, counts 20 %"


def test_letters_that_a_terminal_has_not_are_replaced(monkeypatch):
  output = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
  monkeypatch.setattr("sys.stdout", output)
  monkeypatch.setattr("sys.stderr", io.StringIO())         # cannot be changed, and need not be
  with cli.command():
    cli.say("± 日本\n\x1b[31m")
  assert output.buffer.getvalue() == b"? ??\n\\x1b[31m\n"
