"""What configs of several systems share: fields that every run has, options that read recorded rows, tables of rows."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

Change = Callable[[ConfigDict], None] | None      # what an option does to a config; None does nothing

# Columns of the places of JIGSAWS' four manipulators, three coordinates each: masters left and right, instruments left
# and right.
MANIPULATORS = ((0, 1, 2), (19, 20, 21), (38, 39, 40), (57, 58, 59))

# Data of which statistics of motion can be made: their stream, and columns of every point that moves.
RECORDED = dict(jigsaws=("kinematics", MANIPULATORS), features=("rgb", ()), rehab_pile=("pose", ()))

# How recorded movements are read (`jaxskill.data.user.motion`).
MOTION = dict(
    units="",                               # of lengths in csv and .trc files: m | cm | mm; "": see data/README.md
    up="",                                  # axis against gravity: x | -x | y | -y | z | -z; "" is y, of pictures -y
    joints=(),                              # (landmark, name in the file) of points whose names do not say which they
                                            # are, e.g. (("left_hip", "LASI"),)
    face_right=False,                       # mirror whoever faces left, for views from the side
    window=1.0,                             # seconds of which the smoothness of a row is
    ends=(),                                # points whose speed, smoothness and path are asked for; () is hands and
                                            # feet, or all points of what is no body
)

# Data sets of options that may stand alone.
ALONE = dict(tiny=("simulated",), kinematics=("features",))
OWN = ("simulated", "features", "frames")     # data sets that no paper has results for

# What fields are that each config gives itself, or that need no words beside them; said where one is missing.
MEANINGS = dict(
    method="what learns", plots="whether pictures are made of the results", stream="whose rows are read",
    criteria="scores to be learnt", score_range="(lowest, highest) possible score", make_pairs="of scores",
    seed="of a random split", test_share="of the videos, in a random split",
    allow_missing="whether a run goes on without videos that were not found",
    learning_rate="of the first step", batch_size="training items of a step", epochs="passes over the training items",
    eval_steps="steps from one evaluation to the next", checkpoint_steps="steps from one checkpoint to the next",
    keep_checkpoints="how many of the last checkpoints stay",
)


def begin(method: str) -> ConfigDict:
  """Returns the config of a method before any of its groups of fields is there."""
  config = ConfigDict()
  config.method = method
  config.name = method                      # of the run: its folder, and its row of a table
  config.variant = "paper"                  # paper | official; the option of that name alone changes it
  config.seeds = (0,)                       # one replica each, trained together
  config.folds = ()                         # numbers, from 0, of the folds that are trained; () is all
  config.init_from = ""                     # file of parameters to begin with, that the published code wrote; "" draws
                                            # them
  config.devices = 0                        # that share every batch; 0: all that JAX sees, on a CPU one a core where
                                            # that trains faster; a run that goes on keeps its number
  config.plots = True
  config.trackers = ("jsonl", "tensorboard")         # take the numbers of the training: any of jsonl | tensorboard
                                            # | wandb | trackio
  config.profile = dict(
      start=0,                              # steps before those that a profile shows
      steps=0,                              # so many; 0 makes no profile
  )
  return config


def data(name: str, **fields: Any) -> dict[str, Any]:
  """Returns the fields of `config.data` that every system has, and the system's own, which may replace them."""
  return dict(
      name=name,                            # a data set; the option of that name alone changes it
      task="",                              # of a published data set that has several
      dir="",                               # folder of own features, or of the official download
      prepared_dir="",                      # where prepared data go; "" is DIR/prepared
      max_bytes=2 ** 30,                    # that the features of one file may take in memory
      split="auto",                         # own features: auto | given | subject | random | folds | all
      standardize=False,                    # channels to zero mean, unit variance over a fold's training rows
      validation_share=config_dict.placeholder(float),      # of the training videos, held out to choose the step;
                                            # None: a fifth of a random split, if that is ten videos; else none
      test_share=0.25, seed=0, allow_missing=False,
      segment_seconds=1.0,                  # from one row to the next
      rows_per_second=0.0,                  # faster streams are averaged down to it; 0 leaves them as they are
      statistics="",                        # stream of which statistics of motion are made: the stream `statistics`
      motion=MOTION,
      points=(),                            # of these: columns of every point that moves; () is each column by itself
      device_budget=0.5,                    # share of the device's memory that features may fill; above it they stream
  ) | fields


