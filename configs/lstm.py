"""LSTM and Bi-LSTM regression, the competitors of ACTION-NET (Zeng et al., ACM MM 2020, Table 1), and C3D-LSTM.

  python -m jaxskill.main --config configs/lstm.py                               simulated performances, an LSTM
  python -m jaxskill.main --config configs/lstm.py:simulated,bidirectional       a Bi-LSTM
  python -m jaxskill.main --config configs/lstm.py:tiny                          the same in seconds, to see it work
  python -m jaxskill.main --config configs/lstm.py:rhythmic_gymnastics,static --config.data.dir=RG \\
      --config.data.task=ball
  python -m jaxskill.main --config configs/lstm.py:features,c3d --config.data.dir=MY_C3D_FEATURES
  python -m jaxskill.main --config configs/lstm.py:aqa7,c3d --config.data.dir=AQA-7

Data sets are those of configs/action_net.py, and those on which CoRe compares with C3D-LSTM, read as these systems read
them. A row of ACTION-NET's table is an LSTM on one feature: "rgb", segments of I3D, or with ",static" frames of ResNet.
",c3d" is C3D-LSTM (Parmar and Morris, CVPR Workshops 2017), on features of C3D that you give: the same LSTM, and only
the training differs; its simulated performances are those of configs/core.py.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")

OF_CORE = "mtl_aqa", "unlv_dive", "aqa7", "rehab_pile"


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  data_set, *_ = common.words(options)
  of_core = data_set in OF_CORE or data_set == "simulated" and "c3d" in common.words(options)
  competed = beside(__file__, "core" if of_core else "action_net").get_config(data_set)
  config = common.competitor("lstm", competed)
  if of_core:                               # whose data have one stream
    config.data.stream_seconds = dict()
    config.data.simulated.update(streams=("rgb",), static_rows=0, static_width=0)
  config.model = dict(
      hidden=256,                           # units, of each direction
      bidirectional=False,
      forget_bias=0.0,                      # of the forget gate when training begins: at 0 memory halves at every row,
                                            # at 2 it loses an eighth; ours, the papers do not say
  )
  config.train = common.training(
      batch_size=competed.train.batch_size,                 # videos, over all devices
      epochs=competed.train.epochs,
      learning_rate=1e-3,                   # ours, with Adam: the paper does not say how competitors were trained
      encode="batch", eval_steps=100, checkpoint_steps=300,
  )
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Makes the network narrower, and takes fewer epochs; ours."""
  config.seeds = (0, 1, 2, 3, 4)
  config.model.hidden = 32
  config.train.epochs = 60


def bidirectional(config: ConfigDict) -> None:
  """Reads rows both ways, with half the units in each direction, as in the paper: 128."""
  config.model.update(bidirectional=True, hidden=config.model.hidden // 2)


def c3d(config: ConfigDict) -> None:
  """Trains C3D-LSTM as its authors' code in PyTorch does, in small batches; ours: at a rate that does not fall."""
  config.train.update(batch_size=6, learning_rate=1e-4)


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.model.hidden = 4


DATA_SETS = dict.fromkeys((*beside(__file__, "action_net").DATA_SETS, *OF_CORE)) | dict(
    simulated=simulated, rehab_pile=common.poses)
CHANGES = dict(bidirectional=bidirectional, c3d=c3d, static=common.static, kinematics=common.kinematics,
               statistics=common.statistics, tiny=tiny, paper=None)
