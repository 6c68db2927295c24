"""Means over folds against ranking by hand, on made-up folds and on real ones; what is too small is marked."""

import itertools
import math
import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from jaxskill.data import Fold, SkillDataset, splits
from jaxskill.data.published import labels_scores
from jaxskill.evaluate import metrics, protocol, simple_baselines
from jaxskill.report import tables
from tests.places import SHARED

QUALITY = SHARED / "data/ui_prmd/vicon_m01_angles_T60_quality.npz"
JIGSAWS = SHARED / "data/annotations/JIGSAWS"


def replica(rho, fold="a", seed=0, **more):
  numbers = dict(step=1, spearman=rho, pearson=rho, rl2=0.1, mae=1.0)
  return dict(row="", fold=fold, seed=seed, last=numbers, validation_selected=None, best_on_test=None, against_truth={}) | more


def scored(sizes, seeds=(0,), *, task=None, noise=1.0, key=0, overlap=0):
  """(replicas, sides, {seed: (predictions, labels)} of all) of folds of some sizes, each with an offset of its own."""
  rng, replicas, sides, whole = np.random.default_rng(key), [], [], {}
  for seed in seeds:
    start, said_of, label_of = 0, {}, {}
    for number, size in enumerate(sizes):
      videos = np.arange(start, start + size)
      start += size - overlap
      labels = np.random.default_rng(100 + videos[0]).normal(size=size) if not overlap else np.sin(7.0 * videos)
      said = labels + rng.normal(size=size) * noise + rng.normal()
      for video, one, label in zip(videos, said, labels):
        said_of.setdefault(video, []).append(one)
        label_of[video] = label
      replicas.append(replica(stats.spearmanr(said, labels).statistic if size > 1 else math.nan, f"f{number}", seed))
      sides.append(protocol.Side(f"f{number}", seed, task[number] if task else 0, videos, 0, labels, dict(last=said)))
    whole[seed] = [np.mean(said_of[v]) for v in sorted(said_of)], [label_of[v] for v in sorted(said_of)]
  return replicas, sides, whole


def ranked(values):
  """Average ranks, by counting."""
  return [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values]


def naive_spearman(said, labels):
  return float(np.corrcoef(ranked(list(said)), ranked(list(labels)))[0, 1])


@pytest.mark.parametrize("sizes,overlap", [((4, 5, 4, 5, 3), 0), ((12, 20, 11), 0), ((1,) * 14, 0), ((12, 15, 13), 4)])
def test_pooled_over_folds_ranks_all_test_videos_as_one_whole(sizes, overlap):
  replicas, sides, whole = scored(sizes, seeds=(0, 3), overlap=overlap)
  row = protocol.summarize(replicas, "spearman", sides)
  number = row["spearman"]["last"]
  by_seed = [naive_spearman(*whole[seed]) for seed in (0, 3)]
  lawful = sum(sizes) >= 10
  mean = np.tanh(np.mean(np.arctanh(by_seed))) if lawful else np.mean(by_seed)
  assert number["pooled"]["mean"] == pytest.approx(mean)
  assert number["pooled"]["std_seeds"] == pytest.approx(np.std(by_seed, ddof=1)) and number["pooled"]["std_folds"] is None
  values = [r["last"]["spearman"] for r in replicas]
  if min(sizes) > 1:
    assert number["over_folds"]["mean"] == pytest.approx(np.mean(values))
  else:
    assert number["over_folds"]["undefined"] == "1 test video(s) in every fold"
  if min(sizes) >= 10:
    assert number["fisher"]["mean"] == pytest.approx(np.tanh(np.mean(np.arctanh(values)))) and number["no_fisher"] is None
  else:
    assert number["fisher"] is None and number["no_fisher"] == "a fold has fewer than 10 test videos"
  assert protocol.show(dict(model=row)) == "pooled"
  assert (number["mean"], number["shown"], number["marked"]) == (number["pooled"]["mean"], "pooled", False)
  assert row["metrics"]["pearson"]["shown"] == "pooled"
  pearson = [np.corrcoef(*whole[seed])[0, 1] for seed in (0, 3)]
  assert row["metrics"]["pearson"]["mean"] == pytest.approx(np.tanh(np.mean(np.arctanh(pearson))))


