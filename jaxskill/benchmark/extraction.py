"""Extraction of features: clips a second of I3D, frames a second of ResNet, and of the decoder.

  pip install 'jaxskill[bench,video]'
  python -m jaxskill.benchmark.extraction [--cases i3d,...] [--contenders ...] [--json FILE]
  python -m jaxskill.benchmark.extraction --cases pose --weights WHEEL [--video FILE]       see `poses`

Contenders take their rounds in turn (A B A B), so that a machine that slows down does so for all; compilation is apart.
On a CPU each has its own process; on an accelerator all of ours share one. All compute with the same random weights on
the same items, and the table says how far their features are from ours in float32.
  float32, bfloat16   ours in the form for the platform; operands of the products
  stacked             ours in float32 as matrix products without Winograd's sums, see `jaxskill.modules.convolution`
  lax                 ours in float32 as lax.conv and reduce_window, all items at once: the form for accelerators
  openvino, onnxruntime    ours by OpenVINO and by ONNX Runtime in float32, which extraction takes on a CPU
  openvino+bfloat16   ours by OpenVINO with weights and activations in bfloat16
  torch               PyTorch in float32, organised as the public ports are
  torch+tuned         the same with normalisation folded into the convolutions and channels last
  torch+bfloat16      the same with weights and activations in bfloat16
  torch+tuned+compile, torch+bfloat16+compile     these by torch.compile, with weights as constants
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.typing import DTypeLike

from jaxskill import cli
from jaxskill.benchmark import poses, throughput
from jaxskill.benchmark.contenders import Worker
from jaxskill.benchmark.peers import possible
from jaxskill.data.video import decoding
from jaxskill.modules import convolution, i3d, onnx_networks, resnet
from jaxskill.training.parallel import float32_products


class Case(NamedTuple):
  """A network and what it reads."""

  network: str          # i3d | resnet50 | resnet101
  shape: tuple          # of one item
  batch: tuple          # items at once: on a CPU, on an accelerator

  @property
  def unit(self) -> str:
    """Returns what an item is called."""
    return "clips" if self.network == "i3d" else "frames"


CASES = {
    "i3d": Case("i3d", (16, 224, 224, 3), (4, 64)), "resnet50-224": Case("resnet50", (224, 224, 3), (8, 256)),
    "resnet101-224": Case("resnet101", (224, 224, 3), (8, 256)),
    "resnet50-448": Case("resnet50", (448, 448, 3), (2, 64)),
    "resnet101-448": Case("resnet101", (448, 448, 3), (2, 64)), "tiny-i3d": Case("i3d", (9, 32, 32, 3), (2, 2)),
    "tiny-resnet": Case("resnet50", (32, 40, 3), (3, 3))}
POSE = "pose"                 # the case of `poses`, measured alone
ONNX = ("openvino", "openvino+bfloat16", "onnxruntime")
OURS = ("float32", "bfloat16", "stacked", "lax", *ONNX)
TORCH = ("torch", "torch+tuned", "torch+tuned+compile", "torch+bfloat16", "torch+bfloat16+compile")
PEAK = (25088, 576, 576)      # m, k, n of the products that the machine's limit is measured with
ROUND_S = 0.5                 # a round is at least so long
DECODED_S = 10                # seconds of video


def make_module(case: Case, dtype: DTypeLike = jnp.float32, implementation: str = "auto") -> i3d.I3D | resnet.ResNet:
  """Returns the network of a case; operands of products are `dtype`."""
  if case.network == "i3d":
    return i3d.I3D(dtype=dtype, implementation=implementation)
  return resnet.ResNet(int(case.network.removeprefix("resnet")), dtype=dtype, implementation=implementation)


def make_features(case: Case, name: str) -> Callable[..., Any]:
  """Makes (variables, `[B, ...]` items) -> `[B, features]` of a contender of ours."""
  form = name if name in ("stacked", "lax") else "auto"
  module = make_module(case, jnp.bfloat16 if name == "bfloat16" else jnp.float32, form)
  if name == "lax":
    read = (lambda x: x["features"].mean(axis=1)) if case.network == "i3d" else (lambda x: x["feature"])
    return lambda variables, items: read(module.apply(variables, items))
  encode = i3d.clip_features if case.network == "i3d" else resnet.frame_features
  return lambda variables, items: encode(variables, items, module=module)


def weights(case: Case) -> dict[str, Any]:
  """Returns the same variables in every process."""
  return convolution.random_variables(make_module(case), jnp.zeros((1, *case.shape)))


def work(case: Case) -> tuple[float, int]:
  """Returns the floating-point operations of one item, and the bytes of the weights.

  Operations are those of convolutions as they are defined, whatever form computes them.
  """
  module, total = make_module(case, implementation="lax"), 0
  item = jax.ShapeDtypeStruct((1, *case.shape), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), item)

  def count(jaxpr: Any) -> None:
    nonlocal total
    for equation in jaxpr.eqns:
      if equation.primitive.name == "conv_general_dilated":
        total += 2 * equation.outvars[0].aval.size * int(np.prod(equation.invars[1].aval.shape[:-1]))
      for inner in jaxprs_in_params(equation.params):
        count(inner)
  count(jax.make_jaxpr(module.apply)(variables, item).jaxpr)
  return float(total), sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(variables))


_contenders = {}      # of a worker process: function, items and calls of a round, by contender and case


def prepare(name: str, label: str, batch: int) -> tuple[float, np.ndarray]:
  """Compiles, in a worker process; returns seconds up to the end of the first call, features of the items."""
  case = CASES[label]
  items: Any = np.random.default_rng(1).uniform(-1, 1, (batch, *case.shape)).astype(np.float32)
  variables = weights(case)
  if name in TORCH:
    from jaxskill.benchmark.peers import extraction as peer
  elif name in ONNX:
    onnx_networks.missing(name.partition("+")[0])             # imports it: only JAX has been imported so far
  start = time.perf_counter()
  if name in TORCH:
    network = peer.TorchI3D() if case.network == "i3d" else peer.TorchResNet(int(case.network.removeprefix("resnet")))
    place, run = peer.make(network, jax.device_get(variables), set(name.split("+")))
    items, function = place(items), run
  elif name in ONNX:
    engine, _, products = name.partition("+")
    function = onnx_networks.load(make_module(case), jax.device_get(variables), engine, products=products or "float32")
  else:
    compiled = jax.jit(float32_products(make_features(case, name)))
    items, function = jnp.asarray(items), lambda items: np.asarray(compiled(variables, items))
  features = function(items)
  first = time.perf_counter() - start
  start = time.perf_counter()
  function(items)
  _contenders[name, label] = function, items, max(1, round(ROUND_S / (time.perf_counter() - start)))
  return first, features


def measure(name: str, label: str) -> tuple[float, float]:
  """Times a call in a worker process; returns seconds, processor seconds."""
  function, items, calls = _contenders[name, label]
  start, used = time.perf_counter(), time.process_time()
  for _ in range(calls):
    function(items)
  return (time.perf_counter() - start) / calls, (time.process_time() - used) / calls


def decode_rate(seconds: int, size: tuple[int, ...] = (640, 480), rate: int = 30, rounds: int = 3) -> dict[str, Any]:
  """Returns frames a second that one process decodes and scales as extraction does, of moving pictures with noise.

  Args:
    seconds: of the film; size: (width, height) in pixels; rate: frames a second; rounds: the median of so many.
  """
  import av
  rng = np.random.default_rng(0)
  wide, high = size
  ramp = np.add.outer(np.arange(high), np.arange(wide))
  with tempfile.TemporaryDirectory(prefix="jaxskill_benchmark_") as folder:
    path = pathlib.Path(folder) / "moving.mp4"
    with av.open(str(path), "w") as container:
      stream = container.add_stream("libx264", rate=rate)
      stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
      for number in range(seconds * rate):
        shade = (ramp + 3 * number)[..., None] // (2, 3, 5) + rng.integers(0, 8, (high, wide, 1))
        frame = av.VideoFrame.from_ndarray((shade % 256).astype(np.uint8), "rgb24")
        container.mux(stream.encode(frame))
      container.mux(stream.encode())
    taken = []
    for _ in range(rounds):
      start = time.perf_counter()
      count = sum(1 for _ in decoding.decode(path, decoding.scale_short_side(256)))
      taken.append(time.perf_counter() - start)
    return dict(frames=count, size=list(size), short_side=256, file_bytes=path.stat().st_size,
                frames_per_s=count / float(np.median(taken)))


def refusal(engine: str, products: str) -> str:
  """Returns why an engine that is installed has no products of a type here, "" if it has."""
  can = products != "bfloat16" or onnx_networks.multiplies_bfloat16(engine)
  return "" if can else "this processor does not multiply bfloat16"


def _with_engines(names: list[str], missing: dict[str, str], say: Callable[[str], None]) -> list[str]:
  """Returns the contenders whose engine is here and computes as they say; `missing` gets those that are not here."""
  for engine, extra in onnx_networks.EXTRAS.items():
    theirs = {name for name in names if name.startswith(engine)}
    if theirs and onnx_networks.missing(engine):
      names, missing[engine] = [name for name in names if name not in theirs], f"pip install 'jaxskill[{extra}]'"
  if ONNX[1] in names and (why := refusal(onnx_networks.OPENVINO, "bfloat16")):
    say(f"left out: {ONNX[1]}: {why}")
    names = [name for name in names if name != ONNX[1]]
  return names


def run(cases: Sequence[str] = (), contenders: Sequence[str] = (), rounds: int = 5, batch: int = 0,
        say: Callable[[str], None] = print) -> dict[str, Any]:
  """Returns all numbers, ready for JSON.

  Raises:
    ValueError: if a case or a contender is unknown, or ours in float32 is missing.
  """
  for option, given, known in (("--cases", cases, CASES), ("--contenders", contenders, (*OURS, *TORCH))):
    if POSE in given:
      raise ValueError(f"--cases: {POSE} is measured alone.")
    if wrong := [name for name in given if name not in known]:
      raise ValueError(f"{option}: {', '.join(wrong)} unknown; use {', '.join(known)}.")
  names = list(contenders) or [*OURS, *TORCH]
  if OURS[0] not in names:
    raise ValueError("--contenders has no float32 to compare with; add it.")
  missing = {}
  if importlib.util.find_spec("torch") is None and set(names) & set(TORCH):
    names, missing["torch"] = [name for name in names if name not in TORCH], "pip install 'jaxskill[bench]'"
  names = names if contenders else possible(names, say)
  names = _with_engines(names, missing, say)
  if importlib.util.find_spec("av") is None:
    missing["the decoder"] = "pip install 'jaxskill[video]'"
  for what, remedy in missing.items():
    say(f"left out: {what}, which is not installed: {remedy}")
  shared, workers, results, decoder = Worker(), {}, {}, None
  try:
    machine = shared.ask("", "peak", *PEAK)
    on_cpu = machine["platform"] == "cpu"
    workers = {name: Worker() if on_cpu or name in (*TORCH, *ONNX) else shared for name in names}
    if "the decoder" not in missing:
      say("decoding")
      decoder = shared.submit(decode_rate, DECODED_S).result()
    for label in cases or [label for label in CASES if not label.startswith("tiny")]:
      case = CASES[label]
      size = batch or case.batch[0 if on_cpu else 1]
      say(f"{label}: {size} {case.unit} at once")
      rows: dict[str, Any] = {}
      peaks, features = [], {}
      for name, worker in workers.items():
        first, features[name] = worker.submit(prepare, name, label, size).result()
        rows[name] = dict(first_call_s=first, rounds=[])
      for _ in range(rounds):
        for name, worker in workers.items():
          rows[name]["rounds"].append(worker.submit(measure, name, label).result())
        peaks.append(shared.ask("", "round"))
      peak = {dtype: max(float(np.median([p[dtype][layout] for p in peaks])) for layout in peaks[0][dtype])
              for dtype in peaks[0]}
      flops, _ = work(case)
      results[label] = dict(
          items=size, unit=case.unit, shape=list(case.shape), flops=flops, matmul_peak=peak,
          contenders={name: rates(row, rows, size, flops, peak, name, features) for name, row in rows.items()})
  finally:
    for worker in {shared, *workers.values()}:
      worker.shutdown()
  return dict(rounds=rounds, results=results, decoder=decoder, missing=missing,
              machine=machine | dict(cpus=os.cpu_count(), load_average=os.getloadavg()[0], command=sys.argv),
              environment={k: v for k, v in sorted(os.environ.items()) if throughput.ENVIRONMENT.match(k)})


def rates(row: dict[str, Any], rows: Mapping[str, Any], size: int, work: float, peak: Mapping[str, float], name: str,
          features: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns what follows from the rounds of a contender."""
  wall, processor = np.array(row["rounds"]).T
  median = float(np.median(wall))
  reference, found = features[OURS[0]], features[name]
  return row | dict(
      items_per_s=size / median, ms=dict(zip(("median", "min", "max"), (1e3 * float(f(wall)) / size
                                                                        for f in (np.median, np.min, np.max)))),
      processor_ms=1e3 * float(np.median(processor)) / size, flops_per_s=size * work / median,
      peak_share=size * work / median / peak["bfloat16" if "bfloat16" in name else "float32"],
      difference=float(np.linalg.norm(found - reference) / np.linalg.norm(reference)),
      times={other: float(np.median(np.array(theirs["rounds"])[:, 0] / wall)) for other, theirs in rows.items()
             if other != name})


