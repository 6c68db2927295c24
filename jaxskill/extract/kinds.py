"""The kinds of recipes: networks of video, which run on the devices, and of poses, which run where videos are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxskill import pretrained
from jaxskill.extract import engine, recipe_checks
from jaxskill.extract.pose import recipe as poses


class Given(NamedTuple):
  """What a command says beside the recipe, videos and weights; "" where nothing is. See `jaxskill.extract.run`."""

  boxes: object = ""
  detector: str = ""
  person: object = ""
  overlay: str = ""


class Kind(NamedTuple):
  """What depends on a recipe's networks.

  Attributes:
    check: (config) -> None; raises a `ValueError` for an option that cannot be.
    load: (config, weights) -> (networks, what the note says of them).
    look: (config, networks, given) -> (what decoding processes need to find persons, what the note says of it).
    settle: (config, note of the folder, here=whether networks run on this machine) -> config with the engine.
    encoders: (config, networks, parallel) -> {stream: items -> features}.
    remarks: (networks) -> sentences for the user.
    check_weights: (recipe of a note, weights) -> None; raises a `ValueError` if they are others.
    spared: cores that the encoding needs.
    notice: a text that goes with the features.
  """

  check: Callable
  load: Callable
  look: Callable
  settle: Callable
  encoders: Callable
  remarks: Callable
  check_weights: Callable
  spared: int
  notice: str


def _as_it_is(config: ConfigDict, note: Any, **options: Any) -> ConfigDict:
  del note, options
  return config


def _no_remarks(networks: Any) -> Any:
  del networks
  return []


VIDEO = Kind(recipe_checks.check, pretrained.load, recipe_checks.find_persons, engine.settle, pretrained.make_all,
             _no_remarks, recipe_checks.check_weights, 1, "")
POSES = Kind(poses.check, poses.load, poses.watch, _as_it_is, poses.encoders, poses.remarks,
             poses.check_weights, 0, poses.NOTICE)


def of(config: ConfigDict | Mapping[str, Any]) -> Kind:
  """Returns the `Kind` of a recipe: a config, or the dict of a note."""
  return POSES if poses.is_one(config) else VIDEO
