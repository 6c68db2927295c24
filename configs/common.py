"""What configs of several systems share: how recorded rows become features, and what thirty videos ask for."""

# Columns of the places of JIGSAWS' four manipulators, three coordinates each: masters left and right, instruments left and
# right.
MANIPULATORS = ((0, 1, 2), (19, 20, 21), (38, 39, 40), (57, 58, 59))


def recorded_rows():
  """Fields of `config.data` that say what methods read of recorded rows; these leave them as they are."""
  return dict(
      rows_per_second=0.0,                  # faster streams are averaged down to it; 0 leaves them as they are
      statistics="",                        # stream of which statistics of motion are made: the stream `statistics`
      points=(),                            # of these: columns of every point that moves; () is each column by itself
  )


def read_stream(config, stream):
  """Makes a system read one stream of plain rows, its channels standardised, for their units differ."""
  if "stream" in config.data:
    config.data.stream = stream
  else:
    config.model.streams = (stream,)
  config.data.standardize = True


def kinematics(config):
  """Reads the kinematics of JIGSAWS in place of features of its videos, at a rate at which rows can be compared."""
  if config.data.name != "jigsaws":
    raise ValueError(f"{config.data.name} has no kinematics; use jigsaws,kinematics, or give your own as features.")
  read_stream(config, "kinematics")
  config.data.update(rows_per_second=3.0, statistics="kinematics", points=MANIPULATORS)      # of the floors


def statistics(config):
  """Reads statistics of motion: of the kinematics of JIGSAWS, or of own rows (joints, kinematics) saved as features."""
  if config.data.name not in ("jigsaws", "features"):
    raise ValueError(f"statistics of motion are made of kinematics: use jigsaws,statistics or features,statistics, not "
                     f"{config.data.name}.")
  own = config.data.name == "features"
  read_stream(config, "statistics")
  config.data.update(statistics="rgb" if own else "kinematics", points=() if own else MANIPULATORS)


def pairs_of_jigsaws(config):
  """Pairs of the trials of one task, made of their ratings."""
  config.data.make_pairs = True
  config.data.pairs_within = "category"
