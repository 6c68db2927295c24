"""How the features of a run were made, and whether those of other videos were made alike: recipe and weights."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
from flax import traverse_util
from ml_collections import ConfigDict

from jaxskill import cli
from jaxskill.extract import kinds
from jaxskill.training.finished_run import FinishedRun

ORIGIN = ("weights", "random_weights", "weights_sha256", "persons", "columns",     # what `extract` adds to a recipe
          "engine")                                                            # and chooses anew for other videos
HARMLESS = ("weights", "name", "batch", "dtype", "engine", "draw", "persons", "gaps")   # what of a recipe may differ


def recipe_of(run: FinishedRun, extractor: str,
              weights: str | dict[str, str]) -> tuple[ConfigDict, str | dict[str, str]]:
  """Returns (config, weights) for `extract.run`: as the run's own features were made.

  Args:
    extractor: the config file of a recipe, or "" for the run's own.
    weights: a file or "random:SEED"; of several streams {stream: one}.

  Raises:
    ValueError: if that is not known, or the weights given are others.
  """
  recipe = run.about["extraction"]
  weights = ({stream: cli.path(one) for stream, one in weights.items()} if isinstance(weights, dict)
             else cli.path(weights))
  if recipe and not extractor:
    missing = [name for name in ("weights", "weights_sha256", "streams") if name not in recipe]
    if missing:
      raise ValueError(f"the recipe that the run ({run.workdir}) keeps of its features is not whole, it lacks "
                       f"{', '.join(missing)}: give --extractor, the recipe that made them, or prepared features with "
                       "--features.")
    kinds.of(recipe).check_weights(recipe, weights)
    return ml_collections.ConfigDict({name: value for name, value in recipe.items() if name not in ORIGIN}), weights
  published = run.about["published"] and f"configs/features/{run.about['published']}.py"
  path = extractor or (published if published and pathlib.Path(cli.find_config(published)).is_file() else "")
  if not path:
    raise ValueError(f"how the features of this run ({run.about['data']}) were made is not known: give --extractor, "
                     f"the recipe that made them ({published or 'e.g. configs/features/pros_cons.py'}), or prepared "
                     "features with --features.")
  config, _ = cli.read_config(path, among=cli.RECIPES)
  return config, weights


def _plain(recipe: ConfigDict) -> Any:
  """Returns a recipe without what may differ, flat."""
  flat = traverse_util.flatten_dict(json.loads(json.dumps(recipe)), sep=".")
  return {name: value for name, value in flat.items() if not set(name.split(".")) & set(HARMLESS)}


def _detector(recipe: Any) -> Any:
  """Returns the digests of what found persons; None where that was nothing, or a table."""
  persons = recipe.get("persons")
  return persons.get("sha256") if isinstance(persons, dict) else None


def check_recipe(run: FinishedRun, recipe: Mapping[str, Any]) -> list:
  """Returns what to say of the way that features were made: warnings.

  Raises:
    ValueError: if the run's were made in another way.
  """
  of_run = run.about["extraction"]
  if of_run and recipe:
    mine, theirs = _plain(recipe), _plain(of_run)
    for name in {**theirs, **mine}:
      if mine.get(name) != theirs.get(name):
        weights = "weights_sha256" in name or name == "random_weights"
        here, there = ((recipe.get("weights"), of_run.get("weights")) if weights else
                       (f"{name}={mine.get(name)}", f"{name}={theirs.get(name)}"))
        raise ValueError(f"its features were made with {here}, those of the run with {there}; extract them "
                         "again as the run's.")
    mine, theirs = _detector(recipe), _detector(of_run)
    if mine and theirs and mine != theirs:
      here, there = recipe["persons"]["detector"], of_run["persons"]["detector"]
      raise ValueError(f"its persons were found by {here}, those of the run by other networks, those of {there}; "
                       "extract the features again with that --detector.")
    return ["RANDOM weights made the features: for trials only, the score means nothing"] if run.random_weights else []
  warnings = []
  if run.random_weights or recipe.get("random_weights"):
    warnings.append("RANDOM weights made the features: for trials only, the score means nothing")
  if not run.about["simulated"]:
    which = "of the run" if recipe else "of this video" if of_run else "of this video and of the run"
    warnings.append(f"how the features {which} were made was not noted: they must have been made alike")
  return warnings