def training(**fields: Any) -> dict[str, Any]:
  """Returns the fields of `config.train` that every system has, and the system's own, which may replace them."""
  return dict(
      optimizer="adam", momentum=0.9, weight_decay=0.0,     # adam | sgd, which reads the momentum
      decay=(),                             # (epoch, factor) on the learning rate from that epoch on; < 0 counts
                                            # from the end
      rates=(),                             # (regular expression, factor) on the learning rate by parameter path
      alternation="joint",                  # of a method with several phases: alternate | leaky | joint
      reduction="mean",                     # over the items of a batch: sum | mean
      encode="unique",                      # unique: every video once a step | batch: the videos of all items at once
                                            # | siamese: the same, item by item; all have the same gradients
      dtype="auto",                         # operands of matrix products: auto | float32 | bfloat16; auto: bfloat16
                                            # where the device is faster with it; published data and presets: float32
      steps_per_call=50,                    # steps of a line of the log, and the most in one call
      keep_checkpoints=3,
  ) | fields


def evaluation_of_scores(**fields: Any) -> dict[str, Any]:
  """Returns the fields of `config.evaluate` of systems that learn scores; one system adds to them or replaces them."""
  return dict(
      rl2_range="class",                    # R-l2 (Eq. 11 of CoRe) divides by the range of the labels of the class |
                                            # of the test side
      svr=False,                            # linear support vector regression among the baselines; needs scikit-learn
  ) | fields


def competitor(method: str, competed: ConfigDict) -> ConfigDict:
  """Returns the config of a system that ACTION-NET or CoRe is compared with, on the data of their config `competed`.

  It reads one stream; how it is made and trained is left to its own config.
  """
  config = begin(method)
  config.data = competed.data
  config.data.stream = "rgb"
  config.data.standardize = True            # ours: for features of any unit
  config.loss = dict(weights=dict())
  config.evaluate = evaluation_of_scores()
  return config


def choose(config: ConfigDict, options: str, data_sets: Mapping[str, Change],
           changes: Mapping[str, Change]) -> ConfigDict:
  """Applies the options of a config file, `DATA[,CHANGE...]`, to the config.

  Args:
    config: of the paper.
    options: after the colon of --config; `tiny` alone is `simulated,tiny`, `kinematics` alone `features,kinematics`.
    data_sets: {name: function that changes the config for that data set, or None}.
    changes: the same of the options that may follow, applied in the order in which `options` names them.

  Returns:
    The config.

  Raises:
    ValueError: for an option that is unknown, or that does not fit the data set.
  """
  name, *chosen = words(options)
  if name not in data_sets:
    raise ValueError(f"data set {name!r} is unknown; use {either(data_sets)}.")
  if change := data_sets[name]:
    change(config)
  for word in chosen:
    if word not in changes:
      why = "there is no published code, " if word == "official" else ""
      raise ValueError(f"variant {word!r} is unknown; {why}use {either(changes)}.")
    if change := changes[word]:
      change(config)
  if config.train.dtype == "auto" and (name not in OWN or {"paper", "official"} & set(chosen)):
    config.train.dtype = "float32"
  return config


def words(options: str) -> list[str]:
  """Returns the options of a config file as a list, the data set first."""
  found = options.split(",")
  return [*ALONE.get(found[0], ()), *found]


def either(names: Iterable[str]) -> str:
  """Returns names as a choice in words: "a, b or c"."""
  *most, last = names
  return f"{', '.join(most)} or {last}"


