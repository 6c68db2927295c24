"""Every table, figure and claim of the papers through the real command, tiny."""

import collections
import csv
import json
import re

import pytest

from jaxskill.data.simulation import like_published
from jaxskill.methods import frames
from jaxskill.modules import i3d
from jaxskill.reproduce import __main__ as command
from jaxskill.reproduce import (
  cells,
  commands,
  entries,
  figures_action_net,
  figures_core,
  figures_pros_cons,
  figures_spatial_attention,
  printing,
  runs,
  stills,
)
from jaxskill.training.parallel import Parallel
from tests.known_programs import Known
from tests.places import REPO, SHARED

LABELS = SHARED / "data" / "annotations"
INDEX = entries.index()
NO_LABELS = ("features,infant_grasp",)       # which nobody has published
PAPERS = sorted({entry.paper for entry in INDEX.values()})


def run(*words):
  command.main([str(word) for word in words])


@pytest.fixture
def narrow(monkeypatch, coarse_pictures):
  """A video network of few channels, quick to compile, simulated films of few pixels and frames, few in a figure."""
  del coarse_pictures
  for module, fewer in ((figures_action_net, dict(SHOWN=2, SEGMENTS=1, FRAMES=2)), (figures_core, dict(STILLS=2)),
                        (figures_pros_cons, dict(MOMENTS=2)), (figures_spatial_attention, dict(FRAMES=2))):
    for name, number in fewer.items():
      monkeypatch.setattr(module, name, number)
  monkeypatch.setattr(stills, "SIZE", (30, 40))
  monkeypatch.setattr(stills, "FPS", 1)                   # all frames up to the one that is shown are drawn
  monkeypatch.setattr(i3d, "BLOCKS", {name: (4, 4, 4, 4, 4, 4) for name in ("mixed_3b", "mixed_4b", "mixed_5b")})
  monkeypatch.setattr(frames, "WIDTH", 16)


FEW = dict(action_net=("ACTION-NET",), core=("CoRe + GART", "configs/usdl.py"), pros_cons=("rank-aware",),
           skilldiff=("SkillDiff",), spatial_attention=("spatial attention", "random labels"))       # each a program


def few_rows(paper):
  """({name: entry} of a paper, its claims): the rows `FEW`; a table without them has its last one, trained as the first.

  What reads frames takes longest to compile and is left out.
  """
  kept, few = FEW[paper], {}
  for name, entry in entries.index().items():
    if entry.paper != paper or not entry.simulated or any("frames" in column.options for column in entry.simulated):
      continue
    if isinstance(entry, entries.Figure):
      entry = entry._replace(rows=tuple(row for row in entry.rows if row in kept))
    elif isinstance(entry, entries.Table):
      *_, last = (row for row in entry.rows if row.trains)
      rows = tuple(row for row in entry.rows if not row.trains or row.trains in kept or row is last)
      entry = entry._replace(reference=entry.reference * (entry.reference in [row.name for row in rows]), rows=tuple(
          row if not row.trains or row.trains in kept else row._replace(trains=kept[0]) for row in rows))
    few[name] = entry
  sides = lambda claim: {side[0] for side in (claim.more, claim.less) if isinstance(side, tuple)}
  return few, tuple(claim for claim in entries.claims(paper) if sides(claim) <= set(kept))


@pytest.mark.parametrize("paper, every_row", [
    pytest.param(paper, every, marks=[pytest.mark.slow] * every)
    for paper in PAPERS for every in (False, True)])
