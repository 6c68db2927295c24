"""Simple baselines against solving for every left-out video anew."""

import dataclasses

import numpy as np
import pytest

from jaxskill.evaluate import simple_baselines


def naive_ridge(features, labels, penalty):
  """(weights, offset) of standardised features by the normal equations; the offset is not penalised."""
  x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
  penalties = np.diag([penalty] * features.shape[1] + [0.0])
  solution = np.linalg.solve(x.T @ x + penalties, x.T @ labels)
  return solution[:-1], solution[-1]


@pytest.mark.parametrize("count,width,seeds", [(20, 4, 2), (12, 30, 2), (6, 3, 60)])     # few videos: penalties differ
def test_ridge_chooses_by_leaving_one_out(count, width, seeds):
  chosen = set()
  for seed in range(seeds):
    rng = np.random.default_rng(seed)
    features = 5 + rng.normal(size=(count, width)) * np.geomspace(0.1, 10, width)
    labels = features[:, 0] * 20 + rng.normal(size=count) * rng.uniform(0.1, 3)
    asked = rng.normal(size=(7, width))
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    errors = []
    for penalty in simple_baselines.RIDGE_PENALTIES:
      left_out = []
      for i in range(count):
        others = np.arange(count) != i
        weights, offset = naive_ridge(standard[others], labels[others], penalty)
        left_out.append(standard[i] @ weights + offset - labels[i])
      errors.append(np.mean(np.square(left_out)))
    chosen.add(np.argmin(errors))
    weights, offset = naive_ridge(standard, labels, simple_baselines.RIDGE_PENALTIES[np.argmin(errors)])
    expected = (asked - features.mean(axis=0)) / features.std(axis=0) @ weights + offset
    np.testing.assert_allclose(simple_baselines.ridge(features, labels, asked), expected, rtol=1e-6, atol=1e-6)
  assert len(chosen) > 1 or seeds == 2


def test_ridge_of_features_that_never_vary():
  features, labels = np.ones((6, 3)), np.arange(6.0)
  features[:, 0] = labels
  found = simple_baselines.ridge(features, labels, np.array([[2.0, 1, 1], [2.0, 9, 9]]))
  assert np.isfinite(found).all() and found[0] == pytest.approx(2, abs=0.1)
  np.testing.assert_allclose(simple_baselines.ridge(np.ones((6, 3)), labels, np.ones((2, 3))), 2.5)


def test_predictions(make_dataset):
  """Fitted on the training side alone; what is constant there, or unknown, is no row."""
  rng = np.random.default_rng(1)
  difficulty = rng.uniform(1, 3, 11).astype(np.float32)
  seconds = dict(rgb=rng.uniform(1, 2, 11))
  dataset = make_dataset(difficulty=difficulty, row_seconds=seconds)
  fold, train = dataset.folds[0], np.arange(8)
  labels = np.float64(dataset.score)
  labels[8:] = 1e6                                       # nothing may look at the test side
  found = simple_baselines.predict(dataset, fold, labels, labels, "rgb")
  assert list(found) == ["mean score", "difficulty only", "duration only", "ridge on mean features"]
  np.testing.assert_allclose(found["mean score"], labels[:8].mean())
  for name, values in (("difficulty only", difficulty), ("duration only", dataset.lengths["rgb"] * seconds["rgb"])):
    design = np.stack([np.ones(11), values], axis=1)
    line = np.linalg.lstsq(design[train], labels[train], rcond=None)[0]
    np.testing.assert_allclose(found[name], design @ line, rtol=1e-4)
  means = np.stack([x[:n].mean(axis=0) for x, n in zip(dataset.streams["rgb"], dataset.lengths["rgb"])])
  np.testing.assert_allclose(simple_baselines.mean_features(dataset, "rgb"), means, atol=1e-6)
  np.testing.assert_allclose(found["ridge on mean features"], simple_baselines.ridge(means[:8], labels[:8], means), rtol=1e-4)
  shared = simple_baselines.predict(dataset, fold, labels, labels / difficulty, "rgb")
  np.testing.assert_allclose(shared["ridge on mean features"],
                             simple_baselines.ridge(means[:8], (labels / difficulty)[:8], means) * difficulty, rtol=1e-4)
  constant = dataclasses.replace(dataset, difficulty=None, lengths=dict(rgb=np.full(11, 12, np.int32)),
                                 row_seconds=dict(rgb=np.ones(11)))
  assert list(simple_baselines.predict(constant, fold, labels, labels, "rgb")) == ["mean score", "ridge on mean features"]


