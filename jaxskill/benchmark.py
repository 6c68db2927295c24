"""Step throughput of a system, against the machine's own limit and against the published way of computing.

  python -m jaxskill.benchmark --config configs/pros_cons.py [--shape paper] [--peer torch] [--json FILE]

What is timed is `train.Trainer.advance`, the path that training takes, on random features that are in memory. The
times that matter are compared within one run: every contender lives in a process of its own, and they take their
rounds in turn (A B A B), so that a machine that slows down does so for all of them. A time per step is the mean over
whole cycles (one step of every phase: Pros & Cons alternates a ranking and an attention step); compilation is apart.

A form names what differs from the base (unique videos, float32, as the config says), its words joined by "+":

  unique | siamese                  every video once a step | both sides of every pair
  float32 | bfloat16                operands of the matrix products
  alternate | leaky | joint         which parameters a step moves
  plain | chunked                   implementation of the filters' product
  official                          the published code's variant (leaky; the peer computes the same)
  R2, R4, ...                       replicas (seeds) in one program
  D1, D2, ...                       devices; all if not said
  torch[+dx][+autocast]             the peer; dx: with the gradient of the features, which nobody uses (shared
                                    notes count it for the published code); autocast: bfloat16

B pairs a batch, V videos, T segments, D channels, K filters of a module, H hidden units.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from jaxskill import methods, report, steps, train
from jaxskill.data import Fold, SkillDataset
from jaxskill.parallel import Parallel


class Shape(NamedTuple):
  """Sizes of a benchmark; the tests use the same."""

  batch_size: int       # pairs
  train_videos: int
  test_videos: int
  pairs: int            # training pairs
  num_segments: int
  width: int            # channels
  num_filters: int
  hidden: int


SHAPES = {
    "paper": Shape(128, 75, 25, 2115, 400, 1024, 3, 256),   # a task of BEST
    "small": Shape(32, 40, 10, 480, 100, 256, 3, 64),
    "tiny": Shape(8, 6, 3, 12, 10, 32, 2, 16),
}
PAPER_EPOCHS = 2000
FORMS = ("float32", "siamese", "bfloat16", "bfloat16+leaky", "bfloat16+joint", "bfloat16+R2", "bfloat16+R4")
PEER_FORMS = ("official", "official+bfloat16", "torch", "torch+dx", "torch+autocast")
WORDS = dict(unique=("encode", "unique"), siamese=("encode", "siamese"), float32=("dtype", "float32"),
             bfloat16=("dtype", "bfloat16"), alternate=("alternation", "alternate"), leaky=("alternation", "leaky"),
             joint=("alternation", "joint"))
ENVIRONMENT = ("XLA_", "JAX_", "OMP_", "MKL_", "KMP_", "TORCH_", "LIBTPU_", "GLIBC_TUNABLES", "CUDA_VISIBLE_DEVICES",
               "NVIDIA_TF32_OVERRIDE", "LD_PRELOAD", "MALLOC_")
NO_TORCH = "--peer torch needs PyTorch, which is not installed: pip install 'jaxskill[bench]', or leave --peer out."


# What is computed


def random_dataset(shape, stream, seed=0):
  """Random features in the form of a data set; the pairs, drawn at random, follow a hidden order of the videos."""
  rng = np.random.default_rng(seed)
  count = shape.train_videos + shape.test_videos
  features = rng.standard_normal((count, shape.num_segments, shape.width), np.float32)
  order = rng.permutation(count)

  def pairs(ids, number):
    every = np.array(list(itertools.combinations(order[np.isin(order, ids)], 2)), np.int32)
    return every[rng.permutation(len(every))[:number]]
  train_videos, test_videos = np.split(np.arange(count), [shape.train_videos])
  train_pairs, test_pairs = pairs(train_videos, shape.pairs), pairs(test_videos, shape.pairs)
  rows = np.split(np.arange(len(train_pairs) + len(test_pairs)), [len(train_pairs)])
  return SkillDataset(
      name="random features", source="jaxskill.benchmark", videos=tuple(f"random{i}" for i in range(count)),
      streams={stream: features}, lengths={stream: np.full(count, shape.num_segments, np.int32)},
      pairs=np.concatenate([train_pairs, test_pairs]), simulated=True, features_checked=True,
      folds=(Fold("random", train_videos, test_videos, *rows),))


def configure(config, form, shape, official):
  """The config of one form.

  Args:
    config: the base; it is not changed.
    form: words joined by "+", see above.
    official: function that turns a config into the published code's variant, or None.

  Returns:
    (config, number of devices or None for all).

  Raises:
    ValueError: for a word that is none.
  """
  config, devices = ml_collections.ConfigDict(json.loads(config.to_json())), None
  config.train.update(batch_size=shape.batch_size, encode="unique", dtype="float32", epochs=PAPER_EPOCHS)
  for name in ("num_filters", "hidden"):
    if name in config.get("model", {}):
      config.model[name] = getattr(shape, name)
  config.seeds = [0]
  words = form.split("+")
  for word in sorted(words, key=lambda w: w != "official"):     # other words may override a part of the variant
    number = int(word[1:]) if word[1:].isdigit() else 0
    if word == "official" and official:
      official(config)
    elif word in WORDS:
      name, value = WORDS[word]
      config.train[name] = value
    elif word in ("plain", "chunked"):
      config.model.implementation = word
    elif word[:1] == "R" and number:
      config.seeds = list(range(number))
    elif word[:1] == "D" and number:
      devices = number
    else:
      raise ValueError(f"form {form!r}: {word!r} is no word of a form"
                       + (" for this config, which has no function official()" if word == "official" else "")
                       + f"; use {', '.join(WORDS)}, plain, chunked, official, R<replicas>, D<devices>, or "
                       f"{', '.join(f for f in PEER_FORMS if f.startswith('torch'))}.")
  return config, devices


def pros_cons_flops(config, shape, *, shared=False, input_gradient=False):
  """Floating-point operations of one step of Pros & Cons, by hand: matrix products with features alone.

  Forward products of all filters and ranking layers, and the weight gradients of what the step trains, as mean over a
  cycle. Leaky steps need both groups' gradients in every step. Shared noise is one more video.

  Args:
    config, shape: the form.
    shared: count the filters' forward product once a cycle where a ranking and an attention step alternate: filters
      stand still in between and noise is apart from the product, so XLA finds it to be the same (plain form, unique
      videos).
    input_gradient: count the gradient of the features too.
  """
  siamese = config.train.encode == "siamese"
  videos = 2 * shape.batch_size if siamese else shape.train_videos
  videos += bool(config.model.noise_std and config.model.noise == "shared")
  modules = sum(branch not in ("uniform", "last") for branch in config.model.branches)
  rows = 2 * shape.num_segments * videos
  filters = rows * (shape.width + 1) * modules * config.model.num_filters * config.model.hidden
  ranking = rows * shape.width * len(config.model.branches)
  in_turn = bool(modules) and config.train.alternation != "joint"
  trained = 0.5 if in_turn and config.train.alternation == "alternate" else 1.0
  forward = 0.5 if shared and in_turn and not siamese and config.model.noise == "shared" else 1.0
  return len(config.seeds) * (filters * (forward + trained + input_gradient) + ranking * (1 + trained + input_gradient))


MODEL_FLOPS = dict(pros_cons=pros_cons_flops)      # by config.method; a system without one is timed all the same


def compiled_flops(trainer):
  """FLOPs a step that XLA counts in the compiled program of one cycle, or None where it does not say.

  It counts the body of a loop once, so what it is given is one cycle, and the plain form in place of the chunked one.
  """
  config = ml_collections.ConfigDict(json.loads(trainer.config.to_json()))
  if "implementation" in config.get("model", {}):
    config.model.implementation = "plain"
  method = methods.build(config)
  step = steps.make_step(config, method, trainer.parallel, steps_per_call=len(method.phases), epochs_per_call=3,
                         num_unique=trainer.num_unique)
  if not hasattr(step.run, "lower"):               # several devices: the pmapped function is not at hand
    return None
  cost = step.run.lower(trainer.state, trainer.feed.videos, jax.device_put(trainer.tables)).compile().cost_analysis()
  cost = cost[0] if isinstance(cost, (list, tuple)) else cost
  return cost["flops"] / len(method.phases) if cost and cost.get("flops", 0) > 0 else None


# Contenders: `ready` (what is known at the start), round() and finish() return plain values


class Contender:
  """What processes and the loop of rounds know."""

  ready = {}

  def finish(self):
    return {}

  def close(self):
    pass


class JaxContender(Contender):
  """One form of ours."""

  def __init__(self, config, shape, devices, num_steps):
    self._config, self._shape = ml_collections.ConfigDict(config), Shape(*shape)
    self._config.train.epochs, self._epochs = 10 ** 6, self._config.train.epochs      # no round meets the end
    train_config = self._config.train
    self._data = random_dataset(self._shape, self._config.data.stream)
    parallel = Parallel(devices)
    phases = len(methods.build(self._config).phases)
    num_steps = num_steps or (phases if parallel.devices[0].platform == "cpu" else 10 * train_config.steps_per_call)
    train_config.steps_per_call = max(1, min(train_config.steps_per_call, num_steps))
    self._trainer = train.Trainer(self._config, self._data, parallel)
    self._calls = max(1, round(num_steps / self._trainer.per_call))
    self.ready = dict(
        first_call_s=self._advance(1), second_call_s=self._advance(1), devices=parallel.count,
        steps_per_round=self._calls * self._trainer.per_call,
        replicas=len(self._trainer.replicas), resident=self._trainer.feed.resident, dtype=train_config.dtype,
        encode=train_config.encode, alternation=train_config.alternation, batch_size=train_config.batch_size,
        reduction=train_config.reduction, variant=self._config.get("variant"), steps_per_call=self._trainer.per_call,
        steps_per_epoch=-(-self._shape.pairs // train_config.batch_size))

  def _advance(self, calls):
    start = time.perf_counter()
    for _ in range(calls):
      self._trainer.advance()
    jax.block_until_ready(self._trainer.state)
    return time.perf_counter() - start

  def round(self):
    return dict(step_s=self._advance(self._calls) / self.ready["steps_per_round"])

  def finish(self):
    """Memory and FLOPs."""
    trainer, flops = self._trainer, MODEL_FLOPS.get(self._config.method)
    stats = trainer.parallel.local[0].memory_stats() or {}
    memory = {"process ru_maxrss": _max_rss()}
    if "peak_bytes_in_use" in stats:
      memory = {"device peak_bytes_in_use": stats["peak_bytes_in_use"]} | memory
    if hasattr(trainer.step.run, "lower"):
      own = trainer.step.run.lower(trainer.state, trainer.feed.videos,
                                   jax.device_put(trainer.tables)).compile().memory_analysis()
      if own is not None:
        memory["compiled program"] = (own.argument_size_in_bytes + own.output_size_in_bytes + own.temp_size_in_bytes
                                      - own.alias_size_in_bytes)
    count = lambda **how: float(flops(self._config, self._shape, **how)) if flops else None
    return dict(memory_bytes=memory, model_flops=count(), executed_flops=count(shared=self._plain()),
                compiled_flops=compiled_flops(trainer))

  def _plain(self):
    implementation = self._config.get("model", {}).get("implementation", "plain")
    return implementation == "plain" or (implementation == "auto" and jax.default_backend() != "cpu")

  def full(self):
    """Trains from the start to the last epoch, compilation included."""
    self._config.train.epochs, start = self._epochs, time.perf_counter()
    self._trainer = trainer = train.Trainer(self._config, self._data, self._trainer.parallel)
    while int(trainer.state.step) < trainer.total:
      metrics = trainer.advance()
    jax.block_until_ready(trainer.state)
    return dict(steps=trainer.total, seconds=time.perf_counter() - start, loss=float(metrics["loss"].mean()))


class MatmulPeak(Contender):
  """The machine's own limit: large matrix products, in the layouts that are known to be fast."""

  def __init__(self, shape):
    shape = Shape(*shape)
    m, k, n = shape.train_videos * shape.num_segments, shape.width, 2 * shape.num_filters * shape.hidden   # the step's
    cases = {"[M,K] @ [K,N]": ((m, k), (k, n), 1, 0), "[N,K] . [M,K] -> [N,M]": ((n, k), (m, k), 1, 1),
             "[N,M] @ [M,K]": ((n, m), (m, k), 1, 0)}
    if jax.default_backend() != "cpu":
      cases["[8192,8192] @ [8192,8192]"] = ((8192, 8192), (8192, 8192), 1, 0)
    self._cases = []
    for dtype, (name, (left, right, i, j)) in itertools.product(("float32", "bfloat16"), cases.items()):
      product = jax.jit(lambda a, b, i=i, j=j: jax.lax.dot_general(a, b, (((i,), (j,)), ((), ())),
                                                                   preferred_element_type=jnp.float32))
      key = jax.random.key(0)
      operands = [jax.random.normal(key, size, jnp.float32).astype(dtype) for size in (left, right)]
      jax.block_until_ready(product(*operands))
      self._cases.append((dtype, name, product, operands, 2 * left[0] * left[1] * right[1 - j]))
    self.ready = dict(layouts=list(cases))

  def round(self):
    """{dtype: {layout: FLOP/s}}."""
    result = {}
    for dtype, name, product, operands, flops in self._cases:
      repeats = 1
      while True:
        start = time.perf_counter()
        for _ in range(repeats):
          out = product(*operands)
        jax.block_until_ready(out)
        seconds = time.perf_counter() - start
        if seconds > 0.1 or repeats >= 256:
          break
        repeats *= 4
      result.setdefault(dtype, {})[name] = repeats * flops / seconds
    return result


