"""How a phase moves the parameters that it trains: one rule of Optax, and factors on its learning rate.

Parameters and gradients are flat here, {path: array}, as {"filters/high/kernel": ...}.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxskill.methods import Phase

LEFT_OVER = "left_over"          # entry of the optimizer state: gradients that leaky alternation has not cleared


def make_optimizer(train: ConfigDict) -> optax.GradientTransformation:
  """Returns the optimizer of `config.train`: Adam, or SGD with momentum; weight decay is added to the gradient (L2).

  With `clip_norm` above 0, a gradient (of all that a phase trains) that is longer is first shortened to that length.
  """
  clip = [optax.clip_by_global_norm(train.clip_norm)] if train.get("clip_norm") else []
  decay = [optax.add_decayed_weights(train.weight_decay)] if train.weight_decay else []
  rule = optax.scale_by_adam() if train.optimizer == "adam" else optax.trace(train.momentum)
  return optax.chain(*clip, *decay, rule, optax.scale(-train.learning_rate))


def trained_by(phase: Phase, flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the part of a flat tree that a `methods.Phase` trains."""
  return {path: value for path, value in flat.items() if re.search(phase.trains, path)}


def rate_factor(rates: Sequence[tuple[str, float]], path: str) -> float:
  """Returns the factor on the learning rate of one parameter: the product of those whose pattern finds its path."""
  return float(np.prod([factor for pattern, factor in rates if re.search(pattern, path)]))


def decay_factor(decay: Sequence[tuple[int, float]], epoch: int | jax.Array,
                 epochs: int | jax.Array) -> jax.Array | float:
  """Returns the factor [] on all learning rates in an epoch: the product of those whose epoch has begun.

  Args:
    decay: (epoch, factor); an epoch below 0 is counted from the end.
    epoch: [] int32, from 0 on.
    epochs: [] int32, how many there are.
  """
  def multiplied(factor: Any, entry: Sequence[float]) -> Any:
    first = epochs + entry[0] if entry[0] < 0 else entry[0]
    return factor * jnp.where(epoch >= first, entry[1], 1.0)
  return functools.reduce(multiplied, decay, 1.0)


def with_left_over(gradients: dict[str, jax.Array], left_over: Mapping[str, jax.Array], first_phase: Phase,
                   phase: Phase, *, epoch_begins: bool | jax.Array,
                   active: bool | jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """Adds the gradients that other phases left, as published: an optimizer clears only its own.

  Args:
    gradients: flat, of this step.
    left_over: flat, what earlier steps left.
    first_phase: the phase whose optimizer also clears its gradients where an epoch begins.
    phase: of this step.
    epoch_begins: [] bool.
    active: [] bool, False where the replica stands still.

  Returns:
    (gradients to move by, gradients left for the steps to come), both flat.
  """
  keep = jnp.where(epoch_begins, 0.0, 1.0)
  left = {k: v * (keep if re.search(first_phase.trains, k) else 1.0) for k, v in left_over.items()}
  gradients = jax.tree.map(jnp.add, gradients, left)
  remaining = {k: jnp.where(active, jnp.zeros_like(g) if re.search(phase.trains, k) else g, left[k])
               for k, g in gradients.items()}
  return gradients, remaining


class PhaseOptimizer:
  """The optimizer of every phase of a method, each with a state of its own.

  Attributes:
    leaky: whether gradients outlive a step, see `with_left_over`.
  """

  def __init__(self, train: ConfigDict, phases: Sequence[Phase]) -> None:
    self._train, self._phases, self._rule = train, phases, make_optimizer(train)
    self.leaky = train.alternation == "leaky"

  def init(self, flat: Mapping[str, jax.Array]) -> dict[str, Any]:
    """Returns the state of one replica: {number of the phase: state of its optimizer}, with leaky gradients too."""
    state = {str(i): self._rule.init(trained_by(phase, flat)) for i, phase in enumerate(self._phases)}
    if self.leaky:
      state[LEFT_OVER] = jax.tree.map(jnp.zeros_like, flat)
    return state

  def differentiated(self, index: int, flat: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns the part of flat parameters that phase `index` needs gradients of."""
    return flat if self.leaky else trained_by(self._phases[index], flat)

  def update(self, index: int, flat: dict[str, jax.Array], gradients: dict[str, jax.Array],
             state: Mapping[str, Any], *, active: jax.Array, step: int | jax.Array, per_epoch: int | jax.Array,
             epochs: int | jax.Array) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Moves what phase `index` trains by one step.

    Args:
      flat: parameters of one replica.
      gradients: of `differentiated`.
      state: of `init`.
      active: [] bool, False where the replica stands still: then nothing changes.
      step: [] int32, number of the step; per_epoch: [] steps of an epoch; epochs: [] of the replica.

    Returns:
      (flat parameters, state) after the step.
    """
    phase, state = self._phases[index], dict(state)
    if self.leaky:
      gradients, state[LEFT_OVER] = with_left_over(gradients, state[LEFT_OVER], self._phases[0], phase,
                                                   epoch_begins=step % per_epoch == 0, active=active)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
      return jnp.where(active, new, old)

    trained = trained_by(phase, flat)
    updates, moments = self._rule.update(trained_by(phase, gradients), state[str(index)], trained)
    state[str(index)] = jax.tree.map(choose, moments, state[str(index)])
    factor = decay_factor(self._train.decay, step // per_epoch, epochs)
    moved = {k: choose(v + rate_factor(self._train.rates, k) * factor * updates[k], v) for k, v in trained.items()}
    return flat | moved, state
