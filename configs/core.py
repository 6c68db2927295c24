"""CoRe and its group-aware regression tree (Yu, Rao, Zhao, Lu, Zhou, ICCV 2021).

  python -m jaxskill.main --config configs/core.py                               simulated performances
  python -m jaxskill.main --config configs/core.py:mtl_aqa --config.data.dir=MTL-AQA
  python -m jaxskill.main --config configs/core.py:unlv_dive --config.data.dir=diving
  python -m jaxskill.main --config configs/core.py:aqa7 --config.data.dir=AQA-7
  python -m jaxskill.main --config configs/core.py:jigsaws --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/core.py:jigsaws,statistics --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/core.py:finediving --config.data.dir=FineDiving
  python -m jaxskill.main --config configs/core.py:features --config.data.dir=MY_FEATURES
  python -m jaxskill.main --config configs/core.py:frames --config.data.dir=MY_VIDEOS --config.model.weights=rgb_imagenet.pt

",kinematics" reads the recorded movement of JIGSAWS, ",statistics" statistics of it, or of own rows
("features,statistics").
Add ",official" (`configs/core.py:mtl_aqa,official`) for what the published code does instead of the paper. The features
are those of a fixed backbone, one row a snippet; with "frames" (`configs/core.py:mtl_aqa,frames`, and own videos beside a
scores.csv) the backbone, I3D, is trained with the rest, on frames that are decoded once. The simulated default learns
faster than the paper's recipe; the published data sets have not yet been run on recorded features or frames.
"""

import ml_collections
from ml_collections import config_dict

from jaxskill.cli import beside

common = beside(__file__, "common")

# Sizes of own features by the number of training videos of the smallest fold: a field, and (most videos, size) in turn. A
# field that is 0 is decided once, when the data are known. Of 30 videos, 4 leaves of 64 do as well as 32 of 256, seven
# times as fast: "Thirty videos" in jaxskill/data/README.md.
BY_VIDEOS = (("model.num_leaves", ((100, 4), (400, 16), (10 ** 9, 32))),
             ("model.hidden", ((100, 64), (400, 128), (10 ** 9, 256))))


