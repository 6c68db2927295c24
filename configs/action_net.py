"""ACTION-NET: two streams, context-aware attention, scores of long videos (Zeng et al., ACM MM 2020).

  python -m jaxskill.main --config configs/action_net.py                         simulated performances
  python -m jaxskill.main --config configs/action_net.py:tiny                    the same in seconds, to see it work
  python -m jaxskill.main --config configs/action_net.py:rhythmic_gymnastics --config.data.dir=RG \\
      --config.data.task=ball
  python -m jaxskill.main --config configs/action_net.py:fis_v --config.data.dir=FIS-V
  python -m jaxskill.main --config configs/action_net.py:mit_skating --config.data.dir=MIT-SKATING
  python -m jaxskill.main --config configs/action_net.py:jigsaws --config.data.dir=JIGSAWS --config.data.task=suturing
  python -m jaxskill.main --config configs/action_net.py:features --config.data.dir=MY_FEATURES \\
      --config.data.score_range='(0.0, 10.0)'
  python -m jaxskill.main --config configs/action_net.py:kinematics --config.data.dir=MY_RECORDINGS \\
      --config.data.score_range='(0.0, 10.0)'

",kinematics" reads the recorded movement of JIGSAWS, ",statistics" statistics of it, or of own rows
("features,statistics"). Add ",official" (`configs/action_net.py:fis_v,official`) for what the published code does
instead of the paper, ",tiny" for a network and a training of seconds. Without a task, the four apparatus of Rhythmic
Gymnastics are four folds of one program, each for its own number of epochs. What the paper leaves open is marked "ours"
with the reason. The simulated default is narrower than the paper's network and trains for fewer epochs; the published
data sets have not yet been run on recorded features.
"""

from ml_collections import ConfigDict, config_dict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  data_set, *_ = common.words(options)
  config = common.begin("action_net")
  config.data = common.data(
      data_set,                             # simulated | features | rhythmic_gymnastics | fis_v | mit_skating | jigsaws
      task="",                              # an apparatus, a task of JIGSAWS; of skating tes | pcs | total; "" is all,
                                            # or the total
      criteria=("score",),                  # scores to be learnt, each by replicas of its own
      score_range=config_dict.placeholder(tuple),   # of own features: (lowest, highest) possible score
      split="auto",                         # own features: auto | given | subject | random | folds | all;
                                            # JIGSAWS: auto | louo | loso
      make_pairs=False,
      stream_seconds=dict(),                # {stream: seconds from one row to the next}, segment_seconds where not
                                            # given
      simulated=dict(num_videos=400, num_subjects=400, streams=("rgb", "static"), num_segments=40, width=64,
                     static_rows=30, static_width=64, difficulty=0.25, seed=0),
  )
  config.model = dict(
      streams=("rgb", "static"),            # of the data set: dynamic, static; or one of them
      windows=dict(rgb=26, static=80),      # rows shown: a random window in training, the middle in testing; 0 is all
      may_be_short=("static",),             # streams whose videos may have fewer rows than the window
      last_start=True,                      # whether a window may also start at the last place; ours: as any other
      padding="mask",                       # of short videos: mask | zeros, which are attended over; ours: what is no
                                            # row has no weight
      widths=dict(rgb=0, static=0),         # channels that a stream must have; 0 is any
      score_ranges=dict(),                  # {criterion: (lowest, highest)}; that of the data set where not given
      hidden=0,                             # units of the first embedding layer; 0 is half the width of the stream
      channels=256,                         # of embedding and graph, and the units of "lstm", half in each direction
                                            # of "bilstm"
      context="gcn",                        # gcn | none | lstm | bilstm
      adjacency="feature",                  # exp(-|f_i - f_j| / K) + I (Eq. 1, 2) | time, exp(-|i - j|)
      scale=1.0,                            # K of "feature", in the unit of the embedding
      pooling="attention",                  # attention | average | max | filters, those of Pros & Cons
      attention_hidden=128,                 # ours: units of the attention unit, half of the channels, as of the head;
                                            # the paper does not say
      num_filters=3, filter_hidden=256,     # of pooling "filters"
      head_hidden=128, dropout=0.5,
  )
  config.loss = dict(weights=dict())
  config.train = common.training(
      batch_size=32,                        # videos, over all devices
      epochs=400,
      epochs_share=dict(),                  # {fold: share of `epochs` that it trains for}, 1 where not given
      learning_rate=0.01,
      optimizer="sgd", momentum=0.9, weight_decay=1e-4,
      decay=((-100, 0.1), (-50, 0.1)),      # (epoch, factor) on the learning rate from that epoch on; < 0 counts
                                            # from the end
      rates=(("^head/", 5.0),),             # (regular expression, factor) on the learning rate by parameter path
      encode="batch",                       # batch: each replica the videos of its own batch | unique: the videos of
                                            # all replicas' batches once a step | siamese: like batch, item by item
      eval_steps=350, checkpoint_steps=700,
  )
  config.evaluate = common.evaluation_of_scores()
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Makes the network narrower, and takes fewer epochs; ours."""
  config.seeds = (0, 1, 2)
  config.data.standardize = True
  config.model.update(windows=dict(rgb=36, static=26), hidden=64, channels=64, attention_hidden=32, filter_hidden=32,
                      head_hidden=32)
  config.train.update(epochs=80, decay=((-30, 0.1), (-15, 0.1)), eval_steps=100, checkpoint_steps=300)


def features(config: ConfigDict) -> None:
  """Reads features of any unit, and all rows; ours."""
  config.data.standardize = True
  config.model.windows = dict(rgb=0, static=0)
  config.train.update(eval_steps=100, checkpoint_steps=300)


def published_features(config: ConfigDict) -> None:
  """Reads two streams as the paper extracts them: segments of 16 frames at 5 a second, and a frame a second."""
  config.data.stream_seconds = dict(rgb=3.2, static=1.0)
  config.model.widths = dict(rgb=1024, static=2048)


def rhythmic_gymnastics(config: ConfigDict) -> None:
  """Reads the paper's own data set: three scores, and epochs by apparatus."""
  published_features(config)
  config.data.criteria = ("difficulty", "execution", "total")
  config.train.epochs_share = dict(ball=1.0, clubs=0.75, hoop=1.25, ribbon=0.75)        # 400, 300, 500, 300 epochs


