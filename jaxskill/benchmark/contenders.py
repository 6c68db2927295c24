"""The contenders of `jaxskill.benchmark`, each in a worker process: a form of our training step, a peer, the peak."""

from __future__ import annotations

import concurrent.futures
import importlib
import itertools
import json
import multiprocessing
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from ml_collections import ConfigDict

from jaxskill import cli, files, methods, train
from jaxskill.benchmark.systems import Shape, amount, find, random_dataset
from jaxskill.data.dataset import SkillDataset
from jaxskill.host import peak_bytes
from jaxskill.methods.common import operand_type
from jaxskill.training import cost, memory
from jaxskill.training import step as steps
from jaxskill.training.parallel import Parallel, float32_products
from jaxskill.training.replicas import plan

WORDS = dict(unique="encode", siamese="encode", float32="dtype", bfloat16="dtype", leaky="alternation",
             joint="alternation")
STREAMED = dict(stream={"data.device_budget": 0.0}, holes={"data.device_budget": 0.0, "data.standardize": False})


def is_peer(form: str) -> bool:
  """Returns whether a form is timed in PyTorch."""
  return form.split("+")[0] == "torch"


def copy(config: ConfigDict) -> ConfigDict:
  """Returns a config of its own, unlocked, of plain values."""
  return ml_collections.ConfigDict(json.loads(config.to_json()))


def configure(config: ConfigDict, form: str, shape: Shape, official: Callable[..., Any] | None) -> ConfigDict:
  """Returns the config of one form; `official` turns a config into the published code's variant, or is None.

  Raises:
    ValueError: for a word that is none.
  """
  system, config, words = find(config.method), copy(config), form.split("+")
  config.train.update(batch_size=shape.batch_size, epochs=system.epochs)
  config.model.update({name: value for name, value in shape._asdict().items()
                       if name in config.model and name != "streams"})
  config.update_from_flattened_dict(system.settings)
  config.seeds = [0]
  config.train.dtype = operand_type(config).name                # of forms that name none
  if is_peer(form):
    words = ["official"] * bool(official) + [word for word in words[1:] if word not in ("compile", "dx", "autocast")]
  batch, words_of = shape.batch_size, STREAMED | dict(system.words)
  for word in sorted(words, key=lambda w: w != "official"):     # other words may override a part of the variant
    if word == "official" and official:
      official(config)
    elif word in WORDS and not is_peer(form):
      config.train[WORDS[word]] = word
    elif word in words_of and not is_peer(form):
      config.update_from_flattened_dict(words_of[word])
    elif re.fullmatch(r"B[1-9]\d*", word):
      batch = int(word[1:])
    elif re.fullmatch(r"C[1-9]\d*", word) and "criteria" in config.data and not is_peer(form):
      config.data.criteria = ("score", *(f"further{i}" for i in range(1, int(word[1:]))))
    elif re.fullmatch(r"[RDFVA][1-9]\d*", word) and not is_peer(form):
      config.seeds = list(range(int(word[1:]))) if word[0] == "R" else config.seeds
    elif word not in system.others:
      raise ValueError(f"form {form!r}: {word!r} is unknown" + (" to this config" if word == "official" else "") +
                       f"; use {', '.join([*WORDS, 'official', *words_of, *system.others])}, "
                       "R<replicas>, A<replicas at once>, D<devices>, B<items>, V<videos>, F<folds>, "
                       "C<criteria>, or torch[+compile][+dx][+autocast].")
  config.train.batch_size = batch                               # a published variant may have another
  return config


def compiled(step: steps.Step, trainer: train.Trainer) -> jax.stages.Compiled | None:
  """Returns the compiled program of `step.run`; None where it is for several devices, or not used at all."""
  if trainer.parallel.count > 1 or not trainer.loader.resident:
    return None
  return step.run.lower(trainer.state, trainer.loader.videos, jax.device_put(trainer.tables), np.int32(1)).compile()


def compiled_flops(trainer: train.Trainer) -> float | None:
  """Returns the FLOPs a step that XLA counts in the compiled program of one cycle, None where it does not say.

  It counts the body of a loop once, so what it is given is one cycle, and the plain form in place of the chunked one.
  """
  config = copy(trainer.config)
  if "implementation" in config.model:
    config.model.implementation = "plain"
  method = methods.build(config)
  program = compiled(steps.make_step(config, method, trainer.parallel, steps_per_call=len(method.phases),
                                     epochs_per_call=3, num_unique=trainer.num_unique), trainer)
  found = program.cost_analysis() if program else None
  return found["flops"] / len(method.phases) if found and found.get("flops", 0) > 0 else None


def sized(shape: Shape, form: str) -> Shape:
  """Returns the sizes with as many training videos as a form says, if it does."""
  return shape._replace(train_videos=amount(form, "V")) if re.search(r"\bV\d", form) else shape


