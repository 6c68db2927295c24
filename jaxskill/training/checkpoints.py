"""Checkpoints: written beside the training, checked when read, none of them lost to a crash.

A checkpoint holds the leaves of a state by name, and a record: the name, dtype and shape of every leaf, their SHA-256,
the validation metric and the notes saved with it. The reader's template says where each leaf goes. Process 0 alone
reads and writes, the others get what it read through the accelerators: hosts need no common disk.
"""

from __future__ import annotations

import concurrent.futures
import errno
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxskill import files, stores
from jaxskill.training import archives
from jaxskill.training.leaves import difference as difference_of
from jaxskill.training.leaves import digest, kind, leaves_by_name
from jaxskill.training.parallel import T, on_first_process

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EIO)


class Checkpoints:
  """The checkpoints of one run in one directory; a context manager, so that the last one is complete on leaving.

  On several processes every process makes the same calls. Also in the directory: `damaged/`, what `restore` refused. On
  a store it holds archives, see `archives`.
  """

  def __init__(self, directory: epath.Path, keep: int = 3, best: bool = False) -> None:
    """Opens a directory, makes it if needed and clears what an interrupted run left half done.

    Args:
      directory: a path; on process 0 only, if hosts have no common disk.
      keep: how many of the latest checkpoints stay, >= 1.
      best: whether the one with the highest `validation` stays too.

    Raises:
      ValueError: if `keep` is not positive.
      OSError: if the directory cannot be written.
    """
    if keep < 1:
      raise ValueError(f"keep={keep} would delete every checkpoint; keep at least 1.")
    directory = epath.Path(directory)
    self._directory = directory.expanduser().resolve() if stores.is_local(directory) else directory
    self._folder = self._directory            # where Orbax works; on process 0 only, as its archives on a store
    self._archives: archives.Archives | None = None
    self._records = {}    # of each step on the disk, what is needed before restoring it; on process 0 only
    self._kept = keep, best
    self._here = False                        # whether this process reads and writes: process 0
    self._manager: Any = None                 # of Orbax, None as long as there is no checkpoint
    self._saving: tuple | None = None         # the present save; one at a time, in a thread of ours
    self._saver = concurrent.futures.ThreadPoolExecutor(1)
    on_first_process(self._open)

  def _open(self) -> None:
    try:
      with stores.as_os_error(self._directory):
        stores.make_folder(self._directory)
        probe = self._directory / f"probe-{uuid.uuid4().hex}"
        probe.write_text("")
        probe.unlink()
      if not stores.is_local(self._directory):
        self._archives = archives.Archives(self._directory)
        self._folder = epath.Path(self._archives.folder)
    except OSError as error:
      raise OSError(f"checkpoints cannot be written to {self._directory}: {error}. "
                    "Make it writable, or choose another --workdir.") from error
    self._here = True
    if stores.children(self._folder):         # else there is nothing to read or to clear
      self._start_orbax()

  def _start_orbax(self) -> None:
    """Takes what is on the disk; a run that begins has the thread do it that saves, for Orbax takes long to import."""
    from jaxskill.training import orbax_files
    keep, best = self._kept
    self._manager = orbax_files.manager(self._folder, keep, self._best if best else None)
    (self._folder / "deleted").rmtree(missing_ok=True)
    for step in self._manager.all_steps():
      try:
        self._records[step] = orbax_files.read_record(self._manager, step, self._directory)
      except Exception:   # pylint: disable=broad-except   damaged: `restore` says so if it comes to that
        pass

  def _steps(self) -> list[int]:
    """Returns the steps of the complete checkpoints, ascending, the present save among them; on process 0 only."""
    self._settle()
    return sorted(self._manager.all_steps()) if self._manager else []

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

  def save(self, step: int, state: object, *, validation: float | None = None,
           notes: Sequence[dict[str, Any]] | None = None) -> None:
    """Starts to save a state; on return its buffers are free to be donated or overwritten.

    A step whose equal state is saved already is left as it is, so a last save may follow a periodic one.

    Args:
      step: int, above that of every checkpoint here.
      state: tree of arrays, NumPy or JAX, each whole on process 0.
      validation: the metric on validation data, higher is better; None or nan is never the best.
      notes: JSON values that belong to the step, read again by `notes`.

    Raises:
      ValueError: if this or a later step is saved already, with another state.
      OSError: if the save before this one failed in the background, e.g. on a full disk.
    """
    if not self._here:
      return
    there, step = self._steps(), int(step)
    leaves = {name: np.array(leaf) for name, leaf in leaves_by_name(jax.device_get(state)).items()}   # copies
    record = dict(leaves=[[name, *kind(leaf)] for name, leaf in leaves.items()], sha256=digest(leaves),
                  validation=None if validation is None else float(validation), notes=notes)
    newest = max(there, default=None)
    if newest is not None and step <= newest:
      if self._records.get(step, {}).get("sha256") == record["sha256"]:
        return
      raise ValueError(f"step {step} cannot be saved: {self._directory} holds step {newest} of this or another run. "
                       "Restore the newest checkpoint to go on from it, or use a fresh --workdir.")
    self._records = {step: self._records[step] for step in there if step in self._records}
    self._records[step] = record
    self._saving = step, self._saver.submit(self._save, step, leaves, record)

  def _save(self, step: int, leaves: Mapping[str, np.ndarray], record: dict[str, Any]) -> None:
    from jaxskill.training import orbax_files
    if self._manager is None:
      self._start_orbax()
    orbax_files.save(self._manager, step, leaves, record)
    if self._archives:
      self._archives.save()

  def restore(self, template: T, step: int | None = None) -> tuple[int, T] | None:
    """Reads the newest good checkpoint and proves it whole.

    A damaged one is logged, moved to `damaged/`, and the one before it is read.

    Args:
      template: tree with the structure, shapes and dtypes of the state saved; values are not used.
      step: which checkpoint to read instead of the newest.

    Returns:
      (step, state) with the template's structure and NumPy leaves, bit for bit those saved; None if there is none.

    Raises:
      ValueError: if the template does not fit the checkpoint, or `step` is not there.
    """
    names = leaves_by_name(template)
    restored = on_first_process(lambda: self._restore({name: kind(leaf) for name, leaf in names.items()}, step))
    if restored is None:
      return None
    step, leaves = restored
    return step, jax.tree.unflatten(jax.tree.structure(template), [leaves[name] for name in names])

  def _restore(self, expected: Mapping[str, Any], step: int | None) -> tuple[int, Any] | None:
    steps = self._steps()
    if step is not None:
      if step not in steps:
        raise ValueError(f"{self._directory} has no checkpoint of step {step}; it has {steps or 'none'}.")
      steps = steps[:steps.index(step) + 1]
    if not steps:
      return None
    from jaxskill.training import orbax_files
    for candidate in reversed(steps):
      try:
        record = orbax_files.read_record(self._manager, candidate, self._directory)
        difference = difference_of({name: (dtype, shape) for name, dtype, shape in record["leaves"]}, expected)
        leaves = None if difference else orbax_files.read_leaves(self._manager, candidate, expected)
        if leaves and digest(leaves) != record["sha256"]:
          raise ValueError("its arrays differ from the digest stored with them")
      except (MemoryError, PermissionError, ImportError, files.OtherFormat):
        raise   # says nothing about the file, or that it is whole
      except Exception as error:   # pylint: disable=broad-except   any byte may be wrong, so anything may be raised
        self._set_aside(candidate, error)
        continue
      if difference:
        raise ValueError(f"checkpoint {self._directory / str(candidate)} does not fit: {difference}. Restore it with "
                         "the config that wrote it, or use a fresh --workdir.")
      return candidate, leaves
    return None

  def _set_aside(self, step: int, error: Exception) -> None:
    source, folder = self._folder / str(step), self._folder / archives.DAMAGED
    try:
      folder.mkdir(exist_ok=True)
    except FileExistsError:                           # a file of that name, or a link to nowhere: kept under another
      folder.rename(folder.with_name(f"damaged-{uuid.uuid4().hex[:8]}"))
      folder.mkdir()
    taken = {path.name for path in folder.iterdir()}
    names = (f"{step}.{n}" if n else str(step) for n in range(len(taken) + 1))
    target = folder / next(name for name in names if name not in taken)
    source.rename(target)
    self._manager.reload()
    self._records.pop(step, None)
    if self._archives:
      self._archives.save()
    reason = str(error).strip().split("\n")[0][:300]
    logging.error("Checkpoint %s is damaged (%s: %s); moved to %s.", self._directory / str(step), type(error).__name__,
                  reason, self._directory / archives.DAMAGED / target.name)

  def steps(self) -> list[int]:
    """Returns the steps of the complete checkpoints, ascending."""
    return on_first_process(self._steps)

  def best_step(self) -> int | None:
    """Returns the step with the highest validation metric, the earliest of equals; None if no checkpoint has one."""
    return on_first_process(lambda: self._best(self._steps()))

  def _best(self, steps: Sequence[int]) -> int | None:
    metrics = {step: self._records.get(step, {}).get("validation") for step in steps}
    known = [step for step in sorted(steps) if metrics[step] is not None and not math.isnan(metrics[step])]
    return max(known, key=lambda step: metrics[step], default=None)

  def notes(self, step: int) -> list[dict[str, Any]] | None:
    """Returns what was saved as `notes` with a step; None if nothing was."""
    return on_first_process(lambda: self._record(step).get("notes"))

  def _record(self, step: int) -> dict[str, Any]:
    self._settle()
    return self._records.get(step, {})

  def check(self) -> None:
    """Raises an `OSError` if the present save has failed; does not wait for it."""
    if self._saving and self._saving[1].done():
      self._settle()

  def wait(self) -> None:
    """Waits until what was saved is on the disk; raises an `OSError` if it could not be written."""
    if self._here:
      self._settle()

  def _settle(self) -> None:
    saving, self._saving = self._saving, None
    if saving:
      step, future = saving
      try:
        future.result()
      except ImportError:                      # of Orbax, which comes in with the first save
        raise
      except Exception as error:   # pylint: disable=broad-except   TensorStore raises a ValueError on a full disk
        self._records.pop(step, None)
        raise _unwritten(self._directory / str(step), error) from error
    (self._folder / "deleted").rmtree(missing_ok=True)

  def close(self) -> None:
    """Waits as `wait` does and ends the background threads; nothing can be saved afterwards."""
    if self._here:
      try:
        self._settle()
      finally:
        self._saver.shutdown()
        if self._manager:
          self._manager.close()
        if self._archives:
          self._archives.close()


