"""Recipes of poses: what they may say, their networks, and what goes with the features."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import numpy as np

from jaxskill.extract.pose import streams
from jaxskill.extract.pose.choice import Choice
from jaxskill.extract.pose.networks import VERSION, Networks, how_to_get

SEVERAL = ("error", "largest")
NOTICE = f"""The features in this folder were computed with trained networks of MediaPipe {VERSION}
(pose_detection, pose_landmark_full, palm_detection_full, hand_landmark_full, as far as
extraction.json names them with their digests), Copyright The MediaPipe Authors.

The networks are licensed under the Apache License, Version 2.0; you may obtain a copy at

  http://www.apache.org/licenses/LICENSE-2.0

They are distributed on an "AS IS" basis, without warranties or conditions of any kind. They
have not been changed, and they are not in this folder.
"""


def is_one(config: ml_collections.ConfigDict | Mapping[str, Any]) -> bool:
  """Returns whether a recipe is one of poses."""
  return bool(config.get("streams")) and set(config["streams"]) <= set(streams.STREAMS) and "fps" in config


def check(config: ml_collections.ConfigDict) -> None:
  """Raises a `ValueError` for an option that cannot be."""
  person = config.person
  if not 0 < config.fps < math.inf:
    raise ValueError(f"config.fps={config.fps} must be pictures a second, above 0.")
  for name in ("detection", "flag"):
    if not 0 < person[name] < 1:
      raise ValueError(f"config.person.{name}={person[name]} must lie between 0 and 1.")
  if person.several not in SEVERAL:
    raise ValueError(f"config.person.several={person.several!r} is unknown; use one of {', '.join(SEVERAL)}.")
  if not 0 <= person.hold < math.inf:
    raise ValueError(f"config.person.hold={person.hold} must be seconds of at least 0.")
  for name, stream in config.streams.items():
    if not 0 <= stream.gaps <= 1 or stream.batch < 1:
      raise ValueError(f"config.streams.{name}: gaps={stream.gaps} must be a share from 0 to 1, batch={stream.batch} "
                       "at least 1.")
    if name == "kinematics" and not 0 < stream.window < math.inf:
      raise ValueError(f"config.streams.{name}.window={stream.window} must be seconds, above 0.")


def load(config: ml_collections.ConfigDict, weights: str | dict[str, str]) -> tuple[Networks, dict[str, Any]]:
  """Returns the networks, and what the note says of them.

  Args:
    config: the recipe.
    weights: a wheel, a `.task` bundle or a folder.

  Returns:
    (`Networks`, {"weights": name, "weights_sha256": {network: digest}, "random_weights": False, "columns": names of
    each stream's}).

  Raises:
    ValueError: if there are none, or others.
  """
  source = _source(weights)
  names = [name for name in streams.NETWORKS_OF if set(streams.NETWORKS_OF[name]) & set(config.streams)]
  networks = Networks(source, names)
  return networks, dict(weights=pathlib.Path(source).name, weights_sha256=networks.digests, random_weights=False,
                        columns=streams.columns(config))


def _source(weights: Any) -> Any:
  """Returns the one source that --weights names."""
  if isinstance(weights, dict):
    if len(set(weights.values())) > 1:
      raise ValueError("--weights: all streams of poses come from one wheel, bundle or folder; give it once, without "
                       "the name of a stream.")
    weights = next(iter(weights.values()), "")
  if not weights:
    raise ValueError(f"--weights is not given. {how_to_get()}")
  if str(weights).startswith("random:"):
    raise ValueError(f"--weights {weights}: poses need trained networks, random ones see nobody. {how_to_get()}")
  return weights


def watch(config: ml_collections.ConfigDict, networks: Networks, given: Any) -> tuple[streams.Watching, dict[str, Any]]:
  """Returns what the decoding processes need, see `streams.Watching`; and what the note says of it: nothing more.

  Args:
    config: the recipe.
    networks: `Networks`.
    given: of the command, see `kinds.Given`.

  Raises:
    ValueError: if something is given that poses do not take, or a choice of persons cannot be read.
  """
  for option in ("boxes", "detector"):
    if getattr(given, option):
      raise ValueError(f"--{option}: recipes of poses find persons themselves; leave it out, and say with --person who "
                       "is followed.")
  if given.person and not set(config.streams) & set(streams.OF_BODY):
    raise ValueError("--person: this recipe follows hands only; leave it out.")
  choice = given.person if isinstance(given.person, Choice) else Choice(given.person)
  return streams.Watching(networks, choice, given.overlay), {}


def remarks(networks: Networks) -> list[str]:
  """Returns sentences on the networks that a user must know."""
  if not networks.others:
    return []
  return [f"the networks {', '.join(networks.others)} of {networks.source.name} are not those of mediapipe {VERSION}, "
          "with which this way was tried; their digests are noted"]


def check_weights(recipe: Mapping[str, Any], weights: str | dict[str, str]) -> None:
  """Raises a `ValueError` unless networks are those of a recipe.

  Args:
    recipe: as `extraction.json` keeps it.
    weights: see `load`; "" if none are given.
  """
  name, wanted = recipe["weights"], recipe["weights_sha256"]
  if not weights:
    raise ValueError(f"--weights is not given: the features of this run were made with {name}; give --weights {name}.")
  source = _source(weights)
  found = Networks(source, tuple(wanted)).digests
  if wrong := [network for network in wanted if found[network] != wanted[network]]:
    raise ValueError(f"--weights {source}: its {wrong[0]} (sha256 {found[wrong[0]][:12]}...) is another network than "
                     f"that of {name} (sha256 {wanted[wrong[0]][:12]}...), with which the features of this run were "
                     "made; other networks make other features.")


def as_they_are(rows: np.ndarray) -> np.ndarray:
  """Returns rows that need no further network."""
  return rows


def encoders(config: ml_collections.ConfigDict, networks: Networks,
             parallel: object) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
  """Returns {stream: what is made of its rows}: nothing, for the networks have run where videos are decoded."""
  del networks, parallel
  return dict.fromkeys(config.streams, as_they_are)