def test_one_fold_at_the_limit_does_not_decide():
  """Four folds at .8 and one of four videos at -1: no -.99."""
  sizes = (10, 10, 10, 10, 10)
  replicas, sides, _ = scored(sizes)
  for r, value in zip(replicas, (-1.0, 0.8, 0.8, 0.8, 0.8)):
    r["last"]["spearman"] = value
  row = protocol.summarize(replicas, "spearman", sides)
  number = row["spearman"]["last"]
  assert number["fisher"] is None and number["no_fisher"] == "a fold is at 1 or -1"
  assert number["over_folds"]["mean"] == pytest.approx(0.44)


def test_classes_are_averaged_by_fishers_z_as_the_field_does():
  """Folds without a video in common are tasks of their own: their scores have other units and are not ranked together."""
  replicas, sides, _ = scored((12, 30, 15), task=(0, 1, 2))
  row = protocol.summarize(replicas, "spearman", sides)
  number = row["spearman"]["last"]
  protocol.show(dict(model=row))
  values = [r["last"]["spearman"] for r in replicas]
  assert number["mean"] == pytest.approx(metrics.fisher_mean(values))
  assert number["shown"] == "fisher" and number["pooled"] is None
  replicas, sides, _ = scored((6, 6, 7, 5), task=(0, 0, 1, 1))              # two tasks of two folds
  number = protocol.summarize(replicas, "spearman", sides)["spearman"]["last"]
  of_tasks = [naive_spearman(*(np.concatenate([getattr(s, "said")["last"] if what else s.labels for s in some])
                               for what in (True, False))) for some in (sides[:2], sides[2:])]
  assert number["pooled"]["mean"] == pytest.approx(np.tanh(np.mean(np.arctanh(of_tasks))))


def test_tasks():
  fold = lambda train, test: Fold("f", np.array(train), np.array(test), *np.zeros((2, 0), int))
  assert protocol.tasks([fold([0, 1], [2]), fold([0, 2], [1]), fold([5], [6])])[0] == protocol.tasks(
      [fold([0, 1], [2]), fold([0, 2], [1]), fold([5], [6])])[1] != protocol.tasks([fold([0], [1]), fold([2], [3])])[1]
  chain = [fold([0], [1]), fold([2], [3]), fold([1], [2])]                   # the third ties the others together
  assert len(set(protocol.tasks(chain))) == 1


def test_the_same_mean_is_shown_in_every_row():
  classes = dict(task=(0, 1))
  fine, rough = scored((12, 30), **classes)[:2], scored((12, 30), **classes)[:2]
  rough[0][0]["last"]["spearman"] = 1.0
  rows = {name: protocol.summarize(both[0], "spearman", both[1]) for name, both in (("fine", fine), ("rough", rough))}
  assert protocol.show(rows) == "over_folds"
  assert {row["spearman"]["last"]["shown"] for row in rows.values()} == {"over_folds"}
  del rows["rough"]
  assert protocol.show(rows) == "fisher" and rows["fine"]["spearman"]["last"]["shown"] == "fisher"


def test_a_test_too_small_for_a_claim_has_no_spread_and_is_marked():
  replicas, sides, _ = scored((4,), seeds=(0, 1))
  row = protocol.summarize(replicas, "spearman", sides)
  protocol.show(dict(model=row))
  number = row["spearman"]["last"]
  assert number["marked"] and number["std_seeds"] is None and row["metrics"]["mae"]["marked"]
  assert tables.number(number).endswith(" !") and "±" not in tables.number(number)
  pairs = [dict(row="", fold="f", seed=seed, last=dict(accuracy=value), validation_selected=None,
                best_on_test=dict(accuracy=value), branches={}, test_ties=0, against_truth={}) for seed, value in enumerate((0, 1))]
  of_pairs = [protocol.Side("f", seed, 0, np.arange(2), 1) for seed in (0, 1)]
  row = protocol.summarize(pairs, "accuracy", of_pairs)
  assert tables.number(row["accuracy"]["last"], percent=True) == "50.0 !"            # and not 50.0 ± 70.7
  facts = dict(folds=[dict(name="f", **{side: dict(videos=2, pairs=1, subjects=None) for side in ("train", "validation", "test")})],
               test_videos=2, too_few_to_claim=True, smallest_fold=2, small_folds=True)
  text = tables.table(dict(model=row), False, facts)
  assert "\n! 2 test videos are too few for a claim" in text and "config.data.test_share" in text and "one seed" not in text


