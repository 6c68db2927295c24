"""Metrics against golden values and against counting; protocols on made-up evaluations."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from jaxskill.evaluate import metrics, truth


@pytest.mark.golden("metrics*")
def test_golden_metrics(golden, golden_name):
  data = golden(golden_name)
  close = lambda actual, key: np.testing.assert_allclose(actual, data[key], rtol=1e-12, atol=1e-12, err_msg=key)
  groups = sorted({key.rsplit("/", 1)[0] for key in data if key.endswith("/pred_f64")})
  assert groups
  checked = dict(spearman_f64=metrics.spearman, kendall_tau_b_f64=metrics.kendall_tau, l2_f64=metrics.squared_error,
                 rl2_f64=metrics.relative_squared_error)
  for group in groups:
    predicted, true = data[f"{group}/pred_f64"], data[f"{group}/true_f64"]
    for name, metric in checked.items():
      if f"{group}/{name}" in data:
        close(metric(predicted, true), f"{group}/{name}")
    if f"{group}/pairs_better" in data:
      pairs = np.stack([data[f"{group}/pairs_better"], data[f"{group}/pairs_worse"]], axis=1)
      wrong, tied = metrics.pairwise_accuracy(predicted, pairs, ties="wrong")
      half, tied_again = metrics.pairwise_accuracy(predicted, pairs, ties="half")
      close(wrong, f"{group}/pairwise_accuracy_f64")
      assert tied == tied_again == data[f"{group}/predicted_ties"]
      np.testing.assert_allclose(half, wrong + tied / 2 / len(pairs), atol=1e-12)
  fisher = sorted(key.removesuffix("/r_f64") for key in data if key.endswith("/r_f64"))
  for group in fisher:
    mean = "fisher_mean_f64" if group.startswith("published/") else "mean_f64"
    close(metrics.fisher_mean(data[f"{group}/r_f64"]), f"{group}/{mean}")
  assert len(fisher) > 1 or "fisher/r_f64" not in data


@pytest.mark.parametrize("ties,tied_worth", [("half", 0.5), ("wrong", 0.0)])
def test_pairwise_accuracy(ties, tied_worth):
  rng = np.random.default_rng(0)
  scores = rng.integers(0, 5, 12) / 4
  pairs = np.array(list(itertools.permutations(range(12), 2)))[rng.permutation(132)[:50]]
  worth = [1.0 if scores[b] > scores[w] else tied_worth if scores[b] == scores[w] else 0.0 for b, w in pairs]
  accuracy, tied = metrics.pairwise_accuracy(scores, pairs, ties)
  np.testing.assert_allclose(accuracy, np.mean(worth))
  assert tied == sum(scores[b] == scores[w] for b, w in pairs) > 0
  swapped, _ = metrics.pairwise_accuracy(scores, pairs[:, ::-1], ties)
  np.testing.assert_allclose(accuracy + swapped, 1 if ties == "half" else 1 - tied / 50)
  assert metrics.pairwise_accuracy(np.zeros(12), pairs, ties) == (tied_worth, 50)


def test_pairwise_accuracy_corners():
  accuracy, tied = metrics.pairwise_accuracy(np.zeros(3), np.zeros((0, 2), int))
  assert math.isnan(accuracy) and tied == 0
  with pytest.raises(ValueError, match="config.evaluate.ties='right' is unknown; use 'half' or 'wrong'"):
    metrics.pairwise_accuracy(np.zeros(3), np.array([[0, 1]]), ties="right")


def test_correlations():
  rng = np.random.default_rng(1)
  predicted, true = rng.integers(0, 6, 15).astype(float), rng.integers(0, 6, 15).astype(float)
  ranks = lambda x: np.array([(x < v).sum() + ((x == v).sum() - 1) / 2 for v in x])
  np.testing.assert_allclose(metrics.spearman(predicted, true), np.corrcoef(ranks(predicted), ranks(true))[0, 1])
  agree = [np.sign(predicted[i] - predicted[j]) * np.sign(true[i] - true[j]) for i in range(15) for j in range(i)]
  untied = lambda x: sum(x[i] != x[j] for i in range(15) for j in range(i))
  expected = sum(agree) / np.sqrt(untied(predicted) * untied(true))
  np.testing.assert_allclose(metrics.kendall_tau(predicted, true), expected)
  for metric in (metrics.spearman, metrics.kendall_tau):
    assert metric(np.exp(true), true) == pytest.approx(1) and metric(-true, true) == pytest.approx(-1)
    for undefined in (([1.0], [2.0]), ([], []), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0])):
      assert math.isnan(metric(*map(np.array, undefined)))


def test_fisher_mean():
  r = np.array([0.3, -0.5, 0.9])
  np.testing.assert_allclose(metrics.fisher_mean(r), np.tanh(np.mean([0.5 * np.log((1 + x) / (1 - x)) for x in r])))
  assert metrics.fisher_mean([0.3, np.nan]) == pytest.approx(0.3)
  assert math.isnan(metrics.fisher_mean([np.nan])) and math.isnan(metrics.fisher_mean([]))
  for limit in ([-1, 0.8, 0.8, 0.8, 0.8], [1.0, 0.5], [1.0, -1.0], [0.3, -(1 - 1e-12)]):      # no finite z: no mean
    assert math.isnan(metrics.fisher_mean(limit)), limit


def test_errors():
  predicted, true = np.array([1.0, 4.0]), np.array([3.0, 5.0])
  assert metrics.squared_error(predicted, true) == 2.5
  assert metrics.relative_squared_error(predicted, true) == 2.5 / 4
  assert metrics.relative_squared_error(10 * predicted, 10 * true) == 2.5 / 4
  assert math.isnan(metrics.relative_squared_error(predicted, np.array([3.0, 3.0])))


def step_average_precision(weights, relevant):
  """Sum over thresholds of precision times the gain in recall."""
  result, before = 0.0, 0.0
  for threshold in sorted(set(weights), reverse=True):
    chosen = [r for w, r in zip(weights, relevant) if w >= threshold]
    recall = sum(chosen) / sum(relevant)
    result += (recall - before) * sum(chosen) / len(chosen)
    before = recall
  return result


def test_average_precision():
  rng = np.random.default_rng(2)
  for levels in (2, 4, 1000):
    for _ in range(20):
      weights, relevant = rng.integers(0, levels, 9) / levels, rng.random(9) < 0.4
      if relevant.any():
        np.testing.assert_allclose(metrics.average_precision(weights, relevant),
                                   step_average_precision(weights, relevant))
  # without ties: the mean, over relevant segments, of the share of relevant ones down to it
  assert metrics.average_precision([0.9, 0.8, 0.7, 0.1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)
  assert metrics.average_precision([4, 3, 2, 1], [1, 1, 0, 0]) == 1
  assert metrics.average_precision(np.full(4, 0.25), [1, 0, 0, 0]) == 0.25
  assert math.isnan(metrics.average_precision([1, 2], [0, 0]))


def test_measure(make_dataset):
  dataset = make_dataset()
  fold = dataset.folds[0]._replace(validation_pairs=dataset.folds[0].train_pairs[:5])
  scores = np.round(dataset.score)
  parts = dict(high=dataset.score, low=-dataset.score)
  result = metrics.measure(dataset, fold, scores, parts, "half")
  assert (result["test"], result["test_ties"]) == metrics.pairwise_accuracy(scores, dataset.pairs[fold.test_pairs])
  assert result["validation"] == metrics.pairwise_accuracy(scores, dataset.pairs[fold.validation_pairs])[0]
  assert result["branches"] == dict(high=1.0, low=0.0)
  assert math.isnan(metrics.measure(dataset, dataset.folds[0], scores, parts, "wrong")["validation"])


def test_against_truth(make_dataset):
  """Over the test videos and their real segments alone."""
  rng = np.random.default_rng(3)
  skill, relevant = rng.random(11), rng.random((11, 12)) < 0.3
  dataset = make_dataset(truth=dict(skill=skill, relevant_high=relevant, relevant_low=np.zeros((11, 12), bool)))
  fold, scores = dataset.folds[0], rng.normal(size=11)
  timelines = {"high attention": rng.random((11, 12)), "low attention": rng.random((11, 12))}
  finds = {"high attention": ("relevant_high",), "low attention": ("relevant_low",)}
  result = truth.against_truth(dataset, fold, scores, timelines, finds)
  ids = np.arange(8, 11)
  assert result["spearman_skill"] == metrics.spearman(scores[ids], skill[ids])
  assert result["spearman_score"] == metrics.spearman(scores[ids], dataset.score[ids])
  assert result["kendall_score"] == metrics.kendall_tau(scores[ids], dataset.score[ids])
  real = dataset.lengths["rgb"]
  precisions = [step_average_precision(timelines["high attention"][v, :real[v]], relevant[v, :real[v]])
                for v in ids if relevant[v, :real[v]].any()]
  assert precisions
  np.testing.assert_allclose(result["ap_high"], np.mean(precisions))
  np.testing.assert_allclose(result["chance_high"], np.mean([relevant[v, :real[v]].mean() for v in ids
                                                             if relevant[v, :real[v]].any()]))
  assert "ap_low" not in result and "chance_low" not in result        # nothing is relevant there
  perfect = truth.against_truth(dataset, fold, skill, {"attention": relevant.astype(float)},
                                dict(attention=("relevant_high", "relevant_low")))
  assert perfect["ap_high"] == 1 and perfect["spearman_skill"] == pytest.approx(1)
  assert truth.against_truth(make_dataset(score=None), fold, scores, timelines, finds) == {}


def performances(make_dataset, **truth):
  """11 videos of 2 to 12 rows, each row 1.5 to 3 seconds of its video, and their progress: at a pace of their own."""
  rng = np.random.default_rng(3)
  lengths = rng.integers(2, 13, 11).astype(np.int32)
  lengths[0] = 12
  progress = np.zeros((11, 12), np.float32)
  for row, n in zip(progress, lengths):
    row[:n] = np.sort(rng.uniform(size=n))
  return make_dataset(lengths=dict(rgb=lengths), row_seconds=dict(rgb=rng.uniform(1.5, 3, 11)),
                      truth=dict(progress=progress) | truth)


def when(times, reached, progress):
  """The time at which a performance was as far as `progress`: between the rows before and after."""
  if progress <= reached[0]:
    return times[0]
  for t in range(1, len(reached)):
    if progress <= reached[t]:
      return times[t - 1] + (times[t] - times[t - 1]) * (progress - reached[t - 1]) / (reached[t] - reached[t - 1])
  return times[-1]


def test_alignment_against_truth(make_dataset):
  data = performances(make_dataset)
  fold, lengths, seconds = data.folds[0], data.lengths["rgb"], data.row_seconds["rgb"]
  rng = np.random.default_rng(0)
  references, known = np.tile([2, 5], (11, 1)), np.ones((11, 2), bool)
  known[9, 1] = False
  places, errors, linear = np.full((2, 11, 12), 7.0), [], []                       # 7: of padding
  for video in fold.test_videos:
    for k in range(1 + known[video, 1]):
      r, n, m = references[video, k], lengths[video], lengths[references[video, k]]
      placed = rng.uniform(0, m, size=n)
      places[k, video, :n] = placed
      times = (np.arange(m) + 0.5) * seconds[r]
      true = [when(times, data.truth["progress"][r, :m], p) for p in data.truth["progress"][video, :n]]
      errors.append(np.mean(np.abs(placed * seconds[r] - true)))
      linear.append(np.mean(np.abs((np.arange(n) + 0.5) * m / n * seconds[r] - true)))
  places[1, 9] = np.nan                                                           # of a reference that is not there
  found = truth.alignment_against_truth(data, fold, places.transpose(1, 0, 2), references, known, "rgb")
  assert list(found) == ["alignment_error_s", "kendall_alignment", "linear_error_s", "kendall_linear"]
  np.testing.assert_allclose(found["alignment_error_s"], np.mean(errors), rtol=1e-5)
  np.testing.assert_allclose(found["linear_error_s"], np.mean(linear), rtol=1e-5)


def test_alignment_of_a_performance_with_itself(make_dataset):
  """No error, Kendall's tau of 1; backwards, -1."""
  data = performances(make_dataset)
  aligned, known = np.arange(11)[:, None], np.ones((11, 1), bool)
  same = np.tile(np.arange(12) + 0.5, (11, 1))
  found = truth.alignment_against_truth(data, data.folds[0], same[:, None], aligned, known, "rgb")
  assert found == pytest.approx(dict(alignment_error_s=0, kendall_alignment=1, linear_error_s=0, kendall_linear=1), abs=1e-5)
  for video, n in enumerate(data.lengths["rgb"]):
    same[video, :n] = same[video, :n][::-1]
  found = truth.alignment_against_truth(data, data.folds[0], same[:, None], aligned, known, "rgb")
  assert found["kendall_alignment"] == pytest.approx(-1) and found["alignment_error_s"] > 0
  unknown = dataclasses.replace(data, truth={})
  assert truth.alignment_against_truth(unknown, data.folds[0], same[:, None], aligned, known, "rgb") == {}


