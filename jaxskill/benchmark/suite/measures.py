"""What the suite measures, in a process that is watched: each function returns lines, dicts ready for JSON.

A line has "name", and "median_s", "min_s", "max_s" of "rounds", seconds of one step, call or item. Where it is known:
"compile_s", "flops" and "bytes" of one, "dtype" of its operands, "devices", "products" and "bandwidth" that were
measured beside it, "shares" of the limits and "limit" (see `roof`), "program_bytes", "peak_bytes", "busy" processor
cores, "beside": the name of the line that it is to be compared with, and "note".
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxskill import cli, measured
from jaxskill.benchmark import contenders, extraction, first_step, soft_dtw
from jaxskill.benchmark.suite import roof
from jaxskill.benchmark.systems import find
from jaxskill.host import host_cores
from jaxskill.modules.soft_dtw import wavefront

ROUNDS, ROUND_S, MOST_S = 5, 0.3, 5.0       # of a line: rounds, seconds of each at least, and of all at most (but 2)
STREAMED = 8                                # steps of a call at least, where features are streamed
_roofs = {}                                 # of a worker process: its roof


def machine(tiny: bool) -> list[dict[str, Any]]:
  """Returns one dict: what `Roof.ready` says, its "layouts", "products" {dtype: FLOP/s} and "bandwidth", the "device".

  "no_kernels" says why soft-DTW has no kernel here, "" where it has.
  """
  made = _roofs["roof"] = roof.Roof(tiny=tiny)
  try:
    wavefront.check_kernel()
    refusal = ""
  except ValueError as error:
    refusal = str(error)
  return [made.ready | dict(
      layouts=made.layouts, products={dtype: made.products(dtype) for dtype in made.layouts},
      bandwidth=made.bandwidth(), no_kernels=refusal, cpus=host_cores(),
      device=measured.kind(jax.devices()[0]))]


def finish(line: dict[str, Any], seconds: Sequence[float], layouts: Mapping[str, str], tiny: bool) -> dict[str, Any]:
  """Returns a line with what follows from its rounds and from the machine's limits, which are measured now."""
  line |= dict(rounds=list(seconds), median_s=float(np.median(seconds)), min_s=min(seconds), max_s=max(seconds))
  if "host_work" in line:
    return line | dict(limit="host", shares=dict(host=1.0))
  made = _roofs["roof"] = _roofs.get("roof") or roof.Roof(layouts, tiny)
  devices = 1 if made.ready["platform"] == "cpu" else line["devices"]        # those of a CPU share its cores
  line |= dict(products=made.products(line["dtype"]) * devices, bandwidth=made.bandwidth() * devices)
  line["shares"] = roof.shares(line, line["products"], line["bandwidth"])
  return line | dict(limit=roof.limit(line["shares"]))


def rounds(functions: Mapping[str, Callable[[], float]], count: int = ROUNDS,
           known: Sequence[float] = ()) -> tuple[dict[str, list[float]], float]:
  """Lets functions, which return seconds, take rounds in turn.

  Args:
    count: of rounds; known: those that have been taken already, by one function.

  Returns:
    ({name: seconds of each round}, processor cores that were busy).
  """
  taken = {name: [*known] for name in functions}
  begun, used = time.perf_counter(), time.process_time()
  for number in range(len(known), count):
    for name, function in functions.items():
      taken[name].append(function())
    if number and time.perf_counter() - begun > MOST_S:
      break
  return taken, (time.process_time() - used) / (time.perf_counter() - begun)