def test_pairs_are_pooled_by_their_number():
  values = {(0, 0): (0.5, 2), (1, 0): (0.9, 40), (0, 1): (1.0, 2), (1, 1): (0.8, 40)}
  pairs = [dict(row="", fold=f"f{fold}", seed=seed, last=dict(accuracy=value), validation_selected=None, best_on_test=None,
                branches={}, test_ties=0, against_truth={}) for (fold, seed), (value, _) in values.items()]
  sides = [protocol.Side(f"f{fold}", seed, 0, np.arange(9) + 9 * fold, count) for (fold, seed), (_, count) in values.items()]
  row = protocol.summarize(pairs, "accuracy", sides)
  assert row["accuracy"]["last"]["mean"] == pytest.approx(0.8)
  by_seed = (0.5 * 2 + 0.9 * 40) / 42, (1.0 * 2 + 0.8 * 40) / 42
  assert row["pooled"]["mean"] == pytest.approx(np.mean(by_seed)) and row["pooled"]["test_pairs"] == 42
  assert row["pooled"]["std_seeds"] == pytest.approx(np.std(by_seed, ddof=1))
  text = tables.table(dict(model=row), False)
  assert text.startswith("Pairwise accuracy on test pairs, % (mean over folds)") and "pooled over folds" in text


@pytest.mark.parametrize("change,reason", [
    (lambda s: s._replace(labels=np.zeros(5)), "labels are equal in fold f1"),
    (lambda s: s._replace(said=dict(last=np.full(5, np.nan))), "predictions are equal in fold f1"),
    (lambda s: s._replace(videos=s.videos[:1], labels=s.labels[:1], said=dict(last=s.said["last"][:1])),
     "1 test video(s) in fold f1")])
def test_why_a_number_is_undefined(change, reason):
  replicas, sides, _ = scored((5, 5, 5))
  replicas[1]["last"]["spearman"] = math.nan
  sides[1] = change(sides[1])
  row = protocol.summarize(replicas, "spearman", sides)
  protocol.show(dict(model=row))
  text = tables.table(dict(model=row), False)
  assert row["spearman"]["last"]["over_folds"]["undefined"] == reason
  assert f"\nundefined: {reason} (model)" in text and "nan" not in text
  predicted = "predictions" in reason                                       # else the pooled number is still one
  assert (row["spearman"]["last"]["mean"] is None) == predicted


def trainer_of(dataset, learns="spearman", options=None):
  """What baselines and the protocol ask of a trainer of one model a fold."""
  replicas = [types.SimpleNamespace(fold=number, seed=0, criterion="score") for number in range(len(dataset.folds))]

  def measured(index, scores, _):
    fold = dataset.folds[replicas[index].fold]
    return (metrics.measure(dataset, fold, scores, {}, "half") if learns == "accuracy" else
            metrics.measure_scores(fold, dataset.score, scores))
  method = types.SimpleNamespace(streams=("rgb",), targets=lambda data, name: data.labels(name))
  return types.SimpleNamespace(dataset=dataset, replicas=replicas, measured=measured, method=method, metric=learns,
                               config=ConfigDict(dict(evaluate=options or {})))


def every(dataset):
  return {number: fold.train_videos for number, fold in enumerate(dataset.folds)}


