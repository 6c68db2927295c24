"""Data sets behind one contract: `load(config.data)` returns a `SkillDataset`."""

from jaxskill.data.dataset import Fold, SkillDataset, audit, describe_audit

__all__ = ["Fold", "SkillDataset", "audit", "describe_audit", "load"]

NAMES = ("simulated", "features", "best", "epic_skills")


def load(config) -> SkillDataset:
  """Loads the data set that a config names.

  Args:
    config: `config.data`: anything with attributes. A field that is absent has the default of the loader it goes to.
      name: "simulated", "features" (a folder of one's own), "best" or "epic_skills".
      simulated: mapping of keyword arguments of `simulated.simulate`.
      dir: the folder of the data; task: of an official data set; prepared_dir: where its prepared form is kept.
      split, tie_margin, pairs_within, test_share, allow_missing: see `features.load_features`.
      validation_share: share of the training videos that validates; seed: of random splits.
      segment_seconds: seconds from one segment to the next.

  Returns:
    The data set.

  Raises:
    ValueError: if the name is unknown, the folder is not given, or the data cannot be used.
  """
  name = getattr(config, "name", None)
  if name not in NAMES:
    raise ValueError(f"config.data.name={name!r} is unknown; use one of {', '.join(NAMES)}.")
  options = lambda **fields: {argument: getattr(config, field) for argument, field in fields.items()
                              if getattr(config, field, None) is not None}
  if name == "simulated":
    from jaxskill.data import simulated
    return simulated.simulate(**dict(getattr(config, "simulated", None) or {}))
  if not getattr(config, "dir", ""):
    raise ValueError(f"config.data.name={name!r} reads from disk: set config.data.dir to its folder (on the command "
                     "line: --config.data.dir=FOLDER).")
  if name == "features":
    from jaxskill.data import features
    return features.load_features(config.dir, **options(
        split="split", tie_margin="tie_margin", pairs_within="pairs_within", validation_share="validation_share",
        test_share="test_share", seed="seed", allow_missing="allow_missing", seconds_per_segment="segment_seconds",
        make_pairs="make_pairs", score_range="score_range"))
  from jaxskill.data import official
  return official.load_official(name, config.dir, getattr(config, "task", "") or "", **options(
      prepared_dir="prepared_dir", validation_share="validation_share", seed="seed", segment_seconds="segment_seconds"))
