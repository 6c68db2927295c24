"""Every table, figure and claim of the papers through the real command, tiny."""

import csv
import json
import re

import pytest

from jaxskill.reproduce import __main__ as command
from jaxskill.reproduce import commands, entries
from tests.places import REPO, SHARED

LABELS = SHARED / "data" / "annotations"
INDEX = entries.index()
PAPERS = sorted({entry.paper for entry in INDEX.values()})


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """One for all: what two entries train alike is trained once."""
  return tmp_path_factory.mktemp("reproduce")


def run(*words):
  command.main([str(word) for word in words])


@pytest.mark.parametrize("name", [name for name, entry in INDEX.items() if entry.simulated])
def test_every_entry_is_reproduced_on_simulated_performances(name, workdir):
  run("--table", name, "--simulated", "--tiny", "--workdir", workdir)
  folder = workdir / "simulated_tiny" / name
  if isinstance(INDEX[name], entries.Figure):
    assert {path.suffix for path in folder.iterdir()} == {".png", ".pdf"}
    return
  written = json.loads((folder / "table.json").read_text())
  text = (folder / "table.md").read_text()
  assert list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
  assert r"\toprule" in (folder / "table.tex").read_text()
  assert "SIMULATED" in text
  if isinstance(INDEX[name], entries.Statistics):
    assert set(written["ours"]["simulated"]) <= set(INDEX[name].quantities)
    return
  for row in INDEX[name].rows:
    assert row.name in text
    if row.trains and not row.branch:
      last = [own["last"] for own in written["ours"][row.name].values()]
      assert last and all(number["mean"] is not None or "undefined" in number for number in last), row.name
    for title, number in written["published"][row.name].items():
      assert number in row.published and title in text
  for one in written["differences"]:                     # of two rows, found apart from their numbers
    first, second = (written["ours"][one[side]][one["column"]]["last"] for side in ("row", "to"))
    assert one["mean"] == pytest.approx(first["mean"] - second["mean"], abs=1e-6)
    assert first["interval"][0] <= first["interval"][1]
    assert one["interval"][0] <= one["interval"][1]
  assert "SIMULATED" in text
  assert list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
  assert r"\toprule" in (folder / "table.tex").read_text()
  assert bool(INDEX[name].chart) == (folder / "table.pdf").exists()


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_is_judged(paper, workdir):
  run("--claims", paper, "--tiny", "--seeds", 2, "--workdir", workdir)
  found = json.loads((workdir / "simulated_tiny_2_seeds" / f"claims_{paper}" / "claims.json").read_text())["claims"]
  assert len(found) == len(entries.claims(paper))
  lost = [one["claim"]["words"] for one in found if one["says"] == "not measured"]
  assert not lost, lost


def test_a_second_call_trains_nothing_again(workdir, monkeypatch):
  name = next(name for name, entry in INDEX.items() if isinstance(entry, entries.Table) and entry.simulated)
  words = "--table", name, "--tiny", "--workdir", workdir
  run(*words)
  before = (workdir / "simulated_tiny" / name / "table.csv").read_bytes()
  monkeypatch.setattr("jaxskill.train.run", lambda *_: pytest.fail("trained again"))
  run(*words)
  assert (workdir / "simulated_tiny" / name / "table.csv").read_bytes() == before


@pytest.mark.parametrize("name", [name for name, entry in INDEX.items() if isinstance(entry, entries.Table)])
def test_published_numbers_stand_in_the_columns_of_the_paper(name):
  table = INDEX[name]
  titles = len(table.columns) + len(table.means)
  assert len({row.name for row in table.rows}) == len(table.rows)
  for row in table.rows:
    assert len(row.published) in (0, titles), row.name
    assert all(re.fullmatch(r"|-?\d*\.?\d+", number) for number in row.published), row.name


@pytest.mark.parametrize("paper", PAPERS)
def test_published_numbers_are_those_of_the_text(paper):
  text = SHARED / "papers" / f"{paper}.txt"
  if not text.exists():
    pytest.skip(f"{text.name} is not at hand")
  printed = set(re.findall(r"-?\d*\.\d+", text.read_text()))
  own = {number for entry in INDEX.values() if isinstance(entry, entries.Table) and entry.paper == paper
         for row in entry.rows for number in row.published if number}
  assert own <= printed, own - printed


def test_index_of_the_documents_is_the_listing():
  assert commands.listing() in (REPO / "configs" / "README.md").read_text()


def test_list_needs_nothing(capsys):
  run("--list")
  said = capsys.readouterr().out
  assert all(name in said for name in INDEX)


@pytest.mark.parametrize("words, message", (
    (("--table", "core-table-33"), "core-table-33 is unknown; use one of core-table"),
    (("--claims", "cor"), "--claims=cor is unknown; use one of"),
    (("--table", "core-table-3", "--seeds", "0"), "--seeds=0"),
    (("--table", "core-table-3", "--data", "{empty}"), "put the labels of mtl_aqa there"),
    (("--claims", "core", "--data", "{empty}"), "judged on simulated performances"),
))
def test_mistakes_are_said_in_a_line(words, message, tmp_path, capsys):
  with pytest.raises(SystemExit) as end:
    run(*(word.format(empty=tmp_path) for word in words), "--workdir", tmp_path / "runs")
  assert end.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, entry in INDEX.items()
                                  if isinstance(entry, entries.Table) and entry.columns])
def test_labels_of_real_data_sets(name, tmp_path):
  """Features are simulated for the real ids, and every column of the paper whose labels are there is filled."""
  if not LABELS.is_dir():
    pytest.skip("shared/data/annotations is not at hand")
  at_hand = {path.name for path in LABELS.iterdir()}
  columns = [column for column in INDEX[name].columns if at_hand & set(column.data)]
  if not columns:
    pytest.skip(f"no labels of {INDEX[name].columns[0].data[0]}")
  run("--table", name, "--like", LABELS, "--tiny", "--seeds", 1, "--workdir", tmp_path)
  written = json.loads((tmp_path / "like_tiny_1_seeds" / name / "table.json").read_text())
  for row in INDEX[name].rows:
    for column in columns if row.trains else ():
      assert written["ours"][row.name][column.title]["last"], (row.name, column.title)
  assert all(had["simulated"] for had in written["data"].values())
