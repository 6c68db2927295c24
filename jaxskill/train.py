"""The one training loop: knows no method by name.

Replicas (folds x seeds x loss weights of ablations) train as one program; between compiled calls the loop logs,
evaluates, saves and listens for signals.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import json
import os
import pathlib
import re
import signal
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from jaxskill import data, evaluate, exemplars, feed, finished, floors, methods, panel, report, steps
from jaxskill.checkpoints import Checkpoints
from jaxskill.parallel import Parallel
from jaxskill.precision import single_precision


class Replica(NamedTuple):
  """One of the models that train together; `weights` override `config.loss.weights`."""

  row: str
  fold: int
  seed: int
  weights: dict
  criterion: str = "score"


def plan(config, dataset):
  """Replicas of a config: rows of loss weights x criteria x folds x seeds."""
  rows, criteria = config.get("weight_rows", (("", {}),)), config.data.get("criteria", ("score",))
  named = lambda row, criterion: " ".join(filter(None, (row, criterion if len(criteria) > 1 else "")))
  replicas = [Replica(named(row, criterion), fold, int(seed), dict(weights), criterion) for row, weights in rows
              for criterion in criteria for fold in range(len(dataset.folds)) for seed in config.seeds]
  if not criteria:
    raise ValueError("config.data.criteria is empty; give at least one, e.g. --config.data.criteria='(\"score\",)'.")
  if any(r.seed < 0 for r in replicas):
    raise ValueError(f"config.seeds={tuple(config.seeds)}: a seed must not be negative.")
  if not replicas:
    raise ValueError("config.seeds is empty; give at least one seed, e.g. --config.seeds='(0,)'.")
  return replicas


def make_tables(config, dataset, replicas, local, learns_from="pairs", group=None, panels=None):
  """The training items of every replica in the numbering `local` gives their videos, its steps and its key.

  Args:
    group: `[V]` of `exemplars.groups`, where the method has exemplars.
    panels: (`[V, R, M]` references of every video, `[V, R, M]` mask), where it learns from references.
  """
  folds, groups = [dataset.folds[r.fold] for r in replicas], None
  if learns_from == "pairs":
    items = [dataset.pairs[fold.train_pairs] for fold in folds]
    if config.train.get("pair_order") == "random":
      items = [_shuffled(pairs, r.seed) for pairs, r in zip(items, replicas)]
  elif learns_from == "videos":
    items = [fold.train_videos[:, None] for fold in folds]
  elif learns_from == "references":
    items = [exemplars.with_references(fold.train_videos, *(x[:, r] for x in panels)) for r, fold in enumerate(folds)]
  else:
    found = [exemplars.training_items(group, fold.train_videos) for fold in folds]
    items, groups = [videos[:, None] for videos, _ in found], _padded([runs for _, runs in found])
  count = np.array([len(own) for own in items], np.int32)
  per_epoch = -(-count // config.train.batch_size)
  keys = jax.vmap(jax.random.key)(jnp.array([r.seed for r in replicas], jnp.uint32))
  criteria = list(dict.fromkeys(r.criterion for r in replicas))
  criterion = None if learns_from == "pairs" else np.array([criteria.index(r.criterion) for r in replicas], np.int32)
  share = config.train.get("epochs_share", {})
  epochs = np.array([max(1, round(config.train.epochs * share.get(fold.name, 1.0))) for fold in folds])
  return steps.Tables(_padded([local(own) for own in items]), count, (per_epoch * epochs).astype(np.int32), keys, groups,
                      criterion)


def _shuffled(pairs, seed):
  """`[P, 2]` pairs, half of them turned round at random: labels that have nothing to do with skill."""
  turned = np.random.default_rng(seed).random(len(pairs)) < 0.5
  return np.where(turned[:, None], pairs[:, ::-1], pairs)


def _padded(tables):
  """`[n_r, k]` int32 tables -> `[R, max n, k]`, zeros behind."""
  result = np.zeros((len(tables), max(map(len, tables)), tables[0].shape[1]), np.int32)
  for row, own in zip(result, tables):
    row[: len(own)] = own
  return result


def check(config):
  """Raises a `ValueError` for an option that cannot be, before anything is read or written."""
  train = config.train
  counts = ("epochs", "steps_per_call", "eval_steps", "checkpoint_steps", "keep_checkpoints")
  for group, name in (*(("train", name) for name in counts), ("evaluate", "draws")):
    if name in config[group] and config[group][name] < 1:
      raise ValueError(f"config.{group}.{name}={config[group][name]} must be at least 1.")
  for group, name, allowed in (("train", "encode", ("unique", "batch", "siamese")), ("train", "reduction", ("sum", "mean")),
                               ("train", "dtype", ("float32", "bfloat16")), ("train", "optimizer", ("adam", "sgd")),
                               ("train", "pair_order", ("labelled", "random")),
                               ("evaluate", "ties", ("half", "wrong")),
                               ("evaluate", "rl2_range", ("class", "test"))):
    if name in config[group] and config[group][name] not in allowed:
      raise ValueError(f"config.{group}.{name}={config[group].get(name)!r} is unknown; use one of {', '.join(allowed)}.")
  if not train.get("clip_norm", 0) >= 0:
    raise ValueError(f"config.train.clip_norm={train.clip_norm} must be at least 0, which clips no gradient.")
  for pattern, _ in train.rates:
    try:
      re.compile(pattern)
    except re.error as error:
      raise ValueError(f"config.train.rates: {pattern!r} is not a regular expression ({error}).") from None
  if config.evaluate.get("svr"):
    floors.check_svr()
  methods.build(config)


class Trainer:
  """A config made ready: data on the devices, functions compiled, the state at step 0.

  Attributes:
    dataset, replicas, parallel, feed, method, tables, state; total: steps to take; per_call: steps of one call; metric:
      what models are compared and chosen by, "accuracy" of pairs or "spearman" of scores.
  """

  def __init__(self, config, dataset, parallel):
    train = config.train
    parallel.check_batch(train.batch_size)
    self.method = methods.build(config)
    if self.method.note:
      dataset = dataclasses.replace(dataset, name=f"{self.method.note}: {dataset.name}")
    self.config, self.dataset, self.parallel = config, dataset, parallel
    self.metric = "accuracy" if self.method.learns_from == "pairs" else "spearman"
    self._check_folds()
    self.replicas = plan(config, dataset)
    prepared = [self.method.prepare(dataset, dataset.folds[r.fold], r.criterion) for r in self.replicas]
    learns_from = self.method.learns_from
    group = exemplars.groups(dataset, config.model.exemplars.same) if learns_from in methods.COMPARING else None
    labels = self._labels()
    self.panel = panel.Panel(self, group, labels)
    self.feed = feed.Feed(dataset, [dataset.folds[r.fold] for r in self.replicas], parallel, streams=self.method.streams,
                          dtype=train.dtype, budget=config.data.device_budget, labels=labels)
    panels = self.exemplars() if learns_from == "references" else None
    self.tables = make_tables(config, dataset, self.replicas, self.feed.local, learns_from, group, panels)
    phases = len(self.method.phases)
    self.total = int(self.tables.steps.max())
    whole = lambda n: -(-n // phases) * phases
    self.per_call = whole(min(train.steps_per_call, self.total))
    per_epoch = -(-int(self.tables.count.min()) // train.batch_size)
    named = train.batch_size * len(self.replicas) * (2 if learns_from in ("pairs", "exemplars") else 1)
    named += len(np.unique(self.tables.items[..., 1:])) if learns_from == "references" else 0
    self.num_unique = self.parallel.padded(min(named, len(self.feed.train)))
    self.step = steps.make_step(config, self.method, parallel, steps_per_call=self.per_call,
                                epochs_per_call=self.per_call // per_epoch + 2, num_unique=self.num_unique)
    self.state = self._initial_state(prepared)
    self._tables = parallel.replicate(self.tables)

  def _check_folds(self):
    dataset, learns_from = self.dataset, self.method.learns_from
    for fold in dataset.folds:
      for side in ("train", "test"):
        kind = "pairs" if learns_from == "pairs" else "videos"
        if not len(getattr(fold, f"{side}_{kind}")):
          raise ValueError(f"{dataset.source}: fold {fold.name!r} has no {side} {kind}; check the split column, the tie "
                           "margin and config.data.test_share, so that both sides have videos of different skill.")
      if learns_from in methods.COMPARING:
        same = self.config.model.exemplars.same
        exemplars.check(dataset, fold, exemplars.groups(dataset, same), same)

  def _labels(self):
    """{"score": `[V, criteria]` to be learnt, "difficulty": `[V]`}, as far as the data set and the method have them."""
    labels, names = {}, self.config.data.get("criteria", ("score",))
    if self.method.learns_from != "pairs":
      labels["score"] = np.stack([self.method.targets(self.dataset, name) for name in names], axis=1)
    if self.dataset.difficulty is not None:
      labels["difficulty"] = np.asarray(self.dataset.difficulty, np.float32)
    return labels

  def _initial_state(self, prepared):
    statistics, folds = {}, [r.fold for r in self.replicas]
    if self.config.data.standardize:
      training = {f: self.dataset.folds[f].train_videos for f in set(folds)}
      by_fold = {f: feed.channel_statistics(self.dataset, videos, self.method.streams) for f, videos in training.items()}
      statistics = jax.tree.map(lambda *x: np.stack(x), *(by_fold[f] for f in folds))
    statistics |= jax.tree.map(lambda *x: np.stack(x), *prepared)
    names = self.config.loss.weights.keys()
    overrides = {name: np.array([r.weights.get(name, self.config.loss.weights[name]) for r in self.replicas],
                                np.float32) for name in names}
    return self.parallel.replicate(self.step.init(self.tables.keys, self.feed.sample(), statistics, overrides))

  def restore(self, checkpoints):
    """Takes the state of the newest good checkpoint; returns its step, None if there is none."""
    restored = checkpoints.restore(self.state)
    if restored:
      self.state = self.parallel.replicate(restored[1])
    return restored and restored[0]

  def assess(self, *, everything=False, draw=0):
    """Assessments of all videos by all replicas as host arrays `[R, V, ...]`; scores and parts alone by default.

    Args:
      draw: of the exemplars, where the method has some.
    """
    return self.panel.assess(self.state, everything, draw)

  def measure(self):
    """The scores of every replica at the present step, see `evaluate`."""
    scores, parts = self.assess()
    return [self.measured(i, scores[i], {k: v[i] for k, v in parts.items()}) for i in range(len(self.replicas))]

  def measured(self, index, scores, parts):
    """`evaluate.measure` or `evaluate.measure_scores` of `[V]` scores of one replica."""
    replica, options = self.replicas[index], self.config.evaluate
    fold = self.dataset.folds[replica.fold]
    if self.metric == "accuracy":
      return evaluate.measure(self.dataset, fold, scores, parts, options.ties)
    return evaluate.measure_scores(fold, self.dataset.labels(replica.criterion), scores, options.rl2_range)

  def exemplars(self, draw=0):
    """(`[V, R, M]` numbers of the exemplars of every video, `[V, R, M]` mask) of one draw."""
    return self.panel.exemplars(draw)

  def advance(self):
    """Takes `per_call` steps; returns {metric: `[R]` mean over the call, nan for a replica that stood still}.

    Raises:
      FloatingPointError: if a loss is not finite; the state is then unusable, the last checkpoint is not.
    """
    first = int(self.state.step)
    if self.feed.resident:
      self.state, metrics = self.step.run(self.state, self.feed.videos, self._tables)
    else:
      phases, collected = len(self.method.phases), []
      draw = lambda step: self.step.draw(self._tables, np.int32(step))
      for videos, batches in self.feed.stream(draw, first, first + self.per_call, phases, self.num_unique):
        self.state, metrics = self.step.run_batches(self.state, videos, self._tables, batches)
        collected.append(metrics)
      metrics = jax.tree.map(lambda *x: jnp.concatenate(x), *collected)
    metrics = jax.tree.map(np.asarray, metrics)
    self._check_finite(first, metrics)
    names = dict.fromkeys(name for phase in metrics for name in phase)
    over = lambda name, i: np.sum([np.sum(phase[name][i], axis=0) for phase in metrics if name in phase], axis=0)
    totals = {name: (over(name, 0), over(name, 1)) for name in names}
    return {name: np.where(count > 0, value / np.maximum(count, 1), np.nan) for name, (value, count) in totals.items()}

  def _check_finite(self, first, metrics):
    losses = np.stack([phase["loss"][0] for phase in metrics], axis=1).reshape(-1, len(self.replicas))   # [steps, R]
    bad = np.argwhere(~np.isfinite(losses))
    if bad.size:
      step, replica = bad[0]
      row, fold, seed, *_ = self.replicas[replica]
      raise FloatingPointError(
          f"the loss is not finite at step {first + step + 1} ({row + ', ' if row else ''}fold "
          f"{self.dataset.folds[fold].name}, seed {seed}); lower config.train.learning_rate or check the features. "
          "The last good checkpoint is untouched.")


@single_precision()
def run(config, workdir, dataset=None):
  """Trains and evaluates `config`; everything is written below `workdir`.

  Args:
    config: see `configs/`.
    workdir: a folder, made if need be; one that holds checkpoints of this config is gone on with.
    dataset: what `data.load(config.data)` returns, if it is at hand.

  Returns:
    The results that were written to `results.json` (an empty dict where another host writes), or None if a signal
    stopped the run before its end.

  Raises:
    ValueError: for a config, data or workdir that cannot be used, with the remedy.
    FloatingPointError: if a loss is not finite.
  """
  started = time.perf_counter()
  parallel = Parallel()
  workdir = pathlib.Path(workdir)
  check(config)
  dataset = dataset or data.load(config.data)
  facts = data.audit(dataset)
  say = print if parallel.main else (lambda *_: None)
  say(f"{dataset.name}\n{data.describe_audit(facts)}")
  trainer = Trainer(config, dataset, parallel)
  if parallel.main:
    claim(workdir, config)
  place = "on the device" if trainer.feed.resident else "streamed"
  say(f"{len(trainer.replicas)} replica(s), {trainer.total} steps of {config.train.batch_size} "
      f"{methods.ITEMS[trainer.method.learns_from]}, {parallel.count} {parallel.devices[0].device_kind} device(s), features {place}"
      + (f"; {trainer.method.note}" if trainer.method.note else ""))
  with Checkpoints(workdir / "checkpoints", keep=config.train.keep_checkpoints, best=True) as checkpoints:
    restored = trainer.restore(checkpoints)
    if restored is not None:
      say(f"resumed from step {restored}")
    step = int(trainer.state.step)
    log = Log(workdir, step, parallel.main)
    with log, StopSignal() as stop, tqdm.tqdm(total=trainer.total, initial=step, unit="step", dynamic_ncols=True,
                                              disable=not parallel.main) as bar:
      if restored is None:
        checkpoints.save(0, trainer.state)
      while step < trainer.total:
        before, begun = step, time.perf_counter()
        metrics = trainer.advance()
        step = int(trainer.state.step)
        crossed = lambda every: step // every > before // every or step == trainer.total
        log.metrics(step, metrics, (step - before) / (time.perf_counter() - begun))
        bar.update(step - before)
        bar.set_postfix({name: f"{_mean(metrics[name]):.3g}" for name in ("loss", "accuracy", "error") if name in metrics})
        validation = None
        if crossed(config.train.eval_steps):
          validation = log.evaluation(step, trainer.measure())
        stopping = _anywhere(stop.asked)
        if crossed(config.train.checkpoint_steps) or stopping:
          checkpoints.save(step, trainer.state, validation=validation)
        if stopping and step < trainer.total:
          break
      else:
        if not log.history or log.history[-1]["step"] != step:        # evaluations.jsonl was lost
          log.evaluation(step, trainer.measure())
    if step < trainer.total:
      checkpoints.wait()
      say(f"stopped by a signal at step {step} of {trainer.total}; the same command goes on from there ({workdir})")
      return None
    checkpoints.wait()
    assessments = trainer.assess(everything=True)
    finished.save(workdir, trainer, assessments)
    return report.write(workdir, trainer, assessments, log.history, facts, time.perf_counter() - started, say)


def claim(workdir, config):
  """Makes `workdir` this config's own, or refuses.

  Raises:
    ValueError: if it holds a run of another config (with the difference), or cannot be written.
  """
  text = config.to_json(indent=2, sort_keys=True)
  path = workdir / "config.json"
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if path.exists():
      old = path.read_text()
      if json.loads(old) != json.loads(text):
        lines = difflib.unified_diff(old.splitlines(), text.splitlines(), "there", "here", lineterm="", n=0)
        changed = "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++"))
        raise ValueError(f"{workdir} holds a run of another config:\n{changed}\nUse another --workdir, or the config "
                         "that is there.")
      return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
  except OSError as error:
    raise ValueError(f"--workdir={workdir} cannot be written ({error}); choose a folder that you may write "
                     "to.") from None


class Log(contextlib.AbstractContextManager):
  """metrics.jsonl, evaluations.jsonl and TensorBoard events; lines after the step resumed from are dropped.

  Attributes:
    history: the evaluations so far, in order of steps.
  """

  def __init__(self, workdir, step, main):
    self._main, self._workdir, self._step = main, workdir, step
    self._metrics, _ = self._reopen(workdir / "metrics.jsonl", step)
    self._evaluations, self.history = self._reopen(workdir / "evaluations.jsonl", step)

  @functools.cached_property
  def _board(self):
    from tensorboardX import SummaryWriter            # takes PyTorch along (2 s) where that is installed
    return SummaryWriter(str(self._workdir / "tensorboard"), purge_step=self._step + 1)

  def _reopen(self, path, step):
    kept = []
    if not self._main:
      return None, kept
    for line in path.read_text().splitlines() if path.exists() else ():
      with contextlib.suppress(json.JSONDecodeError):      # a line cut short by a kill
        entry = _with_nan(json.loads(line))
        kept += [entry] if entry["step"] <= step else []
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(report.to_json(entry) + "\n" for entry in kept))
    os.replace(temporary, path)
    return path.open("a"), kept

  def _write(self, file, entry, scalars):
    if self._main:
      file.write(report.to_json(entry) + "\n")
      file.flush()
      for name, value in scalars.items():
        if np.isfinite(value):
          self._board.add_scalar(name, value, entry["step"])

  def metrics(self, step, metrics, steps_per_second):
    """Means of one call; each metric is `[R]`."""
    entry = dict(step=step, steps_per_second=steps_per_second) | {k: v.tolist() for k, v in metrics.items()}
    self._write(self._metrics, entry, {f"train/{k}": _mean(v) for k, v in metrics.items()}
                | {"train/steps_per_second": steps_per_second})

  def evaluation(self, step, replicas):
    """Keeps one evaluation; returns the mean validation result, or None without a validation side."""
    entry = dict(step=step, replicas=replicas)
    self.history.append(entry)
    means = {name: float(np.mean([r[name] for r in replicas])) for name in ("test", "validation")}
    self._write(self._evaluations, entry, {f"evaluation/{k}": v for k, v in means.items()})
    return means["validation"] if np.isfinite(means["validation"]) else None

  def __exit__(self, *_):
    if self._main:
      self._metrics.close()
      self._evaluations.close()
      if "_board" in self.__dict__:
        self._board.close()


def _anywhere(flag):
  """Whether `flag` holds on any host: hosts must leave the loop after the same step."""
  return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())


def _mean(values):
  """Mean of what is not nan; nan if nothing is."""
  known = values[np.isfinite(values)]
  return known.mean() if known.size else np.nan


def _with_nan(value):
  """What `report.to_json` wrote, with nan where it wrote null."""
  if isinstance(value, dict):
    return {k: _with_nan(v) for k, v in value.items()}
  if isinstance(value, list):
    return [_with_nan(v) for v in value]
  return np.nan if value is None else value


class StopSignal(contextlib.AbstractContextManager):
  """Turns SIGTERM and SIGINT into a request to save and stop after the present call; a second one kills as usual.

  Attributes:
    asked: True once a signal came.
  """

  def __enter__(self):
    self.asked = False

    def handle(number, _):
      self.asked = True
      signal.signal(number, self._before[number])
    self._before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)
