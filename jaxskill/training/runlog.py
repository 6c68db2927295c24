"""The log of a run while it trains: the history of its evaluations, and every number for the trackers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxskill import files, stores
from jaxskill.training import log_lines, mirror, trackers


class Log(contextlib.AbstractContextManager):
  """evaluations.jsonl, which a run goes on from, and trackers; lines after the step resumed from are dropped.

  Attributes:
    workdir: the folder of the run; step: that it goes on from.
    history: the evaluations so far, in order of steps.
  """

  def __init__(self, workdir: epath.Path, step: int, main: bool, history: list[dict[str, Any]] | None = None,
               config: ConfigDict | None = None, fresh: bool = False) -> None:
    """Opens the log of a run that goes on at `step`.

    Args:
      main: whether this process writes.
      history: the evaluations up to `step`; None takes those of evaluations.jsonl.
      config: of the run, which names its trackers; None takes those of every config.
      fresh: whether the run begins, see `trackers.make`.
    """
    self.workdir, self.step, self._main = workdir, step, main
    self.history = history if history is not None else log_lines.read_evaluations(workdir, step) if main else []
    self._mirror = mirror.Mirror(workdir) if main and not stores.is_local(workdir) else None
    folder = self._mirror.folder if self._mirror else workdir
    self._trackers = trackers.make(workdir, folder, config or ConfigDict(), step, fresh) if main else []
    if main:
      self._evaluations = trackers.Lines(folder / "evaluations.jsonl", self.history)

  def metrics(self, step: int, metrics: Mapping[str, np.ndarray], steps_per_second: float) -> None:
    """Hands on means over the steps since the line before; each metric is `[R]`."""
    self._log(step, {"train/steps_per_second": steps_per_second}
              | {f"train/{name}": value for name, value in metrics.items()})

  def evaluation(self, step: int, replicas: Sequence[dict[str, Any]]) -> float | None:
    """Keeps one evaluation; returns the mean validation result, or None without a validation side."""
    entry = dict(step=step, replicas=replicas)
    self.history.append(entry)
    means = {name: float(np.mean([r[name] for r in replicas])) for name in ("test", "validation")}
    if self._main:
      self._evaluations.write(entry)
    self._log(step, {f"evaluation/{name}": value for name, value in means.items()})
    return means["validation"] if np.isfinite(means["validation"]) else None

  def _log(self, step: int, values: Mapping[str, Any]) -> None:
    for tracker in self._trackers:
      tracker.log(step, values)
    if self._mirror:
      self._mirror.save(now=False)

  def secured(self) -> None:
    """Tells the trackers that a checkpoint holds all that was logged so far."""
    for tracker in self._trackers:
      tracker.secured()

  def files(self, paths: Sequence[epath.Path]) -> None:
    """Hands files of the finished run to the trackers."""
    for tracker in self._trackers:
      tracker.files(paths)

  def notes(self) -> list[dict[str, Any]]:
    """Returns the history as JSON values, for a checkpoint; `log_lines.with_nan` makes it what it was.

    On a store the logs are written up to here: a run that goes on from the checkpoint finds all lines before it.
    """
    if self._mirror:
      self._mirror.save()
    return json.loads(files.to_json(self.history))

  def __exit__(self, *_: object) -> None:
    for tracker in self._trackers:
      tracker.close()
    if self._main:
      self._evaluations.close()
    if self._mirror:
      self._mirror.close()
