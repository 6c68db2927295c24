"""Replicas whose scores fell together are found and named; others are not."""

import re

import numpy as np
import pytest

from jaxskill import files, train
from jaxskill.evaluate import collapse
from tests.assess.own_videos import QUICK, SIZES
from tests.conftest import small_config

SKILL = np.linspace(0, 1, 40)
PAIRS = np.array([(i, j) for i in range(40) for j in range(i)])
NOISE = np.random.default_rng(0).standard_normal(40)

RANKS = {
    "equal": (np.full(40, 0.54), "all scores equal"),
    "zero": (np.zeros(40), "all scores equal"),
    "a few values": (np.where(np.arange(40) == 20, 1.0, 0.0), "95% of the training pairs tied"),
    "rounding": (np.float32(0.54) + np.float32(1e-7) * NOISE.astype(np.float32), "all but equal|tied"),
    "all but equal": (0.54 + 6e-4 * NOISE, "scores all but equal, .*% of the training pairs in order"),
    "learnt": (SKILL - 0.5, ""),
    "learnt, small": (1e-3 * (SKILL - 0.5), ""),
    "learnt, far from zero": (1e3 + SKILL, ""),
    "noise": (NOISE, ""),
}


@pytest.mark.parametrize("name", RANKS)
def test_rank_scores(name):
  scores, reason = RANKS[name]
  assert_matches(collapse.of_ranks(scores, PAIRS), reason)


LABELS = {
    "constant": (np.full(40, 61.5), "all scores equal"),
    "all but constant": (61.5 + 0.01 * NOISE, "vary by 0.* of what the labels do"),
    "learnt": (100 * SKILL + 10 * NOISE, ""),
    "timid": (50 + 5 * SKILL, ""),
}


@pytest.mark.parametrize("name", LABELS)
def test_predicted_scores(name):
  scores, reason = LABELS[name]
  assert_matches(collapse.of_labels(scores, 100 * SKILL), reason)


def test_what_cannot_be_told_is_no_collapse():
  assert collapse.of_labels(np.ones(5), np.ones(5)) == ""
  assert collapse.of_labels(np.full(5, np.nan), np.arange(5.0)) == ""
  assert collapse.of_labels(np.array([1.0, np.nan, 1.0]), np.arange(3.0)) == "all scores equal"


def assert_matches(found, reason):
  assert re.search(reason, found) and bool(found) == bool(reason), found


def replica(seed, collapsed="", **where):
  return dict(row="", fold="simulated", seed=seed, criterion="score", collapsed=collapsed) | where


def test_the_line_names_what_collapsed():
  assert collapse.note([replica(0), replica(1)]) == ""
  assert collapse.note([replica(0), replica(2, "all scores equal")]) == (
      "\ncollapsed: seed 2 (all scores equal); the results of this one are part of the means above")
  line = collapse.note([replica(0, "x", fold="a", row="CBAM"), replica(0, fold="b", row="full"),
                        replica(1, "y", fold="b")])
  assert "row CBAM, fold a, seed 0 (x); " in line and "these are part" in line and "criterion" not in line


@pytest.mark.parametrize("system", ["whos_better", "core"])
def test_results_of_a_run_name_it(system, quick_training, monkeypatch, tmp_path, capsys):
  """A replica that is given one score for all videos: in results.json, and under the table."""
  assess = train.Trainer.assess

  def flattened(self, **options):
    found = assess(self, **options)
    if not options.get("everything"):
      return found
    score = np.array(found.score)
    score[1] = 0.25
    return found._replace(score=score)
  monkeypatch.setattr(train.Trainer, "assess", flattened)
  config = small_config(system, "simulated", QUICK | SIZES[system])
  results = train.run(config, tmp_path / "run")
  assert [bool(r["collapsed"]) for r in results["replicas"]] == [False, True]
  assert "collapsed: seed 1 (all scores equal)" in capsys.readouterr().out
  assert files.to_json(results)