def test_segments(make_dataset):
  """Start and end follow the rows, and the lowest scores should be the segments that show a mistake."""
  shown = np.zeros((11, 12), bool)
  shown[8, 1], shown[9, 0], shown[9, 5:] = True, True, True
  data = performances(make_dataset, relevant_low=shown)
  lengths = np.array([12] * 8 + [7, 4, 2], np.int32)
  data = dataclasses.replace(data, lengths=dict(rgb=lengths))
  number = np.minimum(np.arange(12) * 3 // lengths[:, None], 2)           # 3 segments
  score = np.random.default_rng(1).uniform(size=(11, 3))
  score[8], score[9] = (2.0, 1.0, 3.0), (1.0, 2.0, 3.0)
  every = dict(number=number, score=score, importance=score / 2)
  of = lambda video: {name: values[video] for name, values in every.items()}
  found = truth.segments(of(8), 7, 2.0)
  assert [(s["start"], s["end"], s["score"], s["importance"]) for s in found] == [
      (0, 6, 2, 1), (6, 10, 1, 0.5), (10, 14, 3, 1.5)]
  assert [s["end"] for s in truth.segments(of(10), 2, 1.0)] == [1, 2]          # more segments than rows
  against = truth.segments_against_truth(data, data.folds[0], every, "rgb")
  assert against == pytest.approx(dict(ap_faulty=(1 / 2 + 1) / 2, chance_faulty=1 / 3))   # of 8 and 9; 10 shows none
  unknown = dataclasses.replace(data, truth={})
  assert truth.segments_against_truth(unknown, data.folds[0], every, "rgb") == {}


def test_attention_of_two_streams_against_truth(make_dataset):
  """Each stream's attention is held against the truth on its own rows, with its own lengths."""
  data = make_dataset()
  lengths = np.random.default_rng(1).integers(2, 16, 11).astype(np.int32)
  rng = np.random.default_rng(2)
  known = dict(critical=rng.uniform(size=(11, 12)) < 0.3, posture_error=rng.uniform(size=(11, 15)) < 0.3)
  data = dataclasses.replace(data, truth=known, lengths=dict(rgb=data.lengths["rgb"], static=lengths),
                             streams=dict(rgb=data.streams["rgb"], static=rng.normal(size=(11, 15, 3)).astype(np.float32)))
  timelines = {"rgb attention": rng.uniform(size=(11, 12)), "static attention": rng.uniform(size=(11, 15))}
  stream_of = lambda name: name.removesuffix(" attention")
  finds = {"rgb attention": ("critical",), "static attention": ("posture_error",)}
  found = truth.against_truth(data, data.folds[0], data.score, timelines, finds, scored=True, stream_of=stream_of)
  assert set(found) == {"ap_key_moment", "chance_key_moment", "ap_posture_error", "chance_posture_error"}
  for name, stream, of in (("key_moment", "rgb", "critical"), ("posture_error", "static", "posture_error")):
    shown = [(timelines[f"{stream} attention"][v, :n], known[of][v, :n]) for v in data.folds[0].test_videos
             for n in [data.lengths[stream][v]] if known[of][v, :n].any()]
    np.testing.assert_allclose(found[f"ap_{name}"], np.mean([metrics.average_precision(*pair) for pair in shown]))
    np.testing.assert_allclose(found[f"chance_{name}"], np.mean([relevant.mean() for _, relevant in shown]))
  other = truth.against_truth(data, data.folds[0], data.score, {"high": timelines["static attention"]},
                              dict(high=("relevant_high",)))
  assert "ap_high" not in other                           # the data set does not know it


def test_filter_correlation(make_dataset):
  """Fig. 7 of Pros & Cons: filters of one module with those of the other, "averaged over all videos"."""
  dataset = make_dataset()
  rng = np.random.default_rng(4)
  high, low = rng.random((11, 3, 12)), rng.random((11, 2, 12))
  low[:, 1] = 1 - high[:, 2]
  used = [v for v in range(11) if dataset.lengths["rgb"][v] > 1]
  each = [[[np.corrcoef(one[:n], other[:n])[0, 1] for other in low[v]] for one in high[v]]
          for v in used for n in [dataset.lengths["rgb"][v]]]
  result = truth.filter_correlation(dataset, high, low, "rgb")
  np.testing.assert_allclose(result, np.mean(each, axis=0))
  np.testing.assert_allclose(result[2][1], -1)
  assert truth.filter_correlation(dataset, high, np.ones((11, 2, 12)), "rgb") is None


def history(tests, validations):
  """Evaluations of two replicas; the second one is all wrong."""
  return [dict(step=10 * (i + 1), replicas=[dict(test=t, validation=v), dict(test=0.0, validation=v)])
          for i, (t, v) in enumerate(zip(tests, validations))]


def test_select():
  """Test data choose nothing but what is called so; of equals the first."""
  evaluations = history([0.5, 0.9, 0.7, 0.9, 0.6], [0.2, 0.1, 0.8, 0.8, 0.3])
  assert metrics.select(evaluations, 0) == dict(
      last=dict(step=50, accuracy=0.6), validation_selected=dict(step=30, accuracy=0.7, validation=0.8),
      best_on_test=dict(step=20, accuracy=0.9))
  assert metrics.select(evaluations, 1)["best_on_test"] == dict(step=10, accuracy=0.0)
  result = metrics.select(history([0.5, 0.4], [np.nan, np.nan]), 0)
  assert result["validation_selected"] is None and result["last"] == dict(step=20, accuracy=0.4)


def test_select_by_another_metric():
  """Everything measured at the chosen step comes along; an undefined correlation is never chosen."""
  rows = [dict(test=t, validation=v, metrics=dict(mae=m, spearman=t))
          for t, v, m in ((np.nan, 0.3, 9.0), (0.2, 0.5, 8.0), (0.6, np.nan, 7.0), (0.4, 0.5, 6.0))]
  evaluations = [dict(step=i + 1, replicas=[row]) for i, row in enumerate(rows)]
  assert metrics.select(evaluations, 0, "spearman") == dict(
      last=dict(step=4, mae=6.0, spearman=0.4),
      validation_selected=dict(step=2, mae=8.0, spearman=0.2, validation=0.5),
      best_on_test=dict(step=3, mae=7.0, spearman=0.6))


@pytest.mark.parametrize("rl2_range", ["class", "test"])
def test_measure_scores(make_dataset, rl2_range):
  """Of the test side; R-l2 over the range of all labels of the fold, or of those tested, and of no other fold's."""
  rng = np.random.default_rng(0)
  fold = make_dataset().folds[0]._replace(train_videos=np.arange(5), validation_videos=np.arange(5, 7),
                                          test_videos=np.arange(7, 10))
  labels = rng.normal(size=11)
  labels[2], labels[10], labels[8] = -9, 500, 4                     # video 10 is of another fold
  scores = rng.normal(size=11)
  result = metrics.measure_scores(fold, labels, scores, rl2_range)
  test, side = slice(7, 10), labels[:10] if rl2_range == "class" else labels[7:10]
  error = scores[test] - labels[test]
  assert result["metrics"] == pytest.approx(dict(
      spearman=metrics.spearman(scores[test], labels[test]), pearson=np.corrcoef(scores[test], labels[test])[0, 1],
      mae=np.abs(error).mean(), rl2=np.mean(error ** 2) / (side.max() - side.min()) ** 2))
  assert result["test"] == result["metrics"]["spearman"] and result["scores"] == scores[test].tolist()
  assert result["validation"] == metrics.spearman(scores[5:7], labels[5:7])
  shifted = metrics.measure_scores(fold, 10 * labels, 10 * scores, rl2_range)["metrics"]
  assert shifted["rl2"] == pytest.approx(result["metrics"]["rl2"])
  assert shifted["mae"] == pytest.approx(10 * result["metrics"]["mae"])


def test_measure_scores_where_there_is_little(make_dataset):
  fold = make_dataset().folds[0]._replace(test_videos=np.array([9]))
  result = metrics.measure_scores(fold, np.arange(11.0), np.zeros(11), "test")
  assert math.isnan(result["validation"]) and math.isnan(result["test"])
  assert result["metrics"]["mae"] == 9 and all(math.isnan(result["metrics"][n]) for n in ("pearson", "spearman", "rl2"))
  assert np.isnan(result["scores"]).all()                 # equal predictions have no order, also not beside other folds
  lonely = np.where(np.arange(11) == 3, np.nan, np.arange(11.0))            # a training video without an exemplar
  assert metrics.measure_scores(fold, np.arange(11.0), lonely, "class")["scores"] == [9.0]
  for how in ("class", "test"):
    untested = metrics.measure_scores(fold._replace(test_videos=np.arange(0)), np.arange(11.0), np.arange(11.0), how)
    assert untested["scores"] == [] and all(math.isnan(value) for value in untested["metrics"].values())
  with pytest.raises(ValueError, match="config.evaluate.rl2_range='all' is unknown; use 'class' or 'test'"):
    metrics.measure_scores(fold, np.arange(11.0), np.zeros(11), "all")


def test_summarise():
  values = np.array([[0.5, 0.6, 0.8], [0.7, 0.9, 0.8]])       # seeds x folds
  folds, seeds = np.tile(range(3), 2), np.repeat([7, 9], 3)
  result = metrics.summarize(values.ravel().tolist(), folds, seeds)
  spread = lambda x: np.sqrt(((x - x.mean()) ** 2).sum() / (len(x) - 1))
  np.testing.assert_allclose([result["mean"], result["std_seeds"], result["std_folds"]],
                             [values.mean(), spread(values.mean(axis=1)), spread(values.mean(axis=0))])
  assert result["count"] == 6
  assert metrics.summarize([0.5], [0], [0]) == dict(mean=0.5, std_seeds=None, std_folds=None, count=1)
  assert metrics.summarize([0.5, None], [0, 1], [0, 0]) is None
  assert metrics.summarize([0.5, float("nan")], ["a", "b"], [0, 0]) == dict(
      mean=None, std_seeds=None, std_folds=None, count=2, undefined=["b"])