def test_every_entry_and_claim_of_a_paper(paper, every_row, tmp_path, monkeypatch, quick_training, narrow):
  """In one folder: what two entries train alike is trained once."""
  del quick_training, narrow
  monkeypatch.setattr(runs, "Parallel", lambda: Parallel(1))
  Known().patch(monkeypatch)                              # figures ask with the functions that training made
  index, claims = few_rows(paper)
  if every_row:
    index = {name: entry for name, entry in INDEX.items() if entry.paper == paper and entry.simulated}
    claims = entries.claims(paper)
  monkeypatch.setattr(entries, "index", lambda: index)
  monkeypatch.setattr(entries, "claims", lambda _: claims)
  answers, asked = runs.answers, {}                       # several figures ask the same models
  monkeypatch.setattr(runs, "answers", lambda job, kept: asked.get(job.folder) or asked.setdefault(
      job.folder, answers(job, kept)))
  for name, entry in index.items():
    run("--table", name, "--simulated", "--tiny", "--workdir", tmp_path)
    check(entry, tmp_path / "simulated_tiny" / name)
  run("--claims", paper, "--tiny", "--workdir", tmp_path)
  judged = json.loads((tmp_path / "simulated_tiny" / f"claims_{paper}" / "claims.json").read_text())["claims"]
  assert len(judged) == len(claims) > 0
  lost = [one["claim"]["words"] for one in judged if None in (one["more"], one["less"])]
  assert not lost, lost
  first = next(name for name, entry in index.items() if isinstance(entry, entries.Table))
  table = tmp_path / "simulated_tiny" / first / "table.csv"
  before = table.read_bytes()
  monkeypatch.setattr("jaxskill.train.run", lambda *_: pytest.fail("trained again"))
  run("--table", first, "--tiny", "--workdir", tmp_path)
  assert table.read_bytes() == before


def check(entry, folder):
  """What an entry has written is what it promises."""
  if isinstance(entry, entries.Figure):
    assert {path.suffix for path in folder.iterdir()} == {".png", ".pdf"}
    return
  written, text = json.loads((folder / "table.json").read_text()), (folder / "table.md").read_text()
  assert "SIMULATED" in text
  assert list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
  latex = (folder / "table.tex").read_text()
  assert r"\toprule" in latex and "(SIMULATED)" in latex.split(r"\midrule")[0]
  if isinstance(entry, entries.Statistics):
    assert set(written["ours"]["simulated"]) <= set(entry.quantities)
    return
  for row in entry.rows:
    assert row.name in text
    if row.trains and not row.branch:
      last = [cell["last"] for cell in written["ours"][row.name].values()]
      assert last and all(number["mean"] is not None or "undefined" in number for number in last), row.name
    for title, number in written["published"][row.name].items():
      assert number in row.published and title in text
  for one in written["differences"]:                     # of two rows, found apart from their numbers
    first, second = (written["ours"][one[side]][one["column"]]["last"] for side in ("row", "to"))
    assert one["mean"] == pytest.approx(first["mean"] - second["mean"], abs=1e-6)
    assert first["interval"][0] <= first["interval"][1]
    assert one["interval"][0] <= one["interval"][1]
  reference = entry.reference or [row.name for row in entry.rows if row.trains][-1]
  assert ("Difference to " in text) == (f"Difference to {reference}, and" in text) == bool(written["differences"])
  assert bool(entry.chart) == (folder / "table.pdf").exists()
  lines = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
  assert {line["measured_on"] for line in lines if "published" not in line["step"]} == {"SIMULATED performances"}
  assert sum("published" in line["step"] for line in lines) == sum(map(len, written["published"].values()))


def _named():
  """{(config file, options of the data): rows or config files} that tables, figures and claims train."""
  named = collections.defaultdict(set)
  for entry in INDEX.values():
    if not isinstance(entry, entries.Statistics):
      rows = ({row.trains for row in entry.rows if row.trains} if isinstance(entry, entries.Table) else
              set(entry.rows or ("",)))
      for column in (*entry.columns, *entry.simulated):
        named[entry.config, column.options] |= rows
  for claim in entries.claims():
    named[claim.config, runs.SIMULATED] |= set(claim.rows)
  return named


@pytest.mark.parametrize("config, options", sorted(_named()))
def test_what_entries_and_claims_train_is_there(config, options, tmp_path):
  """Rows of the config, and files that know the data and their own options; those that no quick test trains too."""
  source, place = runs.Source(runs.SIMULATED, None, tmp_path), runs.Place(options, "", None)
  for row in _named()[config, options]:
    file, name = (row, "") if runs.is_file(row) else (config, row)
    assert any(name in job.rows for job in runs.jobs(file, (name,), place, source, config)), row


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
  numbers = {number for entry in INDEX.values() if isinstance(entry, entries.Table) and entry.paper == paper
         for row in entry.rows for number in row.published if number}
  assert numbers <= printed, numbers - printed


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


