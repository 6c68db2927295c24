"""Which items every step learns from: drawn on the device, each replica as if it trained alone.

R replicas, P training items of a replica, k videos of an item, B items of a batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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


def split_key(key: jax.Array) -> jax.Array:
  """Returns the keys `[3]` of one seed: for initialization, the order of the items, and the steps."""
  return jax.random.split(key, 3)


def draw_batches(tables: Tables, first_step: jax.Array, steps: int, batch_size: int, epochs: int) -> Batches:
  """Draws the items of successive steps: every epoch is a new order of all items, its last batch short.

  Args:
    tables: see `Tables`; with groups, every item gets an exemplar of its group, drawn anew in every epoch.
    first_step: [] int32, number of the first step.
    steps: how many are drawn.
    batch_size: B.
    epochs: bound on the epochs that `steps` steps touch, for the smallest replica.
  """
  num_items = tables.items.shape[1]
  step = first_step + jnp.arange(steps)

  def replica(items: jax.Array, groups: Any, count: jax.Array, last: jax.Array,
              key: jax.Array) -> tuple[jax.Array, jax.Array]:
    _, order_key, _ = split_key(key)
    per_epoch = -(-count // batch_size)
    first_epoch = first_step // per_epoch

    # Those of item i do not depend on the padding, so a replica draws what it would draw alone.
    def bits(epoch: jax.Array) -> jax.Array:
      return jax.random.bits(jax.random.fold_in(order_key, epoch), (num_items,))

    def order(epoch: jax.Array) -> jax.Array:
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
