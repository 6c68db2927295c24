"""What the trained models say of every video: encoded once, compared with exemplars where the method has some."""

from __future__ import annotations

import jax
import numpy as np

from jaxskill import exemplars

CHUNK = 256     # videos whose comparisons are evaluated in one call; where rows are aligned, comparisons


class Panel:
  """The compiled assessment of a trainer's replicas.

  Attributes:
    answers: compiled functions of the inputs that `comparisons` yields: scores and parts alone, and everything.
  """

  def __init__(self, trainer, group, labels):
    """Args: group: `[V]` of `exemplars.groups`, or None for a method without exemplars; labels: see `feed.Feed`."""
    self._trainer, self._group, self._labels, self._drawn = trainer, group, labels, {}
    compiled = trainer.parallel.compile
    if group is None:
      self.answers = [compiled(self._alone(pick)) for pick in PICKS]
    else:
      self._encode = compiled(self._encodings)
      self.answers = [compiled(self._compared(pick)) for pick in PICKS]

  def _encodings(self, state, videos):
    encode = lambda variables: self._trainer.method.encode(variables, videos, jax.random.key(0), False)
    return self._trainer.parallel.gather(_swap(jax.vmap(encode)(state.variables())))       # [V, R, ...]

  def _alone(self, pick):
    """(state, videos) -> what `pick` takes of the Assessments, leading axes R, V."""
    method = self._trainer.method

    def function(state, videos):
      known = videos["labels"].get("difficulty")
      references = None if known is None else dict(own_difficulty=known)

      def replica(variables):
        encodings = method.encode(variables, videos, jax.random.key(0), False)
        return pick(jax.vmap(method.assess, (None, 0, 0))(variables, encodings, references))
      return _swap(self._trainer.parallel.gather(_swap(jax.vmap(replica)(state.variables()))))
    return function

  def _compared(self, pick):
    """(state, inputs of a share of the videos, bank of all) -> the same."""
    method = self._trainer.method

    def function(state, share, bank):
      def replica(variables, encodings, chosen, mask, bank):
        references = jax.tree.map(lambda x: x[chosen], bank) | dict(mask=mask)             # [v, M, ...]
        if "difficulty" in share:
          references["own_difficulty"] = share["difficulty"]
        return pick(jax.vmap(method.assess, (None, 0, 0))(variables, encodings, references))
      answers = jax.vmap(replica, (0, 1, 1, 1, 1))(state.variables(), share["encodings"], share["exemplars"],
                                                   share["mask"], bank)
      return _swap(self._trainer.parallel.gather(_swap(answers)))
    return function

  def assess(self, state, everything, draw):
    """See `Trainer.assess`."""
    trainer, compiled = self._trainer, self.answers[everything]
    if self._group is None:
      chunks = ((ids, (videos,)) for ids, videos in self._videos())
    else:
      chunks = self.comparisons(state, draw)
    result = None
    for ids, inputs in chunks:
      answer = jax.tree.map(np.asarray, compiled(state, *inputs))
      if result is None:
        result = jax.tree.map(lambda x: np.zeros((x.shape[0], trainer.dataset.num_videos, *x.shape[2:]), x.dtype), answer)
      jax.tree.map(lambda all_, part: all_.__setitem__((slice(None), ids), part[:, : len(ids)]), result, answer)
    return result

  def _videos(self):
    trainer = self._trainer
    return trainer.feed.all_videos(trainer.parallel.padded(max(1, trainer.num_unique)))

  def exemplars(self, draw):
    """(`[V, R, M]` numbers of the exemplars, `[V, R, M]` mask) of one draw: by seed and training videos."""
    if draw not in self._drawn:
      trainer = self._trainer
      data, options = trainer.dataset, trainer.config.model.exemplars
      own = [exemplars.choose(options, self._group, data.folds[r.fold].train_videos, data.labels(r.criterion),
                              (r.seed, 0, draw)) for r in trainer.replicas]   # not r.fold: alone, a fold has another number
      self._drawn[draw] = tuple(np.stack(x, axis=1) for x in zip(*own))
    return self._drawn[draw]

  def comparisons(self, state, draw, size=None):
    """Encodes every video once, then yields the inputs of the comparisons, `size` videos at a time."""
    aligned = self._trainer.method.learns_from == "references"
    size = size or max(1, CHUNK // (self._trainer.config.model.exemplars.count if aligned else 1))
    trainer, count = self._trainer, self._trainer.dataset.num_videos
    encodings = None
    for ids, videos in self._videos():
      part = jax.tree.map(np.asarray, self._encode(state, videos))
      if encodings is None:
        encodings = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), x.dtype), part)
      jax.tree.map(lambda all_, one: all_.__setitem__(ids, one[: len(ids)]), encodings, part)
    columns = list(dict.fromkeys(r.criterion for r in trainer.replicas))
    bank = dict(encodings=encodings,
                score=self._labels["score"][:, [columns.index(r.criterion) for r in trainer.replicas]])
    chosen, mask = self.exemplars(draw)
    own = dict(encodings=encodings, exemplars=chosen, mask=mask)
    own |= {name: self._labels[name] for name in ("difficulty",) if name in self._labels}
    bank, size = trainer.parallel.replicate(bank), trainer.parallel.padded(min(size, count))
    for start in range(0, count, size):
      ids = np.minimum(np.arange(start, start + size), count - 1)                          # the last video fills the end
      share = trainer.parallel.split(jax.tree.map(lambda x: x[ids], own))
      yield ids[: count - start], (share, bank)


PICKS = (lambda a: (a.score, a.parts), lambda a: a)


def _swap(tree):
  return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
