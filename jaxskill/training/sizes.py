"""Sizes of a model that follow the number of training videos: decided once, when the data are known, and recorded."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxskill.data.dataset import SkillDataset


def decide(config: ConfigDict, dataset: SkillDataset | None = None) -> ConfigDict:
  """Returns a config whose sizes are all decided.

  Args:
    config: `by_videos` ((field, ((most training videos, size), ...), ...), if it is there, says what a field that is 0
      becomes; the last size holds for any greater number. A field that is not 0 stays.
    dataset: the smallest training side of its folds counts; None takes the last sizes, to check a config beforehand.

  Returns:
    A copy of the config, which a run records; the config itself where nothing is left to decide.
  """
  videos = min(len(fold.train_videos) for fold in dataset.folds) if dataset else float("inf")
  left = [(path, steps) for path, steps in config.get("by_videos", ()) if not _get(config, path)]
  if not left:
    return config
  decided = config.copy_and_resolve_references()         # ConfigDict(config) would share its fields
  for path, steps in left:
    size = next((size for most, size in steps if videos <= most), steps[-1][1])
    decided.update_from_flattened_dict({path: size})
  return decided


def describe(before: ConfigDict, after: ConfigDict) -> str:
  """Returns what was decided, in words; "" where nothing was."""
  changed = [f"{path}={_get(after, path)}" for path, _ in before.get("by_videos", ()) if not _get(before, path)]
  return f"sizes that follow the number of training videos: {', '.join(changed)}" if changed else ""


def _get(config: ConfigDict, path: str) -> int:
  for name in path.split("."):
    config = config[name]
  return config
