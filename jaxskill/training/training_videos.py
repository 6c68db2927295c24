"""Writes `training_videos.npz`: what assessing other videos needs, without the data set.

It lies beside the checkpoints and holds how the features were made, what every model says of the videos that it was
trained on, what their features are like, and the encodings of those that new videos are compared with.

R replicas, V videos, U training videos, G groups of videos that may be compared, M exemplars, K = G (M + 1) rows of the
bank.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util
from ml_collections import ConfigDict

from jaxskill import files, pretrained
from jaxskill.data import derived, exemplars
from jaxskill.data.published.recipes import RECIPES
from jaxskill.data.user import extraction_note
from jaxskill.evaluate import held_out, metrics, truth
from jaxskill.methods import Assessment
from jaxskill.training import batches, checkpoints, finished_files, similarity
from jaxskill.training.parallel import on_first_process

FILE = "training_videos.npz"
FILES = dict(last=FILE, validation="training_videos_validation.npz")     # by the checkpoint whose models answer


def digest(streams: Mapping[str, np.ndarray]) -> str:
  """Returns a digest of one video's features {stream: `[T, ...]`}, which tells it again whatever it is called."""
  sha = hashlib.sha256()
  for _, rows in sorted(streams.items()):
    sha.update(np.ascontiguousarray(rows).data)
  return sha.hexdigest()[:32]


def save(workdir: epath.Path, trainer: Any, assessments: Assessment, file: str = FILE) -> epath.Path | None:
  """Writes what assessing other videos needs, whole or not at all; every host must call it, and the main one writes.

  Args:
    workdir: of the run.
    trainer: a `train.Trainer` at the end of training.
    assessments: `[R, V, ...]`, everything that the trained replicas say.
    file: name below `workdir`.

  Returns:
    The path; None on other hosts.
  """
  dataset, method, config = trainer.dataset, trainer.method, trainer.config
  compared = method.items.compares
  encodings = trainer.all_videos.encodings(trainer.state) if compared else None
  if not trainer.parallel.main:
    return None
  folds = [dataset.folds[r.fold].train_videos for r in trainer.replicas]
  trained = np.unique(np.concatenate(folds))

  def rows(name: str, video: int) -> np.ndarray:
    return dataset.streams[name][video, : dataset.lengths[name][video]]

  arrays: dict[str, np.ndarray] = dict(
      videos=np.array([dataset.videos[v] for v in trained]), score=assessments.score[:, trained],
      trained=np.stack([np.isin(trained, fold) for fold in folds]),
      digests=np.array([digest({name: rows(name, v) for name in method.streams}) for v in trained]))
  for name in method.streams:
    arrays[f"{name}/lengths"] = dataset.lengths[name][trained]
    arrays[f"{name}/row_seconds"] = dataset.row_seconds[name][trained]
    known = similarity.of_training([batches.channel_sums(rows(name, v)) for v in trained])
    arrays |= {f"{name}/{what}": values for what, values in known.items()}
  recorded = derived.recorded(config.data, method.streams)
  seconds = dict(dataset.row_seconds) | dict(dataset.recorded_seconds)
  arrays |= {f"recorded/{name}/row_seconds": seconds[name][trained] for name in recorded}
  about: dict[str, Any] = dict(
      format=finished_files.FORMAT, data=dataset.name, simulated=dataset.simulated, tested=metrics.is_tested(dataset),
      extraction=_recipe(config), step=int(trainer.state.step), published=RECIPES.get(config.data.name, ""),
      params_sha256=checkpoints.digest(trainer.state.params),
      replicas=[dict(row=r.row, fold=dataset.folds[r.fold].name, seed=r.seed, criterion=r.criterion)
                for r in trainer.replicas],
      groups=[], segments={}, streams={name: dict(shape=dataset.streams[name].shape[1:]) for name in method.streams},
      recorded={name: dict(shape=dataset.streams[name].shape[1:], columns=dataset.columns.get(name, ()))
                for name in recorded})
  if compared:
    bank, about["groups"], about["segments"] = _bank(trainer, assessments, encodings)
    arrays |= {f"bank/{name}": values for name, values in bank.items()}
  held = held_out.of_experiment(trainer.experiment, assessments.score)
  arrays |= {f"held_out/{name}": values for name, values in held._asdict().items()}
  path = epath.Path(workdir) / file
  with files.writing(path) as opened:
    np.savez(opened, about=np.array(files.to_json(about)), **arrays)  # type: ignore[arg-type]
  return path


def save_selected(workdir: epath.Path, trainer: Any) -> None:
  """Writes the same of the checkpoint whose models were best on validation videos, if there is one; see `save`."""
  last, file = trainer.state, FILES["validation"]
  with checkpoints.Checkpoints(workdir / "checkpoints", trainer.config.train.keep_checkpoints, best=True) as kept:
    step = kept.best_step()
    restored = kept.restore(last, step) if step is not None else None
  if restored is None or restored[0] != step:              # none was validated, or it is damaged
    on_first_process(lambda: (workdir / file).unlink(missing_ok=True))
    return
  trainer.state = trainer.parallel.replicate(restored[1])
  save(workdir, trainer, trainer.assess(everything=True), file)
  trainer.state = last


def _recipe(config: ConfigDict) -> Any:
  """Returns what `jaxskill.extract` noted of own features, or how frames were decoded; None where neither is known."""
  if (frames := config.data.get("frames")) and frames["count"]:
    return dict(frames=frames.to_dict(), weights=config.model.weights,
                random_weights=config.model.weights.startswith(pretrained.RANDOM))
  if config.data.name != "features" or not config.data.get("dir"):
    return None
  return extraction_note.read_extraction(pathlib.Path(config.data.dir))["recipe"] or None


def _bank(trainer: Any, assessments: Assessment,
          encodings: Any) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
  """Returns (arrays of the videos that new ones are compared with, axes K, R; what each group is; their segments)."""
  dataset, replicas, same = trainer.dataset, trainer.replicas, trainer.config.model.exemplars.same
  group, standings = np.asarray(trainer.experiment.groups), trainer.experiment.standings()
  of_replicas = zip(*(exemplars.of_new_videos(
      trainer.config.model.exemplars, group, dataset.folds[r.fold].train_videos, standings[:, i], (r.seed, 0, 0))
                      for i, r in enumerate(replicas)))
  chosen, mask = (np.stack(x).reshape(len(replicas), -1).T for x in of_replicas)           # [K, R]
  each = np.arange(len(replicas))
  bank = dict(videos=np.array(dataset.videos)[chosen], mask=mask, score=trainer.experiment.target()[chosen, each],
              label=standings[chosen, each])
  leaves = traverse_util.flatten_dict(dict(encodings=encodings), sep="/")
  bank |= {name: leaf[chosen, each] for name, leaf in leaves.items()}
  known = [name for name in same if getattr(dataset, name) is not None]
  first = [int(np.flatnonzero(group == number)[0]) for number in range(group.max() + 1)]
  kinds = [{name: getattr(dataset, name)[video].item() for name in known} for video in first]
  segments, stream = {}, trainer.method.streams[0]
  if assessments.segments:
    for v in np.unique(chosen[mask]):
      mean = jax.tree.map(lambda x, v=v: x[:, v].mean(axis=0), assessments.segments)
      segments[dataset.videos[v]] = truth.segments(mean, dataset.lengths[stream][v], dataset.row_seconds[stream][v])
  return bank, kinds, segments
