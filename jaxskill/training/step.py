"""The compiled training step: what train.py runs on the devices, for any method.

R replicas (folds x criteria x seeds x loss weights) train as one program, some of them at once: all that are at once
read the same of U videos, which are encoded once a step for each replica, and take all steps of a call before the next
begin. B items a batch, P training items of a replica, k videos of an item (a pair, a video, or a video and its exemplar
or references), T segments, n devices.

A cycle is one step of every phase of the method. Metrics are, for every phase, {name: (sum, count)}.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from jaxskill.methods import Method
from jaxskill.modules.layers import take
from jaxskill.training.batches import as_maps
from jaxskill.training.draws import Batches, Tables, draw_batches, split_key
from jaxskill.training.optimizer import PhaseOptimizer
from jaxskill.training.parallel import Parallel
from jaxskill.training.precision import single_precision


@flax.struct.dataclass
class TrainState:
  """All that a checkpoint saves. Everything but `step` has a leading axis R.

  Attributes:
    step: [] int32 optimizer steps taken.
    params: trained parameters.
    constants: what training does not move.
    opt_state: one optimizer state a phase; with leaky alternation also the gradients left over.
  """

  step: Any                               # [] int32 of JAX, of NumPy as it is read
  params: Any
  constants: Any
  opt_state: Any

  def variables(self) -> dict[str, Any]:
    """Returns what `methods.Method` calls variables, leading axis R."""
    return dict(params=self.params, constants=self.constants)


class Step(NamedTuple):
  """The compiled pieces of training.

  Attributes:
    init: (keys `[R]`, one video `[1, ...]`, constants of leading axis R) -> TrainState.
    run: (state, videos, tables, cycles) -> state, metrics `[cycles, R]`: so many cycles on resident videos, at most
      those of `steps_per_call`. One loop whose bound is an argument: however steps are cut into calls, the bits are the
      same. Metrics have as many rows as the longest call, zeros behind the cycles taken.
    run_batches: (state, tuple of the videos of every phase or of all phases, tables, batches) -> the same for one
      cycle, streaming.
    draw: (tables, first step) -> Batches of `steps_per_call` steps.
  """

  init: Any
  run: Any
  run_batches: Any
  draw: Any


def make_step(config: ConfigDict, method: Method, parallel: Parallel, **sizes: Any) -> Step:
  """Compiles the training step of `method` for the devices of `parallel`; see `Pieces` for the sizes."""
  pieces = Pieces(config, method, parallel, **sizes)
  least = jax.config.read("jax_disable_most_optimizations") or parallel.devices[0].platform != "cpu"
  quickly = None if least else {"xla_backend_optimization_level": 1}         # of what runs once
  return Step(jax.jit(pieces.init, compiler_options=quickly), parallel.compile(pieces.run, donate=True),
              parallel.compile(pieces.run_batches, donate=True), jax.jit(pieces.draw))


def drawn_beside(init: Callable[..., TrainState], arguments: tuple, device: jax.Device,
                 first_call: Callable[[TrainState], tuple[Any, tuple]]) -> TrainState:
  """Returns `init(*arguments)`, `Step.init`; while that is compiled, one core traces the steps, which JAX remembers.

  Args:
    device: that holds the state.
    first_call: shapes of the state -> (compiled function that takes the first steps, its arguments).
  """
  place = jax.sharding.SingleDeviceSharding(device)
  placed = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place, weak_type=x.weak_type)
  with single_precision(), concurrent.futures.ThreadPoolExecutor(1) as beside:
    state = beside.submit(single_precision()(init), *arguments)
    function, traced = first_call(jax.tree.map(placed, jax.eval_shape(init, *arguments)))
    function.lower(*traced)
    return state.result()


def means(calls: Sequence[tuple[dict[str, Any], ...]]) -> dict[str, np.ndarray]:
  """Returns {metric: `[R]` mean over successive calls of `Step.run`, nan for a replica that stood still}."""
  metrics = jax.tree.map(lambda *x: np.concatenate(x), *calls)
  names = dict.fromkeys(name for phase in metrics for name in phase)
  over = lambda name, i: np.sum([np.sum(phase[name][i], axis=0) for phase in metrics if name in phase], axis=0)
  totals = {name: (over(name, 0), over(name, 1)) for name in names}
  return {name: np.where(count > 0, value / np.maximum(count, 1), np.nan) for name, (value, count) in totals.items()}


class Pieces:
  """What a training step is made of, as functions that can be traced, or called one by one.

  Attributes:
    cycle: (state, videos of every phase, tables, batches of one cycle) -> state, metrics `[R]`.
  """

  def __init__(self, config: ConfigDict, method: Method, parallel: Parallel, *, steps_per_call: int,
               epochs_per_call: int, num_unique: int, all_trained: bool = False, at_once: int = 0) -> None:
    """Args:
      config: `config.train` is read; `rates` are factors on the learning rate by parameter path, `decay` those by
        epoch, which is counted from a replica's end where it is negative.
      method: of `methods.build`.
      parallel: the devices.
      steps_per_call: steps of the longest call, a multiple of the method's phases.
      epochs_per_call: bound on the epochs that these touch.
      num_unique: distinct videos that the batches of replicas that train at once can name in one step, at most U; where
        it is smaller than the number of videos on the device, a step gathers the ones it needs.
      all_trained: whether these are all videos that such replicas learn from, which a call then gathers once.
      at_once: replicas that train at once, a divisor of R; 0 is R.
    """
    self._train, self._method, self._parallel, self._at_once = config.train, method, parallel, at_once
    self._steps_per_call, self._epochs_per_call = steps_per_call, epochs_per_call
    self._num_unique, self._all_trained = num_unique, all_trained
    self._whole = config.train.encode != "unique"              # every device reads all videos, or its share of them
    self._optimizer = PhaseOptimizer(config.train, method.phases)
    self.cycle = jax.jit(self._cycle, inline=True)             # traced once, for its shapes and for the loop

  def init(self, keys: jax.Array, videos: Mapping[str, Any], constants: Mapping[str, Any]) -> TrainState:
    """Returns the state at step 0, see `Step.init`."""
    def replica(key: jax.Array, constants: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
      params = self._method.init(split_key(key)[0], videos, constants)
      opt_state = self._optimizer.init(traverse_util.flatten_dict(params, sep="/"))
      return params, {name: value for name, value in constants.items() if name != "initial"}, opt_state
    return TrainState(jnp.int32(0), *jax.vmap(replica)(keys, constants))

  def encode(self, variables: Mapping[str, Any], videos: Mapping[str, Any], items: jax.Array, key: jax.Array) -> tuple:
    """Encodes the videos of this device's items.

    Args:
      videos: this device's share where `config.train.encode` is "unique", else all.
      items: `[B / n, k]` positions among all videos.
      key: of the step.

    Returns:
      k trees of encodings, leading axis B / n.
    """
    def encodings(seen: Mapping[str, Any]) -> dict[str, Any] | jax.Array:
      return self._method.encodings(variables, as_maps(seen), key, True)

    def chosen(ids: jax.Array) -> dict[str, Any]:
      return jax.tree.map(lambda x: take(x, ids), videos)

    sides = range(items.shape[1])
    if self._train.encode == "siamese":                               # as the papers draw it: pair by pair
      both = jax.vmap(lambda ids: encodings(chosen(ids)))(items)
      return tuple(jax.tree.map(lambda x: x[:, side], both) for side in sides)
    if self._train.encode == "batch":
      flat = encodings(chosen(items.reshape(-1)))                                         # [B / n * k, ...]
      return tuple(jax.tree.map(lambda x: x.reshape(*items.shape, *x.shape[1:])[:, side], flat) for side in sides)
    every = self._parallel.gather(encodings(videos))
    return tuple(jax.tree.map(lambda x: x[items[:, side]], every) for side in sides)

  def losses(self, index: int, variables: Mapping[str, Any], encodings: tuple,
             labels: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the losses `[B / n]` of phase `index` and {name: `[B / n]`} of its metrics."""
    phase = self._method.phases[index]
    loss = phase.loss if phase.batched else jax.vmap(phase.loss, (None, 0, 0))
    return loss(variables, encodings, labels, *([self._parallel.gather] if phase.gathers else []))

  def phase_step(self, index: int, replica: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
                 videos: Mapping[str, Any], labels: Mapping[str, jax.Array], items: jax.Array, mask: jax.Array, *,
                 step: jax.Array, key: jax.Array, per_epoch: jax.Array, epochs: jax.Array) -> tuple:
    """Takes one optimizer step of one replica.

    Args:
      index: of the phase.
      replica: (params, constants, optimizer state).
      videos, items: see `encode`.
      labels: {name: `[B / n, ...]`}, see `Phase.loss`.
      mask: `[B / n]` False where an item is padding, or the replica stands still.
      step: [] its number; key: of the replica's seed; per_epoch: [] steps of an epoch; epochs: [] of the replica.

    Returns:
      The replica after the step, and the metrics of all devices.
    """
    params, constants, opt_state = replica
    flat = traverse_util.flatten_dict(params, sep="/")
    step_key = jax.random.fold_in(split_key(key)[2], step)

    def loss_sum(moved: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
      variables = dict(params=traverse_util.unflatten_dict(flat | moved, sep="/"), constants=constants)
      encodings = self.encode(variables, videos, items, step_key)
      losses, metrics = self.losses(index, variables, encodings, labels)
      return jnp.sum(losses * mask), jax.tree.map(lambda x: jnp.sum(x * mask), metrics)

    moved = self._optimizer.differentiated(index, flat)
    (loss, metrics), gradients = jax.value_and_grad(loss_sum, has_aux=True)(moved)
    loss, metrics, gradients, count = self._parallel.total(
        (loss, metrics, gradients, mask.sum().astype(jnp.float32)))
    active = count > 0
    if self._train.reduction == "mean":
      gradients = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), gradients)
    flat, opt_state = self._optimizer.update(index, flat, gradients, opt_state, active=active, step=step,
                                             per_epoch=per_epoch, epochs=epochs)
    metrics = {name: (value, count) for name, value in (metrics | {"loss": loss}).items()}
    return (traverse_util.unflatten_dict(flat, sep="/"), constants, opt_state), metrics

  def step(self, index: int, state: TrainState, videos: Mapping[str, Any], tables: Tables,
           batch: Batches) -> tuple[TrainState, dict[str, Any]]:
    """Takes one step of all replicas.

    Args:
      index: of the phase.
      videos: this device's share where `config.train.encode` is "unique", else all.
      batch: of this step, `[R, B, ...]`.

    Returns:
      (state, {metric: (sum, count)} `[R]`).
    """
    labels = videos["labels"] if self._whole else self._parallel.gather(videos["labels"])

    def replica_step(replica: tuple[dict[str, Any], dict[str, Any], dict[str, Any]], items: jax.Array, mask: jax.Array,
                     key: jax.Array, count: jax.Array, last: jax.Array, criterion: jax.Array | None) -> tuple:
      known = {name: x[items] for name, x in labels.items()}                              # [B, k]
      if criterion is not None:
        known["score"] = known["score"][..., criterion]
      known |= self._method.relate(dict(params=replica[0], constants=replica[1]), known, mask)
      items, mask, known = self._parallel.local_share((items, mask, known))
      per_epoch = -(-count // self._train.batch_size)
      return self.phase_step(index, replica, videos, known, items, mask, step=state.step, key=key,
                             per_epoch=per_epoch, epochs=last // per_epoch)

    replicas, metrics = jax.vmap(replica_step)((state.params, state.constants, state.opt_state), *batch, tables.keys,
                                               tables.count, tables.steps, tables.criterion)
    return TrainState(jnp.minimum(state.step + 1, jnp.max(tables.steps)), *replicas), metrics

  def narrow(self, videos: Mapping[str, Any], items: jax.Array) -> tuple[dict[str, Any], jax.Array]:
    """Returns this device's share of the videos that items name, of all `videos`, and items in their order.

    Args:
      items: `[..., k]` positions among `videos`.
    """
    ids = jnp.unique(items, size=self._num_unique, fill_value=0)          # sorted; padded with 0, whose place is 0
    place = jnp.zeros(len(videos["position"]), jnp.int32).at[ids].set(jnp.arange(self._num_unique, dtype=jnp.int32))
    share = jax.tree.map(lambda x: take(x, self._parallel.local_share(ids)), videos)
    return share, place.at[0].set(0)[items]

  def _narrows(self, count: int) -> bool:
    """Returns whether the videos that are named are gathered out of `count`."""
    return self._train.encode == "unique" and self._num_unique < count

  def _cycle(self, state: TrainState, videos: tuple[Mapping[str, Any], ...], tables: Tables,
             batches: Batches) -> tuple[TrainState, tuple[dict[str, Any], ...]]:
    every = []
    for index, share in enumerate(videos):
      batch = jax.tree.map(lambda x: x[index], batches)
      if self._narrows(len(share["position"])):
        share, items = self.narrow(share, batch.items)
        batch = batch._replace(items=items)
      state, metrics = self.step(index, state, share, tables, batch)
      every.append(metrics)
    return state, tuple(every)

  def run(self, state: TrainState, videos: Mapping[str, Any], tables: Tables,
          cycles: jax.Array) -> tuple[TrainState, tuple[dict[str, Any], ...]]:
    """Takes so many cycles on resident videos, of which this device has a share; see `Step.run`."""
    narrows = self._narrows(len(videos["position"]) * self._parallel.count)
    if self._whole or narrows:
      videos = self._parallel.gather(videos)

    def train(state: TrainState, tables: Tables) -> tuple[TrainState, tuple[dict[str, Any], ...]]:
      share = videos
      if narrows and self._all_trained:
        share, items = self.narrow(videos, tables.items)
        tables = tables._replace(items=items)
      return self._cycles(state, share, tables, cycles)
    return self._in_turn(train, state, tables)

  def _cycles(self, state: TrainState, videos: Mapping[str, Any], tables: Tables,
              cycles: jax.Array) -> tuple[TrainState, tuple[dict[str, Any], ...]]:
    """Takes so many cycles, or those that are left to the replicas of the state."""
    phases = len(self._method.phases)
    batches = draw_batches(tables, state.step, self._steps_per_call, self._train.batch_size, self._epochs_per_call)
    batches = jax.tree.map(lambda x: x.reshape(-1, phases, *x.shape[1:]), batches)
    left = -(-jnp.maximum(jnp.max(tables.steps) - state.step, 0) // phases)

    def of_cycle(i: int | jax.Array) -> Batches:
      return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), batches)

    def body(i: jax.Array,
             carry: tuple[TrainState, tuple[dict[str, Any], ...]]) -> tuple[TrainState, tuple[dict[str, Any], ...]]:
      state, metrics = carry
      state, now = self.cycle(state, (videos,) * phases, tables, of_cycle(i))
      return state, jax.tree.map(lambda x, row: jax.lax.dynamic_update_index_in_dim(x, row, i, 0), metrics, now)

    _, shapes = jax.eval_shape(self.cycle, state, (videos,) * phases, tables, of_cycle(0))
    metrics = jax.tree.map(lambda x: jnp.zeros((self._steps_per_call // phases, *x.shape), x.dtype), shapes)
    return jax.lax.fori_loop(0, jnp.minimum(cycles, left), body, (state, metrics))

  def run_batches(self, state: TrainState, videos: tuple, tables: Tables, batches: Batches) -> tuple:
    """Takes one cycle on streamed videos, of which this device has a share; see `Step.run_batches`."""
    if self._whole or any(self._narrows(len(x["position"]) * self._parallel.count) for x in videos):
      videos = self._parallel.gather(videos)
    videos = tuple(videos[index % len(videos)] for index in range(len(self._method.phases)))

    def train(state: TrainState, tables: Tables, batches: Batches) -> tuple[TrainState, Any]:
      state, metrics = self._cycle(state, videos, tables, jax.tree.map(lambda x: x.swapaxes(0, 1), batches))
      return state, jax.tree.map(lambda x: x[None], metrics)
    return self._in_turn(train, state, tables, jax.tree.map(lambda x: x.swapaxes(0, 1), batches))

  def _in_turn(self, train: Callable[..., Any], state: TrainState, *rest: Any) -> tuple[TrainState, Any]:
    """Returns what `train` gives, called for as many replicas as train at once, one call after the other.

    The map holds the states of all of them twice: those that come in are read while the new ones are written.

    Args:
      train: (state, *rest) of some replicas -> their state, and metrics `[cycles, replicas]`.
      rest: leading axis R.
    """
    if self._at_once in (0, len(rest[0].count)):
      return train(state, *rest)
    split = lambda x: x.reshape(-1, self._at_once, *x.shape[1:])
    join = lambda x: x.reshape(-1, *x.shape[2:])

    def turn(part: tuple[Any, ...]) -> tuple[jax.Array, tuple, Any]:
      replicas, *others = part
      after, metrics = train(TrainState(state.step, *replicas), *others)
      return after.step, (after.params, after.constants, after.opt_state), jax.tree.map(jnp.transpose, metrics)
    parts = jax.tree.map(split, ((state.params, state.constants, state.opt_state), *rest))
    steps, replicas, metrics = jax.lax.map(turn, parts)
    return (TrainState(jnp.max(steps), *jax.tree.map(join, replicas)),
            jax.tree.map(lambda x: join(x).T, metrics))                                    # [cycles, R]

  def draw(self, tables: Tables, first_step: jax.Array) -> Batches:
    """Draws the items of the steps of one call, see `Step.draw`."""
    return draw_batches(tables, first_step, self._steps_per_call, self._train.batch_size, self._epochs_per_call)
