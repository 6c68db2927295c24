"""Figures of CoRe: distribution of groups (4), scatter (6), cumulative scores (7), pairs by level (8), Grad-CAM (9).

V videos, L leaves.
"""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from jaxskill import cli
from jaxskill.data import exemplars
from jaxskill.evaluate import metrics
from jaxskill.methods import core, frames
from jaxskill.modules import regression_tree
from jaxskill.report import drawing
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished

STILLS = 3             # frames of each video of a pair
SEEN = 5               # snippets of a video under Grad-CAM
CHOSEN, OTHER = "tab:orange", "0.6"           # leaf or branch that is most probable, and the rest


def groups(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 4: shares of the training pairs in L equal parts of the range of differences, and in equal groups."""
  del videos
  run, = runs.values()
  replica, experiment = run.replicas[0], run.trainer.experiment
  train = experiment.fold(replica).train_videos
  differences = exemplars.differences(experiment.target()[train, replica], np.asarray(experiment.groups)[train])
  bounds = np.asarray(experiment.prepared[replica]["labels"]["bounds"])
  edges = np.linspace(differences.min(), differences.max(), len(bounds) + 1)
  equal = np.stack([edges[:-1], edges[1:]], axis=1)
  figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
  for axis, limits, title in zip(axes, (equal, bounds), ("(a) equal parts of the range", "(b) groups of Eq. 5")):
    share = shares(differences, limits)
    axis.bar(np.arange(len(limits)), 100 * share)
    axis.axhline(100 / len(limits), color="0.4", lw=0.8, ls=":")
    shown = sorted({0, len(limits) // 4, len(limits) // 2, 3 * len(limits) // 4, len(limits) - 1})
    axis.set_xticks(shown, [f"{limits[number].mean():.2f}" for number in shown])
    axis.set(xlabel="middle of the group [difference of scores]",
             title=f"{title}: standard deviation {100 * share.std():.2f} % of all pairs")
    axis.title.set_fontsize(9)
  axes[0].set_ylabel("training pairs in the group [%]")
  return {"groups": _titled(figure, run)}


def shares(differences: np.ndarray, bounds: np.ndarray) -> np.ndarray:
  """Returns `[L]` shares of the differences that lie in each group, as training assigns them."""
  found, each = np.zeros(len(bounds)), max(1, 2 ** 22 // len(bounds))
  for start in range(0, len(differences), each):
    part = jnp.asarray(differences[start: start + each], jnp.float32)
    found += np.asarray(regression_tree.group_of(part, jnp.asarray(bounds, jnp.float32)).sum(axis=0))
  return found / found.sum()


def scatter(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 6: what models say of the test videos against what is true, the first replica of each row."""
  del videos
  figure, axes = plt.subplots(1, len(runs), figsize=(4 * len(runs), 4), layout="constrained", sharex=True, sharey=True,
                              squeeze=False)
  for axis, (row, run) in zip(axes[0], runs.items()):
    true, predicted = _tested(run, run.replicas[0])
    ends = [true.min(), true.max()]
    axis.plot(ends, ends, color="tab:red", lw=1)
    axis.scatter(true, predicted, s=9)
    axis.set(xlabel="true score", title=f"{row}: Spearman {metrics.spearman(predicted, true):.3f}")
    axis.title.set_fontsize(9)
  axes[0, 0].set_ylabel("predicted score")
  drawing.legend_below(figure, "Line: what is predicted is true.")
  return {"scatter": _titled(figure, run)}


def cumulative(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 7: the share of test videos whose absolute error is within a threshold, over all replicas of a row."""
  del videos
  figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
  errors = {row: np.sort(np.concatenate([np.abs(np.subtract(*_tested(run, replica))) for replica in run.replicas]))
            for row, run in runs.items()}
  most = max(error[-1] for error in errors.values())
  for row, error in errors.items():
    name = pathlib.Path(row).stem.upper() if row.endswith(".py") else row
    share = 100 * np.arange(len(error) + 1) / len(error)
    axis.step([0, *error, most], [*share, 100], where="post",
              label=f"{name}, {len(runs[row].replicas)} model{'s' * (len(runs[row].replicas) > 1)}")
  axis.set(xlabel="absolute error [unit of the scores]", ylabel="test videos within it [%]", xlim=(0, None),
           ylim=(0, 102))
  axis.legend(fontsize=8)
  return {"cumulative": _titled(figure, next(iter(runs.values())))}


def _tested(run: Finished, replica: Any) -> Any:
  """(`[n]` true scores of the test videos of a replica, `[n]` what it says)."""
  experiment = run.trainer.experiment
  test = experiment.fold(replica).test_videos
  labels = experiment.dataset.labels(experiment.replicas[replica].criterion)
  return np.asarray(labels)[test], np.asarray(run.assessments.score[replica])[test]


def _encodings(run: Finished, replica: int) -> np.ndarray:
  """`[V, D]` encodings of all videos by a replica."""
  encodings = run.trainer.all_videos.encodings(run.trainer.state)
  assert isinstance(encodings, np.ndarray)             # of this method
  return encodings[:, replica]


def pairs(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 8: a test video and an exemplar whose scores differ much, and two that differ little, level by level.

  Both are the extremes among the test videos with their first exemplar, whatever the error.
  """
  run, = runs.values()
  replica, experiment = run.replicas[0], run.trainer.experiment
  chosen, there = (values[:, replica, 0] for values in experiment.exemplars())
  test = experiment.fold(replica).test_videos
  test, target = test[there[test]], experiment.target()[:, replica]
  apart = np.abs(target[test] - target[chosen[test]])
  encodings = _encodings(run, replica)
  found = {}
  for name, video in (("large", test[np.argmax(apart)]), ("small", test[np.argmin(apart)])):
    said = answer(run, replica, encodings[video], encodings[chosen[video]], target[chosen[video]])
    found[f"pair_of_{name}_difference"] = _pair(run, replica, int(video), int(chosen[video]), said, videos)
  return found


def answer(run: Finished, replica: int, video: np.ndarray, other: np.ndarray, score: float) -> tuple:
  """Returns what the tree of a replica says of one pair.

  Args:
    video, other: `[D]` encodings of the video and of its exemplar; score: of the exemplar, as it is learnt from.

  Returns:
    ([`[2]`, `[4]`, ..., `[L]` probabilities level by level], `[L]` regressions of the leaves, the difference said).
  """
  trainer = run.trainer
  system = core.comparison(trainer.config)
  variables = jax.tree.map(lambda x: x[replica], dict(params=trainer.state.params, constants=trainer.state.constants))
  said = system.answer(variables, *(jnp.asarray(one)[None] for one in (video, other, score)))
  assert isinstance(said, tuple)         # of a tree
  levels, regression = said
  difference = system.difference(variables, said)
  return [np.exp(level[0]) for level in levels], np.asarray(regression[0]), float(difference[0])


def _pair(run: Finished, replica: Any, video: int, exemplar: Any, said: Any, videos: Any) -> Any:
  """Frames of exemplar and input, the probabilities of every level, the regressions of the leaves."""
  levels, regression, difference = said
  experiment = run.trainer.experiment
  bounds, target = np.asarray(experiment.prepared[replica]["labels"]["bounds"]), experiment.target()[:, replica]
  shown = {f"exemplar {cli.short(experiment.dataset.videos[exemplar], 24)}": exemplar,
           f"input {cli.short(experiment.dataset.videos[video], 24)}": video}
  pictures = {name: stills.at(experiment, number, stills.even_times(experiment, number, STILLS), videos)
              for name, number in shown.items()}
  figure = plt.figure(figsize=(12, 1.1 * len(levels) + 2.4), layout="constrained")
  parts: Any = figure.subfigures(1, 2, width_ratios=(1, 1.6)) if all(pictures.values()) else (None, figure)
  left, right = parts
  if left is not None:
    panels = left.subplots(2, STILLS, squeeze=False)
    for axes, (name, number) in zip(panels, shown.items()):
      for axis, picture in zip(axes, pictures[name]):
        drawing.frame(axis, picture, "")
      axes[0].set_ylabel(f"{name}\n{target[number]:.2f}", fontsize=8)
  axes = right.subplots(len(levels) + 1, 1)
  named = [(f"level {number + 1}", probability) for number, probability in enumerate(levels)]
  for axis, (title, values) in zip(axes, (*named, ("regression\nof a leaf", regression))):
    most = int(np.argmax(levels[-1] if len(values) == len(levels[-1]) else values))
    numbers = np.arange(len(values))
    axis.bar(numbers, values, color=np.where(numbers == most, CHOSEN, OTHER))
    axis.set_ylabel(title, fontsize=7)
    axis.set_xticks([])
    axis.set_ylim(min(0, values.min()), max(1, values.max()))
    axis.set_xlim(-0.5, len(values) - 0.5)                # a branch above those that it leads to
  ends = np.unique(np.linspace(0, len(bounds) - 1, 8).round().astype(int))
  axes[-1].set_xticks(ends, [f"{bounds[number].mean():.2f}" for number in ends])
  axes[-1].set_xlabel("difference that a leaf stands for: worse than the exemplar on the left, better on the right",
                      fontsize=8)
  drawing.legend_below(figure, "Orange: the branch, or the leaf, of the highest probability. Below: where in its group "
                       "each leaf puts the difference, 0 at its lower and 1 at its upper bound.")
  return _titled(figure, run, f"true difference {target[video] - target[exemplar]:+.2f}, said {difference:+.2f}")


def grad_cam(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 9: where frames of the test videos of the highest and of the lowest score speak for a higher one.

  Raises:
    ValueError: for runs that read features.
  """
  del videos
  run = next(iter(runs.values()))
  experiment = run.trainer.experiment
  test = experiment.fold(run.replicas[0]).test_videos
  labels, found = experiment.dataset.labels(experiment.replicas[run.replicas[0]].criterion)[test], {}
  for name, video in (("highest", int(test[np.argmax(labels)])), ("lowest", int(test[np.argmin(labels)]))):
    heats = {row: heat_of(run, run.replicas[0], video) for row, run in runs.items()}
    count = len(next(iter(heats.values()))[0])
    shown = np.unique(np.linspace(0, count - 1, SEEN).round().astype(int))
    figure, axes = plt.subplots(len(runs), len(shown), figsize=(2 * max(len(shown), 3), 2.1 * len(runs) + 0.8),
                                layout="constrained", squeeze=False)
    for panels, (row, (heat, snippets)) in zip(axes, heats.items()):
      for axis, number in zip(panels, shown):
        middle = snippets[number, snippets.shape[1] // 2]
        drawing.frame(axis, middle, f"snippet {number + 1}", heat[number], max(float(heat.max()), 1e-12))
      panels[0].set_ylabel(row, fontsize=8)
    drawing.legend_below(figure, "Red to yellow: what speaks for a higher score, each row on a scale of its own.")
    found[f"grad_cam_{name}_score"] = _titled(figure, run, cli.short(experiment.dataset.videos[video], 24))
  return found


def heat_of(run: Finished, replica: int, video: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns `[C, h, w]` Grad-CAM of the snippets of a video, and the snippets `[C, L, S, S, 3]`.

  The features are a mean of the last maps, so the mean gradient of a channel of these is that of its feature. What is
  differentiated is the score that the tree expects over its leaves (ours: the most probable leaf alone has no gradient
  of its probability); of a perceptron its score.

  Raises:
    ValueError: for a run that reads features.
  """
  trainer = run.trainer
  system = core.comparison(trainer.config)
  if system.backbone is None:
    raise ValueError("Grad-CAM looks into a video network, and this run reads features; train on frames.")
  variables = jax.tree.map(lambda x: x[replica], dict(params=trainer.state.params, constants=trainer.state.constants))
  network = dict(params=variables["params"][frames.NAME], batch_stats=variables["constants"][frames.NAME])
  pictures = trainer.experiment.dataset.streams[system.stream][video]
  maps, snippets = jax.jit(system.backbone.maps)(network, pictures)
  encodings = _encodings(run, replica)
  others, scores = None, None
  if system.model.contrastive:
    chosen, there = (values[video, replica] for values in trainer.experiment.exemplars())
    others, scores = encodings[chosen[there]], jnp.asarray(trainer.experiment.target()[chosen[there], replica])

  def score(features: Any) -> Any:
    rows = features[None] if others is None else jnp.broadcast_to(features, others.shape)
    said = system.answer(variables, rows, others, scores)
    if isinstance(said, tuple):
      return regression_tree.expected(said[0][-1], said[1], variables["constants"]["labels"]["bounds"]).mean()
    return system.difference(variables, said).mean()
  gradient = jax.grad(score)(jnp.asarray(encodings[video]))
  return np.asarray(jax.nn.relu(maps @ gradient).mean(axis=1)), np.asarray(snippets)


def _titled(figure: Figure, run: Finished, words: str = "") -> Figure:
  """A figure that says what its data are."""
  drawing.title(figure, ". ".join(filter(None, (run.trainer.experiment.dataset.name, words))))
  return figure
