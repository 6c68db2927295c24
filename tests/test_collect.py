"""Runs of single folds and seeds give the table of one run of all, and what does not belong together is refused."""

import json

import pytest

from jaxskill import cli, collect, train
from jaxskill.report import tables
from jaxskill.training import config_checks, replicas
from tests import strict

FOLDS = ((range(12), range(12, 24)), (range(12, 24), range(12)), (range(6, 18), [*range(6), *range(18, 24)]))


def read(path):
  """JSON without the last digits of its numbers, which the order of videos in a sum decides."""
  return json.loads(path.read_text(), parse_float=lambda text: round(float(text), 12))


@pytest.mark.parametrize("system, parts", [
    ("usdl", [((0, 1), (1,)), ((2,), (0, 1)), ((1, 0), (0,))]),                    # scores, whose numbers are pooled
    *(pytest.param(*parts, marks=pytest.mark.slow) for parts in (
        ("pros_cons", [((0, 1), (1,)), ((2,), (0, 1)), ((1, 0), (0,))]), ("lstm", [((2, 0), (0, 1)), ((1,), (0, 1))])))])
def test_parts_give_the_table_of_the_whole(system, parts, load_config, make_dataset, quick_training, tmp_path, capsys):
  dataset = make_dataset(videos=24, folds=FOLDS)

  def trained(name, folds, seeds):
    config = load_config(system, changes={"plots": False, "folds": folds, "seeds": seeds, "train.epochs": 1} | (
        {"model.with_difficulty": False} if system == "usdl" else {}))
    return train.run(config, tmp_path / name, dataset)
  trained("whole", (), (0, 1))
  whole = read(tmp_path / "whole" / "results.json")
  one, *_ = [trained(f"part{number}", *part) for number, part in enumerate(parts)]
  printed = tables.table(one["rows"], False, one["protocol"])
  assert f"{len(parts[0][0])} of 3 fold(s): " in printed

  names = [str(tmp_path / f"part{number}") for number in range(len(parts))]
  capsys.readouterr()
  collect.main([*names, "--out", str(tmp_path / "table.json")])
  out = capsys.readouterr().out
  assert tables.table(whole["rows"], False, whole["protocol"]) in out and "3 fold(s): " in out and " ± " in out
  found = read(tmp_path / "table.json")
  for name in ("format", "data", "simulated", "tested", "audit", "protocol", "rows", "config"):
    assert found[name] == whole[name], name
  assert [(r["fold"], r["seed"], r["last"]) for r in found["replicas"]] == [
      (r["fold"], r["seed"], r["last"]) for r in whole["replicas"]]
  assert [run["workdir"] for run in found["runs"]] == names and all(run["params_sha256"] for run in found["runs"])

  collect.main([str(tmp_path / "whole")])                          # several replicas of one run are an array, too
  assert tables.table(whole["rows"], False, whole["protocol"]) in capsys.readouterr().out
  with pytest.raises(SystemExit) as stopped:
    collect.main([*names, str(tmp_path / "whole")])
  assert stopped.value.code == 2 and "fold fold0, seed" in capsys.readouterr().err


def results(fold, seed, **changes):
  """What training wrote of one fold and seed, as far as it is read."""
  side = dict(task=0, videos=["a", "b", "c"], pairs=3, labels=None, said={})
  last = dict(step=1, accuracy=0.5 + 0.1 * seed)
  counted = dict(videos=3, pairs=3, subjects=None)
  made = dict(
      format=3, data="drawn", simulated=False, tested=True, audit=dict(videos=9), params_sha256=f"{fold}{seed}",
      config=dict(name="pros_cons", folds=[fold], seeds=[seed], data=dict(dir=f"disk{seed}", seed=0),
                  train=dict(epochs=4)),
      protocol=dict(ties="half", all_folds=["f0", "f1"], test_videos=3, too_few_to_claim=True, smallest_fold=3,
                    small_folds=True, folds=[dict(name=f"f{fold}", train=counted, validation=counted, test=counted)]),
      replicas=[dict(row="", criterion="score", fold=f"f{fold}", seed=seed, last=last, validation_selected=None,
                     best_on_test=last, branches={}, test_ties=0, against_truth={}, collapsed="", test_side=side)],
      rows={})
  for path, value in changes.items():
    node, *others = path.split("__")
    owner = made
    for name in others:
      owner, node = owner[int(node) if node.isdigit() else node], name
    owner[node] = value
  return made


@pytest.fixture
def array(tmp_path):
  """array(fold, seed, ...) -> the folder of a run that ended with `results`."""
  def write(fold=0, seed=0, name=None, **changes):
    folder = tmp_path / (name or f"fold{fold}_seed{seed}")
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results(fold, seed, **changes)))
    return folder
  return write


def test_a_fold_may_be_missing_if_so_told(array, capsys):
  collect.main([str(array(1)), "--allow-missing"])
  assert "1 of 2 fold(s): " in capsys.readouterr().out
  assert collect.run([array(0, name="other")], allow_missing=True)["config"]["folds"] == [0]


