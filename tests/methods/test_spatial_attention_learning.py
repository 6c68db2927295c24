"""The simulated default of spatial attention learns from every seed: gradients reach everything and stay short."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import data, train
from jaxskill.training.parallel import Parallel


def tiny(**changes):
  """The default, its rate and its clipping, on videos of 8 maps of 4 x 4 x 8."""
  config = importlib.import_module("configs.spatial_attention").get_config()
  config.data.simulated.update(num_videos=60, num_subjects=60, map_frames=8, map_size=4, map_width=8, num_segments=8,
                               difficulty=0.02, pair_share=1.0, tie_margin=0.1)
  config.model.update(segments=8, filters=8, channels=8, attention_hidden=8, hidden=8, attention_width=8)
  config.train.update(batch_size=16, epochs=8, steps_per_call=16)
  config.update(changes)
  return config


def test_gradients_reach_every_parameter_from_the_start(quick_compile):
  config = tiny()
  trainer = train.Trainer(config, data.load(config.data), Parallel(1))
  videos = jax.tree.map(jnp.asarray, trainer.loader.host(trainer.loader.train))
  params, constants = jax.tree.map(lambda x: x[0], (trainer.state.params, trainer.state.constants))

  def loss(params):
    encodings = trainer.method.encodings(dict(params=params, constants=constants), videos, jax.random.key(0), True)
    better, worse = trainer.tables.items[0, :64].T
    pairs = tuple(jax.tree.map(lambda x, side=side: x[side], encodings) for side in (better, worse))
    return jax.vmap(trainer.method.phases[0].loss, (None, 0, None))({}, pairs, {})[0].mean()
  slopes = jax.jit(jax.grad(loss))(params)
  for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
    assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-7, jax.tree_util.keystr(path)


def test_three_seeds_learn():
  """Without clipping one of them ends at the margin of the loss, .5, after it had learnt (.05)."""
  config = tiny()
  trainer, losses = train.Trainer(config, data.load(config.data), Parallel(1)), []
  while int(trainer.state.step) < trainer.total:
    losses.append(trainer.advance()["loss"])
  assert trainer.total > 200 and len(trainer.replicas) == 3
  assert (np.mean(losses[-4:], axis=0) < 0.2).all(), losses[-4:]


@pytest.mark.slow
def test_nineteen_seeds_of_twenty_learn(tmp_path):
  """The default as a user starts it; a linear ranking of mean features orders 76 % of the test pairs."""
  config = importlib.import_module("configs.spatial_attention").get_config()
  config.seeds, config.plots, config.train.eval_steps = tuple(range(20)), False, 1000
  results = train.run(config.lock(), tmp_path / "run")
  learnt = [r["last"]["accuracy"] > 0.8 and not r["collapsed"] for r in results["replicas"]]
  assert sum(learnt) >= 19, [(r["seed"], r["last"]["accuracy"], r["collapsed"]) for r in results["replicas"]]
