"""Checkpoints as Orbax writes and reads them in a directory of this machine.

Apart from `checkpoints`, which imports it when it first writes or reads one: Orbax takes 0.3 s to import, which a run
that begins has while the devices take its first steps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxskill import files
from jaxskill.training.quiet import hush

FORMAT = OLDEST = 2   # of a checkpoint's record; before, what training does not move had another name and order


def manager(folder: epath.Path, keep: int, best: Callable[[Sequence[int]], int | None] | None) -> ocp.CheckpointManager:
  """Returns what writes the checkpoints of a directory; clears what an interrupted run left half done there.

  Args:
    keep: how many of the latest checkpoints stay.
    best: returns which of some steps stays as well; None keeps the latest alone.
  """
  hush()
  policies = [ocp.checkpoint_managers.LatestN(keep)]
  if best:
    policies.append(_KeepBest(best))
  return ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(
      create=False,
      enable_async_checkpointing=False,     # its threads wait for a failed save for 300 s, and print their tracebacks
      save_root_metadata=False,
      cleanup_tmp_directories=True,
      todelete_subdir="deleted",   # a rename: no crash leaves half of an old checkpoint that looks whole
      preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
      multiprocessing_options=ocp.options.MultiprocessingOptions(active_processes={0})))


def reader(folder: epath.Path) -> ocp.CheckpointManager:
  """Returns what reads the checkpoints of a directory, and writes nothing."""
  hush()
  return ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(
      create=False, save_root_metadata=False, save_interval_steps=0))


def save(manager: ocp.CheckpointManager, step: int, leaves: Mapping[str, np.ndarray], record: dict[str, Any]) -> None:
  """Writes the checkpoint of a step, {name: leaf} and its record."""
  record = dict(record, format=FORMAT)
  manager.save(step, force=True, args=ocp.args.Composite(
      state=ocp.args.PyTreeSave({name: leaf for name, leaf in leaves.items() if leaf.size}),     # Orbax refuses empty
      record=ocp.args.JsonSave(dict(record, check=_check(record)))))


def read_record(manager: ocp.CheckpointManager, step: int, directory: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the record of a checkpoint.

  Args:
    directory: what errors call the place.

  Raises:
    files.OtherFormat: if another version of the project wrote it.
    Exception: of any kind if it is damaged.
  """
  record = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
  if record.pop("check") != _check(record):
    raise ValueError("its record differs from the digest stored with it")
  files.check_format(epath.Path(directory) / str(step), record, FORMAT, "train again in a fresh --workdir", OLDEST)
  return record


def read_leaves(manager: ocp.CheckpointManager, step: int, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns the leaves of a checkpoint, given {name: (dtype, shape)}; raises anything if it is damaged."""
  leaves = {name: np.zeros(shape, dtype) for name, (dtype, shape) in expected.items()}
  stored = {name: leaf for name, leaf in leaves.items() if leaf.size}
  restore_args = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in stored}
  item = ocp.args.PyTreeRestore(item=stored, restore_args=restore_args)
  return leaves | dict(manager.restore(step, args=ocp.args.Composite(state=item))["state"])


class _KeepBest(ocp.checkpoint_managers.PreservationPolicy):
  """Orbax asks which checkpoints stay; here the best, found by a function of their steps."""

  def __init__(self, best: Callable[[Sequence[int]], int | None]) -> None:
    self._best = best

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    best = self._best([info.step for info in checkpoints])
    return [info.step == best for info in checkpoints]


def _check(record: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
