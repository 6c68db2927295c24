"""Reading the logs of a run, whatever a kill, a full disk or a wrong byte did to them."""

from __future__ import annotations

import collections
import contextlib
import json
from typing import Any

import numpy as np
from etils import epath

from jaxskill import stores


def read_lines(path: epath.Path, step: int | None = None) -> tuple[list[dict[str, Any]], int]:
  """Returns the entries of a log whose lines are `{"step": ..., ...}`, in order of steps; what is damaged is left out.

  A line counts if it has the keys that most lines have, for one wrong byte may be in a key.

  Args:
    path: of the file, which may be missing.
    step: the last that counts; None for all.

  Returns:
    (entries with nan where they have null, how many lines were left out as damaged).

  Raises:
    ValueError: if it is there and cannot be read.
  """
  try:
    with stores.as_os_error(path):
      lines = path.read_bytes().split(b"\n") if path.exists() else []
  except OSError as error:
    raise ValueError(f"{path} cannot be read ({error}); remove it, a log is written anew.") from None
  entries, lines = [], [line for line in lines if line]
  for line in lines:
    with contextlib.suppress(ValueError, RecursionError):          # cut short by a kill, or no UTF-8
      entry = json.loads(line)
      if isinstance(entry, dict) and type(entry.get("step")) is int:
        entries.append(with_nan(entry))
  keys = collections.Counter(frozenset(entry) for entry in entries).most_common(1)
  good = []
  for entry in entries:
    if keys[0][0] == entry.keys() and (not good or entry["step"] > good[-1]["step"]):
      good.append(entry)
  return [entry for entry in good if step is None or entry["step"] <= step], len(lines) - len(good)


def read_metrics(workdir: epath.Path) -> list[dict[str, Any]]:
  """Returns the lines of metrics.jsonl, {"step", "steps_per_second", metric: one number a replica}.

  Raises:
    ValueError: if the file cannot be read.
  """
  entries, _ = read_lines(workdir / "metrics.jsonl")
  numbers = lambda value: isinstance(value, list) and all(isinstance(x, (int, float)) for x in value)
  values = lambda entry: [v for k, v in entry.items() if k not in ("step", "steps_per_second")]
  return [entry for entry in entries if all(map(numbers, values(entry)))]


def read_evaluations(workdir: epath.Path, step: int) -> list:
  """Returns the evaluations up to `step` that evaluations.jsonl holds.

  Raises:
    ValueError: if the file cannot be read.
  """
  entries, _ = read_lines(workdir / "evaluations.jsonl", step)
  return [entry for entry in entries if isinstance(entry.get("replicas"), list)]


def with_nan(entry: dict[str, Any]) -> dict[str, Any]:
  """Returns a line that `files.to_json` wrote, with nan where it wrote null."""
  def replaced(value: Any) -> Any:
    if isinstance(value, list):
      return [replaced(one) for one in value]
    return with_nan(value) if isinstance(value, dict) else np.nan if value is None else value
  return {name: replaced(value) for name, value in entry.items()}
