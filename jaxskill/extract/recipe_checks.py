"""Recipes of networks of video, checked: their options, where persons are, and whether weights are the same."""

from __future__ import annotations

import hashlib
from typing import Any

from ml_collections import ConfigDict

from jaxskill import pretrained
from jaxskill.data.video import persons as persons_of
from jaxskill.extract import engine, extraction, feature_files
from jaxskill.extract.pose import athletes
from jaxskill.extract.pose import recipe as poses
from jaxskill.modules import i3d

INPUTS = ("rgb", "flow")
REGIONS = ("centre", "frame", "person", "pose")
MISSING = ("nearest", "discard")


def find_persons(config: ConfigDict, networks: object,
                 given: Any) -> tuple[persons_of.Boxes | persons_of.Detector | athletes.Athletes | None,
                                      dict[str, Any]]:
  """Returns where persons are, or None where the recipe does not ask; and what the note says of it.

  Args:
    config: the recipe.
    networks: of it, which look at no whole picture.
    given: of the command, see `kinds.Given`.

  Raises:
    ValueError: if the recipe asks and neither a table nor a detector is given, or both, or one cannot be read; or if
      something is given that it does not ask for.
  """
  del networks
  wanting = {name: recipe for name, recipe in config.streams.items() if recipe.region in ("person", "pose")}
  regions = {recipe.region for recipe in wanting.values()}
  asked = dict(boxes=regions == {"person"}, detector=bool(regions), person=regions == {"pose"}, overlay=False)
  if useless := [option for option, wanted in asked.items() if getattr(given, option) and not wanted]:
    what = ("no stream of this recipe cuts persons out" if not regions else "it is for recipes of poses"
            if useless[0] == "overlay" else
            f"the recipe cuts persons out by region={' and '.join(sorted(regions))}, which does not take it")
    raise ValueError(f"--{useless[0]}: {what}; leave it out.")
  if not wanting:
    return None, {}
  name, recipe = next(iter(wanting.items()))
  if len(regions) > 1:
    raise ValueError(f"config.streams: {' and '.join(wanting)} have different regions; use person, or pose, for all.")
  if recipe.region == "pose":
    return _athletes(name, given)
  boxes, detector = given.boxes, given.detector
  if bool(boxes) == bool(detector):
    raise ValueError(f"stream {name} shows the largest person: give {'one of ' if boxes else ''}--boxes FILE.csv "
                     "(video,time,x1,y1,x2,y2) or --detector FILE.onnx, or take the middle of the frame with "
                     f"--config.streams.{name}.region=centre, or the networks of poses with region=pose.")
  if boxes:
    return boxes if isinstance(boxes, persons_of.Boxes) else persons_of.Boxes(boxes), dict(persons="a table of boxes")
  found = persons_of.Detector(detector, recipe.person.size, recipe.person.score)
  return found, dict(persons=dict(detector=found.file.name, sha256=pretrained.digest(detector)))


def _athletes(name: str, given: Any) -> tuple[athletes.Athletes, dict[str, Any]]:
  """Returns the same where the networks of poses find the person."""
  if not given.detector:
    raise ValueError(f"config.streams.{name}.region=pose: give the networks of poses with --detector. "
                     f"{poses.how_to_get()}")
  found = athletes.Athletes(given.detector, given.person)
  return found, dict(persons=dict(detector=found.networks.source.name, sha256=found.networks.digests))


def check(config: ConfigDict) -> None:
  """Raises a `ValueError` for an option that cannot be."""
  if not config.get("streams"):
    raise ValueError("config.streams is not there or empty; see configs/features for recipes.")
  if config.dtype not in ("float32", "bfloat16"):
    raise ValueError(f"config.dtype={config.dtype!r} is unknown; use one of float32, bfloat16.")
  engine.check(config)
  for name, recipe in config.streams.items():
    _check_stream(f"config.streams.{name}", recipe)
  maps = {name: recipe for name, recipe in config.streams.items() if recipe.keep == "maps"}
  if len({recipe.sampling.to_json() for recipe in maps.values()} | {r.crop for r in maps.values()}) > 2:
    raise ValueError(f"config.streams: the maps {' and '.join(maps)} need the same sampling and crop.")
  if feature_files.drawn(config) and maps[feature_files.drawn(config)].crop % config.draw:
    raise ValueError(f"config.draw={config.draw} must divide config.streams.{feature_files.drawn(config)}.crop="
                     f"{maps[feature_files.drawn(config)].crop}.")