def _tables_of_data_sets(every_column):
  """{options of a data set: a table with the columns of that data set, and of its rows the last that is trained}.

  A data set of which one paper reads maps and another does not is there for each. Columns are the first and the last,
  of maps the first, unless every one is asked for. BEST, of which any column is a program, trains its quickest row.
  """
  found = {}
  for table in INDEX.values():
    for column in table.columns if isinstance(table, entries.Table) else ():
      name = f"{column.options} {table.paper}" if column.options in runs.MAPS else column.options
      if name not in found:
        columns = tuple(one for one in table.columns if one.options == column.options)
        some = columns[:1] if column.options in runs.MAPS else tuple(dict.fromkeys((columns[0], columns[-1])))
        columns = columns if every_column else some
        rows = tuple(row._replace(published=()) for row in table.rows
                     if row.trains and (".py" in row.trains) == (column.options == "best"))[-1:]
        found[name] = table._replace(columns=columns, rows=rows)
  return found


# Columns are tasks, tasks of maps, folds, and criteria; how other labels train, is also in test_main*.py.
OF_EVERY_KIND = "best", "epic_skills spatial_attention", "jigsaws", "fis_v", *NO_LABELS


@pytest.mark.parametrize("options, every_column", [
    pytest.param(options, every, marks=[pytest.mark.slow] if every or options not in OF_EVERY_KIND else [])
    for options in _tables_of_data_sets(True) for every in (False, True)])
def test_labels_of_real_data_sets(options, every_column, tmp_path, monkeypatch, quick_training):
  """Features are simulated for the real ids, and every column of the data set is filled."""
  del quick_training
  table = _tables_of_data_sets(every_column)[options]
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


FILTERS = entries.index()["pros_cons-filters"]
BEST = FILTERS._replace(rows=FILTERS.rows[-1:], columns=tuple(
    column for column in FILTERS.columns if column.task in ("tie_tie", "origami")))


@pytest.fixture
def labels(tmp_path, monkeypatch):
  """Made-up labels of two tasks of BEST, in a folder; the table has columns of these alone."""
  monkeypatch.setattr(entries, "index", lambda: {BEST.name: BEST._replace(
      rows=tuple(row._replace(published=()) for row in BEST.rows))})
  for task in ("tie_tie", "origami"):
    folder = tmp_path / "labels" / "BEST" / "splits" / task
    folder.mkdir(parents=True)
    for side, first in (("train", 0), ("test", 6)):
      names = [f"{task}{number}" for number in range(first, first + 6)]
      (folder / f"{side}.txt").write_text("".join(f"{a} {b}\n" for a, b in zip(names[1:], names)))
      (folder / f"{side}_vid_list.txt").write_text("\n".join(names))
  return tmp_path / "labels"


def test_simulated_features_are_those_of_the_labels(labels, tmp_path):
  """Of labels that have changed since they are refused: models would be of others."""
  source = runs.Source("like", labels, tmp_path / "runs", tiny=True)
  place, = set(runs.places(BEST.columns[:1], source).values())
  made = runs.like(place, source)
  assert runs.like(place, source) == made and (made.folder / "features" / "tie_tie3_rgb.npz").exists()
  lines = labels / "BEST" / "splits" / "origami" / "train.txt"
  lines.write_text(lines.read_text().replace("origami1 origami0", "origami0 origami1"))
  with pytest.raises(ValueError, match="its labels have changed since features were simulated for them in"):
    runs.like(place, source)


