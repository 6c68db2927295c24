"""Devices and hosts: the only file that says pmap.

On one device a step is jit-compiled. On several, the same function is pmapped: each device holds a share of the
videos, encodes it, gathers the (small) encodings of all, takes its share of the pairs, and sums gradients. The
functions `gather`, `total` and `local_share` of `Parallel` do nothing on one device, so a step is written once.

Products of float32 are computed in float32, see `float32_products`.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxskill.host import host_bytes

AXIS = "device"
T = TypeVar("T")             # a tree of arrays, or what a function returns


def float32_products(function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns the function, traced so that products of float32 are products in float32.

  Left to itself, JAX rounds their operands to bfloat16 on a TPU and to TensorFloat-32 on a GPU.
  JAX_DEFAULT_MATMUL_PRECISION overrides this, except for products that are subtracted from one another (distances).
  Products of bfloat16 are not touched.
  """
  @functools.wraps(function)
  def traced(*arguments: Any) -> Any:
    with jax.default_matmul_precision(getattr(jax.config, "jax_default_matmul_precision") or "highest"):
      return function(*arguments)
  return traced


def highest(*values: float) -> tuple[float, ...]:
  """Returns the highest of each value over the hosts, which must agree on the length of a loop and when to leave it."""
  if jax.process_count() == 1:
    return values
  return tuple(multihost_utils.process_allgather(np.array(values, np.float32)).max(axis=0).tolist())


def on_first_process(function: Callable[[], T]) -> T:
  """Returns, or raises, on every process what `function` does on process 0."""
  if jax.process_count() == 1:
    return function()
  message = b""
  if jax.process_index() == 0:
    try:
      message = pickle.dumps((function(), None))
    except Exception as error:   # pylint: disable=broad-except   raised below, on every process
      message = pickle.dumps((None, error))
  # As bytes: they are summed over devices on the way, which would lose the sign of a float's zero.
  size = multihost_utils.broadcast_one_to_all(np.frombuffer(len(message).to_bytes(8, "little"), np.uint8))
  buffer = np.zeros(int.from_bytes(size.tobytes(), "little"), np.uint8)
  if message:
    buffer = np.frombuffer(message, np.uint8)
  result, problem = pickle.loads(multihost_utils.broadcast_one_to_all(buffer).tobytes())
  if problem is not None:
    raise problem
  return result


class Parallel:
  """The devices of a run.

  Attributes:
    count: devices over all hosts.
    main: True on the host that prints and writes.
  """

  def __init__(self, count: int | None = None) -> None:
    """Uses all devices, or the first `count` of a single host; 0 is all, too."""
    self.devices = jax.devices()[:count or None]
    self.count = len(self.devices)
    self.local = [d for d in self.devices if d.process_index == jax.process_index()]
    self.main = jax.process_index() == 0
    if count and count > self.count:
      raise ValueError(f"config.devices={count}, but JAX sees {self.count}; give at most that, or leave it out.")
    if self.count > 1:
      self._place = jax.pmap(lambda x: x, AXIS, devices=self.devices)
      self._copy = jax.pmap(lambda tree, _: tree, AXIS, in_axes=(None, 0), out_axes=None, devices=self.devices)

  def check_batch(self, batch_size: int) -> None:
    """Raises a `ValueError` unless the items of a batch split evenly over the devices."""
    if batch_size < 1 or batch_size % self.count:
      raise ValueError(f"config.train.batch_size={batch_size} does not split over {self.count} devices; use a "
                       f"multiple of {self.count}, e.g. {max(1, -(-batch_size // self.count)) * self.count}.")

  def memory_bytes(self) -> int:
    """Returns the bytes that one device can hold; CPU devices share the memory that this process may take."""
    stats = self.local[0].memory_stats() or {}
    if "bytes_limit" in stats:
      return stats["bytes_limit"]
    return host_bytes() // len(self.local)

  def padded(self, videos: int) -> int:
    """Returns a number of videos, rounded up to a multiple of the number of devices."""
    return -(-videos // self.count) * self.count

  def split(self, tree: T) -> T:
    """Puts host arrays `[V, ...]` on the devices, each a share of V; V must be `padded`."""
    if self.count == 1:
      return jax.device_put(tree, self.devices[0])
    mine = [i for i, d in enumerate(self.devices) if d.process_index == jax.process_index()]
    local = lambda x: x.reshape(self.count, len(x) // self.count, *x.shape[1:])[mine[0]: mine[-1] + 1]
    return self._place(jax.tree.map(lambda x: local(np.asarray(x)), tree))

  def replicate(self, tree: T) -> T:
    """Puts whole arrays on every device, placed as compiled functions return them: elsewhere, these compile twice."""
    if self.count == 1:
      return jax.device_put(tree, self.devices[0])
    return self._copy(tree, np.zeros(len(self.local)))

  def compile(self, function: Callable[..., Any], *, donate: bool = False) -> Callable[..., Any]:
    """Compiles `function(state, videos, *rest)`; `videos` was `split`, the others are whole on every device.

    Args:
      function: called once per device with its share of `videos`; what it returns must be equal on all devices.
      donate: lets the result take the memory of `state`.
    """
    donated, function = (0,) if donate else (), float32_products(function)
    if self.count == 1:
      return jax.jit(function, donate_argnums=donated)
    packed = jax.pmap(lambda state, videos, rest: function(state, videos, *rest), AXIS, in_axes=(None, 0, None),
                      out_axes=None, devices=self.devices, donate_argnums=donated)
    unpacked: Any = lambda state, videos, *rest: packed(state, videos, rest)
    unpacked.lower = lambda state, videos, *rest: packed.lower(state, videos, rest)       # as jax.jit has it
    return unpacked

  def gather(self, tree: T) -> T:
    """Returns `[V, ...]` on every device, out of the shares `[V / devices, ...]` of all."""
    if self.count == 1:
      return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)

  def total(self, tree: T) -> T:
    """Returns the sum over the devices."""
    return tree if self.count == 1 else jax.lax.psum(tree, AXIS)

  def local_share(self, tree: T, axis: int = 0) -> T:
    """Returns this device's part of arrays that all devices hold whole."""
    if self.count == 1:
      return tree
    index = jax.lax.axis_index(AXIS)
    size = lambda x: x.shape[axis] // self.count
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, index * size(x), size(x), axis), tree)