def read(directory: epath.Path, step: int) -> dict[str, np.ndarray]:
  """Returns the leaves of one checkpoint as {name: array}, proved whole, without a template; nothing is written.

  Raises:
    ValueError: if it is not there or damaged.
  """
  with archives.unpacked(epath.Path(directory), step) as folder:
    if not (folder / str(step)).is_dir():
      raise ValueError(f"{directory} has no checkpoint of step {step}.")
    return _read(folder, directory / str(step), step)


def _read(path: epath.Path, named: epath.Path, step: int) -> dict[str, np.ndarray]:
  """Returns the leaves of one checkpoint in a directory of this machine; errors call it `named`."""
  from jaxskill.training import orbax_files
  manager = orbax_files.reader(path)
  try:
    record = orbax_files.read_record(manager, step, path)
    leaves = orbax_files.read_leaves(manager, step, {name: (dtype, shape) for name, dtype, shape in record["leaves"]})
  except (MemoryError, PermissionError, files.OtherFormat):
    raise   # says nothing about the file, or that it is whole
  except Exception as error:   # pylint: disable=broad-except   any byte may be wrong, so anything may be raised
    raise ValueError(f"checkpoint {named} is damaged ({type(error).__name__}).") from error
  finally:
    manager.close()
  if digest(leaves) != record["sha256"]:
    raise ValueError(f"checkpoint {named} is damaged: its arrays differ from the digest stored with them.")
  return leaves


def _unwritten(path: Any, error: Exception) -> Any:
  """Returns what kept a checkpoint from being written, as an `OSError` of one line with the disk's reason."""
  said = " ".join(filter(None, (str(e) for e in (error, error.__cause__, error.__context__))))
  code = getattr(error, "errno", None) or next((code for code in _DISK if os.strerror(code) in said), errno.EIO)
  reason = os.strerror(code) if os.strerror(code) in said else said.split("\n")[0][:200]
  return OSError(code, f"the checkpoint was not written, {reason}", str(path))
