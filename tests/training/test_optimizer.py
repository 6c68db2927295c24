"""Factors on learning rates, what a phase moves, and gradients that outlive a step; whole steps: test_step.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import methods
from jaxskill.training import optimizer

FILTERS, HEAD = methods.Phase(None, "^filters/"), methods.Phase(None, "^head/")


def test_rate_factor():
  rates = (("^filters/", 0.5), ("/kernel$", 0.1))
  assert [optimizer.rate_factor(rates, path) for path in ("filters/kernel", "filters/bias", "head/kernel", "head/bias")
          ] == pytest.approx([0.05, 0.5, 0.1, 1.0])


def test_decay_factor():
  """Epochs from the start, and from the end of a replica with five epochs."""
  factors = [float(optimizer.decay_factor(((1, 0.1), (-2, 0.5)), epoch, 5)) for epoch in range(5)]
  assert factors == pytest.approx([1.0, 0.1, 0.1, 0.05, 0.05])
  assert optimizer.decay_factor((), 3, 5) == 1.0


@pytest.mark.parametrize("epoch_begins,active,moves,remains", [
    (False, True, (11.0, 22.0), (11.0, 0.0)),            # the phase of the head clears what the head has
    (True, True, (1.0, 22.0), (1.0, 0.0)),               # the first phase clears its own where an epoch begins
    (False, False, (11.0, 22.0), (10.0, 20.0)),          # a replica that stands still keeps what it has
])
def test_with_left_over(epoch_begins, active, moves, remains):
  gradients, left = ({"filters/w": jnp.full(1, a), "head/w": jnp.full(1, b)} for a, b in ((1.0, 2.0), (10.0, 20.0)))
  found = optimizer.with_left_over(gradients, left, FILTERS, HEAD, epoch_begins=epoch_begins, active=active)
  for tree, expected in zip(found, (moves, remains)):
    assert (float(tree["filters/w"][0]), float(tree["head/w"][0])) == expected


@pytest.mark.parametrize("alternation", ["alternate", "leaky"])
def test_update(load_config, alternation):
  """Moves what the phase trains and its state, and nothing of a replica that stands still."""
  config = load_config("core", "features", {"train.optimizer": "sgd", "train.momentum": 0.5, "train.weight_decay": 0.0,
                                            "train.learning_rate": 1.0, "train.rates": (), "train.decay": ()})
  train = config.train.copy_and_resolve_references()
  with train.unlocked():
    train.alternation = alternation
  made = optimizer.PhaseOptimizer(train, (FILTERS, HEAD))
  flat = {"filters/w": jnp.ones(2), "head/w": jnp.ones(3)}
  state = made.init(flat)
  assert set(made.differentiated(1, flat)) == ({"filters/w", "head/w"} if made.leaky else {"head/w"})
  gradients = jax.tree.map(lambda x: 0.25 * x, made.differentiated(1, flat))
  about = dict(step=1, per_epoch=2, epochs=3)
  after, moved = made.update(1, flat, gradients, state, active=jnp.array(True), **about)
  np.testing.assert_array_equal(after["filters/w"], 1.0)
  np.testing.assert_array_equal(after["head/w"], 0.75)
  assert jax.tree.map(np.array_equal, moved["0"], state["0"]) == jax.tree.map(lambda x: True, state["0"])
  if made.leaky:
    np.testing.assert_array_equal(moved[optimizer.LEFT_OVER]["filters/w"], 0.25)
    np.testing.assert_array_equal(moved[optimizer.LEFT_OVER]["head/w"], 0.0)
  still = made.update(1, flat, gradients, state, active=jnp.array(False), **about)
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, still, (flat, state))))