def step(line: dict[str, Any], layouts: Mapping[str, str], peak: float, shape_name: str, method: str, form: str,
         changes: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Measures a training step of a system, or what a form has in its place.

  Args:
    line: what is known of it.
    layouts: see `Roof`; peak: FLOP/s of products, from which a round's steps are reckoned.
    shape_name, method, form: see `throughput`; changes: {"group.field": value} of the config besides.
  """
  tiny, form = shape_name == "tiny", form if re.search(r"\bD\d", form) else f"{form}+D1"
  config, official = cli.read_config(method)
  system, shape = find(method), find(method).shapes[shape_name]
  config = contenders.configure(config, form, shape, official)
  config.update_from_flattened_dict(changes)
  flops = system.flops(config, shape, form)
  on_cpu = jax.default_backend() == "cpu"
  most = system.cpu_steps if on_cpu else 10 * config.train.steps_per_call
  steps = max(1, min(most, int(ROUND_S * peak / (2 * flops)))) if flops and not tiny else 1
  steps = max(steps, STREAMED) if changes else steps               # of one call, for what is read ahead within it
  contender = contenders.JaxContender(config, shape, form, steps)
  ready = contender.ready
  first = contender.round()
  repeats = max(1, round(ROUND_S / max(1e-6, first * ready["steps_per_round"]))) if not tiny else 1

  def once() -> float:
    return float(np.mean([contender.round() for _ in range(repeats)]))
  taken, busy = rounds({"": once}, known=[first] if repeats == 1 else [])
  line |= dict(flops=flops, peak_bytes=contender.memory(), compile_s=ready["compile_s"], dtype=ready["dtype"],
               devices=ready["devices"], replicas=ready["replicas"], batch_size=ready["batch_size"],
               resident=ready["resident"], busy=busy)
  if not set(form.split("+")) & set(system.others):                # whose program is not the step's
    program = contender.program()
    line |= dict(flops=flops or program["flops"] * ready["devices"], program_bytes=program["program_bytes"],
                 bytes=max(contender.least_bytes(), (program["xla_bytes"] or 0) * ready["devices"]),
                 host_share=None if on_cpu and ready["resident"] else contender.host_share())
  return [finish(line, taken[""], layouts, tiny)]


def alignment(line: dict[str, Any], layouts: Mapping[str, str], tiny: bool, forms: Sequence[str],
              shape: tuple[int, int], width: int) -> list[dict[str, Any]]:
  """Measures soft-DTW, its value and both gradients, in several forms that take turns; each is a line of its own.

  Args:
    line: its "name" up to a comma is followed by that of the form.
    forms: of `soft_dtw.OURS`, with "+D2" for two devices.
    shape: pairs and segments; width: channels.

  Raises:
    Exception: whatever the first form raises; of the others that is a note.
  """
  pairs, segments = shape
  known, functions = {}, {}
  for form in forms:
    name, devices = soft_dtw.split(form)
    function, place = soft_dtw.jax_function(name, 0.1, devices)
    data = [place(array) for array in soft_dtw.series(pairs, segments, width)]
    begun = time.perf_counter()
    try:
      function(*data)
    except Exception as error:   # pylint: disable=broad-except   of a kernel, say; the others go on
      if not functions:
        raise
      line = line | dict(note=f"{form}: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}")
      continue
    first, begun = time.perf_counter() - begun, time.perf_counter()
    function(*data)
    once = time.perf_counter() - begun
    functions[form] = _calls(function, data, 1 if tiny else max(1, round(ROUND_S / once)))
    known[form] = dict(compile_s=max(0.0, first - once), devices=devices)
  taken, busy = rounds(functions)
  cells, diagonals = pairs * segments * segments, pairs * segments * (2 * segments - 1)
  # Distances and their two gradients; series and gradients, and ten tables as `soft_dtw.model` has them.
  work = dict(flops=2.0 * 3 * cells * width, bytes=4 * (4 * pairs * segments * width + 10 * diagonals), dtype="float32")
  work |= dict(busy=busy) if len(forms) == 1 else {}
  name = line["name"].partition(",")[0]
  return [finish(line | known[form] | work | dict(name=f"{name}, {form}"), taken[form], layouts, tiny)
          for form in functions]


def _calls(function: Callable[..., Any], data: Sequence[Any], count: int) -> Callable[[], float]:
  """Returns what calls a function and returns seconds a call."""
  def run() -> float:
    begun = time.perf_counter()
    for _ in range(count):
      function(*data)
    return (time.perf_counter() - begun) / count
  return run


def features(line: dict[str, Any], layouts: Mapping[str, str], tiny: bool, case: str, dtype: str,
             engine: str) -> list[dict[str, Any]]:
  """Measures the extraction of features by a network, of JAX or of an engine; seconds are those of an item."""
  known, on_cpu = extraction.CASES[case], jax.default_backend() == "cpu"
  size = known.batch[0 if on_cpu else 1]
  name = f"{engine}{'+bfloat16' if dtype == 'bfloat16' else ''}" if engine else dtype
  first, _ = extraction.prepare(name, case, size)
  taken, busy = rounds({"": lambda: extraction.measure(name, case)[0]}, 2 if tiny else ROUNDS)
  flops, weights = extraction.work(known)
  line |= dict(flops=flops, bytes=4 * float(np.prod(known.shape)) + weights / size, dtype=dtype, devices=1, busy=busy,
               batch_size=size)
  seconds = [second / size for second in taken[""]]
  return [finish(line | dict(compile_s=max(0.0, first - size * float(np.median(seconds)))), seconds, layouts, tiny)]


def decoder(line: dict[str, Any], seconds: int) -> list[dict[str, Any]]:
  """Measures how long a process takes to decode and scale a frame.

  Raises:
    ValueError: if there is no decoder.
  """
  if importlib.util.find_spec("av") is None:
    raise ValueError("no decoder is installed: pip install 'jaxskill[video]'")
  found = extraction.decode_rate(seconds, rounds=3)
  return [finish(line | dict(host_work=True, note="640 x 480, H.264, to a short side of 256"),
                 [1 / found["frames_per_s"]], {}, False)]


def start_up(line: dict[str, Any], method: str) -> list[dict[str, Any]]:
  """Measures the command of training up to the end of its first step, with a cold and with a warm compilation cache."""
  found = first_step.measure(["--config", method], 1, lambda _: None)
  return [finish(line | dict(name=f"{line['name']}, {kind}", host_work=True,
                             note=", ".join(f"{part} {seconds:.2f}" for part, seconds in one["parts"].items())),
                 one["wall"], {}, False)
          for kind, one in found["starts"].items()]