class TorchPeer:
  """Rank-aware attention as the published code is organised (PARITY), in plain PyTorch; written from the paper.

  Both sides of every pair go through three networks (pos, neg, uniform), one module a filter; each filter pools for
  itself, all share one layer, scores are 2 tanh. Losses are means over the batch; one noise sample [T, D] is added to
  the whole batch. Two Adam optimisers take turns, and each clears its own gradients alone, after its step.
  """

  def __init__(self, config, width, *, autocast=False, input_gradient=False):
    """`config` is one of the official variant."""
    import torch
    self._torch, self._loss, self._noise_std = torch, config.loss, config.model.noise_std
    self._autocast, self._input_gradient = autocast, input_gradient
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    nn = torch.nn
    ranker = lambda: nn.Sequential(nn.Linear(width, 1))
    filters = lambda: nn.ModuleList(nn.Sequential(nn.Linear(width, config.model.hidden), nn.ReLU(),
                                                  nn.Linear(config.model.hidden, 1))
                                    for _ in range(config.model.num_filters))
    self.networks = nn.ModuleDict({
        "pos": nn.ModuleDict(dict(att_net=filters(), fc=ranker())),
        "neg": nn.ModuleDict(dict(att_net=filters(), fc=ranker())),
        "uniform": nn.ModuleDict(dict(fc=ranker()))}).to(self.device)
    named = list(self.networks.named_parameters())
    rate = config.train.learning_rate
    attention_rate = rate * float(np.prod([factor for pattern, factor in config.train.rates if pattern == "^filters/"]))
    self.optimisers = (torch.optim.Adam([p for name, p in named if ".fc." in name], lr=rate),
                       torch.optim.Adam([p for name, p in named if ".att_net." in name], lr=attention_rate))

  def _forward(self, name, features):
    """`[B, T, D]` -> `[B, K]` scores, `[B, T, K]` attention (None in the uniform network)."""
    torch, network = self._torch, self.networks[name]
    if name == "uniform":
      pooled, attention = features.mean(dim=1, keepdim=True), None                        # [B, 1, D]
    else:
      attention = torch.softmax(torch.cat([f(features) for f in network["att_net"]], dim=2), dim=1)
      pooled = torch.bmm(attention.transpose(1, 2).to(features.dtype), features)          # [B, K, D]
    return 2 * torch.tanh(network["fc"](pooled)[..., 0]), attention

  def loss(self, better, worse, phase):
    """[] ranking losses (phase 0), or disparity, rank-aware and diversity losses (phase 1)."""
    torch, loss = self._torch, self._loss
    scores, attentions = {}, []
    for name in self.networks:
      (s_better, a_better), (s_worse, a_worse) = self._forward(name, better), self._forward(name, worse)
      scores[name] = s_better, s_worse
      attentions += [a for a in (a_better, a_worse) if a is not None]
    hinge = lambda margin, difference: torch.relu(margin - difference).mean()
    if phase == 0:
      return sum(hinge(loss.margin_rank, b.mean(dim=1) - w.mean(dim=1)) for b, w in scores.values())
    gap = lambda above, below: (scores[above][0] - scores[below][1]).min(dim=1).values
    uniform, weights = gap("uniform", "uniform"), loss.weights
    total = weights.disparity * sum(hinge(loss.margin_disparity, gap(name, name) - uniform) for name in ("pos", "neg"))
    total = total + weights.rank_aware * hinge(loss.margin_rank_aware, gap("pos", "neg") - uniform)
    for attention in attentions:
      attention = attention.float()
      overlap = torch.bmm(attention.transpose(1, 2), attention) - torch.eye(attention.shape[2], device=self.device)
      total = total + weights.diversity * torch.linalg.matrix_norm(overlap).mean()
    return total

  def step(self, better, worse, phase, *, first=False):
    """One update; `better`, `worse` `[B, T, D]`, `first` at the start of an epoch. Returns the loss, on the device."""
    torch = self._torch
    if first:
      self.optimisers[0].zero_grad()
    if self._noise_std:
      noise = self._noise_std * torch.randn(better.shape[1:], device=self.device)
      better, worse = better + noise, worse + noise
    if self._input_gradient:
      better, worse = (x.detach().requires_grad_() for x in (better, worse))
    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
      loss = self.loss(better, worse, phase)
    loss.backward()
    self.optimisers[phase].step()
    self.optimisers[phase].zero_grad()
    return loss.detach()


