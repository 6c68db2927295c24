"""The number of devices of a run: all that JAX sees, on a CPU one a core where steps gain from it; recorded, and kept.

XLA runs a loop over rows on one core of a CPU, however many videos it holds. CPU devices that share the items of a
batch use a core each. They sum gradients in another order, so a run that goes on keeps the number that it began with.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxskill import methods, stores
from jaxskill.host import host_cores
from jaxskill.training import run_folder, sizes
from jaxskill.training.config_checks import check


def prepare(configs: Sequence[ConfigDict], workdir: epath.PathLike) -> None:
  """Has JAX show the CPU devices that a run wants; a command calls it once it has joined other hosts, if any.

  Nothing is done where the user has told JAX how many to show, and where several processes train together: each of
  them has one.

  Args:
    configs: of the programs that are trained, one after the other; of a run, one.
    workdir: of the run; one that goes on keeps what it began with.

  Raises:
    ValueError: for a config that cannot be.
  """
  for config in configs:
    check(config)
  if _told() or jax.distributed.is_initialized():
    return
  began = _recorded(stores.place(workdir))
  count = configs[0].get("devices") or (_gaining(configs) if began is None else began)
  if count > 1:
    with contextlib.suppress(RuntimeError):                   # JAX has started, and stays with what it shows
      jax.config.update("jax_num_cpu_devices", count)


def decide(config: ConfigDict, workdir: epath.Path) -> ConfigDict:
  """Returns a config that says how many CPU devices train; where several hosts or accelerators do, it stays.

  Args:
    config: its field `devices`, if it is not 0, names a number.
    workdir: of the run; one that goes on on a CPU keeps what it began with.

  Raises:
    ValueError: if it names some of the devices of several hosts.
  """
  asked, there, alone = config.get("devices", 0), jax.device_count(), jax.process_count() == 1
  if asked and not alone and asked != there:
    raise ValueError(f"config.devices={asked}: {jax.process_count()} hosts train on all of their {there} devices; "
                     "leave it out.")
  if not alone or jax.devices()[0].platform != "cpu":
    return config
  began = _recorded(workdir) or 0
  if not asked and began > there:
    logging.warning("this run began on %d CPU devices and goes on on %d: the last digits will differ "
                    "(JAX_NUM_CPU_DEVICES=%d shows as many)", began, there, began)
  decided: Any = config.copy_and_resolve_references()         # ConfigDict(config) would share its fields
  with decided.unlocked():
    decided.devices = asked or min(began or there, there)
  return decided


def _gaining(configs: Sequence[ConfigDict]) -> int:
  """Returns how many CPU devices train fastest: one a core if that splits all batches, or fewer; 1 without a gain."""
  if not any(methods.build(sizes.decide(config)).scans for config in configs):
    return 1
  items, cores = math.gcd(*(config.train.batch_size for config in configs)), host_cores()
  return max(count for count in range(1, cores + 1) if items % count == 0)


def _told() -> bool:
  """Returns whether the user has said how many CPU devices there are."""
  return (getattr(jax.config, "jax_num_cpu_devices") >= 0
          or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""))


def _recorded(workdir: epath.Path) -> int | None:
  """Returns the number that a run in `workdir` began with, 0 if it has recorded none; None where there is no run."""
  found = run_folder.recorded(workdir)
  stored = None if found is None else found.get("devices")
  return None if found is None else stored if isinstance(stored, int) and stored > 0 else 0
