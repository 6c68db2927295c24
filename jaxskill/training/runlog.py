"""The logs of a run while it trains: metrics.jsonl, evaluations.jsonl and TensorBoard events."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from absl import logging
from etils import epath

from jaxskill import files, stores
from jaxskill.training import log_lines, mirror


class Log(contextlib.AbstractContextManager):
  """metrics.jsonl, evaluations.jsonl and TensorBoard events; lines after the step resumed from are dropped.

  Attributes:
    workdir: the folder that they are in.
    history: the evaluations so far, in order of steps.
  """

  def __init__(self, workdir: epath.Path, step: int, main: bool, history: list[dict[str, Any]] | None = None) -> None:
    """Opens the logs of a run that goes on at `step`.

    Args:
      main: whether this process writes.
      history: the evaluations up to `step`; None takes those of evaluations.jsonl.
    """
    self.workdir, self._main, self._step = workdir, main, step
    self.history = history if history is not None else log_lines.read_evaluations(workdir, step) if main else []
    self._mirror = mirror.Mirror(workdir) if main and not stores.is_local(workdir) else None
    self._folder = self._mirror.folder if self._mirror else workdir
    if main:
      metrics, damaged = log_lines.read_lines(workdir / "metrics.jsonl", step)
      if damaged:
        logging.warning("%s: %d damaged lines are left out.", workdir / "metrics.jsonl", damaged)
      self._metrics = self._reopen(self._folder / "metrics.jsonl", metrics)
      self._evaluations = self._reopen(self._folder / "evaluations.jsonl", self.history)

  @functools.cached_property
  def _board(self) -> _Board:
    return _Board(self._folder / "tensorboard", self._step + 1)

  def _reopen(self, path: pathlib.Path, kept: Sequence) -> IO[str]:
    files.write_text(path, "".join(files.to_json(entry) + "\n" for entry in kept))
    return path.open("a", encoding="utf-8")              # of an append-only log every line counts as it is written

  def _write(self, file: IO[str], entry: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    if not os.fstat(file.fileno()).st_nlink:           # else the run would write into nothing to its end
      raise FileNotFoundError(errno.ENOENT, "removed while the run writes it", file.name)
    file.write(files.to_json(entry) + "\n")
    file.flush()
    self._board.add(entry["step"], {name: value for name, value in scalars.items() if np.isfinite(value)})
    if self._mirror:
      self._mirror.save(now=False)

  def metrics(self, step: int, metrics: Mapping[str, np.ndarray], steps_per_second: float) -> None:
    """Writes means over the steps since the line before; each metric is `[R]`."""
    if self._main:
      entry = dict(step=step, steps_per_second=steps_per_second) | {k: v.tolist() for k, v in metrics.items()}
      self._write(self._metrics, entry, {f"train/{k}": known_mean(v) for k, v in metrics.items()}
                  | {"train/steps_per_second": steps_per_second})

  def evaluation(self, step: int, replicas: Sequence[dict[str, Any]]) -> float | None:
    """Keeps one evaluation; returns the mean validation result, or None without a validation side."""
    entry = dict(step=step, replicas=replicas)
    self.history.append(entry)
    means = {name: float(np.mean([r[name] for r in replicas])) for name in ("test", "validation")}
    if self._main:
      self._write(self._evaluations, entry, {f"evaluation/{k}": v for k, v in means.items()})
    return means["validation"] if np.isfinite(means["validation"]) else None

  def notes(self) -> list[dict[str, Any]]:
    """Returns the history as JSON values, for a checkpoint; `log_lines.with_nan` makes it what it was.

    On a store the logs are written up to here: training that goes on from the checkpoint finds all lines before it.
    """
    if self._mirror:
      self._mirror.save()
    return json.loads(files.to_json(self.history))

  def __exit__(self, *_: object) -> None:
    if self._main:
      self._metrics.close()
      self._evaluations.close()
      if "_board" in self.__dict__:
        self._board.close()
    if self._mirror:
      self._mirror.close()


class _Board:
  """TensorBoard events, written at once: tensorboardX's own writer hangs where its thread finds the disk full."""

  def __init__(self, folder: pathlib.Path, step: int) -> None:
    from tensorboardX import event_file_writer, summary  # takes PyTorch along (2 s) where that is installed
    from tensorboardX.proto import event_pb2
    self._event, self._scalar = event_pb2.Event, summary.scalar
    folder.mkdir(exist_ok=True)
    self._writer = event_file_writer.EventsWriter(str(folder / "events"))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)               # drops what was shown from `step` on
    self._writer.write_event(self._event(wall_time=time.time(), step=step, session_log=start))

  def add(self, step: int, scalars: Mapping[str, float]) -> None:
    for name, value in scalars.items():
      self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=self._scalar(name, value)))
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


def known_mean(values: np.ndarray) -> float:
  """Returns the mean of what is not nan; nan if nothing is."""
  known = values[np.isfinite(values)]
  return known.mean() if known.size else np.nan