def test_baselines_are_treated_as_models_are(make_dataset):
  """Pooled over folds, trained on the videos that models read; one mean score a fold is no ranking of the folds."""
  data = make_dataset(videos=15, folds=[(np.setdiff1d(np.arange(15), part), part) for part in np.arange(15).reshape(5, 3)])
  trained = every(data) | {1: data.folds[1].train_videos[2:]}
  rows = simple_baselines.score_rows(trainer_of(data), trained)
  said = np.zeros(15)
  for number, fold in enumerate(data.folds):
    means = simple_baselines.mean_features(data, "rgb")
    predicted = simple_baselines.ridge(means[trained[number]], np.float64(data.score)[trained[number]], means)
    said[fold.test_videos] = predicted[fold.test_videos]
  assert rows["baseline: ridge on mean features"]["spearman"]["last"]["pooled"]["mean"] == pytest.approx(
      naive_spearman(said, data.score))
  flat = rows["baseline: mean score"]["spearman"]["last"]
  assert flat["pooled"]["undefined"] == flat["over_folds"]["undefined"] == "predictions are equal in every fold"


@pytest.mark.parametrize("sign", [-1, 1])
def test_duration_baseline_of_pairs(make_dataset, sign):
  """The direction is that of the training pairs; test pairs may say the opposite."""
  data = make_dataset(videos=14, folds=((range(9), range(9, 14)),))
  rank = np.argsort(np.argsort(data.score))
  seconds = np.where(np.arange(14) < 9, 20 + sign * rank, 20 - sign * rank) / data.lengths["rgb"]
  data = type(data)(**{name: getattr(data, name) for name in ("name", "source", "videos", "streams", "lengths", "pairs",
                                                              "folds", "score")} | dict(row_seconds=dict(rgb=seconds)))
  row, = simple_baselines.pair_rows(trainer_of(data, "accuracy"), every(data)).items()
  assert row[0] == "baseline: duration only" and row[1]["accuracy"]["last"]["mean"] == 0.0
  assert row[1]["better_is"] == {"fold0": dict(video="longer" if sign > 0 else "shorter", training_pairs=1.0)}
  chosen = "longer" if sign > 0 else "shorter"
  assert simple_baselines.describe(dict([row])) == [
      f"baseline: duration only: the {chosen} video is taken for the better one, which it is in 100.0 % of the training "
      "pairs"]
  equal = trainer_of(make_dataset(lengths=dict(rgb=np.full(11, 12, np.int32))), "accuracy")
  assert not simple_baselines.pair_rows(equal, every(equal.dataset))                   # nothing to choose by
  assert simple_baselines.longer_is_better(np.arange(4.0), np.array([[3, 0], [1, 2], [2, 1], [0, 0]])) == 0.625
  assert simple_baselines.describe({"model": row[1] | dict(better_is={})}) == []


def test_what_each_side_had_stands_in_words(make_dataset):
  data = make_dataset(videos=12, folds=[(range(4, 12), range(4)), (range(4), range(4, 12))],
                      subject=np.array(list("aabbccddeeff")))
  trainer = trainer_of(data)
  sides = [protocol.side_of(data, fold, 0, 0, criterion="score") for fold in data.folds]
  facts = protocol.facts(trainer, every(data) | {0: data.folds[0].train_videos[2:]}, sides)
  assert [fold["train"]["videos"] for fold in facts["folds"]] == [6, 4]      # what training read
  assert facts["folds"][0]["test"] == dict(videos=4, pairs=6, subjects=2) and facts["folds"][1]["validation"]["videos"] == 0
  assert (facts["test_videos"], facts["smallest_fold"], facts["small_folds"], facts["too_few_to_claim"]) == (12, 4, True, False)
  first, second = protocol.describe(facts, True)
  assert first == ("2 fold(s): models and baselines train on 4 to 6 videos of 2 to 3 subject(s); validation none; test 4 to 8 "
                   "videos of 2 to 4 subject(s), 12 different ones in all")
  assert second.startswith("! the correlation of 4 test videos")
  assert "pairs of 4 to 6 videos" in protocol.describe(facts, False)[0]


