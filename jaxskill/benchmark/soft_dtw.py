"""Soft-DTW against the public implementations: value and the gradient by both series, of unit vectors.

  pip install 'jaxskill[bench]'
  python -m jaxskill.benchmark.soft_dtw [--contenders ...] [--shapes 8x32,...] [--json FILE]

Every contender has a process of its own and they take their rounds in turn (A B A B), so that a machine that slows down
does so for all; compilation is apart. A peer that is not installed is left out and named. Contenders:
  jaxskill, checkpointed, pallas, scan    ours: the default, and the implementations by their names (pallas: GPUs and
             TPUs only)
  naive      a scan over anti-diagonals that autodiff goes back through, which is how most JAX packages do it
  ott        OTT-JAX, ott.geometry.costs.SoftDTW
  pysdtw     its form for CPUs (PyTorch, numba), on a GPU that for GPUs
  tslearn    SoftDTWLossPyTorch (numba, its threads share the pairs), with a matrix product for the distances: its own
             needs N M D numbers a pair
  tiled, tiled_fused   the tiled kernels for CUDA of Shapira Weber and Freifeld, 2026 (sdtw-cuda-torch), with a table
             of distances or, to save memory, without; on a GPU only
XLA runs a scan on one core of a CPU. Contenders in JAX use more cores as training does, by devices that share the
pairs: jaxskill+D2, ott+D2. Each is compared with ours on as many devices (on one, where that is not asked for), those
in PyTorch, which use all cores by themselves, with ours on the most.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill import cli, files
from jaxskill.benchmark import throughput
from jaxskill.benchmark.contenders import Worker
from jaxskill.modules import soft_dtw
from jaxskill.training.parallel import Parallel, float32_products

SHAPES = ((8, 32), (64, 64), (32, 128), (16, 256), (8, 512))     # pairs, segments
TILED = tuple(itertools.product((16, 32), (128, 512, 1024, 2048)))  # those that the tiled kernels were published with
TILED_FROM = "github.com/BGU-CS-VIL/sdtw-cuda-torch"
WIDTH, TILED_WIDTH = 512, 64
OURS = dict(jaxskill="auto", checkpointed="checkpointed", pallas="pallas", scan="scan")
PEERS = dict(ott=("ott",), pysdtw=("pysdtw", "torch"), tslearn=("tslearn", "torch"),    # the modules that they need
             tiled=("softdtw_cuda", "torch"), tiled_fused=("softdtw_cuda", "torch"))
TORCH = ("pysdtw", "tslearn", "tiled", "tiled_fused")
ROUND_S = 0.3      # a round is at least so long

# What a kernel takes on an H200, a model: seconds a diagonal (one pair a multiprocessor) and bytes a second.
_DIAGONAL_S, _PROCESSORS, _BYTES_PER_S = 0.16e-6, 132, 4.3e12


def naive(cost: jax.Array, gamma: float) -> jax.Array:
  """Computes soft-DTW of `[N, M]` as most JAX packages do: a log of sums over a stack, derivatives by autodiff."""
  n, m = cost.shape
  rows = jnp.arange(n)
  columns = jnp.arange(n + m - 1)[:, None] - rows
  diagonals = jnp.where((columns >= 0) & (columns < m), cost[rows, jnp.clip(columns, 0, m - 1)], 1e10)  # [N+M-1, N]

  def step(carry: Any, row: jax.Array) -> Any:
    before, last = carry                         # one row longer: row 0 lies above the matrix
    steps = jnp.stack([before[:-1], last[:-1], last[1:]])                                                # [3, N]
    least = jax.lax.stop_gradient(steps.min(axis=0))
    best = least - gamma * jnp.log(jnp.exp((least - steps) / gamma).sum(axis=0))
    new = jnp.pad(row + best, (1, 0), constant_values=1e10)
    return (last, new), None
  far = jnp.full(n + 1, 1e10)
  (_, last), _ = jax.lax.scan(step, (far.at[0].set(0.0), far), diagonals)
  return last[-1]


def split(form: str) -> tuple[str, int]:
  """Splits jaxskill+D2 into the name of the contender and the number of devices that share the pairs."""
  name, _, devices = form.partition("+D")
  return name, int(devices) if devices.isdecimal() else 0 if "+" in form else 1


def series(pairs: int, segments: int, width: int) -> np.ndarray:
  """Returns two `[pairs, segments, width]` float32, unit vectors."""
  both = np.random.default_rng(0).standard_normal((2, pairs, segments, width), np.float32)
  return both / np.linalg.norm(both, axis=-1, keepdims=True)


def jax_function(name: str, gamma: float, devices: int = 1) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Returns a function (x, y) -> `[pairs]` values, gradients of their sum; and what puts series on the devices."""
  if name == "ott":
    from ott.geometry import costs
    single = costs.SoftDTW(gamma)
  elif name == "naive":
    def single(x: Any, y: Any) -> Any:
      return naive(soft_dtw.pairwise_squared_distance(x, y), gamma)
  else:
    def single(x: Any, y: Any) -> Any:
      return soft_dtw.soft_dtw(soft_dtw.pairwise_squared_distance(x, y), gamma,
                               implementation=OURS[name])

  def loss(x: Any, y: Any) -> Any:
    values = jax.vmap(single)(x, y)
    return values.sum(), values

  def solve(x: Any, y: Any) -> Any:
    (_, values), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, y)
    return values, gradients
  shares, mesh = jax.sharding.PartitionSpec("pairs"), jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("pairs",))
  if devices > 1:
    solve = jax.shard_map(solve, mesh=mesh, in_specs=shares, out_specs=shares, check_vma=False)
  compiled, sharding = jax.jit(float32_products(solve)), jax.sharding.NamedSharding(mesh, shares)
  return lambda x, y: jax.block_until_ready(compiled(x, y)), lambda array: jax.device_put(array, sharding)