def test_rank_svm_solves_its_objective():
  """No direction nearby is better, for the cost that cross-validation over videos chooses; pairs it can order, it orders."""
  rng = np.random.default_rng(0)
  features = rng.normal(size=(20, 4))
  skill = features @ [2.0, -1, 0, 0]
  pairs = np.array([(i, j) for i in range(20) for j in range(20) if skill[i] > skill[j]])
  direction = simple_baselines.rank_svm(features, pairs)
  assert (features[pairs[:, 0]] @ direction > features[pairs[:, 1]] @ direction).mean() > 0.97
  ahead = features[pairs[:, 0]] - features[pairs[:, 1]]
  value = lambda w, cost: 0.5 * w @ w + cost * np.mean(np.maximum(1 - ahead @ w, 0) ** 2)
  nearby = [direction + 0.01 * step for step in (*np.eye(4), *-np.eye(4))]
  assert any(all(value(direction, cost) < value(w, cost) for w in nearby) for cost in simple_baselines.RANKING_COSTS)
  noise = simple_baselines.rank_svm(features, rng.permuted(pairs, axis=1))
  assert np.linalg.norm(noise) < np.linalg.norm(direction)          # what cannot be learnt is shrunk away


def test_linear_ranking_of_maps(make_dataset):
  """The mean over frames and places, standardised by the training videos; learnt from the training pairs alone."""
  rng = np.random.default_rng(1)
  dataset = make_dataset()
  maps = rng.normal(size=(11, 5, 2, 3, 4)).astype(np.float32)
  maps += np.float32([1, -2, 3, -4]) * dataset.score[:, None, None, None, None]
  dataset = dataclasses.replace(dataset, streams=dict(maps=maps), lengths=dict(maps=np.full(11, 5, np.int32)))
  np.testing.assert_allclose(simple_baselines.mean_features(dataset, "maps"), maps.mean(axis=(1, 2, 3)), atol=1e-5)
  fold = dataset.folds[0]
  scores = simple_baselines.rank(dataset, fold, ("maps",))
  better, worse = scores[dataset.pairs[fold.test_pairs]].T
  assert (better > worse).all()
  other = dataclasses.replace(dataset, pairs=np.where(np.isin(np.arange(len(dataset.pairs)), fold.train_pairs)[:, None],
                                                      dataset.pairs, dataset.pairs[:, ::-1]))
  np.testing.assert_allclose(simple_baselines.rank(other, fold, ("maps",)), scores)


def test_support_vectors_read_each_stream_in_a_row_of_its_own(make_dataset):
  """And all streams side by side; a single stream has no row of its own beside that."""
  pytest.importorskip("sklearn")
  dataset = make_dataset()
  other = np.random.default_rng(7).normal(size=(11, 4, 3)).astype(np.float32)
  dataset = dataclasses.replace(dataset, streams=dict(dataset.streams, static=other), row_seconds={}, row_times={},
                                lengths=dict(dataset.lengths, static=np.full(11, 4, np.int32)))
  labels, fold = np.float64(dataset.score), dataset.folds[0]

  def machines(streams):
    rows = simple_baselines.predict(dataset, fold, labels, labels, streams, svr=True)
    return {name: values for name, values in rows.items() if "SVR" in name}
  found = machines(("rgb", "static"))
  assert list(found) == [f"linear SVR on {pool} features{of}" for pool in ("mean", "max")
                         for of in ("", " of rgb", " of static")]
  for stream in ("rgb", "static"):
    alone = machines(stream)
    assert list(alone) == ["linear SVR on mean features", "linear SVR on max features"]
    for name, values in alone.items():
      np.testing.assert_array_equal(values, found[f"{name} of {stream}"])
