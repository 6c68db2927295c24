"""MS-LSTM (Xu, Fu, Zhang, Chen, Jiang, Xue, IEEE TCSVT 2019), the strongest competitor of ACTION-NET.

  python -m jaxskill.main --config configs/ms_lstm.py                            simulated performances
  python -m jaxskill.main --config configs/ms_lstm.py:tiny                       the same in seconds, to see it work
  python -m jaxskill.main --config configs/ms_lstm.py:fis_v --config.data.dir=FIS-V
  python -m jaxskill.main --config configs/ms_lstm.py:rhythmic_gymnastics --config.data.dir=RG --config.data.task=ball

Data sets are those of configs/action_net.py, read alike. The paper's features are C3D's; here they are the stream
`config.data.stream`, "rgb", or with ",static" frames. Sizes and training are those of the published code; what is
otherwise stands in jaxskill/methods/ms_lstm.py.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")

ACTION_NET = beside(__file__, "action_net")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  config = common.competitor("ms_lstm", ACTION_NET.get_config(common.words(options)[0]))
  config.model = dict(
      channels=128,                         # that rows are mapped to first
      scales=((2, 1), (4, 2), (8, 4)),      # (window, stride) in rows
      hidden=256,                           # units of every LSTM, and filters of every convolution
      attention_hidden=64, distributions=50,      # of the self-attention
      joined=64,                            # units of the layers behind the LSTMs
  )
  config.loss.weights.penalty = 1.0         # in the unit of the labels, squared
  config.train = common.training(
      batch_size=128,                       # videos, over all devices
      epochs=500, learning_rate=5e-4, encode="batch", eval_steps=100, checkpoint_steps=300,
  )
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Makes the network narrower and its windows shorter, for rows are ten seconds and few; ours.

  Batches are smaller, and epochs fewer.
  """
  config.seeds = (0, 1, 2, 3, 4)
  config.model.scales = (2, 1), (3, 1), (4, 2)
  config.model.update(channels=16, hidden=32, attention_hidden=8, distributions=5, joined=8)
  config.train.update(batch_size=32, epochs=60, learning_rate=1e-3)


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.model.update(channels=4, hidden=4, attention_hidden=4, distributions=2, joined=4)


DATA_SETS = dict.fromkeys(ACTION_NET.DATA_SETS) | dict(simulated=simulated)
CHANGES = dict(static=common.static, kinematics=common.kinematics, statistics=common.statistics, tiny=tiny, paper=None)