def torch_function(name: str, gamma: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Does as `jax_function`, in PyTorch, which shares pairs among threads by itself.

  Raises:
    ValueError: for the tiled kernels without a GPU.
  """
  import torch
  cuda = torch.cuda.is_available()
  if name == "pysdtw":
    import pysdtw
    forward = pysdtw.SoftDTW(gamma, use_cuda=cuda)
  elif name != "tslearn":
    if not cuda:
      raise ValueError(f"--contenders: {name} needs a GPU that PyTorch sees; leave it out.")
    from softdtw_cuda import SoftDTW
    forward = SoftDTW(gamma=gamma, fused=name == "tiled_fused")
  else:
    from pysdtw.distance import pairwise_l2_squared
    from tslearn.metrics import SoftDTWLossPyTorch
    forward = SoftDTWLossPyTorch(gamma, dist_func=pairwise_l2_squared)

  def call(x: Any, y: Any) -> Any:
    x, y = (z.detach().requires_grad_() for z in (x, y))
    values = forward(x, y)
    values.sum().backward()
    if cuda:
      torch.cuda.synchronize()
    return values.detach(), (x.grad, y.grad)
  return call, lambda array: torch.from_numpy(array).to("cuda" if cuda else "cpu")


_functions = {}      # of a worker process: the contender and its data, by shape


def prepare(form: str, shape: tuple[int, ...], width: int, gamma: float) -> tuple[float, np.ndarray, list[np.ndarray]]:
  """Compiles, in a worker process; returns seconds of the first call, host values and gradients."""
  name, devices = split(form)
  function, place = torch_function(name, gamma) if name in TORCH else jax_function(name, gamma, devices)
  pairs, segments = shape
  data = [place(array) for array in series(pairs, segments, width)]
  start = time.perf_counter()
  values, gradients = function(*data)
  first = time.perf_counter() - start
  start = time.perf_counter()
  function(*data)
  _functions[shape] = function, data, max(1, round(ROUND_S / (time.perf_counter() - start)))

  def host(array: Any) -> Any:
    return np.asarray(array.cpu() if name in TORCH else array, np.float64)
  return first, host(values), [host(gradient) for gradient in gradients]


def measure(shape: tuple[int, ...]) -> tuple[float, float]:
  """Times a call in a worker process; returns seconds, processor seconds."""
  function, data, calls = _functions[shape]
  start, used = time.perf_counter(), time.process_time()
  for _ in range(calls):
    function(*data)
  return (time.perf_counter() - start) / calls, (time.process_time() - used) / calls


def begin(form: str) -> dict[str, Any]:
  """Sets, first in a worker process of JAX, as many CPU devices as the form says; returns what computes here.

  Raises:
    ValueError: if there are fewer devices.
  """
  devices = split(form)[1]
  if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):         # JAX takes only one of the two
    jax.config.update("jax_num_cpu_devices", devices)
  if devices > jax.device_count():
    raise ValueError(f"--contenders: {form} needs {devices} devices, JAX sees {jax.device_count()}.")
  return files.provenance(Parallel()) | dict(platform=jax.default_backend())


def reference(shape: tuple[int, ...], width: int, gamma: float) -> tuple[np.ndarray, list[np.ndarray]]:
  """Returns values and gradients in float64; in a worker process."""
  pairs, segments = shape
  with jax.enable_x64(True):
    x, y = (array.astype(np.float64) for array in series(pairs, segments, width))
    values, gradients = jax_function("jaxskill", gamma)[0](x, y)
    return np.asarray(values), [np.asarray(gradient) for gradient in gradients]


def model(shape: Sequence[int]) -> dict[str, float]:
  """Returns seconds that two launches of the kernel should take on an H200: one diagonal after another, or traffic."""
  pairs, segments = shape
  diagonals = 2 * segments - 1
  latency = 2 * diagonals * _DIAGONAL_S * -(-pairs // _PROCESSORS)
  tables = 10      # of 4 bytes: cost and E skewed (read, write, read), two probabilities written and read
  return dict(latency_s=latency, traffic_s=4 * tables * pairs * diagonals * segments / _BYTES_PER_S)


def run(contenders: Sequence[str] = (), shapes: Sequence[tuple[int, ...]] = SHAPES, width: int = WIDTH,
        gamma: float = 0.1, rounds: int = 9, say: Callable[[str], None] = print) -> dict[str, Any]:
  """Returns all numbers, ready for JSON.

  Raises:
    ValueError: if a contender is unknown, or none of ours is left, or one needs more devices than there are or than
      share the pairs evenly.
  """
  known = [*OURS, "naive", *PEERS]
  forms = list(contenders) or [name for name in known if name not in ("pallas", "scan", "tiled", "tiled_fused")]
  if wrong := [form for form in forms if split(form)[0] not in known or split(form)[1] < 1
               or (split(form)[0] in TORCH and "+" in form)]:
    raise ValueError(f"--contenders: {', '.join(wrong)} unknown; use {', '.join(known)}, those in JAX also with "
                     "+D<devices>.")
  lacking = {name: [module for module in PEERS.get(name, ()) if importlib.util.find_spec(module) is None]
             for name in dict.fromkeys(split(form)[0] for form in forms)}
  missing = {name: modules for name, modules in lacking.items() if modules}
  forms = [form for form in forms if split(form)[0] not in missing]
  if "jaxskill" not in forms:
    raise ValueError("--contenders has no jaxskill to compare with; add it.")
  for form, (pairs, segments) in itertools.product(forms, shapes):
    if pairs % split(form)[1]:
      raise ValueError(f"--contenders: {form} can not share the {pairs} pairs of --shapes={pairs}x{segments}.")
  for name, modules in missing.items():
    say(f"left out: {name} needs {' and '.join(modules)}: "
        + ("pip install 'jaxskill[bench]'" if "softdtw_cuda" not in modules else f"see {TILED_FROM}"))
  workers = {}

  def ask(form: str, *arguments: Any) -> Any:
    return workers[form].submit(*arguments).result()
  results = []
  try:
    for form in forms:
      workers[form] = Worker()
    machines = {form: ask(form, begin, form) for form in forms if form not in TORCH}
    for shape in shapes:
      say("{} pairs of {} segments".format(*shape))
      exact, slopes = ask("jaxskill", reference, shape, width, gamma)
      rows = {}
      for form in forms:
        first, values, gradients = ask(form, prepare, form, shape, width, gamma)
        rows[form] = dict(
            first_call_s=first, rounds=[], value_error=float(np.max(np.abs(values - exact) / np.abs(exact))),
            gradient_error=float(max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(gradients, slopes))))
      for _, form in itertools.product(range(rounds), forms):
        rows[form]["rounds"].append(ask(form, measure, shape))
      ours = {split(form)[1]: form for form in forms if split(form)[0] == "jaxskill"}
      for form, row in rows.items():
        wall, processor = np.array(row["rounds"]).T
        beside = ours[max(ours)] if form in TORCH else ours.get(split(form)[1], "jaxskill")
        times = np.median(wall / np.array(rows[beside]["rounds"])[:, 0])
        row.update(median_s=float(np.median(wall)), min_s=float(wall.min()), max_s=float(wall.max()),
                   processor_s=float(np.median(processor)), beside=beside, times=float(times))
      results.append(dict(pairs=shape[0], segments=shape[1], contenders=rows, model_h200=model(shape)))
  finally:
    for worker in workers.values():
      worker.shutdown()
  return dict(width=width, gamma=gamma, rounds=rounds, results=results, missing=missing,
              machine=machines["jaxskill"] | dict(cpus=os.cpu_count(), load_average=os.getloadavg()[0],
                                                  command=sys.argv))


def describe(results: Mapping[str, Any]) -> str:
  """Returns the results as text."""
  machine = results["machine"]
  lines = [f"soft-DTW, value and both gradients: series of {results['width']} channels, gamma {results['gamma']}",
           f"{machine['devices'][0]}; {machine['cpus']} CPU cores, load average {machine['load_average']:.1f} at the "
           f"end; jax {machine['versions']['jax']}", ""]
  rows = [("pairs x segments", "contender", "ms (range)", "CPU ms", "times", "of", "first call s", "value error",
           "gradient error")]
  for case in results["results"]:
    for form, row in case["contenders"].items():
      rows.append((f"{case['pairs']} x {case['segments']}", form,
                   "{:.3g} ({:.3g}..{:.3g})".format(*(1e3 * row[key] for key in ("median_s", "min_s", "max_s"))),
                   f"{1e3 * row['processor_s']:.3g}", f"{row['times']:.2f}", row["beside"],
                   f"{row['first_call_s']:.2f}", f"{row['value_error']:.0e}", f"{row['gradient_error']:.0e}"))
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
  lines += ["", f"Median of {results['rounds']} interleaved rounds, compilation apart; times: median of the ratios "
            "round by round;", "CPU ms: processor time of all threads; errors against float64, relative to the "
            "largest gradient."]
  for case in results["results"]:
    best = {}
    for form, row in case["contenders"].items():
      if (name := split(form)[0]) in ("ott", *TORCH):
        pair = row["beside"], "the best PyTorch one" if name in TORCH else form
        best[pair] = min(row["times"], best.get(pair, row["times"]))
    for (ours, other), times in best.items():
      lines.append(f"{case['pairs']} x {case['segments']}: {ours} {times:.2f} x as fast as {other}")
    if machine["platform"] == "gpu":
      lines.append("  model of the kernel on an H200: {latency_s:.2g} s for the diagonals in turn, {traffic_s:.2g} s "
                   "of traffic, without the distances".format(**case["model_h200"]))
  lines += [f"left out: {name} ({' and '.join(modules)} not installed)" for name, modules in results["missing"].items()]
  return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.soft_dtw", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--contenders", default="", help="comma-separated; default all but pallas, scan and tiled")
  add("--shapes", default="", help="comma-separated PAIRSxSEGMENTS; default "
      + ",".join("{}x{}".format(*shape) for shape in SHAPES)
      + f"; tiled: those that the tiled kernels were published with, of {TILED_WIDTH} channels")
  add("--width", type=int, default=0, help=f"channels of a segment; default {WIDTH}")
  add("--gamma", type=float, default=0.1)
  add("--rounds", type=int, default=9)
  add("--json", default="", type=cli.path, help="file for all numbers")
  options = parser.parse_args(argv)

  def measure_all(say: Callable[[str], None]) -> dict[str, Any]:
    tiled = options.shapes == "tiled"
    try:
      asked = ["{}x{}".format(*shape) for shape in TILED] if tiled else options.shapes.split(",")
      shapes = [tuple(map(int, shape.split("x"))) for shape in asked if shape]
      if any(len(shape) != 2 or min(shape) < 1 for shape in shapes):
        raise ValueError
    except ValueError:
      raise ValueError(f"--shapes={options.shapes} must be PAIRSxSEGMENTS,..., e.g. 8x32,64x64, or tiled.") from None
    if options.width < 0 or options.rounds < 1 or not options.gamma > 0:
      raise ValueError("--rounds must be 1 or more, --width not negative, --gamma above 0.")
    return run([name for name in options.contenders.split(",") if name], shapes or SHAPES,
               options.width or (TILED_WIDTH if tiled else WIDTH), options.gamma, options.rounds, say)
  throughput.answer(measure_all, describe, options.json)


if __name__ == "__main__":
  cli.listen()
  main()