@pytest.mark.skipif(not QUALITY.exists(), reason=f"UI-PRMD is not at {QUALITY}")
def test_pooled_baseline_on_real_movements():
  """Quality of deep squats, one subject held out at a time: the ridge of the table against one by hand."""
  with np.load(QUALITY) as archive:
    x, quality, subject = archive["x"].astype(np.float32), np.float32(archive["quality"]), archive["subject"]
  names = np.array([f"s{s:02d}" for s in subject])
  count = len(x)
  folds = splits.leave_one_out(names, np.zeros((0, 2), np.int32))
  data = SkillDataset(name="squats", source="squats", videos=tuple(map(str, range(count))), streams=dict(rgb=x),
                      lengths=dict(rgb=np.full(count, 60, np.int32)), pairs=np.zeros((0, 2), np.int32), folds=folds,
                      score=quality, subject=names)
  rows = simple_baselines.score_rows(trainer_of(data), every(data))
  found = rows["baseline: ridge on mean features"]["spearman"]["last"]
  said, by_fold = np.zeros(count), []
  means = x.astype(np.float64).mean(axis=1)
  for name in np.unique(names):
    held = names == name
    said[held] = simple_baselines.ridge(means[~held], np.float64(quality)[~held], means[held])
    by_fold.append(stats.spearmanr(said[held], quality[held]).statistic)
  assert found["pooled"]["mean"] == pytest.approx(stats.spearmanr(said, quality).statistic)
  assert found["pooled"]["mean"] == pytest.approx(naive_spearman(said, quality))
  assert found["over_folds"]["mean"] == pytest.approx(np.mean(by_fold))
  assert found["fisher"]["mean"] == pytest.approx(np.tanh(np.arctanh(by_fold).mean()))      # 18 repetitions each


@pytest.mark.skipif(not JIGSAWS.exists(), reason=f"the labels of JIGSAWS are not at {JIGSAWS}")
@pytest.mark.parametrize("split", ["louo", "loso", "auto"])
def test_pooled_on_the_real_trials_of_surgeons(split):
  """Surgeon-out folds of three to five trials: no Fisher's z; the pooled number is that of all trials of a task."""
  labels = labels_scores.read_scores("jigsaws", JIGSAWS, split)
  tasks = protocol.tasks(labels.folds)
  assert len(set(tasks)) == 3
  rng, said, replicas, sides = np.random.default_rng(0), np.zeros(len(labels.videos)), [], []
  for fold, task in zip(labels.folds, tasks):
    tested = fold.test_videos
    said[tested] = labels.score[tested] + 6 * rng.normal(size=len(tested))
    with np.errstate(all="ignore"):
      replicas.append(replica(metrics.spearman(said[tested], labels.score[tested]), fold.name))
    sides.append(protocol.Side(fold.name, 0, task, tested, 0, labels.score[tested], dict(last=said[tested])))
  number = protocol.summarize(replicas, "spearman", sides)["spearman"]["last"]
  by_task = []
  for name in labels_scores.SURGERY:
    of_task = labels.category == name
    by_task.append(naive_spearman(said[of_task], labels.score[of_task]))
  assert number["pooled"]["mean"] == pytest.approx(np.tanh(np.arctanh(by_task).mean()))
  assert number["pooled"]["test_videos"] == 103
  smallest = min(len(fold.test_videos) for fold in labels.folds)
  assert smallest < 10 and number["fisher"] is None and number["over_folds"]["marked"]
  assert not number["pooled"]["marked"]


def test_every_order_of_folds_gives_the_same_numbers():
  replicas, sides, _ = scored((4, 5, 7), seeds=(0, 1))
  wanted = protocol.summarize(replicas, "spearman", sides)["spearman"]["last"]
  for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
    found = protocol.summarize([replicas[i] for i in order], "spearman", [sides[i] for i in order])["spearman"]["last"]
    for mean in ("pooled", "over_folds"):
      assert found[mean]["mean"] == pytest.approx(wanted[mean]["mean"])