def data_of(config: ConfigDict, shape: Shape, form: str = "", folder: str = "") -> SkillDataset:
  """Returns the random data of a form, see `random_dataset`."""
  streams = find(config.method).streams(shape, config)
  return random_dataset(shape, streams, folds=amount(form, "F"), criteria=config.data.get("criteria", ())[1:],
                        folder=folder)


class JaxContender:
  """One form of ours; `ready` is what is known at the start."""

  def __init__(self, config: ConfigDict, shape: Shape, form: str, num_steps: int) -> None:
    self._config, self._shape, self._form, system = config, sized(shape, form), form, find(config.method)
    options = self._config.train
    options.epochs, self._epochs = 10 ** 6, options.epochs       # no round meets the end
    self._folder = tempfile.TemporaryDirectory() if "holes" in form.split("+") else None
    self._data = data_of(config, self._shape, form, self._folder.name if self._folder else "")
    parallel = Parallel(amount(form, "D") if re.search(r"\bD\d", form) else None)
    replicas = len(plan(config, self._data))
    self._repeats = num_steps or 10
    cpu_steps = 1 if options.encode == "siamese" else system.cpu_steps if replicas < 10 else 2
    num_steps = num_steps or (cpu_steps if parallel.devices[0].platform == "cpu" else 10 * options.steps_per_call)
    options.steps_per_call = min(options.steps_per_call, num_steps)  # rounded up to whole cycles
    at_once = amount(form, "A") if re.search(r"\bA\d", form) else 0
    self._trainer = train.Trainer(self._config, self._data, parallel, at_once=at_once)
    self._calls = max(1, round(num_steps / self._trainer.per_call))
    other = next((make for word, make in system.others.items() if word in form.split("+")), None)
    self._other = other and other(self._trainer)
    self._cpu: list[float] = []                                  # seconds a step of all cores, in each round
    self.ready = dict(
        compile_s=max(0.0, self._advance(1) - self._advance(1)), devices=parallel.count, dtype=options.dtype,
        encode=options.encode, alternation=options.alternation, replicas=replicas,
        batch_size=self._other.size if self._other else options.batch_size,
        resident=self._trainer.loader.resident, steps_per_round=self._calls * self._trainer.per_call,
        steps_per_call=self._trainer.per_call, epochs=0 if self._other else self._epochs,
        steps_per_epoch=-(-int(self._trainer.tables.count[0]) // options.batch_size))

  def _advance(self, calls: int) -> float:
    if self._other:
      return self._other.round(calls)
    start = time.perf_counter()
    for _ in range(calls):
      self._trainer.advance()
    jax.block_until_ready(self._trainer.state)
    return time.perf_counter() - start

  def round(self) -> float:
    """Returns seconds a step."""
    if self._other:
      return self._other.round(self._repeats)
    cpu = time.process_time()
    seconds = self._advance(self._calls) / self.ready["steps_per_round"]
    self._cpu.append((time.process_time() - cpu) / self.ready["steps_per_round"])
    return seconds

  def memory(self) -> int:
    """Returns the most bytes that the device has held so far, on a CPU the process."""
    stats = self._trainer.parallel.local[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or peak_bytes()

  def program(self) -> dict[str, Any]:
    """Returns what a step costs, see `cost.of_step`, and "program_bytes" of arguments, results and temporaries."""
    function: Any
    function, arguments = self._trainer.first_call()               # as they were compiled: nothing is compiled again
    program = function.lower(*arguments).compile()
    found = cost.of_step(function, arguments, program, len(self._trainer.method.phases))
    return found | dict(program_bytes=memory.needed_bytes(program) or None)

  def least_bytes(self) -> int:
    """Returns the bytes that a step moves at least: features of its videos read, parameters and optimizer rewritten."""
    trainer = self._trainer
    state = (trainer.state.params, trainer.state.opt_state)
    videos = sum(stream.nbytes / len(stream) for stream in trainer.dataset.streams.values())
    return round(2 * sum(x.nbytes for x in jax.tree.leaves(state))
                 + trainer.num_unique * videos * self.ready["replicas"] * operand_type(self._config).itemsize / 4)

  def host_share(self) -> float:
    """Returns the share of a call's time in which the device waits: for the first step, or for features that stream."""
    trainer, handed = self._trainer, []
    waited, begun = trainer.clock.seconds.get("data", 0.0), time.perf_counter()
    trainer.take(trainer.per_call, lambda: handed.append(time.perf_counter()))
    ended, waited = time.perf_counter(), trainer.clock.seconds.get("data", 0.0) - waited
    return max(handed[0] - begun, waited) / (ended - begun)

  def finish(self) -> dict[str, Any]:
    """Returns {"peak_memory_bytes", "program_bytes", "compiled_flops", "model_flops" and "cpu_ms" of a step}."""
    return dict(
        peak_memory_bytes=self.memory(), compiled_flops=compiled_flops(self._trainer),
        program_bytes=self.program()["program_bytes"], cpu_ms=1e3 * float(np.median(self._cpu)) if self._cpu else None,
        model_flops=find(self._config.method).flops(self._config, self._shape, self._form))

  def full(self) -> dict[str, float]:
    """Returns {"steps", "seconds", "loss"} of a training from the start to the last epoch, compilation included."""
    self._config.train.epochs, start = self._epochs, time.perf_counter()
    self._trainer = trainer = train.Trainer(self._config, self._data, self._trainer.parallel,
                                            at_once=self._trainer.at_once)
    while int(trainer.state.step) < trainer.total:
      metrics = trainer.advance()
    jax.block_until_ready(trainer.state)
    return dict(steps=trainer.total, seconds=time.perf_counter() - start, loss=float(metrics["loss"].mean()))


class MatmulPeak:
  """The machine and its limit: large matrix products of the step's sizes, in the layouts that are known to be fast."""

  def __init__(self, m: int, k: int, n: int, layouts: Mapping[str, str] | None = None) -> None:
    """Args: m, k, n: sizes; layouts: {dtype: the only layout of its operands that is measured}, all if not given."""
    parallel = Parallel()
    cases = {"mk,kn": ((m, k), (k, n)), "nk,mk": ((n, k), (m, k)), "nm,mk": ((n, m), (m, k))}
    if jax.default_backend() != "cpu":
      cases["kk,kk 8192"] = ((8192, 8192), (8192, 8192))
    self._cases = []
    for dtype, (name, sizes) in itertools.product(("float32", "bfloat16"), cases.items()):
      if layouts and layouts[dtype] != name:
        continue
      axis = int(name == "nk,mk")             # of the right operand, which the last axis of the left one meets
      product = jax.jit(float32_products(lambda a, b, axis=axis: jax.lax.dot_general(
          a, b, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)))
      operands = [jax.random.normal(jax.random.key(0), size).astype(dtype) for size in sizes]
      flops = 2 * product(*operands).size * sizes[0][1]
      self._cases.append((dtype, name, product, operands, flops))
    self.ready = files.provenance(parallel) | dict(platform=parallel.devices[0].platform, device_count=parallel.count)

  def round(self, only: tuple[str, str] | None = None) -> dict[str, dict[str, float]]:
    """Returns {dtype: {layout: FLOP/s}}; `only`: of one (dtype, layout)."""
    result = {}
    for dtype, name, product, operands, flops in self._cases:
      if only and only != (dtype, name):
        continue
      seconds, repeats = 0.0, 1
      while seconds < 0.1 and repeats < 1024:
        start, repeats = time.perf_counter(), 4 * repeats
        for _ in range(repeats):
          out = product(*operands)
        jax.block_until_ready(out)
        seconds = time.perf_counter() - start
      result.setdefault(dtype, {})[name] = repeats * flops / seconds
    return result


_contenders = {}      # of a worker process, by form


def call(limit: float, form: str, function: str, *arguments: Any) -> dict[str, Any] | float:
  """Makes a contender (function is its kind; returns its `ready`) or calls a method of it, in a worker process.

  The process ends itself after `limit` seconds, if that is not 0.
  """
  if limit:
    clock = threading.Timer(limit, os._exit, (1,))
    clock.start()
    try:
      return call(0, form, function, *arguments)
    finally:
      clock.cancel()
  if function in ("jax", "peak", "torch"):
    if function == "torch":
      make = importlib.import_module(find(arguments[0].method).peer).TorchContender
    else:
      make = dict(jax=JaxContender, peak=MatmulPeak)[function]
    _contenders[form] = make(*arguments)
    return _contenders[form].ready
  return getattr(_contenders[form], function)()


def begin() -> None:
  """Sets a worker process up: contenders share a GPU, and a compilation that is timed must not be a cached one.

  It keeps freed memory, PyTorch's too, as training does where features stream.
  """
  cli.keep_memory()
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  jax.config.update("jax_compilation_cache_dir", None)


class Worker(concurrent.futures.ProcessPoolExecutor):
  """A process with contenders."""

  def __init__(self) -> None:
    super().__init__(1, multiprocessing.get_context("spawn"), begin)

  def ask(self, *arguments: Any, limit: float = 0) -> dict[str, Any]:
    """Returns what `call` answers in the process, which ends itself after `limit` seconds if that is not 0."""
    answer = self.submit(call, limit, *arguments).result()
    assert isinstance(answer, dict)
    return answer

  def seconds(self, form: str) -> float:
    """Returns the seconds of a step in a round of a form."""
    answer = self.submit(call, 0, form, "round").result()
    assert isinstance(answer, float)
    return answer
