"""What a run costs: seconds that are counted once, operations of a step beside formulas, memory."""

import time

import jax
import jax.numpy as jnp
import pytest

from jaxskill import cli, host, train
from jaxskill.benchmark import contenders, systems
from jaxskill.training import cost, memory
from jaxskill.training.parallel import Parallel


def test_seconds_count_once(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, "perf_counter", lambda: now[0])

  def passes(seconds):
    now[0] += seconds

  def values():
    passes(3.0)
    yield 1
    passes(4.0)

  clock = cost.Stopwatch()
  with clock("training"):
    passes(1.0)
    for _ in clock.waiting("data", values()):
      passes(10.0)
  with clock("evaluation"), clock("evaluation"):
    passes(2.0)
  assert clock.seconds == dict(training=11.0, data=7.0, evaluation=2.0)


def test_compilation_counts_by_itself():
  """Also where functions are traced within others, and where a compiled program is called."""
  inner = jax.jit(lambda x: jnp.sin(x) * 3.7)
  begun = time.perf_counter()
  with cost.Stopwatch() as clock, clock("training"):
    jax.jit(lambda x: inner(x) + jax.vmap(inner)(x[None])[0])(jnp.ones(7)).block_until_ready()
  took = time.perf_counter() - begun
  compiled = clock.seconds["compilation"]
  assert 0 < compiled < took and clock.seconds["training"] + compiled == pytest.approx(took, rel=0.2, abs=0.02)
  with cost.Stopwatch() as clock:
    pass
  jax.jit(lambda x: x - 1.3)(jnp.ones(7))
  assert not clock.seconds


def test_flops_of_a_step_are_those_of_the_formula(nothing_drawn, quick_compile):
  """Of a system whose formula has all matrix products; XLA counts everything else too."""
  del nothing_drawn, quick_compile
  config, _ = cli.read_config("configs/core.py")
  system = systems.find(config.method)
  shape = system.shapes["tiny"]
  config = contenders.configure(config, "float32", shape, None)
  config.train.update(epochs=1, steps_per_call=2)
  found = memory.check(train.Trainer(config, contenders.data_of(config, shape), Parallel(1)))
  assert found["flops"] == system.flops(config, shape)
  assert found["xla_flops"] > found["flops"] and found["xla_bytes"] > 0 and found["program_bytes"] > 0


def test_products_of_loops_branches_and_convolutions():
  def products(function, *shapes):
    return cost.products(jax.make_jaxpr(function)(*map(jnp.zeros, shapes)).jaxpr)

  assert products(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (2, 3, 4), (2, 4, 5)) == 2 * 2 * 3 * 4 * 5
  assert products(lambda a: jax.lax.scan(lambda c, _: (c @ c, None), a, length=7)[0], (3, 3)) == 7 * 2 * 27
  assert products(lambda a: jax.lax.cond(a[0, 0] > 0, lambda a: a @ a @ a, lambda a: a @ a, a), (3, 3)) == 4 * 27
  assert products(lambda a: jax.lax.fori_loop(0, a[0, 0].astype(int), lambda _, a: a @ a, a), (3, 3)) == 2 * 27
  image, kernel = (1, 8, 8, 4), (3, 3, 4, 6)
  convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  assert products(convolve, image, kernel) == 2 * 9 * 4 * 6 * 64


def test_memory_at_its_peak(tmp_path):
  found = cost.peak_memory(jax.devices("cpu")[0])
  assert found["of"] == "process" and found["bytes"] > 2 ** 27
  (tmp_path / "proc/self").mkdir(parents=True)
  (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmPeak:\t 99 kB\nVmHWM:\t   12 kB\n")
  assert host.peak_bytes(tmp_path) == 12 * 1024
  (tmp_path / "proc/self/status").unlink()
  assert host.peak_bytes(tmp_path) > 2 ** 27

  class Device:
    def memory_stats(self):
      return dict(peak_bytes_in_use=5)
  assert cost.peak_memory(Device()) == dict(bytes=5, of="device")


def test_durations_in_words():
  assert [cost.duration(seconds) for seconds in (0.0123, 4.0, 63.2, 120, 5400, 36000)] == [
      "0.012 s", "4 s", "63 s", "2 min", "90 min", "10 h"]