def tiny(config: ConfigDict) -> None:
  """Makes a network and a training of seconds on one core: to see that all works, not how well."""
  config.data.simulated.update(num_videos=24, num_subjects=24, num_segments=12, width=8)
  if "static_rows" in config.data.simulated:
    config.data.simulated.update(static_rows=8, static_width=8)
  config.seeds = (0,)
  config.train.update(batch_size=8, epochs=4, steps_per_call=4, eval_steps=4, checkpoint_steps=4)


def read_stream(config: ConfigDict, stream: str) -> None:
  """Makes a system read one stream of plain rows, its channels standardised, for their units differ."""
  if "stream" in config.data:
    config.data.stream = stream
  else:
    config.model.streams = (stream,)
  config.data.standardize = True


def static(config: ConfigDict) -> None:
  """Reads the features of single frames."""
  config.data.stream = "static"


def kinematics(config: ConfigDict) -> None:
  """Reads recorded movement, at a rate at which rows can be compared: own files, or the kinematics of JIGSAWS.

  Raises:
    ValueError: for data without kinematics.
  """
  if config.data.name not in ("jigsaws", "features"):
    raise ValueError(f"{config.data.name} has no kinematics; use jigsaws,kinematics, or kinematics alone for files of "
                     "your own.")
  read_stream(config, "kinematics")
  if config.data.name == "jigsaws":
    config.data.update(rows_per_second=3.0, statistics="kinematics", points=MANIPULATORS)      # of the baselines
  else:
    config.data.update(rows_per_second=5.0, segment_seconds=1 / 30)      # of recordings that know no times


def statistics(config: ConfigDict) -> None:
  """Reads statistics of motion: of kinematics of JIGSAWS, skeletons of Rehab-Pile, or own rows saved as features.

  Raises:
    ValueError: for data without kinematics.
  """
  if config.data.name not in RECORDED:
    known = either(f"{name},statistics" for name in RECORDED)
    raise ValueError(f"statistics of motion are made of kinematics: use {known}, not {config.data.name}.")
  read_stream(config, "statistics")
  stream, points = RECORDED[config.data.name]
  config.data.update(statistics=stream, points=points)


def poses(config: ConfigDict) -> None:
  """Reads the skeletons of Rehab-Pile."""
  read_stream(config, "pose")


def no_kinematics(config: ConfigDict) -> None:
  """Refuses recorded movement.

  Raises:
    ValueError: always.
  """
  raise ValueError(f"{config.data.name},kinematics: config.method={config.method!r} looks for places in feature maps "
                   "[frames, h, w, channels], and kinematics are columns without places; use configs/pros_cons.py:"
                   "kinematics, which learns from the same pairs, or give maps as features.")


def pairs_of_jigsaws(config: ConfigDict) -> None:
  """Makes pairs of the trials of one task, of their ratings."""
  config.data.make_pairs = True
  config.data.pairs_within = "category"


def table(config: ConfigDict, options: str, rows: dict[str, Any]) -> ConfigDict:
  """Makes of a config a table: the same training with other values for every row.

  Args:
    config: base of the rows.
    options: that it was made with; a tiny table has the one seed of the tiny config, others have five.
    rows: {name: values that differ from the base}, in the order of the table.
  """
  config.name += "_ablations"
  config.plots = False
  if "tiny" not in words(options):
    config.seeds = (0, 1, 2, 3, 4)
  config.rows, config.row_order = rows, tuple(rows)
  return config


def model(**values: Any) -> dict[str, Any]:
  """Returns the row of a table that differs in fields of `config.model`."""
  return {"model": values}


def loss_weights(**values: float) -> dict[str, Any]:
  """Returns the row of a table that differs in weights of the loss alone: such rows train in one program."""
  return {"loss": {"weights": {name: float(value) for name, value in values.items()}}}
