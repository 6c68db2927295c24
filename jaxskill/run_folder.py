"""The folder of a run: whose it is, one training at a time, and what to do when it cannot be written."""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import os
import pathlib

from absl import logging

from jaxskill import locks

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def hold(workdir):
  """Holds the lock of a folder that is there, see `locks.hold`: one training at a time."""
  return locks.hold(workdir / ".lock", "training run", "give another --workdir", logging.warning)


@contextlib.contextmanager
def occupied(workdir, config):
  """Makes `workdir` this config's own and holds its lock while the body runs.

  Raises:
    ValueError: if another process trains there, if it holds a run of another config (with the difference), or if it
      cannot be written.
  """
  with contextlib.ExitStack() as held:
    with _writable(workdir):
      workdir.mkdir(parents=True, exist_ok=True)
      held.enter_context(hold(workdir))
    claim(workdir, config)
    yield


def refuse_second(workdir):
  """Raises a `ValueError` if another process trains in `workdir`, before anything slow is done for nothing."""
  if workdir.is_dir():
    with _writable(workdir), hold(workdir):
      pass


def claim(workdir, config):
  """Makes `workdir` this config's own, or refuses.

  Raises:
    ValueError: if it holds a run of another config (with the difference), a config that cannot be read, or cannot be
      written.
  """
  text = config.to_json(indent=2, sort_keys=True)
  path = workdir / "config.json"
  with _writable(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    old = path.read_bytes() if path.exists() else None
  if old is None:
    with _writable(workdir):
      temporary = path.with_suffix(".tmp")
      temporary.write_text(text, encoding="utf-8")
      os.replace(temporary, path)
    return
  try:
    stored = json.loads(old)
  except (ValueError, RecursionError):
    stored = None
  if not isinstance(stored, dict):
    raise ValueError(f"{path} is damaged, it holds no config: if this config wrote the run there, remove the file and "
                     "start again; else use another --workdir.")
  if stored != json.loads(text):
    there = json.dumps(stored, indent=2, sort_keys=True)
    lines = difflib.unified_diff(there.splitlines(), text.splitlines(), "there", "here", lineterm="", n=0)
    changed = "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++"))
    raise ValueError(f"{workdir} holds a run of another config:\n{changed}\nUse another --workdir, or the config "
                     "that is there.")


@contextlib.contextmanager
def _writable(workdir):
  try:
    yield
  except OSError as error:
    raise ValueError(f"--workdir={workdir} cannot be written ({error}); choose a folder that you may write "
                     "to.") from None


@contextlib.contextmanager
def saying_what_to_do(workdir):
  """Turns an `OSError` of the body into one that says in a line what failed, where, and what to do."""
  try:
    yield
  except OSError as error:
    if error.filename and not pathlib.Path(error.filename).is_relative_to(workdir):
      raise                                   # features that are read while training
    reason = str(error).split("\n")[0]
    if error.errno in _FULL:
      remedy = "free some space (or inodes, or raise the quota) there"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
      remedy = "make it writable"
    else:
      remedy = "see that the folder is still there and whole"
    raise OSError(f"writing to {workdir} failed ({reason}): {remedy}, then start the same command again, which goes on "
                  "from the last checkpoint.") from error
