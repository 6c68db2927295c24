"""The Pros and Cons: rank-aware temporal attention (Doughty, Mayol-Cuevas, Damen, CVPR 2019).

  python -m jaxskill.main --config configs/pros_cons.py                              simulated performances
  python -m jaxskill.main --config configs/pros_cons.py:tiny                         the same in seconds, to see it work
  python -m jaxskill.main --config configs/pros_cons.py:best --config.data.dir=BEST --config.data.task=apply_eyeliner
  python -m jaxskill.main --config configs/pros_cons.py:epic_skills --config.data.dir=EPIC-Skills \\
      --config.data.task=drawing
  python -m jaxskill.main --config configs/pros_cons.py:jigsaws --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/pros_cons.py:features --config.data.dir=MY_FEATURES
  python -m jaxskill.main --config configs/pros_cons.py:kinematics --config.data.dir=MY_RECORDINGS

",kinematics" reads the recorded movement of JIGSAWS, ",statistics" statistics of it, or of own rows
("features,statistics"). Pairs of JIGSAWS are made of its ratings, within a task. Add ",official"
(`configs/pros_cons.py:best,official`) for what the published code does instead of the paper, ",tiny" for a network and
a training of seconds. What the paper leaves open is marked "ours" with the reason. The simulated default is smaller and
learns faster than the paper's recipe (1e-4, 2000 epochs), so that it ends in minutes on a laptop; measured results
stand in configs/pros_cons.md. BEST and EPIC-Skills: not yet run on the recorded features.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  data_set, *_ = common.words(options)
  config = common.begin("pros_cons")
  config.data = common.data(
      data_set,                             # simulated | features | best | epic_skills | jigsaws | rehab_pile
      task="",                              # of BEST, EPIC-Skills (drawing, or drawing/Hand alone) or JIGSAWS; a set of
                                            # Rehab-Pile, of classes with the better one: KERAAL_clf_bn_CTK:C
      stream="rgb",
      tie_margin=0.0,                       # scores this close make no pair
      pairs_within="",                      # pairs only within the same "subject" or "category"
      simulated=dict(num_videos=600, num_subjects=600, num_segments=60, width=64, difficulty=0.5, seed=0),
  )
  config.model = dict(
      branches=("high", "low", "uniform"),
      num_filters=3,                        # K, of a module
      hidden=256,                           # ours: units of a filter's first layer, which the paper does not give; as
                                            # in the published code
      normalize="softmax",
      filter_scores="merged",               # merged (Eq. 17) | each
      score="linear",                       # linear | tanh, 2 tanh(FC)
      noise_std=0.01,                       # added to every dimension of the features in training
      noise="per_video",                    # per_video: a draw [T, D] for each | shared: one a step for all of them
      implementation="auto",                # of the filters' product: auto | plain | chunked
  )
  config.loss = dict(
      margin_rank=1.0, margin_disparity=0.1, margin_rank_aware=0.3,       # m1, m2, m3
      weights=dict(disparity=1.0, rank_aware=1.0, diversity=0.1, sparsity=0.0),         # diversity: lambda (Eq. 20)
      diversity_norm="squared",             # squared (Eq. 19) | frobenius
  )
  config.train = common.training(
      batch_size=128,                       # pairs, over all devices
      epochs=2000, learning_rate=1e-4,
      alternation="alternate",              # alternate | leaky | joint; ours: at every step, for the paper does not say
                                            # how long each half of the network rests
      reduction="sum",                      # over the pairs of a batch (Eq. 10 to 14, 19): sum | mean
      steps_per_call=64, eval_steps=640, checkpoint_steps=640,
  )
  config.evaluate = dict(
      ties="half",                          # half | wrong; ours: a tie is a coin toss; the published code counts it
                                            # wrong
  )
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Makes the network smaller and faster, see above; ours."""
  config.seeds = (0, 1, 2)
  config.model.update(hidden=32, noise="shared")          # a draw for each video takes twice the time
  config.train.update(epochs=4, learning_rate=1e-3, eval_steps=256, checkpoint_steps=256)


def features(config: ConfigDict) -> None:
  """Learns from few videos, of features of any unit, in minutes; ours."""
  config.data.standardize = True
  config.train.update(epochs=100, learning_rate=1e-3, eval_steps=64, checkpoint_steps=128)


def jigsaws(config: ConfigDict) -> None:
  """Trains as on own features; ours."""
  common.pairs_of_jigsaws(config)
  config.train.update(epochs=100, learning_rate=1e-3, eval_steps=64, checkpoint_steps=128)


def rehab_pile(config: ConfigDict) -> None:
  """Learns from pairs of skeletons, made of scores, as on own features; ours."""
  features(config)
  common.poses(config)
  config.data.make_pairs = True


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.model.hidden = 4


def official(config: ConfigDict) -> None:
  """Sets every difference between the published code and the paper, as fields."""
  config.variant = "official"
  config.model.update(filter_scores="each", score="tanh", noise="shared")
  config.loss.update(margin_disparity=0.05, margin_rank_aware=0.15, diversity_norm="frobenius")
  config.train.update(alternation="leaky", reduction="mean", rates=(("^filters/", 0.1),))
  config.evaluate.ties = "wrong"


DATA_SETS = {"simulated": simulated, "features": features, "best": None, "epic_skills": None, "jigsaws": jigsaws,
             "rehab_pile": rehab_pile}
CHANGES = {"kinematics": common.kinematics, "statistics": common.statistics, "tiny": tiny, "paper": None,
           "official": official}
