"""The one training loop: knows no method by name.

Replicas (folds x seeds x loss weights of ablations) train as one program; between compiled calls the loop logs,
evaluates, saves and listens for signals.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from etils import epath
from ml_collections import ConfigDict

from jaxskill import cli, data, files, stores
from jaxskill.data.dataset import SkillDataset
from jaxskill.evaluate import metrics, published_weights
from jaxskill.methods import Assessment
from jaxskill.methods.common import operand_type
from jaxskill.report import results
from jaxskill.training import (
  announce,
  answers,
  batches,
  cost,
  devices,
  experiment,
  initial_parameters,
  log_lines,
  memory,
  replicas,
  run_folder,
  trackers,
  training_videos,
)
from jaxskill.training.checkpoints import Checkpoints, digest
from jaxskill.training.config_checks import check
from jaxskill.training.parallel import Parallel, highest, on_first_process
from jaxskill.training.precision import single_precision
from jaxskill.training.profiling import Profile
from jaxskill.training.runlog import Log
from jaxskill.training.step import TrainState, drawn_beside, make_step, means
from jaxskill.training.stopping import CallLength, Stopped, StopSignal


class Trainer:
  """An experiment made ready: data on the devices, functions compiled, the state at step 0.

  Attributes:
    experiment: what is trained; its config, dataset, method, replicas and metric are here too.
    parallel, loader, tables, state; total: steps to take; per_call: steps of the longest call; at_once: models that
      train at once, see `replicas.at_once`.
    all_videos: their answers.
    clock: what the time is spent on.
  """

  def __init__(self, config: ConfigDict, dataset: SkillDataset, parallel: Parallel,
               clock: cost.Stopwatch | None = None, at_once: int = 0, trace: bool = False) -> None:
    """Args: trace: traces the steps, while what draws the first state is compiled."""
    train = config.train
    self.clock = clock or cost.Stopwatch()
    parallel.check_batch(train.batch_size)
    self.experiment = made = experiment.make(config, dataset)
    self.parallel, self.config, self.dataset, self.method = parallel, config, made.dataset, made.method
    self.replicas, self.metric = made.replicas, made.metric
    self.loader = batches.VideoLoader(
        made.dataset, [made.fold(i) for i in range(len(made.replicas))], parallel, streams=made.method.streams,
        dtype=operand_type(config), budget=config.data.device_budget, labels=made.labels)
    self.tables = replicas.make_tables(config, made.dataset, made.replicas, self.loader.local, made.method.items)
    phases = len(made.method.phases)
    steps = int(self.tables.steps.max())
    self.total = 0 if config.get("evaluate_only") else steps
    whole = lambda n: -(-n // phases) * phases
    self.per_call = whole(min(train.steps_per_call, steps))
    per_epoch = -(-int(self.tables.count.min()) // train.batch_size)
    named = made.method.items.most_named(self.tables.items, train.batch_size)
    self.num_unique = parallel.padded(min(named, len(self.loader.train)))
    self.all_videos = answers.AllVideos(made, self.loader, parallel, self.num_unique)
    self.at_once = replicas.at_once(len(made.replicas), parallel.devices[0].platform, at_once)
    named, trained = replicas.most_videos(made.method.items, self.tables.items, self.at_once, train.batch_size,
                                          len(self.loader.train))
    self.step = make_step(config, made.method, parallel, steps_per_call=self.per_call, at_once=self.at_once,
                          epochs_per_call=self.per_call // per_epoch + 2, all_trained=trained <= named,
                          num_unique=parallel.padded(min(named, trained)))
    self._tables = parallel.replicate(self.tables)
    self.state = parallel.replicate(self._first_state(trace))
    self._began = False

  def _first_state(self, trace: bool) -> TrainState:
    """Returns the state at step 0; with `trace` the steps are traced while its drawing is compiled."""
    drawn = self.tables.keys, self.loader.sample(), self.experiment.constants()
    if not (trace and self.total and self.loader.resident and self.parallel.count == 1):
      return self.step.init(*drawn)
    with self.clock("compilation"):
      return drawn_beside(self.step.init, drawn, self.parallel.devices[0], self.first_call)

  def begin(self) -> None:
    """Takes the parameters that `config.init_from` names in place of those that were drawn, if it names some.

    Raises:
      ValueError: for a file that cannot be read, or does not fit.
    """
    if self.config.get("init_from") and not self._began:
      self.state = self.parallel.replicate(initial_parameters.put(self.state, self.config, self.method))
      self._began = True

  def restore(self, checkpoints: Checkpoints) -> int | None:
    """Takes the state of the newest good checkpoint; returns its step, None if there is none."""
    restored = checkpoints.restore(self.state)
    if restored:
      self.state = self.parallel.replicate(restored[1])
    return restored and restored[0]

  def assess(self, *, everything: bool = False, draw: int = 0) -> Assessment:
    """Returns assessments of all videos by all replicas, host arrays `[R, V, ...]`; scores and parts alone by default.

    Args:
      draw: of the exemplars, where the method has some.
    """
    with self.clock("evaluation"):
      return self.all_videos.assess(self.state, everything, draw)

  def measure(self) -> list[dict[str, Any]]:
    """Returns the metrics of every replica at the present step, see `Experiment.measured`."""
    said = self.assess()
    return [self.experiment.measured(i, said.score[i], {k: v[i] for k, v in said.parts.items()})
            for i in range(len(self.replicas))]

  def first_call(self, state: TrainState | None = None) -> tuple[Callable[..., Any], tuple]:
    """Returns (compiled function, arguments) of the steps that come next, from the present state or from `state`."""
    state = self.state if state is None else state
    phases = len(self.method.phases)
    if self.loader.resident:
      return self.step.run, (state, self.loader.videos, self._tables, np.int32(self.per_call // phases))
    draw = lambda step: self.step.draw(self._tables, np.int32(step))
    videos, drawn = next(self.loader.stream(draw, 0, phases, phases, self.num_unique))
    return self.step.run_batches, (state, videos, self._tables, drawn)

  def advance(self) -> dict[str, np.ndarray]:
    """Takes `per_call` steps, see `take`; returns {metric: `[R]` mean, nan for a replica that stood still}."""
    return means([self.take(self.per_call)])

  def take(self, count: int, running: Callable[[], None] | None = None) -> tuple[dict[str, Any], ...]:
    """Takes `count` steps, whole cycles up to `per_call`, which give the same bits however they are cut into calls.

    Args:
      running: is called once steps have been handed to the devices, and before they are waited for.

    Returns:
      For every phase {metric: (sum, count)}, host arrays `[cycles, R]`.

    Raises:
      FloatingPointError: if a loss is not finite; the state is then unusable, the last checkpoint is not.
    """
    first, phases, running = int(self.state.step), len(self.method.phases), running or (lambda: None)
    with self.clock("training"):
      if self.loader.resident:
        self.state, metrics = self.step.run(self.state, self.loader.videos, self._tables, np.int32(count // phases))
        running()
        metrics = jax.tree.map(lambda x: np.asarray(x)[:count // phases], metrics)
      else:
        collected = []
        draw = lambda step: self.step.draw(self._tables, np.int32(step))
        cycles = self.loader.stream(draw, first, first + count, phases, self.num_unique, self.total)
        for videos, drawn in self.clock.waiting("data", cycles):
          self.state, metrics = self.step.run_batches(self.state, videos, self._tables, drawn)
          running()
          jax.block_until_ready(self.state)                   # before the memory of these videos takes others
          collected.append(metrics)
        metrics = jax.tree.map(lambda *x: np.concatenate(x), *collected)
    self._check_finite(first, metrics)
    return metrics

  def _check_finite(self, first: int, metrics: Sequence[dict[str, Any]]) -> None:
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
def run(config: ConfigDict, workdir: epath.PathLike, dataset: SkillDataset | None = None, *,
        evaluate_only: bool = False) -> dict[str, Any]:
  """Trains and evaluates `config`; everything is written below `workdir`.

  Args:
    config: see `configs/`.
    workdir: a folder, created if missing, or a place on a store; resumes a run of this config.
    dataset: what `data.load(config.data)` returns, if it is at hand.
    evaluate_only: take no step: the parameters of `config.init_from` are measured as they are.

  Returns:
    The results that were written to `results.json` (an empty dict where another host writes).

  Raises:
    ValueError: for a config, data or workdir that cannot be used, with the remedy.
    OSError: if the workdir can no longer be written, with the remedy.
    FloatingPointError: if a loss is not finite.
    Stopped: if a signal stopped the run, after it was saved; the same call goes on from there.
  """
  started = time.perf_counter()
  workdir = stores.place(workdir)
  check(config)
  on_first_process(lambda: run_folder.refuse_second(workdir))
  config = initial_parameters.record(devices.decide(config, workdir), workdir, evaluate_only)
  parallel = Parallel(config.get("devices", 0))
  say = cli.say if parallel.main else (lambda *_: None)
  with contextlib.ExitStack() as held:
    clock = held.enter_context(cost.Stopwatch())
    with clock("data"):
      dataset = dataset or data.load(config.data)
      facts = data.audit(dataset)
      config = announce.decide(config, dataset, facts, workdir, parallel.local[0], say)
      trainer = Trainer(config, dataset, parallel, clock, trace=True)
    if not on_first_process(lambda: initial_parameters.begun(workdir)):
      trainer.begin()                              # before the folder is taken: a file that does not fit leaves it free
    step_cost = memory.check(trainer)
    profile = Profile(config.get("profile"), workdir, cycle=len(trainer.method.phases), total=trainer.total,
                      main=parallel.main)
    on_first_process(lambda: held.enter_context(run_folder.occupied(workdir, config)))
    say(announce.describe(trainer, workdir))
    if config.get("init_from"):
      say(f"all of them begin with {published_weights.origin(config)}")
    with run_folder.saying_what_to_do(workdir), profile:
      log = _train(trainer, workdir, held, profile, say)
      assessments = trainer.assess(everything=True)
      training_videos.save(workdir, trainer, assessments)
      draws = _scores_of_draws(trainer)
      seconds = time.perf_counter() - started
      spent = cost.of_call(trainer, log.step, step_cost, seconds)
      about = dict(steps=trainer.total, models_at_once=trainer.at_once, params_sha256=digest(trainer.state.params),
                   seconds=seconds, cost=cost.lasting(spent, workdir), **files.provenance(parallel))
      if config.get("init_from"):
        about["trained_steps"] = trainer.total
      training_videos.save_selected(workdir, trainer)
      if not parallel.main:
        return {}
      found = results.write(workdir, trainer.experiment, assessments, log.history, facts, about, say, draws)
      log.files([workdir / "results.json", *(path for path in stores.children(workdir) if path.suffix == ".png")])
      say(cost.describe(spent["seconds"]))
      return found


def _scores_of_draws(trainer: Trainer) -> list[np.ndarray]:
  """Returns `[R, V]` scores for every draw of exemplars that the config asks for; none where none is tested."""
  asked = trainer.method.items.compares and metrics.is_tested(trainer.experiment.dataset)
  draws = trainer.config.evaluate.draws if asked else 0
  return [trainer.assess(draw=draw).score for draw in range(draws)]


def _train(trainer: Trainer, workdir: epath.Path, held: contextlib.ExitStack, profile: Profile,
           say: Callable[[str], None]) -> Log:
  """Trains from the newest checkpoint to the end, and waits until all is on the disk.

  Returns:
    The log, which stays open until `held` is closed.
  """
  with Checkpoints(workdir / "checkpoints", keep=trainer.config.train.keep_checkpoints, best=True) as checkpoints:
    restored = trainer.restore(checkpoints)
    step, history = int(trainer.state.step), None
    if restored is None:
      trainer.begin()                              # where every checkpoint is damaged
    else:
      say(f"resumed from step {restored}")
      history = checkpoints.notes(restored)
      if history is None:                          # a checkpoint of a version that left the history to the file
        history = on_first_process(lambda: log_lines.read_evaluations(workdir, step))
    if traced := profile.describe(step):
      say(traced)
    history, opened = list(map(log_lines.with_nan, history or [])), []
    on_first_process(lambda: opened.append(Log(workdir, step, True, history, trainer.config, restored is None)))
    log = held.enter_context(opened[0] if opened else Log(workdir, step, False, history))
    quiet = not trainer.parallel.main or not trainer.total
    with StopSignal() as stop, tqdm.tqdm(
        total=trainer.total, initial=step, unit="step", dynamic_ncols=True, disable=quiet) as bar:
      if restored is None:
        checkpoints.save(0, trainer.state, notes=[])
      _loop(trainer, checkpoints, log, profile, stop, bar, say)
      checkpoints.wait()
  return log


def _loop(trainer: Trainer, checkpoints: Checkpoints, log: Log, profile: Profile, stop: StopSignal, bar: Any,
          say: Callable[[str], None]) -> None:
  """Takes the steps that are left.

  Lines of the log, evaluations and checkpoints fall on multiples of `per_call`, however fast the machine is; the calls
  between them are short enough to heed a signal soon.
  """
  train, every, length = trainer.config.train, trainer.per_call, CallLength(len(trainer.method.phases))
  step, number = int(trainer.state.step), 0

  def say_above(text: str) -> None:
    with bar.external_write_mode():
      say(text)

  estimate = announce.Estimate(trainer.total, trainer.clock, say_above)

  def due(step: int, steps: int) -> bool:
    """Returns whether a multiple of `steps` lies on the line of the log that ends here."""
    return step == trainer.total or step % every == 0 and step // steps > (step - every) // steps

  if not trainer.total and not log.history:
    log.evaluation(step, trainer.measure())                  # of parameters as they are
  if step and due(step, train.eval_steps) and (not log.history or log.history[-1]["step"] < step):
    log.evaluation(step, trainer.measure())                  # for which a signal left no time
  while step < trainer.total:
    first, calls, seconds = step, [], 0.0
    end = min((step // every + 1) * every, trainer.total)
    while step < end and not number:
      begun, before = time.perf_counter(), step
      after = profile.cut(step, step + length.steps(end - step))
      with profile.call(step, after) as running:
        calls.append(trainer.take(after - step, running))
      step = int(trainer.state.step)
      signal, took = highest(stop.number, time.perf_counter() - begun)
      number = int(signal)
      length.took(step - before, took)
      seconds += took
      bar.update(step - before)
      estimate.took(step)
      checkpoints.check()
    metrics = means(calls)
    log.metrics(step, metrics, (step - first) / seconds)
    bar.set_postfix({name: f"{trackers.known_mean(metrics[name]):.3g}" for name in ("loss", "accuracy", "error")
                     if name in metrics})
    validation = None
    if due(step, train.eval_steps) and not number:
      validation = log.evaluation(step, trainer.measure())
    if due(step, train.checkpoint_steps) or number:
      checkpoints.save(step, trainer.state, validation=validation, notes=log.notes())
      log.secured()
    if number:
      checkpoints.wait()
      with contextlib.suppress(OSError):          # a terminal that closed
        say(f"stopped by a signal at step {step} of {trainer.total}; the same command goes on from there "
            f"({log.workdir})")
      raise Stopped(number)
