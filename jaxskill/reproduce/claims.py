"""Whether what a paper claims holds on simulated performances, at equal seeds, with the number."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxskill.reproduce import runs
from jaxskill.reproduce.entries import Claim

FEWEST = 5            # seeds that a verdict should rest on


class Verdict(NamedTuple):
  """What came of a claim.

  Attributes:
    claim: itself.
    says: "holds", "does not hold", "within the spread", or "not measured".
    more, less: means over seeds of the two sides.
    difference: mean over seeds of what should be above zero; interval: its 95 % interval (Student's t over seeds).
    seeds: number of seeds.
  """

  claim: Claim
  says: str
  more: float
  less: float
  difference: float
  interval: tuple[float, float]
  seeds: int


def judge(claim: Claim, results: dict[str, dict]) -> Verdict:
  """Returns the verdict on a claim: "holds" where the whole interval of the difference over seeds lies above zero.

  Args:
    results: {row: contents of results.json of its run}.
  """
  more = by_seed(results, *claim.more)
  less = {seed: float(claim.less) for seed in more} if isinstance(claim.less, (int, float)) else by_seed(
      results, *claim.less)
  seeds = sorted(more.keys() & less.keys())
  if not seeds:
    return Verdict(claim, "not measured", math.nan, math.nan, math.nan, (math.nan, math.nan), 0)
  sign = -1.0 if claim.lower else 1.0
  differences = sign * np.array([more[seed] - less[seed] for seed in seeds])
  mean = float(differences.mean())
  half = math.nan
  if len(seeds) > 1:
    half = float(stats.t.ppf(0.975, len(seeds) - 1) * differences.std(ddof=1) / math.sqrt(len(seeds)))
  interval = mean - half, mean + half
  says = "holds" if interval[0] > 0 else "does not hold" if interval[1] < 0 else "within the spread"
  average = lambda side: float(np.mean([side[seed] for seed in seeds]))
  return Verdict(claim, says if np.isfinite(half) else "not measured", average(more), average(less), mean, interval,
                 len(seeds))


def by_seed(results: dict[str, dict], row: str, quantity: str) -> dict[int, float]:
  """Returns {seed: mean over folds} of a quantity of a row.

  Args:
    quantity: a path such as "last.accuracy"; a matrix counts by its mean.
  """
  found: dict[int, list[float]] = {}
  for model in results.get(row, {}).get("replicas", ()):
    if runs.named_row(model["row"], model["criterion"]) == row or not model["row"]:
      value = model
      for part in quantity.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
      if value != {}:                                    # None is what is undefined
        found.setdefault(model["seed"], []).append(math.nan if value is None else float(np.mean(value)))
  return {seed: float(np.mean(values)) for seed, values in found.items()}


def line(verdict: Verdict) -> str:
  """Returns a verdict as one line of text."""
  claim = verdict.claim
  if verdict.says == "not measured":
    why = "it is undefined for some seed" if verdict.seeds > 1 else "it takes two seeds"
    return f"{claim.words} ({claim.source}): not measured, {why}."
  return (f"{claim.words} ({claim.source}): {verdict.says}: {verdict.more:.3f} against {verdict.less:.3f}, difference "
          f"{verdict.difference:+.3f} "
          f"[{verdict.interval[0]:+.3f}, {verdict.interval[1]:+.3f}], {verdict.seeds} seeds"
          + (f", fewer than {FEWEST}: no claim" if verdict.seeds < FEWEST else ""))
