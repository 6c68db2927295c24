"""Where the numbers of a training go while it runs: files in its folder, and services that are asked for by name."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import importlib.util
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxskill import files
from jaxskill.training import log_lines

DEFAULT = ("jsonl", "tensorboard")
PROJECT = "jaxskill"                       # that services file the runs under
_IDS = "trackers.json"                     # in the folder of a run: {service: id of the run there}


class Tracker(Protocol):
  """Takes the numbers of a run as they come, and its files at the end."""

  def log(self, step: int, values: Mapping[str, Any]) -> None:
    """Takes {name: a number, or `[R]` one for each replica}; names say their group first, as "train/loss"."""

  def secured(self) -> None:
    """Notes that a checkpoint holds all that was logged: a run that goes on from there logs none of it again."""

  def files(self, paths: Sequence[epath.Path]) -> None:
    """Takes files of a run that has ended."""

  def close(self) -> None:
    """Ends the logging of this call."""


class Lines:
  """A file of JSON lines, `{"step": ..., ...}`, each on the disk as soon as it is written."""

  def __init__(self, path: epath.Path, kept: Sequence[Mapping[str, Any]]) -> None:
    """Begins the file with the lines that stay."""
    files.write_text(path, "".join(files.to_json(entry) + "\n" for entry in kept))
    self._file: IO[str] = path.open("a", encoding="utf-8")

  def write(self, entry: Mapping[str, Any]) -> None:
    """Adds a line.

    Raises:
      FileNotFoundError: if the file was removed meanwhile: the run would write into nothing to its end.
    """
    if not os.fstat(self._file.fileno()).st_nlink:
      raise FileNotFoundError(errno.ENOENT, "removed while the run writes it", self._file.name)
    self._file.write(files.to_json(entry) + "\n")
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class Jsonl:
  """metrics.jsonl: the numbers of the training, each replica's; what evaluations say stands in evaluations.jsonl."""

  def __init__(self, workdir: epath.Path, folder: epath.Path, step: int) -> None:
    """Keeps the lines up to `step`."""
    path = workdir / "metrics.jsonl"
    kept, damaged = log_lines.read_lines(path, step)
    if damaged:
      logging.warning("%s: %d damaged lines are left out.", path, damaged)
    self._lines = Lines(folder / "metrics.jsonl", kept)

  def log(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes a line of the training."""
    found = {name.removeprefix("train/"): np.asarray(x).tolist() for name, x in values.items()
             if name.startswith("train/")}
    if found:
      self._lines.write(dict(step=step) | found)

  def secured(self) -> None:
    """Does nothing: lines after the step that a run goes on from are left out as it opens the file."""

  def files(self, paths: Sequence[epath.Path]) -> None:
    """Does nothing: they are in the same folder."""

  def close(self) -> None:
    """Closes the file."""
    self._lines.close()


class TensorBoard:
  """TensorBoard events, written at once: tensorboardX's own writer hangs where its thread finds the disk full."""

  def __init__(self, workdir: epath.Path, folder: epath.Path, step: int) -> None:
    """Drops what earlier events show after `step`, once there is something new."""
    del workdir                                          # whose earlier events stay as they are
    self._folder, self._step = folder / "tensorboard", step

  @functools.cached_property
  def _writer(self) -> Any:
    with _without_torch():
      from tensorboardX import event_file_writer, summary
      from tensorboardX.proto import event_pb2
    self._event, self._scalar = event_pb2.Event, summary.scalar
    self._folder.mkdir(exist_ok=True)
    writer = event_file_writer.EventsWriter(str(self._folder / "events"))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.write_event(self._event(wall_time=time.time(), step=self._step + 1, session_log=start))
    return writer

  def log(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes means over the replicas."""
    writer = self._writer
    for name, value in means(values).items():
      writer.write_event(self._event(wall_time=time.time(), step=step, summary=self._scalar(name, value)))
    writer.flush()

  def secured(self) -> None:
    """Does nothing: a run that goes on says from which step, and TensorBoard drops the rest."""

  def files(self, paths: Sequence[epath.Path]) -> None:
    """Does nothing: it shows none."""

  def close(self) -> None:
    """Closes the file."""
    if "_writer" in self.__dict__:
      self._writer.close()


class Service:
  """A tracker outside the folder of the run, which takes no line back.

  So it gets lines as the checkpoint that holds them is written: of a run that is killed and goes on it has none twice,
  but for those of a checkpoint in the midst of which it was killed.
  """

  def __init__(self, log: Callable[..., object], save: Callable[[str], object], finish: Callable[[], object]) -> None:
    """Args: what the service offers: `log({name: number}, step=...)`, `save(path)` and `finish()`."""
    self._log, self._save, self._finish, self._waiting = log, save, finish, []

  def log(self, step: int, values: Mapping[str, Any]) -> None:
    """Keeps means over the replicas until they are secured."""
    self._waiting.append((step, means(values)))

  def secured(self) -> None:
    """Sends what was kept."""
    for step, values in self._waiting:
      self._log(values, step=step)
    self._waiting.clear()

  def files(self, paths: Sequence[epath.Path]) -> None:
    """Sends the last lines, and those of the files that are on a disk of this machine."""
    self.secured()
    for path in map(os.fspath, paths):
      if os.path.isfile(path):
        self._save(path)

  def close(self) -> None:
    """Ends the run of this call there; lines that no checkpoint holds come again."""
    self._finish()


def means(values: Mapping[str, Any]) -> dict[str, float]:
  """Returns {name: mean of what is finite}, without the names of which nothing is."""
  found = {name: known_mean(np.asarray(value)) for name, value in values.items()}
  return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def known_mean(values: np.ndarray) -> float:
  """Returns the mean of what is finite; nan if nothing is."""
  known = values[np.isfinite(values)]
  return known.mean() if known.size else np.nan


def _wandb(workdir: epath.Path, config: ConfigDict, number: str) -> Service:
  import wandb
  folder = os.fspath(workdir) if os.path.isdir(workdir) else None           # and not a store of objects
  run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=number, name=workdir.name, resume="allow",
                   dir=folder, config=config.to_dict())
  return Service(run.log, lambda path: run.save(glob.escape(path), base_path=folder, policy="now"), run.finish)


def _trackio(workdir: epath.Path, config: ConfigDict, number: str) -> Service:
  import trackio
  run = trackio.init(project=PROJECT, name=f"{workdir.name}-{number}", resume="allow", config=config.to_dict())
  return Service(run.log, trackio.save, run.finish)


FILES: dict[str, Callable[[epath.Path, epath.Path, int], Tracker]] = dict(jsonl=Jsonl, tensorboard=TensorBoard)
SERVICES = dict(wandb=_wandb, trackio=_trackio)


def check(names: Any) -> None:
  """Refuses trackers that are unknown or not installed.

  Raises:
    ValueError: in one line, with what to do.
  """
  given = f"config.trackers={names!r}"
  if not isinstance(names, (tuple, list)):
    raise ValueError(f"{given}: give names in a tuple, e.g. --config.trackers='(\"jsonl\",)'.")
  for name in names:
    if name not in (*FILES, *SERVICES):
      raise ValueError(f"{given}: {name!r} is unknown; use some of {', '.join((*FILES, *SERVICES))}.")
    if name in SERVICES and name not in sys.modules and not importlib.util.find_spec(name):
      raise ValueError(f"{given}: {name} is not installed: pip install 'jaxskill[{name}]', or leave it out.")


def make(workdir: epath.Path, folder: epath.Path, config: ConfigDict, step: int, fresh: bool) -> list[Tracker]:
  """Returns the trackers of `config.trackers` for a run that goes on at `step`.

  Args:
    workdir: the folder of the run.
    folder: where its logs are written on this machine.
    fresh: whether the run begins; else a service goes on with the run that `workdir` names.

  Raises:
    ValueError: if a service does not start.
  """
  names = config.get("trackers", DEFAULT)
  made: list[Tracker] = [FILES[name](workdir, folder, step) for name in names if name in FILES]
  numbers = {} if fresh else _numbers(workdir)
  for name in names:
    if name in SERVICES:
      numbers.setdefault(name, uuid.uuid4().hex[:8])
      files.save_json(workdir / _IDS, numbers)
      try:
        made.append(SERVICES[name](workdir, config, numbers[name]))
      except Exception as error:   # pylint: disable=broad-except   whatever a service raises, without an account or net
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"config.trackers: {name} does not start ({reason}); log in to it, or leave it "
                         "out.") from error
  return made


def _numbers(workdir: epath.Path) -> dict[str, str]:
  """Returns {service: id of the run there}, as far as the folder says."""
  with contextlib.suppress(OSError, ValueError):
    found = json.loads((workdir / _IDS).read_text(encoding="utf-8"))
    return {name: str(found[name]) for name in SERVICES if name in found}
  return {}


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
  """Hides PyTorch, which tensorboardX imports where it is installed: over a second, and nothing here needs it."""
  hidden = "torch" not in sys.modules
  if hidden:
    sys.modules["torch"] = None  # type: ignore[assignment]
  try:
    yield
  finally:
    if hidden:
      del sys.modules["torch"]
