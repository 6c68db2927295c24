"""The Pros and Cons: rank-aware temporal attention (Doughty, Mayol-Cuevas, Damen, CVPR 2019).

  python -m jaxskill.main --config configs/pros_cons.py                              simulated performances
  python -m jaxskill.main --config configs/pros_cons.py:best --config.data.dir=BEST --config.data.task=apply_eyeliner
  python -m jaxskill.main --config configs/pros_cons.py:epic_skills --config.data.dir=EPIC-Skills --config.data.task=drawing
  python -m jaxskill.main --config configs/pros_cons.py:jigsaws --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/pros_cons.py:features --config.data.dir=MY_FEATURES

",kinematics" reads the recorded movement of JIGSAWS, ",statistics" statistics of it, or of own rows
("features,statistics").
Pairs of JIGSAWS are made of its ratings, within a task.
Add ",official" (`configs/pros_cons.py:best,official`) for what the published code does instead of the paper.
The simulated default is smaller and learns faster than the paper's recipe (1e-4, 2000 epochs), so that it ends in
minutes on a laptop; measured results stand in the README. BEST and EPIC-Skills: not yet run on the recorded features.
"""

import ml_collections
from ml_collections import config_dict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Config for `options`: a data set (simulated, features, best, epic_skills, jigsaws), then any of ",kinematics" or
  ",statistics", and ",official" or ",paper"."""
  data, *variants = options.split(",")
  config = ml_collections.ConfigDict()
  config.method = "pros_cons"
  config.name = "pros_cons"
  config.variant = "paper"
  config.seeds = (0,)                       # one replica each, trained together
  config.plots = True

  config.data = dict(
      name=data,                            # simulated | features | best | epic_skills | jigsaws
      task="",                              # of BEST, EPIC-Skills (drawing, or drawing/Hand alone) or JIGSAWS
      dir="",                               # folder of own features, or of the official download
      prepared_dir="",                      # where prepared data go; "" is DIR/prepared
      max_bytes=2 ** 30,                    # that the features of one file may take in memory
      stream="rgb",
      split="auto",                         # own features: auto | given | subject | random | folds | all
      standardize=False,                    # channels to zero mean, unit variance over a fold's training segments
      tie_margin=0.0,                       # scores this close make no pair
      pairs_within="",                      # pairs only within the same "subject" or "category"
      validation_share=config_dict.placeholder(float),      # of the training videos, held out to choose the step;
                                            # None: a fifth of a random split, if that is ten videos; else none
      test_share=0.25, seed=0, allow_missing=False, segment_seconds=1.0,
      **common.recorded_rows(),
      device_budget=0.5,                    # share of the device's memory that features may fill; above it they stream
      simulated=dict(num_videos=600, num_subjects=600, num_segments=60, width=64, difficulty=0.5, seed=0),
  )
  config.model = dict(
      branches=("high", "low", "uniform"),
      num_filters=3,                        # K, of a module
      hidden=256,                           # units of a filter
      normalize="softmax",
      filter_scores="merged",               # merged (Eq. 17) | each
      score="linear",                       # linear | tanh, 2 tanh(FC)
      noise_std=0.01,                       # added to features in training
      noise="shared",                       # shared: one [T, D] draw a step | per_video
      implementation="auto",                # of the filters' product: auto | plain | chunked
  )
  config.loss = dict(
      margin_rank=1.0, margin_disparity=0.1, margin_rank_aware=0.3,
      weights=dict(disparity=1.0, rank_aware=1.0, diversity=0.1, sparsity=0.0),
      diversity_norm="squared",             # squared (Eq. 19) | frobenius
  )
  config.train = dict(
      batch_size=128,                       # pairs, over all devices
      epochs=2000, learning_rate=1e-4,
      optimizer="adam", momentum=0.9, weight_decay=0.0,     # adam | sgd, which reads the momentum
      decay=(),                             # (epoch, factor) on the learning rate from that epoch on
      rates=(),                             # (regular expression, factor) on the learning rate by parameter path
      alternation="alternate",              # alternate | leaky | joint
      reduction="sum",                      # over the pairs of a batch: sum | mean
      encode="unique",                      # unique: every video once a step | batch: both sides
                                            # of every pair at once | siamese: the same, pair by pair
      dtype="float32",                      # operands of matrix products: float32 | bfloat16
      steps_per_call=64,                    # steps of a line of the log, and the most in one call
      eval_steps=640, checkpoint_steps=640, keep_checkpoints=3,
  )
  config.evaluate = dict(ties="half")       # half | wrong, as the published code counts them

  if data == "simulated":
    config.seeds = (0, 1, 2)
    config.model.hidden = 32
    config.train.update(epochs=4, learning_rate=1e-3, eval_steps=256, checkpoint_steps=256)
  elif data == "features":
    config.data.standardize = True
    config.train.update(epochs=100, learning_rate=1e-3, eval_steps=64, checkpoint_steps=128)
  elif data == "jigsaws":                   # ours: as of own features
    common.pairs_of_jigsaws(config)
    config.train.update(epochs=100, learning_rate=1e-3, eval_steps=64, checkpoint_steps=128)
  elif data not in ("best", "epic_skills"):
    raise ValueError(f"data set {data!r} is unknown; use simulated, features, best, epic_skills or jigsaws.")
  for variant in variants:
    if variant == "official":
      official(config)
    elif variant in ("kinematics", "statistics"):
      getattr(common, variant)(config)
    elif variant != "paper":
      raise ValueError(f"variant {variant!r} is unknown; use kinematics, statistics, paper or official.")
  return config


def official(config):
  """Every difference between the published code and the paper, as fields."""
  config.variant = "official"
  config.model.update(filter_scores="each", score="tanh", noise="shared")
  config.loss.update(margin_disparity=0.05, margin_rank_aware=0.15, diversity_norm="frobenius")
  config.train.update(alternation="leaky", reduction="mean", rates=(("^filters/", 0.1),))
  config.evaluate.ties = "wrong"
