"""What the trained models say of every video: encoded once, compared with exemplars where the method has some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.methods import Assessment, Method, Tree
from jaxskill.training import replicas
from jaxskill.training.batches import VideoLoader, as_maps
from jaxskill.training.experiment import Experiment
from jaxskill.training.parallel import Parallel, T
from jaxskill.training.step import TrainState

CHUNK = 256     # videos whose comparisons are evaluated in one call; where rows are aligned, comparisons


class Answers:
  """The compiled answers of all replicas of a method about videos, whoever has trained them.

  Attributes:
    compiled: functions of (state, videos), or where videos are compared of (state, share, bank): the first
      returns scores and parts alone, the second everything.
  """

  def __init__(self, method: Method, parallel: Parallel) -> None:
    self._method, self._parallel = method, parallel
    self.encoder = parallel.compile(self._encodings)
    make = self._compared if method.items.compares else self._alone
    self.compiled = [parallel.compile(make(pick)) for pick in PICKS]

  def _encodings(self, state: TrainState, videos: Mapping[str, Any]) -> Tree | jax.Array:
    def encode(variables: Mapping[str, Any]) -> Tree | jax.Array:
      return self._method.encodings(variables, as_maps(videos), jax.random.key(0), False)
    return self._parallel.gather(_swap(self._of_replicas(encode, state.variables())))      # [V, R, ...]

  def _of_replicas(self, function: Callable[..., T], *arguments: Any) -> T:
    """Returns what a function gives for every replica; leading axes R."""
    if replicas.at_once(2, self._parallel.devices[0].platform) == 1:
      return jax.lax.map(lambda one: function(*one), arguments)
    return jax.vmap(function)(*arguments)

  def _alone(self, pick: Callable[..., Any]) -> Callable[..., Any]:
    """Returns (state, videos) -> what `pick` takes of the Assessments, leading axes R, V."""
    method = self._method

    def function(state: TrainState, videos: Mapping[str, Any]) -> Assessment:
      known = videos["labels"].get("difficulty")
      references = None if known is None else dict(own_difficulty=known)

      def replica(variables: Mapping[str, Any]) -> Assessment:
        encodings = method.encodings(variables, as_maps(videos), jax.random.key(0), False)
        return pick(jax.vmap(method.assess, (None, 0, 0))(variables, encodings, references))
      return _swap(self._parallel.gather(_swap(self._of_replicas(replica, state.variables()))))
    return function

  def _compared(self, pick: Callable[..., Any]) -> Callable[..., Any]:
    """Returns (state, inputs of a share of the videos, bank of those they are compared with) -> the same."""
    method = self._method

    def function(state: TrainState, share: Mapping[str, Any], bank: Mapping[str, Any]) -> Assessment:
      def replica(variables: Mapping[str, Any], encodings: Any, chosen: jax.Array, mask: jax.Array,
                  bank: Mapping[str, Any]) -> Assessment:
        references = jax.tree.map(lambda x: x[chosen], bank) | dict(mask=mask)             # [v, M, ...]
        if "difficulty" in share:
          references["own_difficulty"] = share["difficulty"]
        return pick(jax.vmap(method.assess, (None, 0, 0))(variables, encodings, references))
      inputs = [_swap(x) for x in (share["encodings"], share["exemplars"], share["mask"], bank)]
      answers = self._of_replicas(replica, state.variables(), *inputs)
      return _swap(self._parallel.gather(_swap(answers)))
    return function

  def encode(self, state: TrainState, chunks: Iterator[tuple[np.ndarray, Mapping[str, Any]]],
             count: int) -> Tree | np.ndarray:
    """Returns host encodings `[count, R, ...]` of the (numbers, videos) of `batches.VideoLoader.all_videos`."""
    return collect(((ids, self.encoder(state, videos)) for ids, videos in chunks), count, axis=0)

  def ask(self, state: TrainState, inputs: Iterator[tuple[np.ndarray, tuple]], count: int,
          everything: bool) -> Assessment:
    """Returns host Assessments `[R, count, ...]`, or their scores and parts alone.

    Args:
      inputs: (numbers of videos, inputs of the compiled function) in turn.
      count: of all videos; everything: whether more than scores and parts is asked for.
    """
    function = self.compiled[everything]
    return collect(((ids, function(state, *rest)) for ids, rest in inputs), count, axis=1)

  def shares(self, videos: Mapping[str, Any], bank: Mapping[str, Any],
             size: int) -> Iterator[tuple[np.ndarray, tuple[Any, Any]]]:
    """Yields (numbers, inputs) of comparisons, `size` videos at a time.

    Args:
      videos: {"encodings" `[V, R, ...]`, "exemplars" `[V, R, M]` rows of the bank, "mask" `[V, R, M]`} and, where it is
        known, "difficulty" `[V]`.
      bank: {"encodings" `[N, R, ...]`, "score" `[N, R]`}.
    """
    count = len(videos["mask"])
    bank, size = self._parallel.replicate(bank), self._parallel.padded(size)
    for start in range(0, count, size):
      ids = np.minimum(np.arange(start, start + size), count - 1)              # the last video fills the end
      yield ids[: count - start], (self._parallel.split(jax.tree.map(lambda x: x[ids], videos)), bank)


class AllVideos:
  """The answers of a trainer's replicas about all videos of its data set.

  Attributes:
    answers: the compiled functions.
  """

  def __init__(self, experiment: Experiment, loader: VideoLoader, parallel: Parallel, num_unique: int) -> None:
    """Args: num_unique: videos that a device is given at once where features do not stay there."""
    self._experiment, self._loader, self._parallel = experiment, loader, parallel
    self._at_once = parallel.padded(max(1, num_unique))
    self.answers = Answers(experiment.method, parallel)

  def assess(self, state: TrainState, everything: bool, draw: int) -> Assessment:
    """Returns what `Trainer.assess` does, of a given state."""
    inputs = (self.comparisons(state, draw) if self._experiment.method.items.compares
              else ((ids, (videos,)) for ids, videos in self._videos()))
    return self.answers.ask(state, inputs, self._experiment.dataset.num_videos, everything)

  def _videos(self) -> Iterator[Any]:
    return self._loader.all_videos(self._at_once)

  def encodings(self, state: TrainState) -> Tree | np.ndarray:
    """Returns host encodings `[V, R, ...]` of every video."""
    return self.answers.encode(state, self._videos(), self._experiment.dataset.num_videos)

  def programs(self, state: TrainState) -> Iterator[tuple[str, Any, tuple]]:
    """Yields (what it does, compiled function, arguments) of an assessment of all videos, with encodings of zeros."""
    answers, videos = self.answers, next(iter(self._videos()))[1]
    if not self._experiment.method.items.compares:
      yield "an answer about all videos", answers.compiled[True], (state, videos)
      return
    yield "encoding all videos", answers.encoder, (state, videos)
    shapes = jax.eval_shape(answers.encoder, state, videos)
    count = self._experiment.dataset.num_videos
    zeros = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), x.dtype), shapes)
    _, inputs = next(self._compared(zeros, draw=0))
    yield "an answer about some videos", answers.compiled[True], (state, *inputs)

  def comparisons(self, state: TrainState, draw: int,
                  size: int | None = None) -> Iterator[tuple[np.ndarray, tuple[dict, dict]]]:
    """Encodes every video once, then yields the inputs of the comparisons, `size` videos at a time."""
    yield from self._compared(self.encodings(state), draw, size)

  def _compared(self, encodings: Any, draw: int,
                size: int | None = None) -> Iterator[tuple[np.ndarray, tuple[dict, dict]]]:
    experiment = self._experiment
    items, labels = experiment.method.items, experiment.labels
    size = size or max(1, CHUNK // (experiment.config.model.exemplars.count if items.aligns else 1))
    chosen, mask = experiment.exemplars(draw)
    videos = dict(encodings=encodings, exemplars=chosen, mask=mask)
    videos |= {name: labels[name] for name in ("difficulty",) if name in labels}
    yield from self.answers.shares(videos, dict(encodings=encodings, score=experiment.target()),
                                   min(size, experiment.dataset.num_videos))


def _placed(assessments: Assessment) -> Assessment:
  """Alignments `[..., T, S]` as the place `[..., T]` each row leads to, in rows of the reference: a path is S times as
  large."""
  path = assessments.alignment
  if path is None:
    return assessments
  middles = jnp.arange(path.shape[-1]) + 0.5                           # of the rows
  return assessments._replace(alignment=(path * middles).sum(axis=-1))


PICKS = (lambda a: Assessment(a.score, a.parts), _placed)


def collect(parts: Iterator[tuple[np.ndarray, T]], count: int, axis: int) -> T:
  """Puts (numbers, tree) pairs together: what stands at a place along `axis` goes to the place that its number says."""
  result: Any = None
  before = (slice(None),) * axis
  for ids, found in parts:
    part = jax.tree.map(np.asarray, found)
    if result is None:
      result = jax.tree.map(lambda x: np.zeros((*x.shape[:axis], count, *x.shape[axis + 1:]), x.dtype), part)
    jax.tree.map(lambda all_, one: all_.__setitem__((*before, ids), one[(*before, slice(len(ids)))]), result, part)
  return result


def _swap(tree: T) -> T:
  return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
