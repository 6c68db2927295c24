"""What a training says before it begins, and how long it will take."""

import jax

from jaxskill import train
from jaxskill.training import announce, cost
from jaxskill.training.parallel import Parallel


def test_how_long_is_said_once_after_the_first_calls():
  clock, said = cost.Stopwatch(), []
  clock.seconds = dict(compilation=7.0, training=0.0, evaluation=0.0)
  estimate = announce.Estimate(1000, clock, said.append)
  for seconds, step in ((50.0, 2), (1.0, 12), (0.5, 22), (1.0, 32)):         # the first call is slow
    clock.seconds["training"] += seconds
    clock.seconds["evaluation"] += step == 22 and 0.5
    estimate.took(step)
  assert said == ["about 98 s for the 978 steps that are left (10 steps/s)"]
  short = announce.Estimate(32, clock, said.append)
  for step in (2, 12, 32):
    clock.seconds["training"] += 1.5
    short.took(step)
  assert len(said) == 1                                  # it has ended before


def test_what_is_trained_on_what_and_where_to(nothing_drawn, load_config, make_dataset):
  del nothing_drawn
  data = make_dataset(folds=((range(8), range(8, 11)), (range(3, 11), range(3))))
  trainer = train.Trainer(load_config(changes={"seeds": (0, 1, 2), "train.dtype": "float32"}), data, Parallel(2))
  first, second = announce.describe(trainer, "runs/x").splitlines()
  number = sum(leaf[0].size for leaf in jax.tree.leaves(trainer.state.params))
  assert first == (f"pros_cons (paper): 6 models (2 folds x 3 seeds) of {number:,} parameters, {trainer.total} steps of "
                   "8 pairs")
  assert second == "on 2 cpu devices, 1 model at a time, float32, features on the device; into runs/x"
