"""Every table, figure and claim of the papers through the real command, tiny."""

import csv
import json
import re

import pytest

from jaxskill.reproduce import __main__ as command
from jaxskill.reproduce import commands, entries, runs
from tests.places import REPO, SHARED

LABELS = SHARED / "data" / "annotations"
INDEX = entries.index()
NO_LABELS = ("features,infant_grasp",)       # which nobody has published
PAPERS = sorted({entry.paper for entry in INDEX.values()})


def run(*words):
  command.main([str(word) for word in words])


@pytest.mark.parametrize("paper", PAPERS)
def test_every_entry_and_claim_of_a_paper(paper, tmp_path, monkeypatch, quick_compile):
  """In one folder: what two entries train alike is trained once."""
  del quick_compile
  own = [name for name, entry in INDEX.items() if entry.paper == paper and entry.simulated]
  for name in own:
    run("--table", name, "--simulated", "--tiny", "--workdir", tmp_path)
    check(INDEX[name], tmp_path / "simulated_tiny" / name)
  run("--claims", paper, "--tiny", "--workdir", tmp_path)
  judged = json.loads((tmp_path / "simulated_tiny" / f"claims_{paper}" / "claims.json").read_text())["claims"]
  assert len(judged) == len(entries.claims(paper))
  lost = [one["claim"]["words"] for one in judged if None in (one["more"], one["less"])]
  assert not lost, lost
  table = tmp_path / "simulated_tiny" / next(name for name in own if isinstance(INDEX[name], entries.Table)) / "table.csv"
  before = table.read_bytes()
  monkeypatch.setattr("jaxskill.train.run", lambda *_: pytest.fail("trained again"))
  run("--table", table.parent.name, "--tiny", "--workdir", tmp_path)
  assert table.read_bytes() == before


def check(entry, folder):
  """What an entry has written is what it promises."""
  if isinstance(entry, entries.Figure):
    assert {path.suffix for path in folder.iterdir()} == {".png", ".pdf"}
    return
  written, text = json.loads((folder / "table.json").read_text()), (folder / "table.md").read_text()
  assert "SIMULATED" in text
  assert list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
  assert r"\toprule" in (folder / "table.tex").read_text()
  if isinstance(entry, entries.Statistics):
    assert set(written["ours"]["simulated"]) <= set(entry.quantities)
    return
  for row in entry.rows:
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
  assert bool(entry.chart) == (folder / "table.pdf").exists()


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


def _tables_of_data_sets():
  """{options of a data set: a table with the columns of that data set, and of its rows the last that is trained}.

  A data set of which one paper reads maps and another does not is there for each.
  """
  found = {}
  for table in INDEX.values():
    for column in table.columns if isinstance(table, entries.Table) else ():
      name = f"{column.options} {table.paper}" if column.options in runs.MAPS else column.options
      if name not in found:
        columns = tuple(one for one in table.columns if one.options == column.options)
        rows = tuple(row._replace(published=()) for row in table.rows if row.trains and ".py" not in row.trains)[-1:]
        found[name] = table._replace(columns=columns, rows=rows)
  return found


@pytest.mark.parametrize("options, table", _tables_of_data_sets().items(), ids=lambda value: value * isinstance(value, str))
def test_labels_of_real_data_sets(options, table, tmp_path, monkeypatch, quick_compile):
  """Features are simulated for the real ids, and every column of the data set is filled."""
  del quick_compile
  if not LABELS.is_dir():
    pytest.skip("shared/data/annotations is not at hand")
  monkeypatch.setattr(entries, "index", lambda: {table.name: table})
  try:
    run("--table", table.name, "--like", LABELS, "--tiny", "--seeds", 1, "--workdir", tmp_path)
  except SystemExit:
    assert options in NO_LABELS, options
    pytest.skip(f"no labels of {table.columns[0].data[0]}")
  written = json.loads((tmp_path / "like_tiny_1_seeds" / table.name / "table.json").read_text())
  for column in table.columns:
    assert written["ours"][table.rows[0].name][column.title]["last"], column.title
  assert all(had["simulated"] for had in written["data"].values())