def get_config(options="simulated"):
  """Config for `options`: a data set, then any of ",frames", ",kinematics", ",statistics", and ",official" or
  ",paper"."""
  data, *variants = options.split(",")
  config = ml_collections.ConfigDict()
  config.method = "core"
  config.name = "core"
  config.variant = "paper"
  config.seeds = (0,)                       # one replica each, trained together
  config.plots = True

  config.data = dict(
      name=data,                            # simulated | features | frames (own videos) | mtl_aqa | unlv_dive | aqa7
                                            # | jigsaws | finediving
      task="",                              # of AQA-7 and JIGSAWS; "" is all, one fold or set of folds each
      dir="",                               # folder of own features, or of the official download
      prepared_dir="",                      # where prepared data go; "" is DIR/prepared
      max_bytes=2 ** 30,                    # that the features of one file may take in memory
      stream="rgb",                         # JIGSAWS also: kinematics; statistics, where these are made
      criteria=("score",),                  # scores to be learnt, each by replicas of its own
      split="auto",                         # own features: auto | given | subject | random | folds | all;
                                            # JIGSAWS: auto | louo | loso; MTL-AQA: auto | competition
      standardize=False,                    # channels to zero mean, unit variance over a fold's training segments
      score_range=(),                       # own features: (lowest, highest) possible score; () is that of the labels
      make_pairs=False, tie_margin=0.0, pairs_within="",
      validation_share=config_dict.placeholder(float),      # of the training videos, held out to choose the step;
                                            # None: a fifth of a random split, if that is ten videos; else none
      test_share=0.25, seed=0, allow_missing=False, segment_seconds=1.0,
      frames=dict(count=0,                  # of a video, decoded for backbone="i3d"; 0: features are read instead
                  margin=0,                 # further frames before and after, by which training moves the window
                  size=(455, 256), fit="stretch",       # width, height; stretch | cover, which keeps the middle
                  rate=25.0),               # pictures a second of folders of pictures
      **common.recorded_rows(),
      device_budget=0.5,                    # share of the device's memory that features may fill; above it they stream
      simulated=dict(num_videos=400, num_subjects=400, num_segments=60, width=64, difficulty=0.25, seed=0,
                     routine_difficulties=(2.0, 2.4, 2.8, 3.2), tie_margin=0.05),
  )
  config.model = dict(
      backbone="features",                  # of a fixed network, made beforehand | i3d, trained on frames
      weights="",                           # that i3d begins with: a file, or random:SEED for trials
      i3d=dict(starts=(0, 10, 20, 30, 40, 50, 60, 70, 80, 86), length=16,       # of the snippets, in frames
               crop=224, flip=True,         # drawn in training, the same for all of a video; the middle in tests
               scaling="symmetric",         # symmetric, to [-1, 1], as its weights were trained | imagenet
               eps=1e-3,                    # of batch normalisation: 1e-3 as its weights were trained
               clips_at_once=0),            # at most, a divisor of a step's; 0: 1 on a CPU, else a video's
      head="tree",                          # tree | mlp
      contrastive=True,                     # against exemplars; False regresses the score itself
      exemplars=dict(count=10, same=("category", "difficulty")),    # of a vote; must agree in these, if known
      with_difficulty=False,                # learn score / difficulty, and multiply by the known difficulty
      num_leaves=32, hidden=256,            # 2^d leaves for d = 5; of own features 0: by the number of videos
      leaf_activation="sigmoid",            # sigmoid | none
      groups="equal_count",                 # equal_count (Eq. 5) | mirrored
      outside="nearest",                    # a difference in no group: nearest | first
      empty_leaf="border",                  # what a leaf without width says: border | offset
      classification="binary",              # binary cross-entropy over all leaves (Eq. 6) | leaf, the true one alone
      regression="sum",                     # over the batch: sum | leaf_mean
  )
  config.loss = dict(weights=dict())
  config.train = dict(
      batch_size=64,                        # videos, each with an exemplar; over all devices
      epochs=200, learning_rate=1e-3,
      optimizer="adam", momentum=0.9, weight_decay=0.0,     # adam | sgd, which reads the momentum
      decay=(),                             # (epoch, factor) on the learning rate from that epoch on
      rates=(("^backbone/", 0.1),),         # (regular expression, factor) on the learning rate by parameter path
      alternation="joint", reduction="mean",
      encode="unique",                      # unique: every video once a step | batch: both sides
                                            # of every pair at once | siamese: the same, pair by pair
      dtype="float32",                      # operands of matrix products: float32 | bfloat16
      steps_per_call=50,                    # steps of a line of the log, and the most in one call
      eval_steps=500, checkpoint_steps=1000, keep_checkpoints=3,
  )
  config.evaluate = dict(
      rl2_range="class",                    # R-l2 divides by the range of the labels of the class | of the test side
      draws=5,                              # of exemplars, whose spread is reported
  )

  if data == "simulated":
    config.seeds = (0, 1, 2)
    config.data.standardize = True
    config.model.update(with_difficulty=True, hidden=64)
    config.train.update(epochs=60, eval_steps=100, checkpoint_steps=300)
  elif data in ("mtl_aqa", "unlv_dive"):
    config.model.with_difficulty = True
    config.model.exemplars.same = ("difficulty",)
  elif data == "finediving":
    config.model.with_difficulty = True
    config.model.exemplars.same = ("category",)
  elif data == "features":
    config.data.standardize = True
    config.train.update(eval_steps=100)
    config.by_videos = BY_VIDEOS
    config.model.update(num_leaves=0, hidden=0)
  elif data == "frames":
    variants = ["frames", *variants]
    config.data.frames.fit = "cover"
  elif data not in ("aqa7", "jigsaws"):
    raise ValueError(f"data set {data!r} is unknown; use simulated, features, frames, mtl_aqa, unlv_dive, aqa7, jigsaws "
                     "or finediving.")
  for variant in variants:
    if variant == "official":
      official(config)
    elif variant == "frames":
      frames(config)
    elif variant in ("kinematics", "statistics"):
      getattr(common, variant)(config)
    elif variant != "paper":
      raise ValueError(f"variant {variant!r} is unknown; use frames, kinematics, statistics, paper or official.")
  if config.variant == "official" and config.model.backbone == "i3d" and data == "mtl_aqa":
    # Two batches of one pair, their gradients added: the mean over the rows of a leaf is then over one row.
    config.model.regression, config.train.reduction = "sum", "sum"
  return config


def frames(config):
  """Trains the video network too, on frames of the videos in place of features."""
  if config.data.name in ("simulated", "features"):
    raise ValueError(f"{config.data.name} data have no videos; use configs/core.py:frames, or a published data set.")
  config.data.stream = "frames"
  config.data.frames.count = 103
  config.data.frames.margin = 3 if config.data.name == "mtl_aqa" else 0
  config.model.backbone = "i3d"
  config.train.update(batch_size=2, steps_per_call=10, eval_steps=1000, checkpoint_steps=500)


def official(config):
  """Every difference between the published code and the paper, as fields."""
  config.variant = "official"
  config.model.update(num_leaves=16, leaf_activation="none", groups="mirrored", outside="first", empty_leaf="offset",
                      classification="leaf", regression="leaf_mean")
  config.model.i3d.update(scaling="imagenet", eps=1e-5)
  config.train.batch_size = 2
  config.evaluate.rl2_range = "test"
