"""Tables of rows; the table that a user starts and stops is in test_main.py."""

import json

import pytest

from jaxskill import ablations, methods


def with_rows(config, rows, order=None):
  with config.unlocked():
    config.rows, config.row_order = rows, tuple(rows if order is None else order)
  return config


def weights(**values):
  return {"loss": {"weights": values}}


def test_rows_that_differ_in_loss_weights_share_a_program(config):
  rows = {"z": weights(disparity=0.0), "wide": {"model": {"num_filters": 5}}, "a": {},
          "joint": {"train": {"alternation": "joint"}},
          "wide, plain": {"model": {"num_filters": 5}} | weights(diversity=0.5, rank_aware=0.0)}
  made = ablations.groups(with_rows(config, rows))
  assert [group.weight_rows for group in made] == [
      (("z", {"disparity": 0.0}), ("a", {})),
      (("wide", {}), ("wide, plain", {"diversity": 0.5, "rank_aware": 0.0})), (("joint", {}),)]
  assert [group.model.num_filters for group in made] == [3, 5, 3]
  assert [group.train.alternation for group in made] == ["alternate", "alternate", "joint"]
  for group in made:
    assert "rows" not in group and "row_order" not in group and group.is_locked
    assert group.loss.weights == config.loss.weights and group.data == config.data
    json.loads(group.to_json())
  assert config.model.num_filters == 3 and list(config.rows.z.loss.weights) == ["disparity"]     # the base is as it was


def test_table_of_the_paper(load_config):
  """Fig. 4 of Pros & Cons in its order; one filter keeps the diversity loss; equal updates of each parameter."""
  config = load_config("pros_cons_ablations")
  made = {row: (group, weights) for group in ablations.groups(config) for row, weights in group.weight_rows}
  assert sorted(made) == sorted(config.row_order)
  steps = ("softmax attention", "softmax, diversity", "softmax, diversity, disparity", "rank-aware")
  assert [made[row][1] for row in steps] == [{"diversity": 0.0}, {}, {}, {}]
  assert [made[row][0].model.branches for row in steps] == [
      ("attention",), ("attention",), ("attention", "uniform"), ("high", "low", "uniform")]
  assert {made[row][0].model.num_filters for row in steps} == {3}
  assert made["K = 1"][0].model.num_filters == 1 and made["K = 1"][1] == {}
  for group, _ in made.values():
    ablations.train.check(group)
    phases = len(methods.build(group).phases)
    assert group.train.epochs * 2 == config.train.epochs * phases


def test_table_of_core(load_config):
  """Tables 1 to 3: heads with and without exemplars, with and without difficulty; Fig. 5: depths, votes."""
  made = ablations.groups(load_config("core_ablations"))
  described = {group.weight_rows[0][0]: (group.model.head, group.model.contrastive, group.model.with_difficulty,
                                       group.model.exemplars.same, group.model.num_leaves, group.model.exemplars.count)
               for group in made}
  known, unknown, rest = (True, ("difficulty",)), (False, ()), (32, 10)
  assert described == {
      "regression MLP": ("mlp", False, *known, *rest), "MLP with exemplars": ("mlp", True, *known, *rest),
      "tree without exemplars": ("tree", False, *known, *rest), "CoRe + GART": ("tree", True, *known, *rest),
      "regression MLP, difficulty unknown": ("mlp", False, *unknown, *rest),
      "CoRe + GART, difficulty unknown": ("tree", True, *unknown, *rest),
  } | {f"depth {depth}": ("tree", True, *known, 2 ** depth, 10) for depth in (2, 3, 4, 6, 7)} | {
      f"{count} exemplars": ("tree", True, *known, 32, count) for count in (2, 5, 20)} | {
      "1 exemplar": ("tree", True, *known, 32, 1)}
  for group in made:
    ablations.train.check(group)


@pytest.mark.parametrize("options, same", (("mtl_aqa", ()), ("aqa7", ("category",)), ("finediving", ("category",)),
                                           ("features", ("category",))))
def test_difficulty_that_is_unknown_chooses_no_exemplars(load_config, options, same):
  row = load_config("core_ablations", options).rows["CoRe + GART, difficulty unknown"].model
  assert (row.with_difficulty, row.exemplars.same) == (False, same)


def test_published_depths_have_half_the_leaves(load_config):
  """The published code has 2^(d - 1) leaves for depth d, as its own 16 for 5."""
  config = load_config("core_ablations", "mtl_aqa,official")
  assert config.model.num_leaves == 16 and config.rows["depth 6"].model.num_leaves == 32


