"""Intervals in results.json: of the very numbers that the table shows, and of the differences between rows."""

import types

import numpy as np
import pytest

from jaxskill.evaluate import metrics, protocol
from jaxskill.report import intervals

VIDEOS = 44


def asked(make_dataset, *, scored, folds, subjects=None, few=False):
  """(row -> mean of the table, what `intervals.of_rows` says) of two rows, the first better, two seeds each."""
  count = 8 if few else VIDEOS
  members = np.array_split(np.arange(count), folds)
  splits = [(np.setdiff1d(np.arange(count), test), test) for test in members]
  dataset = make_dataset(videos=count, folds=splits, subject=subjects)
  replicas = [types.SimpleNamespace(row=row, fold=fold, seed=seed, criterion="score")
              for row in ("good", "bad") for fold in range(folds) for seed in (0, 1)]
  rng = np.random.default_rng(1)
  scores = np.stack([dataset.score + (0.4 if r.row == "good" else 2.0) * rng.normal(size=count) for r in replicas])
  experiment = types.SimpleNamespace(dataset=dataset, replicas=replicas, metric="spearman" if scored else "accuracy",
                                     config=types.SimpleNamespace(evaluate=types.SimpleNamespace(ties="half")))
  def measured(replica, said):
    fold = dataset.folds[replica.fold]
    return (metrics.measure_scores(fold, dataset.score, said) if scored else
            metrics.measure(dataset, fold, said, {}, "half"))
  history = [dict(step=1, replicas=[measured(replica, said) for replica, said in zip(replicas, scores)])]
  found = [metrics.select(history, index, experiment.metric) | dict(against_truth={}, test_ties=0, branches={})
           for index in range(len(replicas))]
  sides, rows = protocol.sides(experiment, history, found), {}
  for name in ("good", "bad"):
    numbers = [index for index, r in enumerate(replicas) if r.row == name]
    rows[name] = protocol.summarize([found[i] for i in numbers], experiment.metric, [sides[i] for i in numbers])
  shown = protocol.show(rows)
  table = {name: row[experiment.metric]["last"]["mean"] for name, row in rows.items()}
  return table, shown, intervals.of_rows(experiment, scores, sides, [r.row for r in replicas],
                                         shown if scored else None)


@pytest.mark.parametrize("scored, folds, few, shown", [
    (True, 2, False, "pooled"), (True, 1, False, "fisher"), (True, 1, True, "over_folds"), (False, 2, False, None)])
def test_of_the_numbers_of_the_table(make_dataset, scored, folds, few, shown):
  table, chosen, found = asked(make_dataset, scored=scored, folds=folds, few=few)
  assert chosen == shown and found["resampled"] == "videos" and found["rows"].keys() == table.keys()
  for name, mean in table.items():
    cell = found["rows"][name]
    assert cell["value"] == pytest.approx(mean, abs=1e-9) and cell["low"] <= cell["value"] <= cell["high"]
  gap, = found["differences"]
  assert (gap["first"], gap["second"]) == ("good", "bad")
  assert gap["value"] == pytest.approx(table["good"] - table["bad"], abs=1e-9)
  assert few or gap["low"] > 0


def test_subjects_are_drawn_where_they_are_known(make_dataset):
  subjects = np.array([f"s{i % 11}" for i in range(VIDEOS)])
  _, _, found = asked(make_dataset, scored=True, folds=1, subjects=subjects)
  assert (found["resampled"], found["units"]) == ("subjects", 11)
  _, _, of_one = asked(make_dataset, scored=True, folds=1, subjects=np.full(VIDEOS, "s"))
  assert (of_one["resampled"], of_one["units"]) == ("videos", VIDEOS)