def describe(results: Mapping[str, Any]) -> str:
  """Returns the results as text."""
  machine = results["machine"]
  lines = [f"{machine['devices'][0]}; {machine['cpus']} CPU cores, load average {machine['load_average']:.1f} at the "
           f"end; jax {machine['versions']['jax']}",
           "environment: " + (" ".join(f"{k}={v}" for k, v in results["environment"].items()) or "default")]
  for label, case in results["results"].items():
    peaks = ", ".join(f"{dtype} {throughput.number(value)}FLOP/s" for dtype, value in case["matmul_peak"].items())
    lines += ["", f"{label}: {' x '.join(map(str, case['shape']))}, {case['items']} {case['unit']} at once, "
              f"{throughput.number(case['flops'])}FLOP each; matmul peak {peaks}"]
    rows = [("contender", f"{case['unit']}/s", "ms each (range)", "CPU ms", "first call s", "FLOP/s", "of peak",
             "difference")]
    for name, row in case["contenders"].items():
      rows.append((name, f"{row['items_per_s']:.3g}", "{median:.4g} ({min:.4g}..{max:.4g})".format(**row["ms"]),
                   f"{row['processor_ms']:.4g}", f"{row['first_call_s']:.2f}", throughput.number(row["flops_per_s"]),
                   f"{row['peak_share']:.0%}", f"{row['difference']:.0e}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for name, row in case["contenders"].items():
      peers = {other: times for other, times in row["times"].items() if other in (*TORCH, "stacked", "lax")}
      if name in ("float32", "bfloat16", *ONNX) and peers:
        lines.append(f"{name}: " + ", ".join(f"{times:.2f}x as fast as {other}" for other, times in peers.items()))
  lines += ["", f"Median of {results['rounds']} interleaved rounds, items in memory, compilation apart; CPU ms: "
            "processor time of all threads;", "difference: of the features from float32, in relative L2. FLOP: of "
            "convolutions as defined; forms may need fewer or more."]
  if decoder := results["decoder"]:
    lines.append("decoder, one process: {:.0f} frames/s of {} x {} (H.264), scaled to a short side of {}".format(
        decoder["frames_per_s"], *decoder["size"], decoder["short_side"]))
  lines += [f"left out: {what}: {remedy}" for what, remedy in results["missing"].items()]
  return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.extraction", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--cases", default="", help=f"comma-separated, of {', '.join(CASES)}; default all but tiny; or {POSE} alone")
  add("--contenders", default="", help="comma-separated; default all")
  add("--batch", type=int, default=0, help="items at once; default by case and platform")
  add("--rounds", type=int, default=5)
  add("--json", default="", type=cli.path, help="file for all numbers")
  add("--weights", default="", type=cli.weights, help="the networks of poses, of the case pose")
  add("--video", default="", type=cli.path, help="a film of a person, of the case pose; default a drawn one")
  options = parser.parse_args(argv)

  def measure_poses(say: Callable[[str], None]) -> Any:
    if options.rounds < 1:
      raise ValueError("--rounds must be 1 or more.")
    return poses.run(options.weights, options.video, rounds=options.rounds, say=say)

  def measure_all(say: Callable[[str], None]) -> dict[str, Any]:
    if options.rounds < 1 or options.batch < 0:
      raise ValueError("--rounds must be 1 or more, --batch not negative.")
    cases, asked = ([name for name in text.split(",") if name] for text in (options.cases, options.contenders))
    return run(cases, asked, options.rounds, options.batch, say)
  if options.cases == POSE:
    throughput.answer(measure_poses, poses.describe, options.json)
  else:
    throughput.answer(measure_all, describe, options.json)


if __name__ == "__main__":
  cli.listen()
  main()