def test_rows_of_several_criteria_stand_where_their_row_does(config, tmp_path, monkeypatch):
  """Also where one name begins another's; baselines come last, in the order they came."""
  of_row = {"tree": ["tree score", "tree style"], "tree, deep": ["tree, deep score", "tree, deep style"], "mlp": ["mlp"]}
  baselines = ["baseline: tree rings", "baseline: mean score"]
  summary = dict(accuracy=dict(last=None, validation_selected=None, best_on_test=None), branches={}, test_ties=0,
                 against_truth={})

  sides = {side: dict(videos=20, pairs=9, subjects=None) for side in ("train", "validation", "test")}
  facts = dict(folds=[dict(name="f") | sides], test_videos=20, too_few_to_claim=False, smallest_fold=20, small_folds=False)

  def trained(group, workdir, dataset):
    del workdir, dataset
    names = [name for row, _ in group.weight_rows for name in of_row[row]] + baselines
    return dict(rows={name: summary for name in names}, simulated=True, protocol=facts)
  monkeypatch.setattr(ablations.train, "run", trained)
  rows = {"tree, deep": {"model": {"num_filters": 5}}, "mlp": {"model": {"hidden": 9}}, "tree": {}}
  found = ablations.run(with_rows(config, rows), tmp_path)
  assert list(found) == of_row["tree, deep"] + of_row["mlp"] + of_row["tree"] + baselines
  saved = json.loads((tmp_path / "table.json").read_text())
  assert list(saved["rows"]) == list(found) and saved["protocol"] == facts
  assert "1 fold(s): models and baselines train on 9 pairs of 20 videos" in (tmp_path / "table.txt").read_text()
  assert "had other data" not in (tmp_path / "table.txt").read_text() and "other_data" not in saved
  printed = (tmp_path / "table.txt").read_text().splitlines()[2: 2 + len(found)]
  assert [line.split("  ")[0] for line in printed] == list(found)


def test_a_row_of_other_data_is_said_below_the_table():
  facts = lambda videos: dict(folds=[{side: dict(videos=videos, pairs=9, subjects=None)
                                      for side in ("train", "validation", "test")}], too_few_to_claim=False, small_folds=False)
  line, = ablations._other_data([("few, fewer", facts(20)), ("same", facts(30)), ("last", facts(30))], True)
  assert line == ("few, fewer had other data, so it cannot be compared with last, whose simple baselines these are: 1 fold(s): models "
                  "and baselines train on 20 videos; validation 20 videos; test 20 videos")


@pytest.mark.parametrize("row,message", [
    ({"model": {"hiden": 4}}, r"row 'odd' of the table: config\.model has no field 'hiden', only branches, "),
    ({"modl": {}}, r"row 'odd' of the table: config has no field 'modl', only data, "),
    (weights(disprity=1.0), r"row 'odd' of the table: config\.loss\.weights has no field 'disprity', only disparity, "),
    ({"loss": 3.0}, r"row 'odd' of the table: config\.loss holds fields, it cannot be 3\.0"),
    ({"model": {"hidden": "wide"}}, r"row 'odd' of the table: .*'hidden'.*cannot be casted"),
    ({"model": {"normalize": "hard"}}, r"config\.model\.normalize='hard' is unknown"),
])
def test_bad_row_is_refused_before_a_workdir_is_made(config, tmp_path, row, message):
  with pytest.raises(ValueError, match=message):
    ablations.run(with_rows(config, {"fine": {}, "odd": row}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("order", [("a",), ("a", "b", "b"), ("a", "c")])
def test_order_names_every_row_once(config, order):
  with pytest.raises(ValueError, match=r"config\.row_order=.* must name each of config\.rows once: a, b"):
    ablations.groups(with_rows(config, {"a": {}, "b": {}}, order))


def test_bad_data_are_refused_before_a_workdir_is_made(config, tmp_path):
  with config.unlocked():
    config.data.name = "features"
  with pytest.raises(ValueError, match=r"set config\.data\.dir"):
    ablations.run(with_rows(config, {"a": {}}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_table_needs_a_test_side(config, tmp_path):
  with config.unlocked():
    config.data.split = "all"
  with pytest.raises(ValueError, match=r"config\.data\.split='all' tests nothing"):
    ablations.run(with_rows(config, {"a": {}}), tmp_path / "run")
  assert not (tmp_path / "run").exists()
