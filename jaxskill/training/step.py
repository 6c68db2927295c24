"""The compiled training step: what train.py runs on the devices, for any method.

R replicas (folds x criteria x seeds x loss weights) train as one program. All of them read the same U videos, which are
encoded once a step for each replica; B items a batch, P training items of a replica, k videos of an item (a pair, a
video, or a video and its exemplar or references), T segments, n devices.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from jaxskill.modules.layers import take
from jaxskill.training.batches import as_maps

LEFT_OVER = "left_over"


@flax.struct.dataclass
class TrainState:
  """All that a checkpoint saves. Everything but `step` has a leading axis R.

  Attributes:
    step: [] int32 optimiser steps taken.
    params: trained parameters.
    constants: what training does not move.
    opt_state: one optimiser state a phase; with leaky alternation also the gradients left over.
  """

  step: jax.Array
  params: Any
  constants: Any
  opt_state: Any

  def variables(self):
    return dict(params=self.params, constants=self.constants)


class Tables(NamedTuple):
  """What the replicas draw from; host arrays, put on the device once.

  Attributes:
    items: `[R, P, k]` positions among the U videos on the device: (better, worse), (video,) or (video, references);
      zero-padded.
    count: `[R]` real items of each replica.
    steps: `[R]` steps after which a replica stands still.
    keys: `[R]` keys of the seeds.
    groups: `[R, P, 2]` first item and size of the run of items that are one another's exemplars; None without them.
    criterion: `[R]` which of the scores a replica learns; None where there is one.
  """

  items: Any
  count: Any
  steps: Any
  keys: Any
  groups: Any = None
  criterion: Any = None


class Batches(NamedTuple):
  """Items of successive steps: `[steps, R, B, k]` positions, `[steps, R, B]` False where padded or standing still."""

  items: jax.Array
  mask: jax.Array


def split_key(key):
  """(initialisation, order of the items, steps) keys of one seed."""
  return jax.random.split(key, 3)


def draw_batches(tables, first_step, steps, batch_size, epochs):
  """The items of `steps` steps from `first_step` on: every epoch is a new order of all items, its last batch short.

  Args:
    tables: see `Tables`; with groups, every item gets an exemplar of its group, drawn anew in every epoch.
    first_step: [] int32.
    epochs: bound on the epochs that `steps` steps touch, for the smallest replica.
  """
  num_items = tables.items.shape[1]
  step = first_step + jnp.arange(steps)

  def replica(items, groups, count, last, key):
    _, order_key, _ = split_key(key)
    per_epoch = -(-count // batch_size)
    first_epoch = first_step // per_epoch

    def bits(epoch):      # those of item i do not depend on the padding, so a replica draws what it would draw alone
      return jax.random.bits(jax.random.fold_in(order_key, epoch), (num_items,))

    def order(epoch):
      draw = bits(epoch)
      return jnp.argsort(jnp.where(jnp.arange(num_items) < count, draw, ~jnp.zeros_like(draw)), stable=True)

    orders = jax.vmap(order)(first_epoch + jnp.arange(epochs))                            # [epochs, P]
    place = (step % per_epoch)[:, None] * batch_size + jnp.arange(batch_size)             # [steps, B]
    epoch = (step // per_epoch - first_epoch)[:, None]
    chosen = orders[epoch, jnp.minimum(place, num_items - 1)]
    drawn = items[chosen]
    if groups is not None:
      first, size = groups[chosen, 0], jnp.maximum(groups[chosen, 1], 1)
      draws = jax.vmap(bits)(-1 - first_epoch - jnp.arange(epochs))[epoch, chosen]        # keys apart from the orders'
      others = (draws % jnp.maximum(size - 1, 1).astype(draws.dtype)).astype(jnp.int32)
      drawn = jnp.concatenate([drawn, items[first + (chosen - first + 1 + others) % size]], axis=-1)
    return drawn, (place < count) & (step < last)[:, None]

  items, mask = jax.vmap(replica, out_axes=1)(tables.items, tables.groups, tables.count, tables.steps, tables.keys)
  return Batches(items, mask)


def make_optimiser(train):
  """The optimiser of `config.train`: Adam, or SGD with momentum; weight decay is added to the gradient (L2).

  With `clip_norm` above 0, a gradient (of all that a phase trains) that is longer is first shortened to that length.
  """
  clip = [optax.clip_by_global_norm(train.clip_norm)] if train.get("clip_norm") else []
  decay = [optax.add_decayed_weights(train.weight_decay)] if train.weight_decay else []
  rule = optax.scale_by_adam() if train.optimizer == "adam" else optax.trace(train.momentum)
  return optax.chain(*clip, *decay, rule, optax.scale(-train.learning_rate))


class Step(NamedTuple):
  """The compiled pieces of training.

  Attributes:
    init: (keys `[R]`, one video `[1, ...]`, constants of leading axis R) -> TrainState.
    run: (state, videos, tables, cycles) -> state, metrics: so many cycles on resident videos, at most those of
      `steps_per_call`. One loop whose bound is an argument: however steps are cut into calls, the bits are the same.
    run_batches: (state, tuple of the videos of every phase, tables, batches) -> the same for one cycle, streaming.
    draw: (tables, first step) -> Batches of one step of every phase.
    metrics are, for every phase, {name: (sum, count)} of shape `[cycles, R]`; a cycle is one step of every phase. Those
      of `run` have as many rows as the longest call, zeros behind the cycles taken.
  """

  init: Any
  run: Any
  run_batches: Any
  draw: Any


def make_step(config, method, parallel, *, steps_per_call, epochs_per_call, num_unique):
  """Builds the training step of `method` on the devices of `parallel`.

  Args:
    config: `config.train` is read; `rates` are factors on the learning rate by parameter path, `decay` those by epoch,
      which is counted from a replica's end where it is negative.
    steps_per_call: steps of the longest call, a multiple of the method's phases.
    epochs_per_call: bound on the epochs that these touch.
    num_unique: distinct videos that the batches of all replicas can name in one step, at most U; where it is smaller
      than the number of videos on the device, a step gathers the ones it needs.
  """
  train, phases = config.train, method.phases
  leaky, whole = train.alternation == "leaky", train.encode != "unique"    # every device reads all videos, or its share
  optimiser = make_optimiser(train)
  rate = lambda path: float(np.prod([factor for pattern, factor in train.rates if re.search(pattern, path)]))

  def decay(epoch, epochs):
    from_start = lambda first: epochs + first if first < 0 else first
    return functools.reduce(lambda x, y: x * jnp.where(epoch >= from_start(y[0]), y[1], 1.0), train.decay, 1.0)

  def init(keys, videos, constants):
    def replica(key, constants):
      params = method.init(split_key(key)[0], videos, constants)
      flat = traverse_util.flatten_dict(params, sep="/")
      opt_state = {str(i): optimiser.init(_trained(flat, phase)) for i, phase in enumerate(phases)}
      if leaky:
        opt_state[LEFT_OVER] = jax.tree.map(jnp.zeros_like, flat)
      return params, {name: value for name, value in constants.items() if name != "initial"}, opt_state
    return TrainState(jnp.int32(0), *jax.vmap(replica)(keys, constants))

  def encode(variables, videos, key):
    return method.encodings(variables, as_maps(videos), key, True)

  def encode_batch(variables, videos, items, key):
    """Encodings of the k videos of this device's items `[B / n, k]`, as k trees."""
    sides = range(items.shape[1])
    if train.encode == "siamese":                                     # as the papers draw it: pair by pair
      both = jax.vmap(lambda ids: encode(variables, jax.tree.map(lambda x: take(x, ids), videos), key))(items)
      return tuple(jax.tree.map(lambda x: x[:, side], both) for side in sides)
    if train.encode == "batch":
      own = jax.tree.map(lambda x: take(x, items.reshape(-1)), videos)                    # [B / n * k, ...]
      encodings = encode(variables, own, key)
      return tuple(jax.tree.map(lambda x: x.reshape(*items.shape, *x.shape[1:])[:, side], encodings) for side in sides)
    encodings = parallel.gather(encode(variables, videos, key))
    return tuple(jax.tree.map(lambda x: x[items[:, side]], encodings) for side in sides)

  def phase_step(index, replica, step, videos, labels, items, mask, key, per_epoch, epochs):
    """One optimiser step of one replica: `labels` `[B / n, ...]`, `items` `[B / n, k]` and `mask` are this device's."""
    params, constants, opt_state = replica
    phase = phases[index]
    flat = traverse_util.flatten_dict(params, sep="/")
    step_key = jax.random.fold_in(split_key(key)[2], step)

    def loss_sum(moved):
      whole = traverse_util.unflatten_dict(flat | moved, sep="/")
      variables = dict(params=whole, constants=constants)
      encodings = encode_batch(variables, videos, items, step_key)
      loss = phase.loss if phase.batched else jax.vmap(phase.loss, (None, 0, 0))
      losses, metrics = loss(variables, encodings, labels, *([parallel.gather] if phase.gathers else []))
      return jnp.sum(losses * mask), jax.tree.map(lambda x: jnp.sum(x * mask), metrics)

    moved = flat if leaky else _trained(flat, phase)
    (loss, metrics), gradients = jax.value_and_grad(loss_sum, has_aux=True)(moved)
    loss, metrics, gradients, count = parallel.total((loss, metrics, gradients, mask.sum().astype(jnp.float32)))
    active = count > 0
    if train.reduction == "mean":
      gradients = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), gradients)
    opt_state = dict(opt_state)
    if leaky:     # as published: an optimiser clears its own gradients alone, and the first one also at epoch start
      keep = jnp.where(step % per_epoch == 0, 0.0, 1.0)
      left = {k: v * (keep if re.search(phases[0].trains, k) else 1.0) for k, v in opt_state[LEFT_OVER].items()}
      gradients = jax.tree.map(jnp.add, gradients, left)
      opt_state[LEFT_OVER] = {k: jnp.where(active, jnp.zeros_like(g) if re.search(phase.trains, k) else g, left[k])
                              for k, g in gradients.items()}
    trained = _trained(flat, phase)
    updates, moments = optimiser.update(_trained(gradients, phase), opt_state[str(index)], trained)
    choose = lambda new, old: jnp.where(active, new, old)                   # a replica that is done stands still
    opt_state[str(index)] = jax.tree.map(choose, moments, opt_state[str(index)])
    now = decay(step // per_epoch, epochs)
    trained = {k: choose(v + rate(k) * now * updates[k], v) for k, v in trained.items()}
    params = traverse_util.unflatten_dict(flat | trained, sep="/")
    metrics = {name: (value, count) for name, value in (metrics | {"loss": loss}).items()}
    return (params, constants, opt_state), metrics

  def one_step(index, state, videos, tables, batch):
    """One step of all replicas; `videos` are this device's share, or all of them."""
    labels = videos["labels"] if whole else parallel.gather(videos["labels"])

    def step_of(replica, items, mask, key, count, last, criterion):
      known = {name: x[items] for name, x in labels.items()}                              # [B, k]
      if criterion is not None:
        known["score"] = known["score"][..., criterion]
      known |= method.relate(dict(params=replica[0], constants=replica[1]), known, mask)
      items, mask, known = parallel.own_share((items, mask, known))
      per_epoch = -(-count // train.batch_size)
      return phase_step(index, replica, state.step, videos, known, items, mask, key, per_epoch, last // per_epoch)
    replicas, metrics = jax.vmap(step_of)((state.params, state.constants, state.opt_state), *batch, tables.keys,
                                          tables.count, tables.steps, tables.criterion)
    return TrainState(jnp.minimum(state.step + 1, jnp.max(tables.steps)), *replicas), metrics

  def narrow(videos, batch):
    """This device's share of the videos that one step names, and the items in their numbering."""
    ids = jnp.unique(batch.items, size=num_unique, fill_value=0)      # sorted; padded with 0, whose own place is 0
    place = jnp.zeros(len(videos["position"]), jnp.int32).at[ids].set(jnp.arange(num_unique, dtype=jnp.int32))
    share = jax.tree.map(lambda x: take(x, parallel.own_share(ids)), videos)
    return share, batch._replace(items=place.at[0].set(0)[batch.items])

  @functools.partial(jax.jit, inline=True)           # traced once, for its shapes and for the loop
  def cycle(state, videos, tables, batches):
    narrowed = train.encode == "unique" and num_unique < len(videos["position"])
    every = []
    for index in range(len(phases)):
      batch = jax.tree.map(lambda x: x[index], batches)
      share, batch = narrow(videos, batch) if narrowed else (videos, batch)
      state, metrics = one_step(index, state, share, tables, batch)
      every.append(metrics)
    return state, tuple(every)

  def run(state, videos, tables, cycles):
    narrowed = train.encode == "unique" and num_unique < len(videos["position"]) * parallel.count
    if narrowed or whole:
      videos = parallel.gather(videos)
    batches = draw_batches(tables, state.step, steps_per_call, train.batch_size, epochs_per_call)
    batches = jax.tree.map(lambda x: x.reshape(-1, len(phases), *x.shape[1:]), batches)
    of_cycle = lambda i: jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), batches)

    def body(i, carry):
      state, metrics = carry
      state, now = cycle(state, videos, tables, of_cycle(i))
      return state, jax.tree.map(lambda x, row: jax.lax.dynamic_update_index_in_dim(x, row, i, 0), metrics, now)

    _, shapes = jax.eval_shape(cycle, state, videos, tables, of_cycle(0))
    metrics = jax.tree.map(lambda x: jnp.zeros((steps_per_call // len(phases), *x.shape), x.dtype), shapes)
    return jax.lax.fori_loop(0, cycles, body, (state, metrics))

  def run_batches(state, videos, tables, batches):
    every = []
    for index, share in enumerate(videos):
      share = parallel.gather(share) if whole else share
      state, metrics = one_step(index, state, share, tables, jax.tree.map(lambda x: x[index], batches))
      every.append(jax.tree.map(lambda x: x[None], metrics))
    return state, tuple(every)

  def draw(tables, first_step):
    return draw_batches(tables, first_step, len(phases), train.batch_size, epochs_per_call)

  return Step(jax.jit(init), parallel.compile(run, donate=True), parallel.compile(run_batches, donate=True),
              jax.jit(draw))


def _trained(flat, phase):
  return {path: value for path, value in flat.items() if re.search(phase.trains, path)}