def test_a_data_set_without_features_leaves_its_column_empty(labels, tmp_path, capsys, quick_training):
  """The others are measured; the table says why one is not, and so does the exit status."""
  del quick_training
  data = tmp_path / "data" / "BEST"
  like_published.write_like(labels / "BEST", data, **runs.TINY)
  for file in (data / "features").glob("origami*"):
    file.unlink()
  words = ("--table", BEST.name, "--data", tmp_path / "data", "--tiny", "--seeds", 1, "--workdir", tmp_path / "runs")
  with pytest.raises(SystemExit) as end:
    run(*words)
  assert end.value.code == 1 and "NOT measured: Origami: " in capsys.readouterr().out
  folder = tmp_path / "runs" / "recorded_tiny_1_seeds" / BEST.name
  written = json.loads((folder / "table.json").read_text())
  assert "none of the 12 videos of origami is on disk" in written["not_measured"]["Origami"]
  assert all(cells["Tie Tie"]["last"] for cells in written["ours"].values())
  header, _, *body = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]
  place = [cell.strip() for cell in header.split("|")].index("Origami")
  assert {line.split("|")[place].strip() for line in body[: len(BEST.rows)]} == {"-"}
  assert "of ours over" not in (folder / "table.md").read_text()          # one column has no mean
  for file in (data / "features").iterdir():
    file.unlink()
  with pytest.raises(SystemExit) as end:
    run(*words[:-1], tmp_path / "nothing")
  assert end.value.code == 2 and "is on disk" in capsys.readouterr().err


def test_a_group_that_cannot_be_trained_is_said_to_lack_its_own_rows(tmp_path, monkeypatch):
  """Other rows of the same config, and what is not of the table, are not named."""
  one, other = ("softmax attention", "softmax, diversity"), ("rank-aware", "two modules, no rank-aware loss")
  table = BEST._replace(rows=tuple(entries.Row(name.upper(), name) for name in (*one, other[0])))
  groups = []
  monkeypatch.setattr(runs, "finish", lambda jobs: groups.extend(jobs) or {
      job.folder: "no room" for job in jobs if job.rows == one})
  lacking = {}
  with pytest.raises(ValueError, match="results.json is not there"):       # of the group that is said to be trained
    commands._table(table, runs.Source(runs.SIMULATED, None, tmp_path), tmp_path, lacking)  # pylint: disable=W0212
  assert {job.rows for job in groups} == {one, other}
  assert lacking == {f"SOFTMAX ATTENTION, SOFTMAX, DIVERSITY in {table.simulated[0].title}": "no room"}


@pytest.mark.parametrize("options, span", ((("official",), "test"), ((), "class")))
def test_competitors_are_measured_as_the_table_is(tmp_path, options, span):
  """What R-l2 divides by is one thing in a column; what competitors train is the same beside either."""
  source = runs.Source(runs.SIMULATED, None, tmp_path, options=options, tiny=True)
  place = runs.Place(runs.SIMULATED, "", None)
  job, = runs.jobs("configs/usdl.py", ("",), place, source, "configs/core_ablations.py")
  alone, = runs.jobs("configs/usdl.py", ("",), place, source._replace(options=()), "configs/usdl.py")
  assert job.config.evaluate.rl2_range == span and job.config.train == alone.config.train
  assert (job.folder == alone.folder) == (not options)           # another run, where its results are others


def test_a_plain_mean_is_not_called_one_by_fishers_z():
  table = entries.Table("t", "core", "Table", "title", "configs/core.py", (entries.Row("a"), entries.Row("b")), (
      entries.Column("one", ("D",), "d", metric="spearman"), entries.Column("two", ("D",), "d", metric="spearman")),
      mean="all", how="fisher")
  usual, limit = [("f", 0, 0.2), ("f", 1, 0.9)], [("f", 0, 0.2), ("f", 1, 1.0)]
  ours = {}
  for name, values in (("a", usual), ("b", limit)):
    number = cells._number(values, "fisher")                                              # pylint: disable=W0212
    whole = cells._mean([values, usual], "fisher")                                        # pylint: disable=W0212
    ours[name] = dict(one=dict(last=number), all=dict(last=whole))
  assert ours["a"]["one"]["last"]["mean"] > 0.55 and ours["b"]["one"]["last"]["mean"] == 0.6
  assert ours["b"]["all"]["last"]["mean"] == pytest.approx(0.575)
  shown = cells.Cells(("one", "all"), dict(one="spearman", all="spearman"), ours, dict(a={}, b={}), {}, (), "b",
                      {"two": "no features"})
  notes = " ".join(printing._notes(table, shown, "recorded"))                             # pylint: disable=W0212
  assert "but plain, for a correlation is 1 or -1 there, of b in one; b in all." in notes
  assert "all: the mean over columns, of ours over one alone." in notes and "NOT measured: two: no features" in notes
