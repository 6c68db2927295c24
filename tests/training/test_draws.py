"""Every epoch is a new order of all items, and every replica draws what it would draw alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.training import draws


def tables(replicas, batch_size, epochs=1):
  """`Tables` of replicas given as (pairs `[P, 2]`, seed)."""
  count = np.array([len(pairs) for pairs, _ in replicas], np.int32)
  table = np.zeros((len(replicas), count.max(), 2), np.int32)
  for row, (pairs, _) in zip(table, replicas):
    row[:len(pairs)] = pairs
  keys = jax.vmap(jax.random.key)(jnp.array([seed for _, seed in replicas], jnp.uint32))
  return draws.Tables(table, count, (-(-count // batch_size) * epochs).astype(np.int32), keys)


def test_every_epoch_is_a_permutation(quick_compile):
  """Every pair once an epoch, a new order each time, its last batch short; the same alone, padded and in pieces."""
  rng = np.random.default_rng(0)
  pairs = [rng.permutation(99)[:2 * count].reshape(-1, 2) for count in (11, 8, 3)]
  table = tables([(pairs[0], 5), (pairs[1], 5), (pairs[2], 6)], batch_size=4, epochs=4)
  draw = jax.jit(draws.draw_batches, static_argnums=(2, 3, 4))
  batches = draw(table, 0, 14, 4, 16)
  assert batches.items.shape == (14, 3, 4, 2) and batches.mask.shape == (14, 3, 4)
  for r, (items, per_epoch) in enumerate(zip(pairs, (3, 2, 1))):
    orders = []
    for epoch in range(4):
      rows = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
      mask, drawn = np.asarray(batches.mask[rows, r]), np.asarray(batches.items[rows, r])
      sizes = [4] * (len(items) // 4) + [len(items) % 4] * (len(items) % 4 > 0)
      np.testing.assert_array_equal(mask, np.arange(4) < np.array(sizes)[:, None])       # only the last batch is short
      orders.append(drawn[mask].tolist())
      assert sorted(orders[-1]) == sorted(items.tolist())
    assert len({str(order) for order in orders}) > 1
    assert not batches.mask[4 * per_epoch:, r].any()                                      # done: it stands still
  for r in (0, 2):
    alone = draw(tables([(pairs[r], (5, 5, 6)[r])], batch_size=4, epochs=4), 0, 14, 4, 16)
    np.testing.assert_array_equal(alone.mask[:, 0], batches.mask[:, r])
    np.testing.assert_array_equal(np.asarray(alone.items[:, 0])[alone.mask[:, 0]],
                                  np.asarray(batches.items[:, r])[batches.mask[:, r]])
  later = draw(table, 5, 3, 4, 5)
  np.testing.assert_array_equal(later.mask, batches.mask[5:8])
  np.testing.assert_array_equal(np.asarray(later.items)[later.mask], np.asarray(batches.items)[5:8][batches.mask[5:8]])


def test_every_epoch_draws_an_exemplar_for_every_video(quick_compile):
  """Of the same run, never itself, each other equally often; the same alone, padded and in pieces."""
  sizes = ((5, 2, 4), (3, 3))
  runs = [np.concatenate([[(first, size)] * size for first, size in zip(np.cumsum((0, *lengths)), lengths)]) for lengths in sizes]
  def grouped(replicas, epochs):
    made = [(1000 * (r + 1) + np.arange(len(runs[r])))[:, None] for r in replicas]          # 1000, 1001, ...
    table = np.zeros((len(replicas), max(map(len, made)), 1), np.int32)
    groups = np.zeros((len(replicas), table.shape[1], 2), np.int32)
    for i, r in enumerate(replicas):
      table[i, : len(made[i])], groups[i, : len(made[i])] = made[i], runs[r]
    keys = jax.vmap(jax.random.key)(jnp.array([5 + r for r in replicas], jnp.uint32))
    count = np.array([len(items) for items in made], np.int32)
    return draws.Tables(table, count, -(-count // 4) * epochs, keys, groups)

  draw = jax.jit(draws.draw_batches, static_argnums=(2, 3, 4))
  epochs = 240
  batches = draw(grouped((0, 1), epochs), 0, 3 * epochs, 4, 3 * epochs)
  assert batches.items.shape == (3 * epochs, 2, 4, 2)
  for r, per_epoch in ((0, 3), (1, 2)):
    drawn = np.asarray(batches.items[: per_epoch * epochs, r]) - 1000 * (r + 1)
    drawn = drawn[np.asarray(batches.mask[: per_epoch * epochs, r])].reshape(epochs, len(runs[r]), 2)
    assert (np.sort(drawn[..., 0]) == np.arange(len(runs[r]))).all()
    counts = np.zeros((len(runs[r]), len(runs[r])))
    np.add.at(counts, tuple(drawn.reshape(-1, 2).T), 1)
    for video, (first, size) in enumerate(runs[r]):
      others = [i for i in range(first, first + size) if i != video]
      assert counts[video, others].sum() == epochs                        # of its group, never itself
      assert (abs(counts[video, others] - epochs / (size - 1)) < 5 * epochs ** 0.5 / 2).all()
    assert len({str(epoch[epoch[:, 0].argsort()]) for epoch in drawn}) > epochs / 4        # drawn anew
    alone = draw(grouped((r,), epochs), 0, 3 * epochs, 4, 3 * epochs)
    np.testing.assert_array_equal(np.asarray(alone.items[:, 0])[alone.mask[:, 0]],
                                  np.asarray(batches.items[:, r])[batches.mask[:, r]])
  later = draw(grouped((0, 1), epochs), 7, 5, 4, 6)
  np.testing.assert_array_equal(np.asarray(later.items)[later.mask],
                                np.asarray(batches.items)[7:12][batches.mask[7:12]])
