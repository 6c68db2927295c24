"""Devices: what is split comes together again, and what cannot be says why."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.host import host_bytes
from jaxskill.training.parallel import Parallel
from tests.programs import rounded


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_split_and_gather(devices):
  """Shares of the videos, sums and parts of the pairs; a step written once sees the same on any number of devices."""
  p = Parallel(devices)
  rng = np.random.default_rng(0)
  videos = dict(rgb=rng.normal(size=(24, 3)).astype(np.float32), nested=dict(position=np.arange(24, dtype=np.int32)))
  pairs = np.arange(2 * 24).reshape(2, 24)

  @p.compile
  def function(state, shares, pairs, keys):
    assert shares["rgb"].shape == (24 // devices, 3)
    mine = p.local_share(pairs, axis=1)
    assert mine.shape == (2, 24 // devices)
    first = p.local_share(jnp.arange(24))
    return dict(videos=p.gather(shares), total=p.total(dict(sum=shares["rgb"].sum(), pairs=mine.sum(axis=1))),
                state=state, matches=p.total(jnp.sum(first == shares["nested"]["position"])),
                draw=jax.random.normal(keys[0], (2,)))

  keys = jax.random.split(jax.random.key(0), 2)
  result = function(jnp.float32(2), p.split(videos), pairs, keys)
  np.testing.assert_array_equal(result["videos"]["rgb"], videos["rgb"])
  np.testing.assert_array_equal(result["videos"]["nested"]["position"], np.arange(24))
  np.testing.assert_allclose(result["total"]["sum"], videos["rgb"].sum(dtype=np.float64), atol=1e-5)
  np.testing.assert_array_equal(result["total"]["pairs"], pairs.sum(axis=1))
  assert result["matches"] == 24 and result["state"] == 2      # a device's share of whole arrays is its share of videos
  np.testing.assert_allclose(result["draw"], jax.random.normal(keys[0], (2,)), atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_products_of_float32_are_not_rounded_unless_that_was_asked_for(devices):
  def function(state, videos):
    return jnp.sin(videos @ state).sum()
  compiled = Parallel(devices).compile(jax.grad(function))
  videos = np.ones((4, 3) if devices == 1 else (2, 2, 3), np.float32)
  assert not rounded(compiled, np.ones(3, np.float32), videos)
  with jax.default_matmul_precision("tensorfloat32"):
    assert len(rounded(compiled, np.ones(3, np.float32), videos)) == 2
  assert len(rounded(jax.grad(function), np.ones(3, np.float32), np.ones((4, 3), np.float32))) == 2


@pytest.mark.parametrize("devices", [1, 8])
def test_replicate(devices):
  """Placed as a step leaves its result: the second call finds the program of the first."""
  p, traces = Parallel(devices), []

  def function(state, videos, key):
    traces.append(1)
    return jax.tree.map(lambda x: x + p.total(videos.sum()), state)
  compiled = p.compile(function, donate=True)
  state = dict(a=np.arange(3.0, dtype=np.float32), b=np.float32(1))
  first = p.replicate(state)
  placed, keys = jax.tree.map(lambda x: x.sharding, first), p.replicate(jax.random.split(jax.random.key(0), 2))
  videos = p.split(np.ones((8, 2), np.float32))
  second = compiled(first, videos, keys)
  assert jax.tree.map(lambda x: x.sharding, second) == placed
  third = compiled(second, videos, keys)
  assert len(traces) == 1
  np.testing.assert_array_equal(third["a"], state["a"] + 32)
  np.testing.assert_array_equal(state["a"], np.arange(3))


def test_all_devices():
  p = Parallel()
  assert p.count == len(jax.devices()) == 8 and p.main and Parallel(3).count == 3
  assert [p.padded(n) for n in (1, 8, 9)] == [8, 8, 16] and Parallel(1).padded(7) == 7
  with pytest.raises(ValueError, match="config.devices=9, but JAX sees 8; give at most that"):
    Parallel(9)


def test_check_batch():
  Parallel(8).check_batch(16)
  Parallel(1).check_batch(5)
  for size, use in ((12, 16), (1, 8), (0, 8), (-3, 8)):
    message = f"config.train.batch_size={size} does not split over 8 devices; use a multiple of 8, e.g. {use}\\."
    with pytest.raises(ValueError, match=message):
      Parallel(8).check_batch(size)


def test_memory(monkeypatch):
  """Of CPU devices, an equal share of what this process may take; of others, what they say themselves."""
  assert [Parallel(count).memory_bytes() for count in (1, 8)] == [host_bytes(), host_bytes() // 8]
  parallel = Parallel(1)
  monkeypatch.setattr(parallel, "local", [types.SimpleNamespace(memory_stats=lambda: dict(bytes_limit=12345, bytes_in_use=7))])
  assert parallel.memory_bytes() == 12345
