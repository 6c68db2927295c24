"""ACTION-NET: two streams, context-aware attention, scores of long videos (Zeng et al., ACM MM 2020).

  python -m jaxskill.main --config configs/action_net.py                         simulated performances
  python -m jaxskill.main --config configs/action_net.py:rhythmic_gymnastics --config.data.dir=RG --config.data.task=ball
  python -m jaxskill.main --config configs/action_net.py:fis_v --config.data.dir=FIS-V
  python -m jaxskill.main --config configs/action_net.py:mit_skating --config.data.dir=MIT-SKATING
  python -m jaxskill.main --config configs/action_net.py:jigsaws --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/action_net.py:features --config.data.dir=MY_FEATURES \\
      --config.data.score_range='(0.0, 10.0)'

",kinematics" reads the recorded movement of JIGSAWS, ",statistics" statistics of it, or of own rows
("features,statistics").
Add ",official" (`configs/action_net.py:fis_v,official`) for what the published code does instead of the paper. Without a
task, the four apparatus of Rhythmic Gymnastics are four folds of one program, each for its own number of epochs. The
simulated default is narrower than the paper's network and trains for fewer epochs; the published data sets have not yet
been run on recorded features.
"""

import ml_collections
from ml_collections import config_dict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Config for `options`: a data set, then any of ",kinematics" or ",statistics", and ",official" or ",paper"."""
  data, *variants = options.split(",")
  config = ml_collections.ConfigDict()
  config.method = "action_net"
  config.name = "action_net"
  config.variant = "paper"
  config.seeds = (0,)                       # one replica each, trained together
  config.plots = True

  config.data = dict(
      name=data,                            # simulated | features | rhythmic_gymnastics | fis_v | mit_skating
                                            # | jigsaws
      task="",                              # an apparatus, a task of JIGSAWS; of skating tes | pcs | total; "" is all,
                                            # or the total
      dir="",                               # folder of own features, or of the official download
      prepared_dir="",                      # where prepared data go; "" is DIR/prepared
      max_bytes=2 ** 30,                    # that the features of one file may take in memory
      criteria=("score",),                  # scores to be learnt, each by replicas of its own
      score_range=config_dict.placeholder(tuple),   # of own features: (lowest, highest) possible score
      split="auto",                         # own features: auto | given | subject | random | folds | all;
                                            # JIGSAWS: auto | louo | loso
      standardize=False,                    # channels to zero mean, unit variance over a fold's training rows
      make_pairs=False,
      validation_share=config_dict.placeholder(float),      # of the training videos, held out to choose the step;
                                            # None: a fifth of a random split, if that is ten videos; else none
      test_share=0.25, seed=0, allow_missing=False, segment_seconds=1.0,
      stream_seconds=dict(),                # {stream: seconds from one row to the next}, segment_seconds where not given
      **common.recorded_rows(),
      device_budget=0.5,                    # share of the device's memory that features may fill; above it they stream
      simulated=dict(num_videos=400, num_subjects=400, streams=("rgb", "static"), num_segments=40, width=64,
                     static_rows=30, static_width=64, difficulty=0.25, seed=0),
  )
  config.model = dict(
      streams=("rgb", "static"),            # of the data set: dynamic, static; or one of them
      windows=dict(rgb=26, static=80),      # rows shown: a random window in training, the middle in testing; 0 is all
      may_be_short=("static",),             # streams whose videos may have fewer rows than the window
      last_start=True,                      # whether a window may also start at the last place
      padding="mask",                       # of short videos: mask | zeros, which are attended over
      widths=dict(rgb=0, static=0),         # channels that a stream must have; 0 is any
      score_ranges=dict(),                  # {criterion: (lowest, highest)}; that of the data set where not given
      hidden=0,                             # units of the first embedding layer; 0 is half the width of the stream
      channels=256,                         # of embedding and graph
      context="gcn",                        # gcn | none | lstm | bilstm
      adjacency="feature",                  # exp(-|f_i - f_j| / K) + I | time, exp(-|i - j|)
      scale=config_dict.placeholder(float), # K of "feature"; None is the number of real rows
      pooling="attention",                  # attention | average | max | filters, those of Pros & Cons
      attention_hidden=128,                 # units of the attention unit
      num_filters=3, filter_hidden=256,     # of pooling "filters"
      head_hidden=128, dropout=0.5,
  )
  config.loss = dict(weights=dict())
  config.train = dict(
      batch_size=32,                        # videos, over all devices
      epochs=400,
      epochs_share=dict(),                  # {fold: share of `epochs` that it trains for}, 1 where not given
      learning_rate=0.01,
      optimizer="sgd", momentum=0.9, weight_decay=1e-4,     # adam | sgd, which reads the momentum
      decay=((-100, 0.1), (-50, 0.1)),      # (epoch, factor) on the learning rate from that epoch on; < 0 before the end
      rates=(("^head/", 5.0),),             # (regular expression, factor) on the learning rate by parameter path
      alternation="joint", reduction="mean",
      encode="batch",                       # batch: each replica the videos of its own batch | unique: the videos of all
                                            # replicas' batches once a step | siamese: like batch, item by item
      dtype="float32",                      # operands of matrix products: float32 | bfloat16
      steps_per_call=50,                    # steps of a line of the log, and the most in one call
      eval_steps=350, checkpoint_steps=700, keep_checkpoints=3,
  )
  config.evaluate = dict(
      rl2_range="class",                    # R-l2 divides by the range of the labels of the class | of the test side
      svr=False,                            # linear support vector regression among the floors; needs scikit-learn
  )

  if data == "simulated":
    config.seeds = (0, 1, 2)
    config.data.standardize = True
    config.model.update(windows=dict(rgb=36, static=26), hidden=64, channels=64, attention_hidden=32, filter_hidden=32,
                        head_hidden=32)
    config.train.update(epochs=80, decay=((-30, 0.1), (-15, 0.1)), eval_steps=100, checkpoint_steps=300)
  if data in ("rhythmic_gymnastics", "fis_v", "mit_skating"):
    config.data.stream_seconds = dict(rgb=3.2, static=1.0)        # segments of 16 frames at 5 a second, a frame a second
  if data == "rhythmic_gymnastics":
    config.data.criteria = ("difficulty", "execution", "total")
    config.model.widths = dict(rgb=1024, static=2048)
    config.train.epochs_share = dict(ball=1.0, clubs=0.75, hoop=1.25, ribbon=0.75)        # 400, 300, 500, 300 epochs
  elif data in ("fis_v", "mit_skating"):    # longer videos; neither windows nor epochs are known to us: all, and 400
    config.model.update(windows=dict(rgb=0, static=0), widths=dict(rgb=1024, static=2048))
    highest = dict(fis_v=(45.0, 40.0), mit_skating=(60.0, 50.0))[data]
    config.model.score_ranges = {name: (0.0, high) for name, high in zip(("tes", "pcs"), highest)}
    config.data.criteria = ("tes", "pcs")
  elif data == "features":
    config.data.standardize = True
    config.model.windows = dict(rgb=0, static=0)
    config.train.update(eval_steps=100, checkpoint_steps=300)
  elif data == "jigsaws":                   # ours: trials of many lengths, one stream, and few of them
    common.read_stream(config, "rgb")
    config.model.windows = dict(rgb=0)
    config.train.update(epochs=100, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, decay=(), rates=(),
                        eval_steps=25, checkpoint_steps=100)
  elif data != "simulated":
    raise ValueError(f"data set {data!r} is unknown; use simulated, features, jigsaws, rhythmic_gymnastics, fis_v or "
                     "mit_skating.")
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
  config.model.update(adjacency="time", padding="zeros", last_start=False)
