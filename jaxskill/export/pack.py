"""A finished run as one file that `jaxskill.assess` takes: without its training videos, and without their names.

In it are the config, the parameters of all models, what every model says of the training videos, statistics of their
features, digests of these (by which one of them is known again, so that it is not compared with itself), and the
encodings of those that new videos are compared with. Videos and folds have numbers in place of names; absolute paths
have lost their folders. Categories, criteria and names of streams stay: an answer is asked for by them.
"""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util

from jaxskill import files
from jaxskill.training import finished_files, finished_run, packs
from jaxskill.training.training_videos import FILE, FILES

# Of results.json what names no video: how it was measured, with what outcome, by which software.
_KEPT = ("format", "data", "simulated", "tested", "rows", "certainty", "steps", "trained_steps", "params_sha256",
         "versions", "devices", "git_revision")
_BY_NAME = ("by_fold", "undefined")    # of a row of numbers, left out: by fold and video, and why one has no number
_FOLDERS = ("dir", "prepared_dir")     # fields that say where data are, left empty
_PATHS = ("init_from", "weights", "file")     # fields that hold a path, of which the last part stays
UNKNOWN = "-"                          # in place of a name that no answer tells


def write(trained: finished_run.FinishedRun, number: None, file: epath.Path,
          say: Callable[[str], None]) -> dict[str, Any]:
  """Writes the pack of a run, and reads it again; returns {}, for it says itself what it holds.

  Raises:
    ValueError: if it is one already, or what was written does not read as the run.
  """
  del number
  if not trained.workdir.is_dir():
    raise ValueError(f"{trained.workdir}: is a pack already; copy it.")
  members = {"config.json": _json(without_folders(json.loads(trained.config.to_json()))), **_results(trained)}
  kept = [name for name, path in FILES.items() if (trained.workdir / path).is_file()]
  for checkpoint in kept:
    run = trained if FILES[checkpoint] == FILE else finished_run.load(trained.workdir, checkpoint)
    members[FILES[checkpoint]] = _arrays(numbered(run))
    leaves = traverse_util.flatten_dict(jax.tree.map(np.asarray, run.state.variables()), sep="/")
    members[finished_files.PARAMETERS.format(step=run.about["step"])] = _arrays(leaves)
  packs.write(file, members)
  for checkpoint in kept:
    finished_run.load(file, checkpoint)
  say(f"{len(trained.about['replicas'])} model(s) of {' and '.join(kept)}; videos and folds have numbers for names")
  return {}


def numbered(run: finished_run.FinishedRun) -> dict[str, np.ndarray]:
  """Returns the arrays of a run's training_videos.npz, "about" with them, with numbers in place of names."""
  names = {str(name): str(place) for place, name in enumerate(run.arrays["videos"], start=1)}
  arrays = dict(run.arrays)
  for field in ("videos", "bank/videos"):
    if field in arrays:
      arrays[field] = np.array([names.get(str(name), UNKNOWN) for name in arrays[field].ravel()]
                               ).reshape(arrays[field].shape)
  folds = fold_numbers(run)
  about = without_folders(run.about) | dict(
      replicas=[replica | dict(fold=folds[str(replica["fold"])]) for replica in run.about["replicas"]],
      segments={names.get(name, UNKNOWN): parts for name, parts in run.about["segments"].items()})
  return arrays | dict(about=np.array(files.to_json(about)))


def fold_numbers(run: finished_run.FinishedRun) -> dict[str, str]:
  """Returns {fold: its number}: folds may be named after who is tested."""
  names = dict.fromkeys(str(replica["fold"]) for replica in run.about["replicas"])
  return {name: str(place) for place, name in enumerate(names, start=1)}


def without_folders(content: Mapping[str, Any]) -> dict[str, Any]:
  """Returns JSON content with paths and addresses cut to their last part, and without the folders of the data."""
  return {name: "" if name in _FOLDERS else _without_folders(value, name in _PATHS) for name, value in content.items()}


def _without_folders(content: Any, is_path: bool = False) -> Any:
  if isinstance(content, Mapping):
    return without_folders(content)
  if isinstance(content, (list, tuple)):
    return [_without_folders(value, is_path) for value in content]
  if isinstance(content, str):
    for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
      if is_path or "://" in content or content.startswith("~") or kind(content).is_absolute():
        content = kind(content).name
  return content


def _results(trained: finished_run.FinishedRun) -> dict[str, bytes]:
  """Returns {"results.json"} without what names videos, people and folders; {} of a run that has none."""
  path = trained.workdir / "results.json"
  if not path.is_file():
    return {}
  results = json.loads(path.read_text(encoding="utf-8"))
  kept = {name: results[name] for name in _KEPT if name in results}
  rows, protocol = without_names(kept.pop("rows", {})), _with_numbers(results["protocol"], fold_numbers(trained))
  return {path.name: _json(without_folders(kept | dict(rows=rows, protocol=protocol)))}


def _with_numbers(protocol: Mapping[str, Any], folds: Mapping[str, str]) -> dict[str, Any]:
  """Returns how it was measured, with numbers for the folds; of those that were not trained their count alone."""
  found = dict(protocol)
  if "folds" in protocol:
    found["folds"] = [fold | dict(name=folds.get(fold["name"], UNKNOWN)) for fold in protocol["folds"]]
  if "all_folds" in protocol:
    found["all_folds"] = [folds.get(name, UNKNOWN) for name in protocol["all_folds"]]
  return found


def without_names(content: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the numbers of a table without what is said of them by name."""
  kept = {name: without_names(value) if isinstance(value, Mapping) else value
          for name, value in content.items() if name not in _BY_NAME}
  if "better_is" in kept:                                                  # {fold: which videos a baseline prefers}
    kept["better_is"] = dict(enumerate(kept["better_is"].values(), start=1))
  return kept


def _json(content: Any) -> bytes:
  return files.to_json(content, indent=1).encode()


def _arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
  content = io.BytesIO()
  np.savez(content, **arrays)  # type: ignore[arg-type]
  return content.getvalue()
