"""Who's Better, Who's Best (Doughty, Damen, Mayol-Cuevas, CVPR 2018), a baseline of Pros & Cons and spatial attention.

  python -m jaxskill.main --config configs/whos_better.py                            simulated performances
  python -m jaxskill.main --config configs/whos_better.py:tiny                       the same in seconds
  python -m jaxskill.main --config configs/whos_better.py:best --config.data.dir=BEST --config.data.task=origami
  python -m jaxskill.main --config configs/whos_better.py:features --config.data.dir=MY_FEATURES \\
      --config.model.streams='("rgb", "flow")'

Data sets are those of configs/pros_cons.py, read alike. The paper trains a network on frames and one on optical flow;
here both are given as features, and their streams are named in `config.model.streams`. Its losses stand in
jaxskill/methods/whos_better.py. Pairs that show equal skill are those that several raters tie in, or scores within
`config.data.tie_margin`; of EPIC-Skills those that no list orders, for all were shown to annotators; of BEST they are
not known. The paper was not at hand when this was written: values are those of temporal segment networks, or ours.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  config = common.begin("whos_better")
  config.data = beside(__file__, "pros_cons").get_config(common.words(options)[0]).data
  del config.data.stream
  config.model = dict(
      streams=("rgb",),                     # whose scores are summed
      parts=3,                              # equal parts of a video, a segment of each is drawn
      hidden=256,                           # ours: units of a layer in place of the network that the paper trains
      test_segments=8,                      # of each part, evenly spaced; about as many as the 25 of temporal segment
                                            # networks
  )
  config.loss = dict(
      margin=1.0,                           # ours: that of Pros & Cons' ranking loss, m1
      weights=dict(similar=1.0),            # of the loss of similar pairs, beside that of ordered ones; ours
  )
  config.train = common.training(
      batch_size=128,                       # pairs, over all devices
      epochs=100, learning_rate=1e-3,       # ours: the paper's are of its video network
      reduction="sum",                      # over the pairs of a batch
      steps_per_call=64, eval_steps=640, checkpoint_steps=640,
  )
  config.evaluate = dict(ties="half")       # ours, as for Pros & Cons: half | wrong
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Takes as many epochs as Pros & Cons does there; ours."""
  config.seeds = (0, 1, 2, 3, 4)
  config.model.hidden = 32
  config.train.update(epochs=4, eval_steps=256, checkpoint_steps=256)


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.model.hidden = 4


DATA_SETS = dict(simulated=simulated, features=None, best=None, epic_skills=None, jigsaws=None)
CHANGES = dict(kinematics=common.kinematics, statistics=common.statistics, tiny=tiny, paper=None)