class TorchContender(Contender):
  """Times the peer; the two tensors of a batch are made before the clock starts."""

  def __init__(self, config, shape, form, num_steps):
    import torch
    words, shape = form.split("+")[1:], Shape(*shape)
    config = ml_collections.ConfigDict(config)
    self._torch, self._shape, self._step = torch, shape, 0
    self._peer = TorchPeer(config, shape.width, autocast="autocast" in words, input_gradient="dx" in words)
    data = random_dataset(shape, config.data.stream)
    self._features = torch.tensor(data.streams[config.data.stream], device=self._peer.device)
    self._pairs = torch.as_tensor(np.array(data.pairs[data.folds[0].train_pairs]), dtype=torch.long)
    self._per_epoch = -(-len(self._pairs) // shape.batch_size)
    config.train.update(encode="siamese", alternation="leaky")
    flops = pros_cons_flops(config, shape, input_gradient="dx" in words)
    cuda = self._peer.device.type == "cuda"
    num_steps = -(-num_steps // 2) * 2 if num_steps else (64 if cuda else 2)
    start = time.perf_counter()
    self._steps(2)
    self.ready = dict(
        first_cycle_s=time.perf_counter() - start, devices=1, replicas=1, batch_size=shape.batch_size, encode="siamese",
        steps_per_round=num_steps, alternation="leaky", dtype="bfloat16" if "autocast" in words else "float32",
        variant="official", steps_per_epoch=self._per_epoch, threads=torch.get_num_threads(), torch=torch.__version__,
        device=torch.cuda.get_device_name() if cuda else "cpu", model_flops=float(flops), executed_flops=float(flops))

  def _steps(self, count):
    synchronise = self._torch.cuda.synchronize if self._peer.device.type == "cuda" else lambda: None
    seconds = 0.0
    for _ in range(count):
      chosen = self._pairs[self._torch.randperm(len(self._pairs))[: self._shape.batch_size]]
      better, worse = (self._features[ids] for ids in chosen.T.to(self._features.device))
      synchronise()
      start = time.perf_counter()
      self._peer.step(better, worse, self._step % 2, first=self._step % self._per_epoch == 0)
      synchronise()
      seconds += time.perf_counter() - start
      self._step += 1
    return seconds

  def round(self):
    return dict(step_s=self._steps(self.ready["steps_per_round"]) / self.ready["steps_per_round"])

  def finish(self):
    memory = {"process ru_maxrss": _max_rss()}
    if self._peer.device.type == "cuda":
      memory = {"device max_memory_allocated": self._torch.cuda.max_memory_allocated()} | memory
    return dict(memory_bytes=memory, compiled_flops=None)


def _max_rss():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Probe(Contender):
  """What JAX sees here; a process of its own, so that the parent holds no device."""

  def __init__(self):
    parallel = Parallel()
    self.ready = report.provenance(parallel) | dict(platform=parallel.devices[0].platform, device_count=parallel.count)


# Processes

CONTENDERS = dict(jax=JaxContender, peak=MatmulPeak, torch=TorchContender, probe=Probe)


class Remote:
  """A contender in a process of its own; a request and its answer are one line of JSON each."""

  def __init__(self, kind, **arguments):
    self._kind = kind
    self._process = _spawn("work", stdin=subprocess.PIPE)
    try:
      self.ready = self._ask(dict(kind=kind, arguments=arguments))
    except BaseException:
      self.close()
      raise

  def _ask(self, request):
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise ValueError(f"the process of a contender ({self._kind}) ended with code {self._process.wait()}; its own "
                       "message, if any, stands above. A code of -9 is often a lack of memory: use fewer --forms.")
    answer = json.loads(line)
    if "error" in answer:
      raise ValueError(answer["error"])
    return answer

  def round(self):
    return self._ask("round")

  def finish(self):
    return self._ask("finish")

  def full(self):
    return self._ask("full")

  def close(self):
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()


def _spawn(function, *arguments, environment=(), **options):
  """A fresh Python that calls one function of this file."""
  root = str(pathlib.Path(__file__).resolve().parents[1])
  env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | dict(environment)
  env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
  env.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")        # several processes share a GPU
  code = f"from jaxskill import benchmark; benchmark.{function}()"
  command = [sys.executable, "-c", code, *arguments]
  return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, **options)


def _answers():
  """A file for answers; whatever else is printed goes to the error stream."""
  out = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  return out


def work():
  """The process of a `Remote`."""
  out, contender = _answers(), None
  for line in sys.stdin:
    request = json.loads(line)
    try:
      if contender is None:
        contender = CONTENDERS[request["kind"]](**request["arguments"])
        answer = contender.ready
      else:
        answer = getattr(contender, request)()
    except (ValueError, ImportError, RuntimeError, FloatingPointError) as error:
      answer = dict(error=f"{type(error).__name__}: {error}")
    print(json.dumps(answer), file=out, flush=True)


# Start-up and loading


def start():
  """A fresh process that starts as `jaxskill.main` does and takes two cycles; prints where the time went."""
  out = _answers()
  config, spawned = ml_collections.ConfigDict(json.loads(sys.argv[1])), float(sys.argv[2])
  marks = {"python and imports": time.monotonic() - spawned}

  def mark(name):
    marks[name] = time.monotonic() - spawned - sum(marks.values())
  from jaxskill import data, feed, main
  main.use_compilation_cache()
  parallel = Parallel()
  mark("devices")
  dataset = data.load(config.data)
  mark("data set")
  trainer = train.Trainer(config, dataset, parallel)
  jax.block_until_ready((trainer.state, trainer.feed.videos))
  mark("features on the device, initial state")
  trainer.advance()
  mark("first cycle")
  trainer.advance()
  mark("second cycle")
  loads = []
  for _ in range(5):
    begun = time.monotonic()
    dataset = data.load(config.data)
    mapped = time.monotonic()
    placed = feed.Feed(dataset, dataset.folds, parallel, streams=(config.data.stream,), dtype=config.train.dtype,
                       budget=config.data.device_budget)
    jax.block_until_ready([videos for _, videos in placed.all_videos(dataset.num_videos)])
    loads.append((mapped - begun, time.monotonic() - mapped))
  mapped, placed = np.median(loads, axis=0)
  print(json.dumps(dict(marks=marks, map_s=mapped, place_s=placed, videos=dataset.num_videos)), file=out, flush=True)


def measure_start(config, shape, say, rounds=3):
  """Times loading and starting on simulated features in the official layout, in a temporary folder.

  Returns:
    prepare_s (once in a data set's life), map_s and place_s of all videos, npz_batch_s (what reading two npz files a
    pair, as the published loader does, takes for one batch), cold and warm starts; or {"error": why not}.
  """
  with tempfile.TemporaryDirectory(prefix="jaxskill_benchmark_") as folder:
    folder = pathlib.Path(folder)
    try:
      begun = time.perf_counter()
      files, options = _official_layout(folder, shape), dict(dir=str(folder / "best"), name="best", task="origami")
      say(f"wrote {len(files)} npz files in {time.perf_counter() - begun:.1f} s")
      from jaxskill.data import official
      begun = time.perf_counter()
      official.load_official("best", options["dir"], "origami")
      result = dict(prepare_s=time.perf_counter() - begun)
    except Exception as error:      # a missing package of the data layer is worth a line, not the whole benchmark
      return dict(error=f"start-up was not measured: {type(error).__name__}: {error}")
    result["npz_batch_s"] = _npz_batch(files, shape)
    config = ml_collections.ConfigDict(json.loads(config.to_json()))
    config.data.update(options)
    config.train.steps_per_call = 1           # rounded up to a cycle
    starts = []
    for index in range(rounds + 1):
      say("cold start" if index == 0 else f"warm start {index}")
      spawned = time.monotonic()
      process = _spawn("start", config.to_json(), repr(spawned),
                       environment=dict(JAX_COMPILATION_CACHE_DIR=str(folder / "cache")))
      answer, _ = process.communicate()
      if process.returncode:
        return result | dict(error=f"a fresh process failed to start (code {process.returncode}); see above.")
      answer = json.loads(answer)
      cycles = answer["marks"]["first cycle"], answer["marks"].pop("second cycle")
      answer["start_to_first_cycle_s"] = sum(answer["marks"].values())
      answer["second_cycle_s"], answer["compile_or_load_s"] = cycles[1], cycles[0] - cycles[1]
      starts.append(answer)
    result["cold"] = starts[0]
    result["warm"] = sorted(starts[1:], key=lambda s: s["start_to_first_cycle_s"])[len(starts[1:]) // 2]
    result |= {name: result["warm"][name] for name in ("map_s", "place_s", "videos")}
    return result | dict(dtype=config.train.dtype)


def _official_layout(folder, shape):
  """Simulated features of one task in the layout of BEST; returns the npz files."""
  from jaxskill.data import official, simulated
  data = random_dataset(shape._replace(num_segments=1, width=1), "rgb")
  splits = folder / "labels" / "splits" / "origami"
  splits.mkdir(parents=True)
  fold, name = data.folds[0], lambda i: data.videos[i]
  for file, rows in zip(official.FOLD_FILES["best"]["official"], (fold.train_pairs, fold.test_pairs)):
    (splits / file).write_text("".join(f"{name(a)} {name(b)}\n" for a, b in data.pairs[rows]))
  for file, ids in zip(official.VIDEO_LISTS["best"], (fold.train_videos, fold.test_videos)):
    (splits / file).write_text("".join(f"{name(i)}\n" for i in ids))
  simulated.write_like(folder / "labels", folder / "best", num_segments=shape.num_segments, width=shape.width)
  return sorted((folder / "best" / "features").rglob("*.npz"))


def _npz_batch(files, shape, repeats=3):
  """Seconds to read and stack both videos of every pair of one batch from npz files, in the page cache."""
  rng, seconds = np.random.default_rng(0), []
  for _ in range(repeats + 1):                 # the first fills the page cache
    chosen = rng.integers(len(files), size=(2, shape.batch_size))
    begun = time.perf_counter()
    for side in chosen:
      np.stack([np.load(files[i])["arr_0"] for i in side])
    seconds.append(time.perf_counter() - begun)
  return float(np.median(seconds[1:]))


# The whole


def run(config, official, shape_name, *, forms=(), peer="", num_steps=0, rounds=0, full=False, start_up=None,
        say=print):
  """Runs the benchmark.

  Args:
    config: base config; data, batch size and sizes of the model come from the shape.
    official: see `configure`.
    shape_name: a key of `SHAPES`.
    forms: what to time; () for the usual ones.
    peer: "torch" or "".
    num_steps: steps of a round; 0 for one cycle on a CPU, 10 compiled calls elsewhere.
    rounds: rounds of every contender; 0 for 5, or 3 with the peer.
    full: train 2000 epochs with every form of ours as well.
    start_up: measure loading and start-up; None for only at the paper's shape.
    say: gets progress.

  Returns:
    All numbers, ready for JSON.

  Raises:
    ValueError: for what is unknown or not there.
  """
  if shape_name not in SHAPES:
    raise ValueError(f"--shape={shape_name} is unknown; use one of {', '.join(SHAPES)}.")
  if peer not in ("", "torch"):
    raise ValueError(f"--peer={peer} is unknown; the only peer is torch.")
  if peer and config.method != "pros_cons":
    raise ValueError(f"--peer torch computes pros_cons, not {config.method}; leave --peer out.")
  if num_steps < 0 or rounds < 0:
    raise ValueError(f"--steps={num_steps} and --rounds={rounds} must not be negative.")
  shape, rounds = SHAPES[shape_name], rounds or (3 if peer else 5)
  chosen = list(forms) or [f for f in FORMS] + ([f for f in PEER_FORMS] if peer else [])
  if forms and peer and not any(_is_peer(f) for f in forms):
    chosen += [f for f in PEER_FORMS if _is_peer(f)]
  if any(map(_is_peer, chosen)) and not _torch_is_there():
    raise ValueError(NO_TORCH)
  configs = {}
  for form in dict.fromkeys(chosen):
    if _is_peer(form):
      unknown = set(form.split("+")) - {"torch", "dx", "autocast"}
      if unknown or not official:
        raise ValueError(f"form {form!r}: " + (f"{unknown.pop()!r} is unknown; use torch, torch+dx, torch+autocast."
                                               if unknown else "this config has no function official()."))
      configs[form] = configure(config, "official", shape, official)
    else:
      configs[form] = configure(config, form, shape, official)

  probe = Remote("probe")
  probe.close()
  machine = probe.ready
  if machine["device_count"] > 1 and not forms:
    counts = [2 ** i for i in range(machine["device_count"].bit_length()) if 2 ** i < machine["device_count"]]
    configs |= {f"bfloat16+D{n}": configure(config, f"bfloat16+D{n}", shape, official) for n in counts}
  # A TPU belongs to one process at a time, so there all contenders of ours share this one.
  alone = machine["platform"] == "tpu"
  place = lambda kind, **arguments: (CONTENDERS[kind] if alone and kind != "torch" else Remote)(
      **(arguments if alone and kind != "torch" else dict(kind=kind) | arguments))

  samples, finished = {}, {}
  with contextlib.ExitStack() as stack:
    contenders = {}
    for form, (own, devices) in configs.items():
      say(f"setting up {form}")
      own = json.loads(own.to_json())
      contenders[form] = (place("torch", config=own, shape=shape, form=form, num_steps=num_steps) if _is_peer(form) else
                          place("jax", config=own, shape=shape, devices=devices, num_steps=num_steps))
      stack.callback(contenders[form].close)
    say("setting up the matmul peak")
    peak = place("peak", shape=shape)
    stack.callback(peak.close)
    peaks = []
    for index in range(rounds):
      for form, contender in contenders.items():
        samples.setdefault(form, []).append(contender.round()["step_s"])
        say(f"round {index + 1} of {rounds}: {form} {1e3 * samples[form][-1]:.3g} ms/step")
      peaks.append(peak.round())
    for form, contender in contenders.items():
      say(f"finishing {form}")
      finished[form] = contender.ready | contender.finish()
      if full and not _is_peer(form):
        finished[form]["full"] = contender.full()
  layouts = {dtype: {name: float(np.median([p[dtype][name] for p in peaks])) for name in values}
             for dtype, values in peaks[0].items()}
  best = {dtype: max(values.values()) for dtype, values in layouts.items()}
  results = {form: _figures(samples[form], finished[form], shape, None if _is_peer(form) else best) for form in samples}
  whole = dict(
      benchmark="training step, features in memory", method=config.method, shape_name=shape_name, shape=shape._asdict(),
      rounds=rounds, machine=machine | dict(cpus=os.cpu_count(), load_average=os.getloadavg()[0],
                                            processor=platform.processor() or platform.machine()),
      environment={k: v for k, v in sorted(os.environ.items()) if k.startswith(ENVIRONMENT)},
      processes="one for all forms" if alone else "one a form", matmul_flops_per_s=layouts, matmul_peak=best,
      forms=results, ratios=_ratios(samples))
  whole["machine"]["command"] = sys.argv
  if peer or (shape_name == "paper" if start_up is None else start_up):
    base = configure(config, "float32", shape, official)[0]
    if shape_name == "paper" if start_up is None else start_up:
      whole["start_up"] = measure_start(base, shape, say)
    else:
      with tempfile.TemporaryDirectory(prefix="jaxskill_benchmark_") as folder:
        whole["start_up"] = dict(npz_batch_s=_npz_batch(_official_layout(pathlib.Path(folder), shape), shape))
  return whole


def _is_peer(form):
  return form.split("+")[0] == "torch"


def _torch_is_there():
  try:
    import torch  # noqa: F401
    return True
  except ImportError:
    return False


def _figures(seconds, known, shape, peak):
  """What follows from the rounds of one contender; rates are those of the median round."""
  step_s, replicas = float(np.median(seconds)), known["replicas"]
  videos = 2 * known["batch_size"] if known["encode"] == "siamese" else shape.train_videos
  flops = known["executed_flops"]
  steps_per_s = 1 / step_s
  compilation = {}
  if "first_call_s" in known:
    later = min(known["second_call_s"], known["steps_per_call"] * min(seconds))
    compilation["compile_s"] = max(0.0, known["first_call_s"] - later)
  return known | compilation | dict(
      ms_per_step=dict(median=1e3 * step_s, min=1e3 * min(seconds), max=1e3 * max(seconds),
                       rounds=[1e3 * s for s in seconds]),
      steps_per_s=steps_per_s, pairs_per_s=steps_per_s * known["batch_size"] * replicas,
      encodes_per_s=steps_per_s * videos * replicas,
      flops_per_s=flops * steps_per_s if flops else None,
      peak_share=flops * steps_per_s / (peak[known["dtype"]] * known["devices"]) if flops and peak else None,
      estimated_task_s=PAPER_EPOCHS * known["steps_per_epoch"] * step_s)


def _ratios(samples):
  """How many times faster, round by round against the peer and against the first form: median over the rounds."""
  against = [form for form in samples if _is_peer(form)] + [form for form in samples if not _is_peer(form)][:1]
  times = lambda form, other: float(np.median(np.divide(samples[other], samples[form])))
  return {form: {other: times(form, other) for other in against if other != form}
          for form in samples if not _is_peer(form)}


# What is printed


def describe(results):
  """The results as text."""
  machine, shape = results["machine"], Shape(**results["shape"])
  units = (12, "T"), (9, "G"), (6, "M"), (0, "")
  rate = lambda x: next(f"{x / 10 ** n:.3g} {unit}" for n, unit in units if x >= 10 ** n) if x else "-"
  size = lambda x: f"{x / 1e9:.2f} GB" if x >= 1e8 else f"{x / 1e6:.1f} MB"
  lines = [
      f"{results['method']}, shape {results['shape_name']}: {shape.batch_size} pairs a step of {shape.train_videos} "
      f"videos, {shape.num_segments} x {shape.width}, {shape.num_filters} filters a module, {shape.hidden} hidden",
      f"{machine['device_count']} device(s), {machine['devices'][0]}; {machine['cpus']} CPU cores, load average "
      f"{machine['load_average']:.1f} at the end; jax {machine['versions']['jax']}",
      "environment: " + (" ".join(f"{k}={v}" for k, v in results["environment"].items()) or "default"),
      "Features are in memory: no input pipeline is inside these times. ms/step: median (range) of "
      f"{results['rounds']} interleaved rounds, each the mean over whole cycles",
      "(one step of every phase); compilation apart.",
      "matmul peak, measured in the same rounds: " + ", ".join(
          f"{dtype} {rate(results['matmul_peak'][dtype])}FLOP/s in {max(values, key=values.get)}"
          for dtype, values in results["matmul_flops_per_s"].items()), ""]
  header = ["form", "dtype", "batch", "compile s", "ms/step (range)", "steps/s", "pairs/s", "encodes/s", "FLOP/step",
            "by XLA", "FLOP/s", "of peak", "memory"]
  rows = []
  for form, own in results["forms"].items():
    times = own["ms_per_step"]
    batch = f"{own['batch_size']}" + (f" x {own['replicas']}" if own["replicas"] > 1 else "")
    digits = lambda x: f"{x:.0f}" if x >= 100 else f"{x:.3g}"
    rows.append([
        form, own["dtype"], batch, f"{own['compile_s']:.1f}" if "compile_s" in own else "-",
        f"{digits(times['median'])} ({digits(times['min'])}..{digits(times['max'])})", digits(own["steps_per_s"]),
        digits(own["pairs_per_s"]), digits(own["encodes_per_s"]), rate(own["executed_flops"]),
        rate(own["compiled_flops"]), rate(own["flops_per_s"]),
        f"{100 * own['peak_share']:.0f} %" if own["peak_share"] else "-",
        size(next(iter(own["memory_bytes"].values())))])
  widths = [max(map(len, column)) for column in zip(header, *rows)]
  lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
  sources = dict.fromkeys(next(iter(own["memory_bytes"])) for own in results["forms"].values())
  lines += ["", "FLOP/step: products with features, by hand (forward and weight gradients, mean over a cycle); by XLA: "
            "cost_analysis() of one cycle in the plain form,",
            "where a ranking and an attention step share the filters' forward product; the chunked form (CPUs) does it "
            "twice;", "pairs/s: of whole batches, all replicas; memory: " + ", ".join(sources)
            + (", all forms so far in this process" if results["processes"] == "one for all forms" else "") + "."]
  for form, own in results["forms"].items():
    if len(own["memory_bytes"]) > 1 and "compiled program" in own["memory_bytes"]:
      lines += [f"compiled program of {form} (arguments, results, temporaries): "
                f"{size(own['memory_bytes']['compiled program'])}"]
      break
  if results["ratios"] and any(results["ratios"].values()):
    against = list(dict.fromkeys(name for values in results["ratios"].values() for name in values))
    lines += ["", "times faster per step (median over rounds) than " + ", ".join(against)]
    wide = max(map(len, results["ratios"]))
    for form, values in results["ratios"].items():
      cells = (f"{name} {values[name]:.3g}x" for name in against if name in values)
      lines += [f"  {form.ljust(wide)}  " + "  ".join(cells)]
  lines += ["", f"A whole task at these rates ({PAPER_EPOCHS} epochs of {shape.pairs} pairs; arithmetic, not a run):"]
  lines += [f"  {form}: {_duration(own['estimated_task_s'])}" for form, own in results["forms"].items()]
  for form, own in results["forms"].items():
    if "full" in own:
      lines += [f"  {form}, really trained: {own['full']['steps']} steps in {_duration(own['full']['seconds'])}, "
                "compilation included"]
  return "\n".join(lines + _describe_start(results, shape))


def _describe_start(results, shape):
  own = results.get("start_up")
  if not own:
    return []
  lines = ["", "loading and start-up (simulated features on disk, in the page cache)"]
  if "npz_batch_s" in own:
    lines += [f"  reading two npz files a pair, as the published loader does: {1e3 * own['npz_batch_s']:.0f} ms a "
              f"batch of {shape.batch_size} pairs, on top of the peer's step (one process)"]
  if "prepare_s" in own:
    lines += [f"  preparing the official layout, once: {own['prepare_s']:.1f} s"]
  if "map_s" in own:
    lines += [f"  {own['videos']} prepared videos: mapped and checked in {1e3 * own['map_s']:.0f} ms, put on the "
              f"device in {1e3 * own['place_s']:.0f} ms"]
  for name, bar in (("cold", 8.0), ("warm", 2.5)):
    if name in own:
      parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in own[name]["marks"].items())
      lines += [f"  {name} start to the end of the first cycle, {own['dtype']}: "
                f"{own[name]['start_to_first_cycle_s']:.2f} s ({parts}; a later cycle "
                f"{own[name]['second_cycle_s']:.2f}); aim < {bar} s"]
  return lines + ([f"  {own['error']}"] if "error" in own else [])


def _duration(seconds):
  if seconds < 120:
    return f"{seconds:.1f} s"
  return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _read_config(path, overrides):
  """(config, its file's function official() or None); `overrides` are --config.FIELD=VALUE."""
  values = flags.FlagValues()                 # its own, for jaxskill.main has a flag of that name
  arguments = ["benchmark", f"--config={path}", *overrides]
  config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=arguments)
  values(arguments)
  spec = importlib.util.spec_from_file_location("benchmark_config", path.split(":")[0])
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return values.config, getattr(module, "official", None)