def fis_v(config: ConfigDict) -> None:
  """Takes the recipe of Rhythmic Gymnastics, on all rows, for videos are longer; ours, as the paper has no Fis-V."""
  published_features(config)
  config.data.criteria = ("tes", "pcs")
  config.model.windows = dict(rgb=0, static=0)
  config.model.score_ranges = dict(tes=(0.0, 45.0), pcs=(0.0, 40.0))


def mit_skating(config: ConfigDict) -> None:
  """Learns the final score of the program, 0 to 100; batches, epochs and windows are those of Sec. 5.2."""
  published_features(config)
  config.data.criteria = ("total",)
  config.model.windows = dict(rgb=48, static=150)
  config.model.score_ranges = dict(total=(0.0, 100.0), tes=(0.0, 60.0), pcs=(0.0, 50.0))    # of the parts: ours
  config.train.update(batch_size=16, epochs=200, decay=((150, 0.1), (180, 0.1)))


def jigsaws(config: ConfigDict) -> None:
  """Reads one stream of trials, which are few and of many lengths; ours."""
  common.read_stream(config, "rgb")
  config.model.windows = dict(rgb=0)
  config.train.update(epochs=100, learning_rate=1e-3, optimizer="adam", weight_decay=0.0, decay=(), rates=(),
                      eval_steps=25, checkpoint_steps=100)


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.model.update(windows={stream: 0 for stream in config.model.streams}, widths=dict(rgb=0, static=0), hidden=4,
                      channels=4, attention_hidden=4, filter_hidden=4, head_hidden=4)
  config.train.decay = ()


def official(config: ConfigDict) -> None:
  """Sets every difference between the published code and the paper, as fields."""
  config.variant = "official"
  config.model.update(adjacency="time", padding="zeros", last_start=False)


DATA_SETS = {"simulated": simulated, "features": features, "jigsaws": jigsaws,
             "rhythmic_gymnastics": rhythmic_gymnastics, "fis_v": fis_v, "mit_skating": mit_skating}
CHANGES = {"kinematics": common.kinematics, "statistics": common.statistics, "tiny": tiny, "paper": None,
           "official": official}