def _check_stream(where: Any, recipe: ConfigDict) -> None:
  sampling = recipe.sampling
  for name, value, allowed in (
      ("network", recipe.network, pretrained.NETWORKS), ("input", recipe.input, INPUTS),
      ("region", recipe.region, REGIONS), ("scaling", recipe.scaling, pretrained.SCALINGS),
      ("sampling.plan", sampling.plan, extraction.PLANS),
      ("person.missing", recipe.get("person", {}).get("missing", "nearest"), MISSING),
      ("keep", recipe.keep, ("feature",) if recipe.network == "i3d" else ("feature", "maps"))):
    if value not in allowed:
      raise ValueError(f"{where}.{name}={value!r} is unknown; use one of {', '.join(allowed)}.")
  if recipe.crop < 32 or (recipe.region == "centre" and recipe.crop > recipe.short_side):
    raise ValueError(f"{where}.crop={recipe.crop} must be at least 32" + (
        f" and at most {where}.short_side={recipe.short_side}." if recipe.region == "centre" else "."))
  if recipe.network == "i3d" and (sampling.plan == "frames" or sampling.length < i3d.MIN_FRAMES):
    raise ValueError(f"{where}.sampling: the network needs clips of at least {i3d.MIN_FRAMES} frames.")
  if recipe.network != "i3d" and sampling.plan != "frames" and sampling.length != 1:
    raise ValueError(f"{where}.sampling.length={sampling.length}: the network takes single frames; use 1.")
  if recipe.input == "flow" and (recipe.region in ("person", "pose") or recipe.scaling == "imagenet"):
    raise ValueError(f"{where}: optical flow has neither region='person' or 'pose' nor scaling='imagenet'.")
  if recipe.input == "flow" and recipe.network != "i3d" and sampling.plan != "frames":
    raise ValueError(f"{where}.sampling.plan={sampling.plan!r}: stacks of flow want the plan 'frames'.")
  if sampling.plan == "snippets" and max(sampling.starts) + sampling.length > sampling.frames:
    raise ValueError(f"{where}.sampling: a clip of {sampling.length} frames from frame {max(sampling.starts)} on ends "
                     f"after the last of {sampling.frames}.")


def check_weights(recipe: ConfigDict, weights: str | dict[str, str]) -> None:
  """Raises a `ValueError` unless the weights are those of a recipe."""
  several = isinstance(recipe["weights"], dict)
  wanted: dict[tuple, Any] = {(): recipe["weights"]}
  if several:
    wanted = {(name,): value for name, value in recipe["weights"].items()}
  for place, name in wanted.items():
    one = weights.get("".join(place), "") if isinstance(weights, dict) else weights
    flag = f"--weights {place[0]}=" if place else "--weights "
    sha = recipe["weights_sha256"][place[0]] if several else recipe["weights_sha256"]
    if not one:
      raise ValueError(f"{flag.strip()} is not given: the features of this run were made with {name}; give "
                       f"{flag}{name}.")
    if str(name).startswith(pretrained.RANDOM) or one.startswith(pretrained.RANDOM):
      if one != name:
        raise ValueError(f"{flag}{one}: the features of this run were made with {name}; other weights make other "
                         f"features. Give {flag}{name}.")
      continue
    try:
      with open(one, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
      raise ValueError(f"{flag}{one}: cannot be read ({error}).") from error
    if found != sha:
      raise ValueError(f"{flag}{one} is another file (sha256 {found[:12]}...) than {name} (sha256 {sha[:12]}...), with "
                       "which the features of this run were made; other weights make other features.")
