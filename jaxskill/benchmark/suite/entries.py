"""The entries of the suite, most important first: what each measures, and about how long that takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxskill import cli
from jaxskill.benchmark import contenders, extraction, soft_dtw, systems
from jaxskill.benchmark.suite import measures
from jaxskill.measured import FASTER
from jaxskill.modules import onnx_networks
from jaxskill.training.operands import TYPES

GROUPS = ("training steps", "the other type", "soft-DTW", "extraction", "start-up", "memory", "devices", "other forms")
_START_S, _COMPILE_S = 5.0, 6.0        # of a process, and of what it compiles
_TINY_SHAPES, _TINY_CASES = ((2, 5), (2, 9)), ("tiny-i3d", "tiny-resnet")
_CASES = ("i3d", "resnet50-224")
_LONG = 256                            # segments from which storing every 32nd diagonal is tried


class Entry(NamedTuple):
  """What one call measures.

  Attributes:
    name: begins the names of its lines; group: of `GROUPS`.
    function: of `measures`, called in a process with {"name", "group"} and `arguments`.
    seconds: that it takes, about, to start and to compile, longer on a slow machine.
    rounds_s: that its rounds take, about, at the measured peak.
    fresh: whether it has a process of its own, whose memory is then its own too.
    keeps: whether that process keeps freed memory, so that short calls cost as much a step as long ones.
    devices: that its process is to see, where they are those of a CPU.
    beside: name of the line that its lines are compared with.
    refusal: why it cannot be measured here.
  """

  name: str
  group: str
  function: Callable[..., Any]
  arguments: tuple[Any, ...] = ()
  seconds: float = _START_S + _COMPILE_S
  rounds_s: float = (measures.ROUNDS + 3) * measures.ROUND_S
  fresh: bool = False
  keeps: bool = False
  devices: int = 1
  beside: str = ""
  refusal: str = ""


class Planner:
  """Makes the entries for a machine."""

  def __init__(self, machine: Mapping[str, Any], shape_name: str) -> None:
    """Args: machine: of `measures.machine`; shape_name: "paper" or "tiny"."""
    self._machine, self._shape, self._tiny = machine, shape_name, shape_name == "tiny"
    self._sizes, self._width = (_TINY_SHAPES, 4) if self._tiny else (soft_dtw.SHAPES, 512)       # of soft-DTW
    rates = machine["products"]
    self.fast = TYPES[rates["bfloat16"] >= FASTER * rates["float32"]]      # as `training.operands` decides
    self.slow = next(name for name in TYPES if name != self.fast)
    self.methods = systems.names()

  def step(self, group: str, method: str, form: str, shape_name: str = "", changes: Mapping[str, Any] | None = None,
           words: str = "", **options: Any) -> Entry:
    """Returns the entry of a training step; `words` follow its name, `options` are fields of `Entry`."""
    shape_name, system = shape_name or self._shape, systems.find(method)
    config, official = cli.read_config(method)
    config = contenders.configure(config, form, system.shapes[shape_name], official)
    peak = self._machine["products"][config.train.dtype]
    flops = system.flops(config, system.shapes[shape_name], form) or 0.0
    round_s = max(measures.ROUND_S, 2 * flops / peak * (measures.STREAMED if changes else 1))
    name = " ".join(filter(None, (method, form, "" if shape_name == self._shape else f"({shape_name})", words)))
    return Entry(name, group, measures.step, (self._machine["layouts"], peak, shape_name, method, form, changes or {}),
                 rounds_s=3 * round_s + max(round_s, min(measures.ROUNDS * round_s, measures.MOST_S)),
                 fresh=True, keeps=True, **options)

  def steps(self) -> Iterator[Entry]:
    """Yields the step of every system, in the faster type and then in the other one."""
    for method in self.methods:
      yield self.step(GROUPS[0], method, self.fast)
    for method in self.methods:
      yield self.step(GROUPS[1], method, self.slow, beside=f"{method} {self.fast}")

  def alignments(self) -> Iterator[Entry]:
    """Yields soft-DTW at every size, its forms in one entry, the kernel among them where there is one."""
    refusal, layouts = self._machine["no_kernels"], self._machine["layouts"]
    for pairs, segments in self._sizes:
      forms = ["scan", *(["checkpointed"] if segments >= _LONG else []), *([] if refusal else ["pallas"])]
      name = f"soft-DTW {pairs} x {segments}"
      yield Entry(name, GROUPS[2], measures.alignment,
                  (layouts, self._tiny, forms, (pairs, segments), self._width),
                  seconds=2.0 * len(forms), rounds_s=len(forms) * (measures.ROUNDS + 2) * measures.ROUND_S,
                  beside=f"{name}, scan")
    if refusal:
      yield Entry("soft-DTW, pallas", GROUPS[2], measures.alignment, refusal=refusal)

  def extractions(self) -> Iterator[Entry]:
    """Yields the networks that make features, in both types, on a CPU by OpenVINO as well, and the decoder."""
    engines = ["", *[onnx_networks.OPENVINO] * (self._machine["platform"] == "cpu")]
    cases = _TINY_CASES if self._tiny else _CASES
    for dtype, case, engine in itertools.product((self.fast, self.slow), cases, engines):
      refusal = engine and (onnx_networks.missing(engine) or extraction.refusal(engine, dtype))
      yield Entry(f"{case} {dtype}{engine and f' by {engine}'}", GROUPS[3], measures.features,
                  (self._machine["layouts"], self._tiny, case, dtype, engine), seconds=3.0 if engine else 10.0,
                  rounds_s=10.0, beside=f"{case} {dtype}" if engine else "", refusal=refusal)
    yield Entry("decoding a frame", GROUPS[3], measures.decoder, (1 if self._tiny else extraction.DECODED_S,),
                seconds=5.0, rounds_s=5.0)

  def start_ups(self) -> Iterator[Entry]:
    """Yields the start to the first step, of the systems that tell how."""
    for method in self.methods:
      if systems.find(method).start_up:
        yield Entry(f"{method}, command to first step", GROUPS[4], measures.start_up, (method,),
                    seconds=6 * _START_S, rounds_s=0.0, fresh=True)

  def streamed(self) -> Iterator[Entry]:
    """Yields the step of every system with features that stay with the host, as where they are too many."""
    for method in self.methods:
      yield self.step(GROUPS[5], method, self.fast, changes={"data.device_budget": 0.0}, words="streamed",
                      beside=f"{method} {self.fast}")

  def several_devices(self) -> Iterator[Entry]:
    """Yields the step of every system whose batch splits, and soft-DTW, on 2, 4, 8, ... devices, cores of a CPU."""
    on_cpu = self._machine["platform"] == "cpu"
    most = self._machine["cpus"] if on_cpu else self._machine["device_count"]
    counts = list(itertools.takewhile(lambda count: count <= most, (2 ** i for i in range(1, 20))))
    if not counts:
      yield Entry("several devices", GROUPS[6], measures.step, refusal="there is one device")
    for count, method in itertools.product(counts, self.methods):
      batch = systems.find(method).shapes[self._shape].batch_size
      yield self.step(GROUPS[6], method, f"{self.fast}+D{count}", devices=count,
                      beside=f"{method} {self.fast}",
                      refusal="" if batch % count == 0 else f"{batch} items of a batch do not split")
    (pairs, segments), layouts = self._sizes[1], self._machine["layouts"]
    for count in counts:
      name, form = f"soft-DTW {pairs} x {segments}", f"scan+D{count}"
      yield Entry(f"{name}, {form}", GROUPS[6], measures.alignment,
                  (layouts, self._tiny, [form], (pairs, segments), self._width), fresh=True, devices=count,
                  beside=f"{name}, scan",
                  refusal="" if pairs % count == 0 else f"{pairs} pairs do not split")

  def other_forms(self) -> Iterator[Entry]:
    """Yields what else the benchmarks of systems time: published variants, votes, replicas, sizes; long ones last."""
    found = []
    for method in self.methods:
      system = systems.find(method)
      for form in system.forms:
        if form not in (*TYPES, "bfloat16+stream"):
          found.append(self.step(GROUPS[7], method, form, beside=f"{method} {self.fast}" if "+R" in form else ""))
      for shape_name in system.shapes if not self._tiny else ():
        if shape_name not in ("paper", "small", "tiny"):
          found.append(self.step(GROUPS[7], method, self.fast, shape_name))
    yield from sorted(found, key=lambda entry: entry.rounds_s)


def plan(machine: Mapping[str, Any], shape_name: str) -> list[Entry]:
  """Returns the entries for a machine, most important first; in a process, for it asks JAX where it is.

  Args:
    machine: of `measures.machine`; shape_name: "paper" or "tiny".
  """
  made = Planner(machine, shape_name)
  parts: Sequence[Iterator[Entry]] = (made.steps(), made.alignments(), made.extractions(), made.start_ups(),
                                      made.streamed(), made.several_devices(), made.other_forms())
  return list(itertools.chain.from_iterable(parts))
