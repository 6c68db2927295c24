"""USDL and MUSDL, a score as a distribution (Tang et al., CVPR 2020), which the papers of this project compare with.

  python -m jaxskill.main --config configs/usdl.py                               simulated performances
  python -m jaxskill.main --config configs/usdl.py:mtl_aqa --config.data.dir=MTL-AQA      or features, or any below

Add ",judges" for MUSDL, a head for every judge (columns rater.NAME), ",difficulty_unknown" to learn scores whole.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  config = common.begin("usdl")
  config.data = common.data(
      common.words(options)[0], stream="rgb", criteria=("score",), score_range=(), make_pairs=False, standardize=True,
      simulated=beside(__file__, "core").get_config().data.simulated)
  config.model = dict(parts=101, deviation=5.0,       # of the range, and of a label in parts: for scores of 0 to 100
                      hidden=256, judges=False, with_difficulty=False)     # hidden: ours, as CoRe's perceptron
  config.update(loss=dict(weights=dict()), evaluate=dict(rl2_range="class"))  # next, ours: not of a video network
  config.train = common.training(batch_size=64, epochs=60, learning_rate=1e-3, eval_steps=100, checkpoint_steps=300)
  return common.choose(config, options, DATA_SETS, CHANGES)


def difficult(config: ConfigDict) -> None:
  """Learns score / difficulty, which the known difficulty multiplies."""
  config.model.with_difficulty = True
  config.seeds = (0, 1, 2, 3, 4) if config.data.name == "simulated" else (0,)


DATA_SETS = dict(simulated=difficult, features=None, mtl_aqa=difficult, unlv_dive=difficult, aqa7=None, jigsaws=None,
                 rehab_pile=common.poses)
CHANGES = dict(tiny=common.tiny, paper=None, kinematics=common.kinematics, statistics=common.statistics,
               judges=lambda config: config.model.update(judges=True),
               difficulty_unknown=lambda config: config.model.update(with_difficulty=False))
