"""How a recurrence over the anti-diagonals of a cost matrix is run: by a `lax.scan`, in parts, or by a kernel.

N, M segments of the two series (rows, columns), K = N + M - 1 anti-diagonals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxskill import measured
from jaxskill.modules.soft_dtw.steps import MOST_ROWS

IMPLEMENTATIONS = ("auto", "kernel", "scan", "checkpointed", "pallas")
_PARTS, _LONG = 4, 256  # parts of the first and of the last diagonals, where there are so many rows


def choose(implementation: str, cost: jax.Array) -> str:
  """Returns the form that runs: "scan", "checkpointed", or the platform ("gpu", "tpu") of a kernel.

  Args:
    implementation: "auto", "kernel", "scan", "checkpointed" or "pallas", see `soft_dtw`.
    cost: `[N, M]` that it runs on, N the rows of an anti-diagonal.

  Raises:
    ValueError: for another name, or "pallas" on a device that has no kernel.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(f"implementation={implementation!r} is unknown; use {', '.join(map(repr, IMPLEMENTATIONS[:-1]))} "
                     f"or {IMPLEMENTATIONS[-1]!r}.")
  if implementation == "pallas":
    check_kernel()
    return _device()[0]
  if implementation == "auto":
    implementation = faster_form(jax.devices()[0])
  if implementation == "kernel":
    fits = has_kernel() and cost.dtype == jnp.float32 and len(cost) <= MOST_ROWS
    return _device()[0] if fits else "scan"
  return implementation


def faster_form(device: jax.Device) -> str:
  """Returns "kernel" where the benchmark's suite found it faster than the scan on such a device, else "scan"."""
  if device.platform == "cpu":
    return "scan"
  return measured.form(measured.recall(measured.SOFT_DTW, measured.kind(device)))


def has_kernel() -> bool:
  """Returns whether there is a kernel for the device at hand."""
  platform, capability = _device()
  major = capability.split(".")[0]
  return platform == "tpu" or (platform == "gpu" and major.isdecimal() and int(major) >= 9)


def check_kernel() -> None:
  """Raises a `ValueError` if there is no kernel for the device at hand."""
  if not has_kernel():
    platform, capability = _device()
    what = f"a GPU of compute capability {capability}" if platform == "gpu" else f"a {platform}"
    raise ValueError(f"implementation='pallas' has no kernel for {what}, only for TPUs and for GPUs of compute "
                     "capability 9 (Hopper) or more; use 'auto' or 'scan'.")


def _device() -> tuple[str, str]:
  """Returns the platform, and the compute capability of a GPU."""
  platform = jax.default_backend()
  return platform, jax.devices()[0].compute_capability if platform == "gpu" else ""


def runner(implementation: str) -> Callable[..., Any]:
  """Returns what runs a recurrence: `scan`, or the kernel of a platform."""
  if implementation not in ("gpu", "tpu"):
    return scan_parts if jax.default_backend() == "cpu" else scan
  from jaxskill.modules.soft_dtw import kernels  # Pallas takes long to load
  return functools.partial(kernels.run, platform=implementation)


def skew(matrix: jax.Array, fill: float) -> jax.Array:
  """Turns `[N, M]` into `[K, N]` anti-diagonals: element (k, i) is (i, k - i), or `fill` outside the matrix."""
  diagonals = sheared(matrix, fill).T
  if jax.default_backend() == "tpu":      # or memory stays as it was, and 128 diagonals are read for every one
    diagonals = with_layout_constraint(diagonals, Layout((0, 1)))
  return diagonals


def sheared(matrix: jax.Array, fill: float) -> jax.Array:
  """Returns `[N, K]`: row i of `[N, M]` moved to the right by i, with `fill` on both sides."""
  n, m = matrix.shape
  padded = jnp.pad(matrix, ((0, 0), (0, n)), constant_values=fill)
  return padded.ravel()[: n * (n + m - 1)].reshape(n, n + m - 1)


def unskew(diagonals: jax.Array) -> jax.Array:
  """Turns `[K, N]` anti-diagonals back into `[N, M]`."""
  k, n = diagonals.shape
  return jnp.pad(diagonals.T.ravel(), (0, n)).reshape(n, k + 1)[:, : k + 1 - n]


def _shift(rows: Sequence[jax.Array], by: int, fills: Sequence[float]) -> tuple[jax.Array, ...]:
  """Shifts rows: element i becomes element i - by of its row, `fill` at the edge; `by` is 1 or -1."""
  return tuple(jnp.pad(row[:-1] if by == 1 else row[1:], (1, 0) if by == 1 else (0, 1), constant_values=fill)
               for row, fill in zip(rows, fills))


def scan(step: Callable[..., Any], carry: tuple[jax.Array, ...], inputs: tuple[jax.Array, ...], stop: jax.Array, *,
         first: int = 0, reverse: bool = False) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
  """Runs a recurrence over diagonals `[K, N]`: step(shift, k, stop, carry, inputs) -> carry, outputs.

  Carry and stop are `[N]`, k counts from `first`; shift(rows, by, fills) moves rows by one, see `_shift`.
  """
  def body(carry: Any,
           numbered: Any) -> Any:
    k, inputs = numbered
    return step(_shift, k, stop, carry, inputs)
  return jax.lax.scan(body, carry, (first + jnp.arange(len(inputs[0])), inputs), reverse=reverse)


def scan_parts(step: Callable[..., Any], carry: tuple[jax.Array, ...], inputs: Sequence[jax.Array], stop: jax.Array, *,
               reverse: bool = False) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
  """Runs a recurrence as `scan` does, in parts: the rows that no cell of a part's diagonals lies in are left out."""
  diagonals, rows = inputs[0].shape
  edges = [rows * part // _PARTS for part in range(_PARTS)] if rows >= _LONG else [0]
  edges = sorted({*edges, *(diagonals - edge for edge in edges)})
  pieces = []
  for first, last in list(zip(edges, edges[1:]))[:: -1 if reverse else 1]:
    low, high = max(0, first - (diagonals - rows + 1)), min(rows, last)      # one row more: what it leaves to the next
    end, outputs = scan(step, tuple(row[low:high] for row in carry),
                         tuple(table[first:last, low:high] for table in inputs), stop[low:high], first=first,
                         reverse=reverse)
    carry = tuple(jnp.concatenate([row[:low], new, row[high:]]) for row, new in zip(carry, end))
    pieces.append([jnp.pad(table, ((0, 0), (low, rows - high))) for table in outputs])
  return carry, tuple(jnp.concatenate(tables[:: -1 if reverse else 1]) for tables in zip(*pieces))
