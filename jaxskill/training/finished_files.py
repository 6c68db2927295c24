"""The files of a finished run, checked before they are used: what is damaged is said in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxskill import files, methods, stores
from jaxskill.data import arrays as arrays_of
from jaxskill.training import checkpoints, run_folder

FORMAT = 1            # of training_videos.npz
RESULTS_FORMAT = 3    # of results.json; 2 called simple baselines "floor: ", 1 and none distributions "probabilities"
PARAMETERS = "parameters_{step}.npz"      # of a pack, in place of the checkpoint of that step
WRITE_AGAIN = "remove it and start the training command again, which writes it"


def reason(error: Exception) -> str:
  """Returns an error in words, where Python says no more than a name."""
  return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)


def config(workdir: epath.Path) -> tuple[ConfigDict, methods.Method]:
  """Returns the config of a run's folder, and the method that it makes.

  Raises:
    ValueError: if there is no config, or it is not what training wrote.
  """
  path = workdir / "config.json"
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
      raise ValueError(f"it holds a {type(content).__name__}, not the fields of a config")
    missing = [name for name in ("method", "model", "data", "train") if name not in content]
    if missing:
      raise ValueError(f"it has no {' and no '.join(missing)}")
    made = ml_collections.ConfigDict(run_folder.ADDED | content)
    return made, methods.build(made)
  except FileNotFoundError:
    runs = ", ".join(path.name for path in stores.children(workdir) if (path / "config.json").is_file())
    raise ValueError(f"{workdir}: is not the folder of a run, it has no config.json; give the --workdir that "
                     "jaxskill.main was given." + (f" It holds runs: {runs}." if runs else "")) from None
  except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
    why = next(iter(str(error).splitlines()), type(error).__name__)
    raise ValueError(f"{path}: cannot be read ({why}); it is not what training wrote: copy the run again, or train it "
                     "anew in another --workdir.") from error


def checkpoint(workdir: epath.Path, step: int) -> dict[str, np.ndarray]:
  """Returns the leaves {name: array} of the checkpoint that a run ended with; a `ValueError` if it is not there."""
  packed = workdir / PARAMETERS.format(step=step)
  if packed.is_file():
    with files.local_copy(packed) as copy:
      return arrays_of.read_arrays(copy, max(arrays_of.MAX_BYTES, copy.stat().st_size), named=packed)
  try:
    return checkpoints.read(workdir / "checkpoints", step)
  except ValueError as error:
    raise ValueError(f"{error} The run's parameters are not there any more: copy its folder again with `checkpoints`, "
                     "or remove it and train anew.") from error


def tested(workdir: epath.Path, about: Mapping[str, Any]) -> bool | None:
  """Returns whether a run had a test side, as its results.json says, else as training_videos.npz does; None if neither.

  Args:
    about: of training_videos.npz.

  Raises:
    ValueError: if results.json is damaged; `OtherFormat` if another version of the software wrote it.
  """
  path = workdir / "results.json"
  try:
    results = json.loads(path.read_text(encoding="utf-8"))
    files.check_format(path, results, RESULTS_FORMAT, WRITE_AGAIN)
    return bool(results.get("tested", True))
  except FileNotFoundError:
    return about.get("tested")
  except files.OtherFormat:
    raise
  except (OSError, ValueError, AttributeError, RecursionError) as error:
    raise ValueError(f"{path}: is not what training wrote ({error}), so that it is not known how good the models are; "
                     f"{WRITE_AGAIN}.") from error


def check(path: epath.Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray],
          method: methods.Method) -> None:
  """Raises an error of some kind unless the content of `training_videos.npz` is whole.

  Args:
    path, about, arrays: of the file; method: of the run.

  Raises:
    OtherFormat: if another version of the software wrote it.
  """
  files.check_format(path, about, FORMAT, WRITE_AGAIN, oldest=FORMAT)
  count, videos = len(about["replicas"]), len(arrays["videos"])
  shapes = dict(score=(count, videos), trained=(count, videos), digests=(videos,))
  for stream in method.streams:
    len(about["streams"][stream]["shape"])
    shapes |= {f"{stream}/{name}": (videos,) for name in ("lengths", "row_seconds", "distance")}
    width = np.shape(arrays[f"{stream}/mean"])
    shapes[f"{stream}/deviation"] = width
  if "held_out/met" in arrays:                             # an older version kept none, or too little
    shapes |= _held_out(count, arrays)
  for name, shape in shapes.items():
    if arrays[name].shape != shape:
      raise ValueError(f"{name} is of shape {list(arrays[name].shape)}, not {list(shape)}")
  if not count or not (np.isfinite(arrays["score"]) & arrays["trained"]).any(axis=1).all():
    raise ValueError("it knows no scores of training videos")
  for replica in about["replicas"]:
    if {"row", "fold", "seed", "criterion"} - set(replica):
      raise ValueError("it does not say which models there are")
  if method.items.compares:
    shapes = {name: arrays[f"bank/{name}"].shape[:2] for name in ("videos", "mask", "score", "label")}
    if not about["groups"] or len(set(shapes.values())) != 1:
      raise ValueError("it lacks the videos that new ones are compared with")
  if not isinstance(about["extraction"], dict | None):
    raise ValueError("the recipe of its features is none")
  for name in ("data", "simulated", "published", "params_sha256", "segments"):
    about[name]                                            # pylint: disable=pointless-statement
  int(about["step"])


def _held_out(count: int, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
  """The shapes of what `count` models say of videos that calibrate."""
  videos, pairs = arrays["held_out/subject"].shape[0], arrays["held_out/pairs"]
  if not ((pairs >= 0) & (pairs < videos)).all():
    raise ValueError("held_out/pairs are of videos that are not there")
  shapes = {name: (count, videos) for name in ("score", "label", "side", "met")} | dict(
      fold=(count,), scale=(count,), subject=(videos,), pairs=(len(pairs), 2), why_not=())
  return {f"held_out/{name}": shape for name, shape in shapes.items()}
