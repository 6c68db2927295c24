"""Data sets behind one contract: `load(config.data)` returns a `SkillDataset`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxskill import cli
from jaxskill.data import splits
from jaxskill.data.audit import audit, describe_audit
from jaxskill.data.dataset import NO_IDS, Fold, SkillDataset

__all__ = ["Fold", "SkillDataset", "audit", "describe_audit", "load"]

NAMES = ("simulated", "features", "frames", "best", "epic_skills", "mtl_aqa", "unlv_dive", "aqa7", "jigsaws",
         "finediving", "rhythmic_gymnastics", "fis_v", "mit_skating", "rehab_pile")


def load(config: Any) -> SkillDataset:
  """Loads the data set that a config names, with its rows averaged and statistics made as the config says.

  Args:
    config: `config.data`, see `read` and `derived.of_dataset`.

  Raises:
    ValueError: see there.
  """
  from jaxskill.data import derived
  return derived.of_dataset(config, read(config))


def read(config: Any) -> SkillDataset:
  """Reads the data set that a config names as it was recorded.

  Args:
    config: `config.data`: anything with attributes. A field that is absent has the default of the loader it goes to.
      name: "simulated", "features" or "frames" (a folder of one's own), or a published data set: with pairs "best",
        "epic_skills"; with scores "mtl_aqa", "unlv_dive", "aqa7", "jigsaws", "finediving", "rhythmic_gymnastics",
        "fis_v", "mit_skating", and "rehab_pile", of scores or classes (`rehab_pile.load_rehab_pile`).
      simulated: mapping of keyword arguments of `simulated.simulate`.
      frames: fields of `frames.Sampling`: the frames of videos are decoded where their "count" is not 0.
      dir: the folder of the data; task: of a published data set; prepared_dir: where its prepared form is kept.
      split: of own features see `features.load_features`, of published data sets `official.load_official`; "all", of
        any data set, trains on every video and tests none.
      test_share: of own features and of simulated performers; allow_missing, score_range: of own features, see there.
      make_pairs: make pairs from scores (default: of published data sets no, of others yes); tie_margin, pairs_within:
        of these pairs (of simulated ones `simulated.simulate` says its own).
      validation_share: share of the training videos that validates; where it is None or absent, nothing is taken out of
        folds that are given, see `splits.default_validation_share`; seed: of random splits.
      max_bytes: that the arrays of one file of features may take in memory.
      motion: fields of `motion.Options`: how recorded movements are read.
      segment_seconds: seconds from one segment to the next; stream_seconds: {stream: seconds} where they differ.

  Returns:
    The data set.

  Raises:
    ValueError: if the name is unknown, the folder is not given, or the data cannot be used.
  """
  name = getattr(config, "name", None)
  if name not in NAMES:
    raise ValueError(f"config.data.name={name!r} is unknown; use one of {', '.join(NAMES)}.")
  if name == "simulated":
    return _simulated(config)
  if not getattr(config, "dir", ""):
    raise ValueError(f"config.data.name={name!r} reads from disk: set config.data.dir to its folder (on the command "
                     "line: --config.data.dir=FOLDER).")
  folder, prepared_dir = cli.path(config.dir), cli.path(getattr(config, "prepared_dir", "") or "")
  options = _given(config, ("split", "tie_margin", "pairs_within", "make_pairs", "validation_share", "seed",
                            "stream_seconds", "max_bytes"))
  decoded = dict(getattr(config, "frames", None) or {})
  if decoded.get("count"):
    from jaxskill.data.video import frames
    options["sampling"] = frames.Sampling(**decoded | dict(size=tuple(decoded["size"])))
  seconds = _given(config, ("segment_seconds",))
  if name in ("features", "frames"):
    from jaxskill.data.user import features, motion
    options |= _given(config, ("test_share", "allow_missing", "score_range")) | dict(moves=motion.options(config))
    options |= {"seconds_per_segment": value for value in seconds.values()}
    return features.load_features(folder, prepared_dir=prepared_dir, **options)
  if name == "rehab_pile":
    from jaxskill.data.published import rehab_pile
    options = {option: value for option, value in options.items() if option not in ("stream_seconds", "sampling")}
    return rehab_pile.load_rehab_pile(folder, getattr(config, "task", "") or "", **options, **seconds)
  from jaxskill.data.published import official
  return official.load_official(name, folder, getattr(config, "task", "") or "", prepared_dir=prepared_dir, **options,
                                **seconds)


def _given(config: Any, fields: Sequence[str]) -> dict[str, Any]:
  """Returns {field: value} of the fields of a config that are not empty: None and () are the loader's default."""
  values = {field: getattr(config, field, None) for field in fields}
  return {field: value for field, value in values.items() if value not in (None, ())}


def _simulated(config: Any) -> SkillDataset:
  """Simulates performances, with pairs unless the config wants none, in the folds that it names."""
  from jaxskill.data.simulation import simulated
  given = _given(config, ("test_share", "validation_share"))
  if "validation_share" in given:               # of the training videos; `simulate` counts all performers
    given["validation_share"] *= 1 - given.get("test_share", simulated.TEST_SHARE)
  made = simulated.simulate(**given | dict(getattr(config, "simulated", None) or {}))
  if getattr(config, "make_pairs", None) is False:
    folds = [fold._replace(train_pairs=NO_IDS, test_pairs=NO_IDS, validation_pairs=NO_IDS) for fold in made.folds]
    made = dataclasses.replace(made, pairs=made.pairs[:0], folds=tuple(folds), tied_pairs=0)
  if getattr(config, "split", "") == "all":
    made = dataclasses.replace(made, folds=splits.everything(made.num_videos, made.pairs))
  return made
