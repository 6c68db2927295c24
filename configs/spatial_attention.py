"""Spatial attention with GRUs on feature maps (Li, Huang, Cai, Sato, ICCVW 2019).

  python -m jaxskill.main --config configs/spatial_attention.py                  simulated performances
  python -m jaxskill.main --config configs/spatial_attention.py:epic_skills --config.data.dir=EPIC \\
      --config.data.task=drawing
  python -m jaxskill.main --config configs/spatial_attention.py:jigsaws --config.data.dir=JIGSAWS \\
      --config.data.task=suturing
  python -m jaxskill.main --config configs/spatial_attention.py:features --config.data.dir=MY_MAPS

Maps are those of a fixed network, <video>.npz with `rgb` and `flow` [frames, h, w, channels] and, if known, `times`
[frames] in seconds. The simulated default is narrower than the paper's network, learns faster, and has 25 frames a video,
so that a random frame of a segment is its only one; measured results stand in the README. Pairs of JIGSAWS are made of its
ratings, within a task. EPIC-Skills and JIGSAWS have not yet been run on recorded features.
"""

import ml_collections
from ml_collections import config_dict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Config for `options`: a data set (simulated, features, epic_skills, jigsaws)."""
  data = options
  config = ml_collections.ConfigDict()
  config.method = "spatial_attention"
  config.name = "spatial_attention"
  config.variant = "paper"
  config.seeds = (0,)                       # one replica each, trained together
  config.plots = True

  config.data = dict(
      name=data,                            # simulated | features | epic_skills | jigsaws
      task="",                              # of EPIC-Skills; the tasks of surgery, and of drawing, share a model, but not
                                            # in surgery/Suturing; of JIGSAWS
      dir="",                               # folder of own maps, or of the official download
      prepared_dir="",                      # where prepared data go; "" is DIR/prepared
      max_bytes=2 ** 30,                    # that the features of one file may take in memory
      stream="maps",
      split="auto",                         # own features: auto | given | subject | random | folds | all
      standardize=False,                    # channels to zero mean, unit variance over a fold's training frames
      tie_margin=0.0,                       # scores this close make no pair
      pairs_within="",                      # "category": several tasks in one model, pairs within each | "subject"
      validation_share=config_dict.placeholder(float),      # of the training videos, held out to choose the step;
                                            # None: a fifth of a random split, if that is ten videos; else none
      test_share=0.25, seed=0, allow_missing=False, segment_seconds=1.0,
      **common.recorded_rows(),
      device_budget=0.5,                    # share of the device's memory that maps may fill; above it they stream
      simulated=dict(num_videos=800, num_subjects=800, streams=("maps",), map_frames=25, map_size=7, map_width=32,
                     num_segments=25, difficulty=0.1, tie_margin=0.2, pair_share=0.1, seed=0),
  )
  config.model = dict(
      segments=25,                          # of a video, one frame each: a random one in training, the last in testing
      width=4096,                           # channels that the maps must have; 0 is any
      filters=512, channels=256,            # of the fusion (Eq. 1): 2 x 2, ReLU, 1 x 1
      padding="valid",                      # of the 2 x 2 convolution: valid | same; the paper does not say
      attention="gru",                      # gru | cbam
      guides=("frame", "skill"),            # what the attention is guided by (Eq. 3)
      attention_gru=True,                   # False: by the guides as they are
      attention_hidden=128, hidden=128,     # units of the attention and of the skill GRU
      attention_width=32,                   # of the additive attention (Eq. 5)
      implementation="auto",                # of the 2 x 2 convolution: auto | plain | stacked
      update_bias=0.0,                      # added to the skill GRU's update gates at the start; the paper gives no start
  )
  config.loss = dict(margin=0.5, weights=dict())
  config.train = dict(
      batch_size=16,                        # pairs, over all devices
      epochs=50, learning_rate=1e-3,        # the paper: 5e-4 for infant grasp; it gives neither batch nor epochs
      optimizer="sgd", momentum=0.9, weight_decay=1e-3,     # adam | sgd, which reads the momentum
      clip_norm=0.0,                        # longest gradient, longer ones are shortened; 0: the paper clips none
      decay=(),                             # (epoch, factor) on the learning rate from that epoch on
      rates=(),                             # (regular expression, factor) on the learning rate by parameter path
      alternation="joint",
      reduction="mean",                     # over the pairs of a batch: sum | mean; the paper does not say
      pair_order="labelled",                # labelled | random: half of the training pairs turned round (Fig. 6)
      encode="unique",                      # unique: every video once a step | batch: both sides
                                            # of every pair at once | siamese: the same, pair by pair
      dtype="bfloat16",                     # of the maps on the device and of products with them: float32 | bfloat16
      steps_per_call=50,                    # steps of a line of the log, and the most in one call
      eval_steps=500, checkpoint_steps=1000, keep_checkpoints=3,
  )
  config.evaluate = dict(
      ties="half",                          # half | wrong
      rank_svm=True,                        # a linear ranking of mean features among the floors
  )

  if data == "simulated":
    config.seeds = (0, 1, 2)
    config.data.standardize = True
    config.model.update(width=0, filters=16, channels=16, attention_hidden=32, hidden=32, attention_width=16)
    config.train.update(batch_size=32, epochs=1, learning_rate=0.2, encode="batch", dtype="float32", eval_steps=50,
                        checkpoint_steps=100)
    # Ours. The skill GRU starts with a long memory: with the usual start, the loss reaches but the last few of 25 frames,
    # and a third of the seeds learnt their training videos by heart (49 to 61 % of the test pairs) before it grew one.
    config.model.update_bias = 2.0
    # Ours. At this rate fused features can grow until they saturate the gates of the skill GRU: gradients, .5 long at
    # the median, reach 40 within a hundred steps, all videos end in one state, and no gradient leads out of it.
    config.train.clip_norm = 0.5
  elif data == "features":
    config.model.update(width=0, update_bias=2.0)
    config.train.update(eval_steps=100, checkpoint_steps=300)
  elif data == "jigsaws":                   # maps in features/<trial>.npz
    common.pairs_of_jigsaws(config)
    config.model.width = 0
  elif data != "epic_skills":
    raise ValueError(f"data set {data!r} is unknown; use simulated, features, epic_skills or jigsaws.")
  return config
