"""LSTM and Bi-LSTM regression: the score of a video from the last state of a recurrent network over its features.

One fully connected layer reads the last state, of both directions where there are two. With one direction on features
of C3D this is C3D-LSTM. The loss is the squared error of the score.

Attention is how far each row moves the score, as a share of all moves: the layer is linear, so the score is the sum of
what it reads in the changes of state from row to row, in either direction.

V videos, T rows, D channels, W directions, H units of one.

References: Zeng et al., Hybrid Dynamic-static Context-aware Attention Network for Action Assessment in Long Videos, ACM
MM 2020, Sec. 5.2, Competitors (256 units, or 128 a direction, and one fully connected layer); Parmar, Morris, Learning
To Score Olympic Events, CVPR Workshops 2017 (C3D-LSTM). Neither says what a Bi-LSTM gives the layer; ours: the last
state of each direction, for each has seen all of the video then.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from jaxskill.methods import VIDEOS, Assessment, Meaning, Method, Phase, Tree
from jaxskill.methods.common import labels_of, operand_type, squared_error, training_scores


class Direction(nn.Module):
  """`[V, T, D]` rows -> `[V, T, H]` float32 states after each of them."""

  hidden: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> jax.Array:
    states: Any = nn.RNN(nn.OptimizedLSTMCell(self.hidden, dtype=self.dtype, name="cell"))(rows)
    return states.astype(jnp.float32)


class Regressor(nn.Module):
  """A recurrent network and a fully connected layer on its last state."""

  hidden: int
  bidirectional: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores videos.

    Args:
      rows: `[V, T, D]`.
      lengths: `[V]` real rows, at least one.

    Returns:
      `[V]` scores, and `[V, T]` how far each row moves its score; the moves of a video sum to its score but for the
      bias, and are 0 on padding. Both float32.
    """
    place = jnp.arange(rows.shape[1])
    turned = jnp.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)        # [V, T], its own inverse

    def turn(x: Any) -> Any:
      return jnp.take_along_axis(x, turned[..., None], axis=1)
    ways = [rows, turn(rows)] if self.bidirectional else [rows]
    # Both directions are one scan: on a CPU, scans run at once can block one another.
    both = nn.vmap(Direction, variable_axes={"params": 0}, split_rngs={"params": True})
    states = both(self.hidden, self.dtype, name="lstm")(jnp.stack(ways))                     # [W, V, T, H]
    last = jnp.take_along_axis(states, (lengths - 1)[None, :, None, None], axis=2)[:, :, 0]
    layer = nn.Dense(1, dtype=self.dtype, name="score")
    score = layer(jnp.concatenate(list(last), axis=-1))[:, 0].astype(jnp.float32)
    steps = jnp.diff(states, axis=2, prepend=0.0)
    moves = jnp.concatenate([steps[0], *(turn(step) for step in steps[1:])], axis=-1)
    moves = (layer(moves) - layer(jnp.zeros_like(moves[:1, :1])))[..., 0].astype(jnp.float32)
    return score, jnp.where(place < lengths[:, None], moves, 0.0)


def shares(moves: jax.Array, real: jax.Array) -> jax.Array:
  """Returns the sizes of `[T]` moves of a score as shares that sum to 1, even over `real` rows where none moves it."""
  size = jnp.abs(moves)
  total, even = size.sum(), (jnp.arange(len(size)) < real) / real
  return jnp.where(total > 0, size / jnp.where(total > 0, total, 1.0), even)


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model`; raises a `ValueError` for a network without units."""
  model, stream, dtype = config.model, config.data.stream, operand_type(config)
  if model.hidden < 1:
    raise ValueError(f"config.model.hidden={model.hidden} must be at least 1.")
  network = Regressor(model.hidden, model.bidirectional, dtype)

  def init(key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    del constants
    params = network.init(key, videos[stream], videos["lengths"][stream])["params"]
    forget = params["lstm"]["cell"]["hf"]
    forget["bias"] = forget["bias"] + model.forget_bias
    return params

  def encode(variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    del key, train
    constants, lengths = variables["constants"], videos["lengths"][stream]
    said: Any = network.apply({"params": variables["params"]}, videos[stream], lengths)
    standard, moves = said
    score = constants["mean"] + constants["deviation"] * standard
    return dict(score=score, attention=jax.vmap(shares)(moves, lengths))

  def assess(variables: Tree, encoding: Any, references: Any) -> Assessment:
    del variables, references
    return Assessment(score=encoding["score"], attention={"moves of the score": encoding["attention"][None]})

  return Method(init=init, encode=encode, phases=(Phase(squared_error, trains="."),), assess=assess, items=VIDEOS,
                streams=(stream,), prepare=training_scores, targets=labels_of,
                meanings={"moves of the score": Meaning("moments that move the score most", finds=("critical",))})
