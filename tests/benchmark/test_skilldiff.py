"""The benchmark of SkillDiff: its FLOPs."""


import jax

from jaxskill import cli, train
from jaxskill.benchmark import contenders
from jaxskill.benchmark.systems import skilldiff
from jaxskill.training import cost
from jaxskill.training.parallel import Parallel
from tests.places import CONFIGS


def test_flops_are_those_of_the_products_of_a_step(nothing_drawn, quick_compile):
  """Left out by hand are the smallest: products with single columns, and of segments."""
  shape = skilldiff.SHAPES["tiny"]._replace(num_segments=12, channels=64, hidden=48, width=32, directions=24,
                                            head_hidden=20, head_outputs=16)
  config, _ = cli.read_config(str(CONFIGS / "skilldiff.py"))
  config = contenders.configure(config, "float32", shape, None)
  trainer = train.Trainer(config, contenders.data_of(config, shape), Parallel(1))
  steps, arguments = trainer.first_call()                        # a loop of steps, which is counted once
  written = cost.products(jax.make_jaxpr(steps)(*arguments).jaxpr)
  assert trainer.num_unique == 9
  assert 1 < written / skilldiff.flops(config, shape) < 1.06
