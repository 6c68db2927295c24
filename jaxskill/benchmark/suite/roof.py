"""The machine's own limits, measured beside every line, and the rule that says which of them a line is near."""

from __future__ import annotations

import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxskill.benchmark.contenders import MatmulPeak

NEAR = 0.5            # of a limit: a line that reaches so much of it is limited by it
RULE = f"""Limits, each as a share of the time that a line takes: "products", the time of its FLOPs at the measured
peak of products of its type; "memory", that of its bytes at the measured bandwidth; "host", what passes in Python
before the device has its work. The largest of them limits the line where it is at least {NEAR:.0%}. Where none is, it
is "latency": many small operations, one after another, on a CPU often by one thread ("busy" says on how many cores).
Bytes are the greater of the least that a step can move (features of its videos once, parameters and optimizer twice)
and of what XLA counts: operands and results of every fused operation, the body of a loop once. Caches serve a part of
these, so that the share of memory can be above 1."""
_CPU, _OTHERS, _TINY = (2048, 1024, 1536), (32768, 1024, 1536), (64, 64, 64)       # m, k, n of the products
_MOVED = dict(cpu=2 ** 26, tiny=2 ** 16)        # numbers that are read and written, far more than caches hold
_MOVED_OTHERS = 2 ** 28
_TRIES, _LEAST_S, _MOST_CALLS = 3, 0.05, 4096


class Roof:
  """Products and memory of this machine at their fastest.

  Attributes:
    ready: what the machine is, as `files.provenance` has it, with "platform" and "device_count".
    layouts: {dtype: the layout of operands that is fastest}.
  """

  def __init__(self, layouts: Mapping[str, str] | None = None, tiny: bool = False) -> None:
    """Args: layouts: as the attribute, if they are known; tiny: products of no size, to see that all works."""
    self._on_cpu = jax.default_backend() == "cpu"
    self._size = _MOVED["tiny"] if tiny else _MOVED["cpu"] if self._on_cpu else _MOVED_OTHERS
    self._products = MatmulPeak(*(_TINY if tiny else _CPU if self._on_cpu else _OTHERS), layouts)
    self._move = jax.jit(lambda x: x + 1, donate_argnums=0)
    self.ready = self._products.ready
    if layouts is None:
      layouts = {dtype: max(rates.items(), key=lambda rate: rate[1])[0]
                 for dtype, rates in self._products.round().items()}
    self.layouts = dict(layouts)

  def products(self, dtype: str) -> float:
    """Returns the FLOP/s of products with operands of a type, now: the best of three, for others may be at work."""
    layout = self.layouts[dtype]
    return max(self._products.round((dtype, layout))[dtype][layout] for _ in range(_TRIES))

  def bandwidth(self) -> float:
    """Returns the bytes a second that are read and written, now: the best of three."""
    array = jax.block_until_ready(self._move(jnp.zeros(self._size)))      # compiles, and touches the pages
    calls, rates = 1, []
    while len(rates) < _TRIES:
      begun = time.perf_counter()
      for _ in range(calls):
        array = self._move(array)
      jax.block_until_ready(array)
      seconds = time.perf_counter() - begun
      if seconds >= _LEAST_S or calls >= _MOST_CALLS:
        rates.append(2 * calls * array.nbytes / seconds)
      else:
        calls *= 2
    return max(rates)


def shares(line: Mapping, products: float, bandwidth: float) -> dict[str, float]:
  """Returns {limit: share of a line's time} of what is known of it, see `RULE`.

  Args:
    line: "median_s", and "flops", "bytes", "host_share" where they are known; those of all its devices.
    products, bandwidth: FLOP/s and bytes/s of all its devices.
  """
  known = dict(products=(line.get("flops") or 0) / products / line["median_s"],
               memory=(line.get("bytes") or 0) / bandwidth / line["median_s"], host=line.get("host_share") or 0.0)
  return {name: share for name, share in known.items() if share}


def limit(found: Mapping[str, float]) -> str:
  """Returns what limits a line with such shares, see `RULE`."""
  name = max(found, key=lambda name: found[name], default="latency")
  return name if found.get(name, 0) >= NEAR else "latency"