def main(argv=None):
  lines = __doc__.strip().splitlines()
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark", description=lines[0], allow_abbrev=False,
                                   epilog="\n".join(lines[1:]), formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", required=True, help="config file; --config.FIELD=VALUE overrides")
  parser.add_argument("--shape", default="paper", help=f"sizes: {', '.join(SHAPES)}")
  parser.add_argument("--forms", default="", help=f"comma-separated; default {','.join(FORMS)}")
  parser.add_argument("--peer", default="", help=f"torch: also {','.join(PEER_FORMS)}")
  parser.add_argument("--steps", type=int, default=0, help="of a round; default one cycle on a CPU, else 10 calls")
  parser.add_argument("--rounds", type=int, default=0, help="default 5, with --peer 3")
  parser.add_argument("--start-up", action=argparse.BooleanOptionalAction, default=None,
                      help="loading and start-up; default at shape paper")
  parser.add_argument("--full", action="store_true", help=f"really train {PAPER_EPOCHS} epochs with every form of ours")
  parser.add_argument("--json", default="", help="file for all numbers")
  options, overrides = parser.parse_known_args(argv)
  for word in overrides:
    if not word.startswith("--config."):
      parser.error(f"unrecognised argument {word!r}")
  try:
    if options.json and not pathlib.Path(options.json).resolve().parent.is_dir():
      raise ValueError(f"--json={options.json}: there is no such folder; make it first.")
    config, official = _read_config(options.config, overrides)
    results = run(config, official, options.shape, forms=[f for f in options.forms.split(",") if f], peer=options.peer,
                  num_steps=options.steps, rounds=options.rounds, full=options.full, start_up=options.start_up,
                  say=lambda text: print(text, file=sys.stderr, flush=True))
    print(describe(results))
    if options.json:
      report.save_json(options.json, results)
      print(f"\nwrote {options.json}")
  except (ValueError, OSError, AttributeError, flags.Error) as error:
    print(f"\njaxskill: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
  main()
