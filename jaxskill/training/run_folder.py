"""The folder of a run: whose it is, one training at a time, and what to do when it cannot be written."""

from __future__ import annotations

import contextlib
import errno
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxskill import files, stores
from jaxskill.training import leases, locks

# Fields that do not decide what is trained; gradients are summed in another order over other devices.
WATCHING = ("config.trackers", "config.profile", "config.devices")
# Fields that configs of earlier versions lack, with the values of what these did.
ADDED = dict(folds=[], trackers=[], profile=dict(start=0, steps=0), devices=0)
ADDED_TO_MODEL = dict(free_ends="none", soft_dtw="scan")     # the same of config.model, where a method reads them
_NAMED, _LETTERS = 4, 60      # in a refusal: fields, and letters of a value
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def hold(workdir: epath.Path) -> contextlib.AbstractContextManager[None]:
  """Holds the lock of a folder, see `locks.hold` and, on a store, `leases.hold`: one training at a time."""
  kind = locks if stores.is_local(workdir) else leases
  return kind.hold(workdir / ".lock", "training run", "give another --workdir", logging.warning)


@contextlib.contextmanager
def occupied(workdir: epath.Path, config: ConfigDict) -> Iterator[None]:
  """Makes `workdir` this config's own and holds its lock while the body runs.

  Raises:
    ValueError: if another process trains there, if it holds a run of another config (with the difference), or if it
      cannot be written.
  """
  with contextlib.ExitStack() as held:
    with _writable(workdir):
      stores.make_folder(workdir)
      held.enter_context(hold(workdir))
      if stores.is_local(workdir):
        files.remove_unfinished(pathlib.Path(workdir), below=False)
    claim(workdir, config)
    yield


def refuse_second(workdir: epath.Path) -> None:
  """Raises a `ValueError` if another process trains in `workdir`, before anything slow is done for nothing."""
  with _writable(workdir):
    with stores.as_os_error(workdir):          # e.g. no credentials for a store
      there = workdir.is_dir()
    if there:
      with hold(workdir):
        pass


def claim(workdir: epath.Path, config: ConfigDict) -> None:
  """Makes `workdir` this config's own, or refuses.

  Raises:
    ValueError: if it holds a run of another config (with the difference), a config that cannot be read, or cannot be
      written.
  """
  text = config.to_json(indent=2, sort_keys=True)
  path = workdir / "config.json"
  with _writable(workdir):
    stores.make_folder(workdir)
    with stores.as_os_error(path):
      old = path.read_bytes() if path.exists() else None
  if old is None:
    with _writable(workdir):
      files.write_text(path, text)
    return
  try:
    stored = json.loads(old)
  except (ValueError, RecursionError):
    stored = None
  if not isinstance(stored, dict):
    raise ValueError(f"{path} is damaged, it holds no config: if this config wrote the run there, remove the file and "
                     "start again; else use another --workdir.")
  if differing := differences(completed(stored), completed(json.loads(text)), allowed=WATCHING):
    raise ValueError(f"{workdir} holds a run of another config: {differing}. Use another --workdir, or the config that "
                     "is there.")


def recorded(workdir: epath.Path) -> dict[str, Any] | None:
  """Returns the config of the run in a folder; None where there is none, {} where it cannot be read."""
  path = workdir / "config.json"
  try:
    with stores.as_os_error(path):
      stored = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    return None
  except (OSError, ValueError, RecursionError):            # is refused where the folder is claimed
    return {}
  return stored if isinstance(stored, dict) else {}


def completed(content: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config as a dict with the fields that configs of earlier versions lack."""
  model = content.get("model")
  return ADDED | {**content} | (dict(model=ADDED_TO_MODEL | model) if isinstance(model, dict) else {})


def differences(there: Mapping[str, Any], here: Mapping[str, Any], where: tuple[str, str] = ("there", "here"),
                path: str = "config", allowed: Sequence[str] = ()) -> str:
  """Returns the fields in which two configs differ, in a line: the first ones with their values, and how many more.

  Args:
    where: where each is, in words; path: what both are called.
    allowed: fields that may differ, as "config.data.dir", with all below them.
  """
  there, here = dict(_fields(there, path)), dict(_fields(here, path))
  changed = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)
             and not any(f"{name}.".startswith(f"{field}.") for field in allowed)]
  named = [f"{name} is {_short(there.get(name))} {where[0]} and {_short(here.get(name))} {where[1]}"
           for name in changed[:_NAMED]]
  return "; ".join([*named, *([f"{len(changed) - _NAMED} more"] if len(changed) > _NAMED else [])])


def _fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
  """Yields (path, value as JSON) of every field of nested dicts."""
  for name, value in node.items():
    if isinstance(value, dict) and value:
      yield from _fields(value, f"{path}.{name}")
    else:
      yield f"{path}.{name}", json.dumps(value, sort_keys=True)


def _short(text: str | None) -> str:
  """Returns a value as JSON, of few letters; None is a field that is not there."""
  return "not set" if text is None else text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


@contextlib.contextmanager
def _writable(workdir: epath.Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise ValueError(f"--workdir={workdir} cannot be written ({error}); choose a folder that you may write "
                     "to.") from None


@contextlib.contextmanager
def saying_what_to_do(workdir: epath.Path) -> Iterator[None]:
  """Turns an `OSError` of the body into one that says in a line what failed, where, and what to do."""
  try:
    yield
  except BrokenPipeError:
    raise                                     # of who read what is printed: `| head`
  except OSError as error:
    places = (workdir, workdir.resolve()) if stores.is_local(workdir) else (workdir,)    # a checkpoint says all of it
    if error.filename and not any(epath.Path(error.filename).is_relative_to(place) for place in places):
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
