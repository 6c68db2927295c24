"""What a training says of itself before it begins, and once its first calls have shown how long it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from jaxskill import data
from jaxskill.data.dataset import SkillDataset
from jaxskill.methods.common import operand_type
from jaxskill.training import kernels, memory, operands, sizes
from jaxskill.training.cost import Stopwatch, duration, parameters

_AFTER = 2.0           # seconds of steps from which the rest is estimated


def decide(config: ConfigDict, dataset: SkillDataset, facts: dict[str, Any], workdir: epath.Path, device: jax.Device,
           say: Callable[[str], None]) -> ConfigDict:
  """Returns a config with what the data and the device decide; says what they are, and what was decided.

  Args:
    facts: of `data.audit`; workdir: of the run; device: of this host.
    say: called with the text.
  """
  config, chosen = operands.decide(config, workdir, device)
  config, aligned = kernels.decide(config, workdir, device)
  config, asked = sizes.decide(config, dataset), config
  say("\n".join(filter(None, (dataset.name, data.describe_audit(facts), sizes.describe(asked, config), chosen,
                              aligned))))
  return config


def describe(trainer: Any, workdir: str | os.PathLike[str]) -> str:
  """Returns what a `train.Trainer` trains, on what and where to, in words."""
  config, parallel = trainer.config, trainer.parallel
  steps = f"{trainer.total} steps of {config.train.batch_size} {trainer.method.items.words}"
  note = f"; {trainer.method.note}" if trainer.method.note else ""
  place = "on the device"
  if not trainer.loader.resident:
    held = trainer.loader.stream_bytes(len(trainer.method.phases), trainer.num_unique)
    place = f"streamed, {memory.in_words(held)} of them at a time"
  devices = _count(parallel.count, f"{parallel.devices[0].device_kind} device")
  hosts = f" of {jax.process_count()} hosts" if jax.process_count() > 1 else ""
  turns = f"{_count(trainer.at_once, 'model')} at a time, " if trainer.at_once < len(trainer.replicas) else ""
  return (f"{config.name} ({config.variant}): {_models(trainer)} of {parameters(trainer.state.params):,} parameters, "
          f"{steps if trainer.total else 'no step is taken'}{note}\n"
          f"on {devices}{hosts}, {turns}{operand_type(config).name}, features {place}; into {workdir}")


def _models(trainer: Any) -> str:
  """Returns how many models train together, and of what: "6 models (2 folds x 3 seeds)"."""
  replicas = trainer.replicas
  kinds = dict(fold={r.fold for r in replicas}, seed={r.seed for r in replicas})
  rest = len(replicas) // (len(kinds["fold"]) * len(kinds["seed"]))
  parts = [_count(len(values), name) for name, values in kinds.items()] + ([f"{rest} rows"] if rest > 1 else [])
  return f"{_count(len(replicas), 'model')} ({' x '.join(parts)})"


def _count(number: int, what: str) -> str:
  return f"{number} {what}{'' if number == 1 else 's'}"


class Estimate:
  """Says once how long the rest of a training takes; a training of seconds says nothing."""

  def __init__(self, total: int, clock: Stopwatch, say: Callable[[str], None]) -> None:
    """Args: total: steps of the run; clock: of its trainer."""
    self._total, self._clock, self._say = total, clock, say
    self._begun: tuple[int, float] | None = None           # step and seconds at the end of the first call, the slowest
    self._said = False

  def took(self, step: int) -> None:
    """Notes that a call has ended at `step`."""
    now = sum(self._clock.seconds.get(what, 0.0) for what in ("data", "training", "evaluation"))
    first, begun = self._begun = self._begun or (step, now)
    if now - begun < _AFTER or self._said or step >= self._total:
      return
    rate, self._said = (step - first) / (now - begun), True
    self._say(f"about {duration((self._total - step) / rate)} for the {self._total - step} steps that are left "
              f"({rate:.3g} steps/s)")
