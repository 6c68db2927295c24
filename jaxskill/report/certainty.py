"""How sure an answer is, in words and numbers: its range, what that promises, and what test videos say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.evaluate import conformal, held_out, pair_probability
from jaxskill.report import wording
from jaxskill.training.experiment import Experiment
from jaxskill.training.finished_run import FinishedRun

MORE = "a larger config.data.validation_share keeps more apart"


def of_rows(experiment: Experiment, scores: np.ndarray) -> dict[str, Any]:
  """Returns {row of models: `held_out.summary`} at the level of 90 %.

  Args:
    experiment: see `training.experiment`; scores: `[R, V]` at the end of training.
  """
  held = held_out.of_experiment(experiment, scores)
  names = np.array([replica.row or experiment.config.name for replica in experiment.replicas])
  return {str(name): held_out.summary(held, np.flatnonzero(names == name), conformal.LEVEL)
          for name in dict.fromkeys(names)}


def of_video(run: FinishedRun, scores: np.ndarray, ids: np.ndarray, level: float,
             warnings: Sequence[str]) -> dict[str, Any]:
  """Returns how sure the score of a new video is, as JSON can hold it.

  Args:
    scores: `[n]` by the models `ids`; level: share of labels that ranges are to hold; warnings: of the video.

  Returns:
    {"range": [low, high] in the unit of the labels, or None; "level"; "guarantee": what the range promises, or why
    there is none, a sentence; "calibration": of `held_out.summary`}.
  """
  held, ranked = run.held_out, run.method.items.ranks
  found = held_out.summary(held, ids, level)
  ends = None
  if found["at_least"] is not None and held is not None:
    calibration, _ = held_out.calibrate(held, ids)
    ends = calibration and held_out.range_of(calibration, scores, level)
  words = why_no_range(found, ranked) if ends is None else promise(found)
  if ends and any(warning.startswith(wording.NOT_ALIKE) for warning in warnings):
    words = f"does NOT hold for this video, see its warning; else: {words}"
  return dict(range=ends and list(ends), level=found["level"], guarantee=words, calibration=found)


def of_pair(run: FinishedRun, scores: np.ndarray, ids: np.ndarray, level: float,
            warnings: Sequence[str]) -> dict[str, Any]:
  """Returns how probable it is that the first of two videos is better.

  Args:
    scores: `[2, n]` by the models `ids`; warnings: of both videos.

  Returns:
    {"probability", None where nothing calibrates it, and "probability_means": what it rests on, or why there is none, a
    sentence}.
  """
  found = held_out.summary(run.held_out, ids, level)
  if found["slope"] is None or run.held_out is None:
    return dict(probability=None, probability_means=why_no_probability(found))
  first, second = np.asarray(scores, np.float64)
  gap = (first - second).mean() / run.held_out.scale[ids].mean(dtype=np.float64)     # as `held_out.Part.gaps`
  words = f"calibrated on {found['pairs']} pairs of {_calibrated(found)}{_checked_pairs(found)}"
  if any(warning.startswith(wording.NOT_ALIKE) for warning in warnings):
    words = f"does NOT hold for these videos, see the warnings; else: {words}"
  return dict(probability=float(pair_probability.probability(found["slope"], gap)),
              probability_means=words)


def promise(found: Mapping[str, Any]) -> str:
  """Returns what a range promises of a video like those that calibrated it.

  Args:
    found: of `held_out.summary`, with a range.
  """
  level = wording.exact_percent(found["level"])
  these = found["new_people"] is False
  whose = f"of new videos {'of these people' if these else 'like these'} are in their range"
  proven = math.floor(100 * found["at_least"] + 1e-6)            # a proof is not rounded up
  if not proven:
    sure = f"meant to hold {level} of new videos, of which nothing is proven"
  else:
    sure = (f"at least {level} {whose}" if found["folds"] == 1 else
            f"about {level} {whose}, by proof at least {proven} %")
    sure += "; nothing is proven for other people" if these else ""
  return f"{sure}; calibrated on {_calibrated(found)}{_covered(found)}"


def why_no_range(found: Mapping[str, Any], ranked: bool) -> str:
  """Returns why there is no range, and what gives one."""
  level = wording.exact_percent(found["level"])
  if ranked:
    return "no range: a rank score has no unit"
  if found["calibrated_on"] is None:
    return f"no range: {found['why_not']}"
  most = 100 * found["videos"] // (found["videos"] + 1) / 100
  return (f"no range of {level}: it needs {conformal.videos_needed(found['level'])} calibration videos, there are "
          f"{found['videos']}; {MORE}, and --level up to {most:g} needs no more")


def why_no_probability(found: Mapping[str, Any]) -> str:
  """Returns why there is no probability that one video is better, and what gives one."""
  if found["calibrated_on"] is None:
    return f"no probability: {found['why_not']}"
  return (f"no probability: it needs {pair_probability.LEAST_PAIRS} pairs of calibration videos, there are "
          f"{found['pairs']}; {MORE}")


def describe(rows: Mapping[str, Mapping[str, Any]], ranked: bool) -> list[str]:
  """Returns what stands below a table of results.

  Args:
    rows: {row: of `held_out.summary`}; ranked: whether scores have no unit.
  """
  lines = []
  for name, found in rows.items():
    whose = f" of {name}" if len(rows) > 1 else ""
    if not ranked:
      words = promise(found) if found["at_least"] is not None else why_no_range(found, ranked)
      lines.append(f"range{whose}, {wording.exact_percent(found['level'])}: {words}")
    if ranked or found["slope"] is not None:
      words = (f"calibrated on {found['pairs']} pairs of {_calibrated(found)}{_checked_pairs(found)}"
               if found["slope"] is not None else why_no_probability(found))
      lines.append(f"probability{whose} that one video is better: {words}")
  return list(dict.fromkeys(lines))


def _calibrated(found: Mapping[str, Any]) -> str:
  """What calibrates, in words."""
  people = f" of {found['people']} subject(s)" if found["people"] else ""
  how = "" if found["calibrated_on"] == "validation videos" else ", each by models that had not seen it"
  return f"{found['videos']} {'validation ' if not how else ''}videos{people}{how}"


def _covered(found: Mapping[str, Any]) -> str:
  share = found["coverage"]
  if share is None:
    return "; not tested, since too few videos are left for that"
  by = (f"calibrated on {share['calibration_videos']} validation videos" if found["calibrated_on"] != "out of fold" else
        f"each fold's by {share['calibration_videos']} or more of the other folds, whose models had seen it")
  return (f"; of {share['videos']} test videos {share['hits']} are, {100 * share['share']:.1f} % (95 % interval "
          f"{100 * share['low']:.1f} to {100 * share['high']:.1f}), {by}, within ± {share['half_width']:.3g}")


def _checked_pairs(found: Mapping[str, Any]) -> str:
  test = found["test_pairs"]
  if not test:
    return "; not tested, since there are no such pairs"
  return (f"; of {test['test_pairs']} test pairs {100 * test['right']:.1f} % are in order, and it promised "
          f"{100 * test['claimed']:.1f} % (Brier score {test['brier']:.3f})")
