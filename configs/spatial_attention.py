"""Spatial attention with GRUs on feature maps (Li, Huang, Cai, Sato, ICCVW 2019).

  python -m jaxskill.main --config configs/spatial_attention.py                  simulated performances
  python -m jaxskill.main --config configs/spatial_attention.py:tiny             the same in seconds, to see it work
  python -m jaxskill.main --config configs/spatial_attention.py:epic_skills --config.data.dir=EPIC \\
      --config.data.task=drawing
  python -m jaxskill.main --config configs/spatial_attention.py:jigsaws --config.data.dir=JIGSAWS \\
      --config.data.task=suturing
  python -m jaxskill.main --config configs/spatial_attention.py:features --config.data.dir=MY_MAPS
  python -m jaxskill.main --config configs/spatial_attention.py:features,infant_grasp --config.data.dir=MY_MAPS

Maps are those of a fixed network, <video>.npz with `rgb` and `flow` [frames, h, w, channels] and, if known, `times`
[frames] in seconds. The simulated default is narrower than the paper's network, learns faster, and has 25 frames a
video, so that a random frame of a segment is its only one; measured results stand in configs/spatial_attention.md.
Pairs of JIGSAWS are made of its ratings, within a task. EPIC-Skills and JIGSAWS have not yet been run on recorded
features. Infant Grasp is not public; ",infant_grasp" is its recipe, for own maps laid out alike. ",tiny" makes a
network and a training of seconds. There is no published code; what the paper leaves open is marked "ours" with the
reason.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the config for `options`: a data set, then any of `CHANGES`."""
  data_set, *_ = common.words(options)
  config = common.begin("spatial_attention")
  config.data = common.data(
      data_set,                             # simulated | features | epic_skills | jigsaws
      task="",                              # of EPIC-Skills; the tasks of surgery, and of drawing, share a model, but
                                            # not in surgery/Suturing; of JIGSAWS
      stream="maps",
      tie_margin=0.0,                       # scores this close make no pair
      pairs_within="",                      # "category": several tasks in one model, pairs within each | "subject"
      simulated=dict(num_videos=800, num_subjects=800, streams=("maps",), map_frames=25, map_size=7, map_width=32,
                     num_segments=25, difficulty=0.1, tie_margin=0.2, pair_share=0.1, seed=0),
  )
  config.model = dict(
      segments=25,                          # of a video, one frame each: a random one in training, the last in testing
      width=4096,                           # channels that recorded maps must have, 2048 of each stream; 0 is any
      filters=512, channels=256,            # of the fusion (Eq. 1): 2 x 2, ReLU, 1 x 1
      padding="valid",                      # of the 2 x 2 convolution: valid | same; ours: 13 x 13 places of 14 x 14,
                                            # none of which sees zeros; the paper does not say
      attention="gru",                      # gru | cbam
      guides=("frame", "skill"),            # what the attention is guided by (Eq. 3)
      attention_gru=True,                   # False: by the guides as they are
      attention_hidden=128, hidden=128,     # units of the attention and of the skill GRU
      attention_width=32,                   # of the additive attention (Eq. 5); its W_xa reads the 256 channels of X_t
                                            # here: the paper prints 32 x 512, which does not fit its own fusion
      implementation="auto",                # of the 2 x 2 convolution: auto | plain | stacked
      update_bias=0.0,                      # added to the skill GRU's update gates at the start; the paper gives no
                                            # start
  )
  config.loss = dict(margin=0.5, weights=dict())            # epsilon (Eq. 11)
  config.train = common.training(
      batch_size=16,                        # ours: pairs, over all devices; the paper does not say
      epochs=50,                            # ours: the paper does not say
      learning_rate=1e-3,                   # of Infant Grasp 5e-4
      optimizer="sgd", momentum=0.9, weight_decay=1e-3,
      clip_norm=0.0,                        # longest gradient, longer ones are shortened; 0: the paper clips none
      reduction="sum",                      # over the pairs of a batch (Eq. 11): sum | mean
      pair_order="labelled",                # labelled | random: half of the training pairs turned round (Fig. 6)
      dtype="auto",                         # of the maps on the device too; see configs/common.py
      eval_steps=500, checkpoint_steps=1000,
  )
  config.evaluate = dict(
      ties="half",                          # half | wrong; ours: a tie is a coin toss; the paper does not say
      rank_svm=True,                        # a linear ranking of mean features among the baselines
  )
  return common.choose(config, options, DATA_SETS, CHANGES)


def simulated(config: ConfigDict) -> None:
  """Makes the network narrower, and its learning faster; ours."""
  config.seeds = (0, 1, 2)
  config.data.standardize = True
  config.model.update(width=0, filters=16, channels=16, attention_hidden=32, hidden=32, attention_width=16)
  config.train.update(batch_size=32, epochs=1, learning_rate=0.2, reduction="mean", encode="batch", eval_steps=50,
                      checkpoint_steps=100)
  # Ours. The skill GRU starts with a long memory: with the usual start, the loss reaches but the last few of 25 frames,
  # and a third of the seeds learnt their training videos by heart (49 to 61 % of the test pairs) before it grew one.
  config.model.update_bias = 2.0
  # Ours. At this rate fused features can grow until they saturate the gates of the skill GRU: gradients, .5 long at
  # the median, reach 40 within a hundred steps, all videos end in one state, and no gradient leads out of it.
  config.train.clip_norm = 0.5


def features(config: ConfigDict) -> None:
  """Reads maps of any width, with a GRU of long memory as for simulated videos; ours."""
  config.model.update(width=0, update_bias=2.0)
  config.train.update(eval_steps=100, checkpoint_steps=300)


def infant_grasp(config: ConfigDict) -> None:
  """Trains as the paper does on Infant Grasp, with own maps: 94 videos of a grasp, pairs.csv with those that differ.

  Raises:
    ValueError: for other data than features.
  """
  if config.data.name != "features":
    raise ValueError(f"{config.data.name} is not Infant Grasp, which is not public; use features,infant_grasp with "
                     "maps of your own.")
  # Four-fold cross-validation; ours: folds at random, by video, unless config.data.split=given.
  config.data.update(split="folds", test_share=0.25, validation_share=0.0)
  config.model.update(width=4096, update_bias=0.0)
  config.train.update(learning_rate=5e-4, dtype="float32")


def jigsaws(config: ConfigDict) -> None:
  """Reads maps of any width, in features/<trial>.npz; ours."""
  common.pairs_of_jigsaws(config)
  config.model.width = 0


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  common.tiny(config)
  config.data.simulated.update(map_frames=6, map_size=4, map_width=8)
  config.model.update(segments=6, filters=4, channels=4, attention_hidden=4, hidden=4, attention_width=4)


DATA_SETS = {"simulated": simulated, "features": features, "epic_skills": None, "jigsaws": jigsaws}
CHANGES = {"infant_grasp": infant_grasp, "kinematics": common.no_kinematics, "tiny": tiny, "paper": None}
