"""Checks of a training config: an option that cannot be is refused before anything is read or written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxskill import methods
from jaxskill.evaluate import simple_baselines
from jaxskill.methods import fields
from jaxskill.training import operands, sizes, trackers

COUNTS = (("train", "epochs"), ("train", "batch_size"), ("train", "steps_per_call"), ("train", "eval_steps"),
          ("train", "checkpoint_steps"), ("train", "keep_checkpoints"), ("evaluate", "draws"))
CHOICES = (("train", "encode", ("unique", "batch", "siamese")), ("train", "reduction", ("sum", "mean")),
           ("train", "dtype", ("auto", *operands.TYPES)), ("train", "optimizer", ("adam", "sgd")),
           ("train", "pair_order", ("labelled", "random")), ("evaluate", "ties", ("half", "wrong")),
           ("evaluate", "rl2_range", ("class", "test")))
# (group, field, what it must be in words, test)
NUMBERS = (("train", "learning_rate", "above 0", lambda x: x > 0),
           ("train", "momentum", "from 0 to below 1", lambda x: 0 <= x < 1),
           ("train", "weight_decay", "0 or more", lambda x: x >= 0),
           ("train", "clip_norm", "0 or more, and 0 clips no gradient", lambda x: x >= 0),
           ("data", "device_budget", "from 0 to 1", lambda x: 0 <= x <= 1),
           ("data", "segment_seconds", "above 0", lambda x: x > 0),
           ("data", "tie_margin", "0 or more", lambda x: x >= 0),
           ("data", "seed", "0 or more", lambda x: x >= 0),
           ("profile", "start", "0 or more", lambda x: x >= 0),
           ("profile", "steps", "0 or more, and 0 makes no profile", lambda x: x >= 0))
LARGEST_SEED = 2 ** 32 - 1


def check(config: ConfigDict) -> None:
  """Refuses an option that cannot be, before anything is read or written.

  Raises:
    ValueError: with the field, its value and what it must be.
  """
  fields.check(config)
  config = sizes.decide(config)
  _check_finite(config, "config")
  for group, name in COUNTS:
    if name in config[group] and config[group][name] < 1:
      raise ValueError(f"config.{group}.{name}={config[group][name]} must be at least 1.")
  for group, name, words, holds in NUMBERS:
    value = config.get(group, {}).get(name)
    if value is not None and not holds(value):
      raise ValueError(f"config.{group}.{name}={value} must be {words}.")
  for group, name, allowed in CHOICES:
    if name in config[group] and config[group][name] not in allowed:
      raise ValueError(f"config.{group}.{name}={config[group][name]!r} is unknown; use one of {', '.join(allowed)}.")
  for stream, seconds in dict(config.data.get("stream_seconds") or {}).items():
    if not _is_number(seconds) or not seconds > 0:
      raise ValueError(f"config.data.stream_seconds: {stream}={seconds!r} must be seconds above 0.")
  if config.get("devices", 0) < 0:
    raise ValueError(f"config.devices={config.devices} must be a number of devices, or 0.")
  _check_seeds(config.seeds)
  _check_rates(config.train)
  trackers.check(config.get("trackers", trackers.DEFAULT))
  if not config.data.get("criteria", ("score",)):
    raise ValueError("config.data.criteria is empty; give at least one, e.g. --config.data.criteria='(\"score\",)'.")
  if config.evaluate.get("svr"):
    simple_baselines.check_svr()
  method = methods.build(config)
  if (file := config.get("init_from")) and method.published is None:
    raise ValueError(f"config.init_from={file}: config.method={config.method!r} has no published code whose "
                     "files could be read; leave it out.")


def _is_number(value: float, kind: tuple[type, type] | type = (int, float)) -> bool:
  return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _check_finite(node: ConfigDict, where: str) -> None:
  for name, value in node.items():
    if hasattr(value, "items"):
      _check_finite(value, f"{where}.{name}")
    elif isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f"{where}.{name}={value} is not a finite number.")


def _check_seeds(seeds: Sequence[int]) -> None:
  given = f"config.seeds={tuple(seeds) if isinstance(seeds, (tuple, list)) else seeds!r}"
  if not isinstance(seeds, (tuple, list)) or not seeds:
    raise ValueError(f"{given}: give at least one seed, e.g. --config.seeds='(0,)'.")
  for seed in seeds:
    if not _is_number(seed, int) or not 0 <= seed <= LARGEST_SEED:
      raise ValueError(f"{given}: a seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r}.")
  if len(set(seeds)) < len(seeds):
    raise ValueError(f"{given}: equal seeds give equal models, and a spread that is too small; give each once.")


def _check_rates(train: ConfigDict) -> None:
  """The learning rate over time and by parameter."""
  for name, first in (("decay", "epoch"), ("rates", "regular expression")):
    for entry in train.get(name, ()):
      given = f"config.train.{name}={tuple(train[name])!r}: each entry must be ({first}, factor)"
      example = "((3, 0.1),)" if name == "decay" else '(("^encoder/", 0.1),)'
      if not isinstance(entry, (tuple, list)) or len(entry) != 2 or not _is_number(entry[1]) or entry[1] < 0:
        raise ValueError(f"{given} with a factor of 0 or more, not {entry!r}; e.g. --config.train.{name}='{example}'.")
      if name == "decay" and not _is_number(entry[0]):         # below 0: epochs before the end
        raise ValueError(f"{given}, not {entry!r}; e.g. --config.train.{name}='{example}'.")
      if name == "rates":
        try:
          re.compile(entry[0])
        except (re.error, TypeError) as error:
          raise ValueError(f"config.train.rates: {entry[0]!r} is not a regular expression ({error}).") from None