def test_seeds_have_their_spread(array, tmp_path):
  found = collect.run([array(fold, seed, replicas__0__branches=dict(high=0.5 + 0.1 * seed))
                       for fold in (1, 0) for seed in (2, 0)])
  row = found["rows"]["pros_cons"]
  assert row["accuracy"]["last"]["mean"] == row["branches"]["high"]["mean"] == pytest.approx(0.6)
  assert found["config"]["seeds"] == [0, 2] and found["config"]["folds"] == []
  assert "features lay in disk0, disk2; whether these are copies" in collect.describe(found)
  assert "features lay" not in collect.describe(collect.run([tmp_path / "fold0_seed0", tmp_path / "fold1_seed0"]))
  assert [(r["fold"], r["seed"]) for r in found["replicas"]] == [("f0", 0), ("f0", 2), ("f1", 0), ("f1", 2)]


def test_runs_on_a_store_are_read_and_the_table_is_written_there(monkeypatch, capsys):
  monkeypatch.setattr(strict, "OBJECTS", {})
  for fold in (0, 1):
    strict.OBJECTS[f"bucket/fold{fold}/results.json"] = json.dumps(results(fold, 0)).encode()
  collect.main(["strict://bucket/fold0", "strict://bucket/fold1", "--out", "strict://bucket/table.json"])
  table = json.loads(strict.OBJECTS["bucket/table.json"])
  assert [run["workdir"] for run in table["runs"]] == ["strict://bucket/fold0", "strict://bucket/fold1"]
  with pytest.raises(SystemExit):
    collect.main(["strict://bucket/fold2"])
  assert "strict://bucket/fold2: is not the folder of a run" in capsys.readouterr().err

  def fails(*_):
    raise RuntimeError("Unable to locate credentials")
  monkeypatch.setattr(strict.StrictPath, "open", fails)
  with pytest.raises(ValueError, match="^strict://bucket/fold0/results.json cannot be read .*Unable to locate credentials"):
    collect.run(["strict://bucket/fold0"])


def test_what_is_no_number_is_undefined_and_what_was_not_asked_for_is_a_dash(array):
  found = collect.run([array(fold, replicas__0__last__accuracy=[0.5, None][fold]) for fold in (0, 1)])
  shown = found["rows"]["pros_cons"]["accuracy"]
  assert shown["last"]["mean"] is None and shown["last"]["undefined"] == ["f1"] and shown["validation_selected"] is None


@pytest.mark.parametrize("runs, words", [
    ([dict(), dict(fold=1, config__train__epochs=5)], "config.train.epochs is 4 in "),
    ([dict(), dict(fold=1, config__data__seed=1)], "config.data.seed is 0 in "),
    ([dict(), dict(fold=1, config__other=1)], "config.other is not set in "),
    ([dict(), dict(fold=1, audit__videos=10)], "audit.videos is 9 in "),
    ([dict(), dict(seed=1, replicas__0__test_side__videos=["a", "b", "d"]), dict(fold=1)], "has other test videos or labels in "),
    ([dict(), dict(name="again"), dict(fold=1)], "fold f0, seed 0 is in "),
    ([dict()], "no run holds fold f1; train it, or use --allow-missing"),
    ([dict(), dict(fold=1), dict(seed=3)], "no run holds fold f1, seed 3; a table needs each"),
    ([dict(tested=False)], "tested nothing"),
    ([dict(format=2)], "was written by an older jaxskill (format 2; this one reads 3); train again"),
    ([dict(protocol={})], "was written by an older jaxskill, without"),
])
def test_what_does_not_belong_together_is_refused(array, runs, words):
  with pytest.raises(ValueError) as refused:
    collect.run([array(**one) for one in runs])
  assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("files, words", [
    ({"config.json": "{}"}, "this run is not finished; start the command"), ({}, "is not the folder of a run"),
    ({"table.json": "{}"}, "holds a table; give"), ({"results.json": "{"}, "is not what training wrote (Expecting"),
    ({"results.json": "[]"}, "is not what training wrote"), ({"results.json": "{}"}, "train again"),
    ({"results.json": '{"format": 3}'}, "'tested' is missing"),
])
def test_a_run_without_results_is_named(tmp_path, capsys, files, words):
  folder = tmp_path / "run"
  folder.mkdir()
  for name, text in files.items():
    (folder / name).write_text(text)
  with pytest.raises(SystemExit) as stopped:
    collect.main([str(folder)])
  err = capsys.readouterr().err
  assert stopped.value.code == 2 and f"jaxskill: {folder}" in err and words in err


@pytest.mark.parametrize("given, planned", [((), (0, 1, 2)), ((2,), (2,)), ((2, 0), (0, 2)), ([1], (1,))])
def test_folds_of_a_config(config, make_dataset, given, planned):
  with config.unlocked():
    config.folds = given
  assert tuple(replica.fold for replica in replicas.plan(config, make_dataset(videos=24, folds=FOLDS))) == planned


@pytest.mark.parametrize("given", [(3,), (-1,), (0, 0), ("part1",), 1])
def test_folds_that_are_not_there_are_refused(config, make_dataset, given):
  with config.ignore_type(), config.unlocked():
    config.folds = given
  with pytest.raises(ValueError, match=r"config.folds=.* give numbers of folds, .* 0 \(fold0\), 1 \(fold1\), 2 \(fold2\)"):
    replicas.plan(config, make_dataset(videos=24, folds=FOLDS))


def test_folds_are_given_on_the_command_line():
  config, _ = cli.read_config("configs/pros_cons.py", ["--config.folds=(2,)", "--config.seeds=(4,)"])
  assert (config.folds, config.seeds) == ((2,), (4,))
  config_checks.check(config)
