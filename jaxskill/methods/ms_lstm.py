"""MS-LSTM: a self-attentive LSTM and LSTMs that skip, over windows of several lengths, score a long video together.

Rows are mapped to fewer channels. The self-attentive half pools them by K distributions of attention and runs an LSTM
over the K pooled rows: local technical moves. The multi-scale half runs, for each scale, a convolution over windows of
rows and an LSTM that learns which windows to skip: the whole performance. Last states are mapped, joined and regressed.
The loss is the squared error plus a penalty on attention that looks twice at the same rows.

The layers and their sizes are those of the published code. It normalizes layers over the batch; ours does not, for a
video must not depend on those that it is trained with: its features are standardized instead. Its rounding of the skips
lets no gradient through; ours is that of Skip RNN, as if it were the identity. Scores are in standard deviations of the
training scores here; the penalty is divided by their variance, so that its weight is that of the published loss, which
is in the unit of the labels.

V videos, T rows, D channels, K distributions, H units, W windows.

References: Xu, Fu, Zhang, Chen, Jiang, Xue, Learning to Score Figure Skating Sport Videos, IEEE TCSVT 2019; Lin et al.,
A Structured Self-Attentive Sentence Embedding, ICLR 2017, Eq. 6 to 8 (attention and penalty); Campos et al., Skip RNN,
ICLR 2018, Eq. 2 to 6 (skips).
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from jaxskill.methods import VIDEOS, Assessment, Meaning, Method, Phase, Tree
from jaxskill.methods.common import labels_of, operand_type, squared_error, training_scores


class SkipLSTMCell(nn.RNNCellBase):
  """An LSTM that decides at every step whether to take the next one in, or to keep its state (Skip RNN)."""

  features: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, carry: tuple[tuple[jax.Array, jax.Array], jax.Array, jax.Array],
               inputs: jax.Array) -> tuple[tuple[tuple, jax.Array, jax.Array], jax.Array]:
    """One step; the carry is ((`[V, H]` memory, `[V, H]` state), `[V]` increment, `[V]` probability of an update)."""
    (memory, state), increment, due = carry
    due = due + jnp.minimum(increment, 1 - due)                                           # Eq. 5, one step later
    update = due + jax.lax.stop_gradient(jnp.round(due) - due)                            # Eq. 2, 6

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:                                       # Eq. 3
      taken = update.reshape(update.shape + (1,) * (new.ndim - update.ndim))
      return taken * new + (1 - taken) * old
    (memory_1, state_1), _ = nn.OptimizedLSTMCell(self.features, dtype=self.dtype, name="lstm")((memory, state), inputs)
    layer = nn.Dense(1, bias_init=nn.initializers.ones, name="update")
    increment = chosen(nn.sigmoid(layer(memory_1)[..., 0]), increment)                    # Eq. 4
    carry = (chosen(memory_1, memory), chosen(state_1, state)), increment, (1 - update) * due
    return carry, carry[0][1]

  @nn.nowrap
  def initialize_carry(self, rng: jax.Array,
                       input_shape: tuple[int, ...]) -> tuple[tuple[jax.Array, jax.Array], jax.Array, jax.Array]:
    """Returns zero states, and a first step that is always taken in."""
    del rng
    videos = input_shape[:-1]
    zeros = jnp.zeros((*videos, self.features))
    return (zeros, zeros), jnp.ones(videos), jnp.zeros(videos)

  @property
  def num_feature_axes(self) -> int:
    """Returns the number of axes that a feature has, as Flax asks."""
    return 1


def last_state(cell: nn.RNNCellBase, rows: jax.Array, count: jax.Array) -> jax.Array:
  """Returns `[V, H]` the state of a cell after the last real one of `[V, N, D]` rows, of which `[V]` are real."""
  states: Any = nn.RNN(cell)(rows)
  return jnp.take_along_axis(states.astype(jnp.float32), (count - 1)[:, None, None], axis=1)[:, 0]


class Scale(nn.Module):
  """A convolution over windows of rows, and an LSTM that skips some of them: `[V, T, D]` rows -> `[V, H]`."""

  window: int
  stride: int
  hidden: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array, lengths: jax.Array) -> jax.Array:
    """The last state; rows of padding are zero, and a shorter video is one window, filled up with them."""
    rows = jnp.pad(rows, ((0, 0), (0, max(self.window - rows.shape[1], 0)), (0, 0)))
    starts = self.stride * jnp.arange((rows.shape[1] - self.window) // self.stride + 1)
    windows = rows[:, starts[:, None] + jnp.arange(self.window)]                          # [V, W, window, D]
    # A product, not a convolution: many replicas at once are one product, but a grouped convolution, slow on a CPU.
    windows = nn.Dense(self.hidden, dtype=self.dtype, name="windows")(windows.reshape(*windows.shape[:2], -1))
    count = jnp.maximum((lengths - self.window) // self.stride + 1, 1)
    return last_state(SkipLSTMCell(self.hidden, self.dtype, name="skip_lstm"), nn.relu(windows), count)


class Network(nn.Module):
  """Both halves; the attributes are those of `config.model`, `scales` are (window, stride) in rows."""

  channels: int
  scales: tuple[tuple[int, int], ...]
  hidden: int
  attention_hidden: int
  distributions: int
  joined: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[V, T, D]` rows, `[V]` real ones -> `[V]` scores and `[V, K, T]` attention, sums 1 over the real rows."""
    dense = functools.partial(nn.Dense, dtype=self.dtype)
    mask = (jnp.arange(rows.shape[1]) < lengths[:, None])[..., None]                      # [V, T, 1]
    rows = jnp.where(mask, nn.relu(dense(self.channels, name="embed")(rows)).astype(jnp.float32), 0.0)
    hidden = nn.tanh(dense(self.attention_hidden, name="attend_1", use_bias=False)(rows))
    logits = dense(self.distributions, name="attend_2", use_bias=False)(hidden).astype(jnp.float32)
    attention = nn.softmax(jnp.where(mask, logits, -1e9), axis=1)                         # Lin et al., Eq. 6
    attention = jnp.where(mask, attention, 0.0).transpose(0, 2, 1)                        # [V, K, T]
    pooled = attention @ rows                                                             # Eq. 7: [V, K, D]
    cell = nn.OptimizedLSTMCell(self.hidden, dtype=self.dtype, name="lstm")
    states = [last_state(cell, pooled, jnp.full(len(rows), self.distributions))]
    states += [Scale(window, stride, self.hidden, self.dtype, name=f"scale_{window}")(rows, lengths)
               for window, stride in self.scales]
    halves = [nn.relu(dense(self.joined, name=f"map_{number}")(state)) for number, state in enumerate(states)]
    joined = nn.relu(dense(self.joined, name="join")(jnp.concatenate(halves, axis=-1)))
    return dense(1, name="score")(joined)[:, 0].astype(jnp.float32), attention


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model` and `config.loss`; raises a `ValueError` for sizes that cannot be."""
  model, stream = config.model, config.data.stream
  _check(model)
  network = Network(model.channels, tuple(map(tuple, model.scales)), model.hidden, model.attention_hidden,
                    model.distributions, model.joined, operand_type(config))

  def init(key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    del constants
    return network.init(key, videos[stream], videos["lengths"][stream])["params"]

  def encode(variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    del key, train
    constants = variables["constants"]
    standard, attention = network.apply({"params": variables["params"]}, videos[stream], videos["lengths"][stream])
    return dict(score=constants["mean"] + constants["deviation"] * standard, attention=attention)

  def loss(variables: Tree, encodings: Any, labels: Tree) -> tuple[jax.Array, Tree]:
    """The squared error, and || A A^T - I ||_F^2 of the attention (Lin et al., Eq. 8)."""
    error, said = squared_error(variables, encodings, labels)
    (encoding,), constants = encodings, variables["constants"]
    overlap = encoding["attention"] @ encoding["attention"].T - jnp.eye(model.distributions)
    penalty = constants["loss_weights"]["penalty"] * jnp.sum(overlap ** 2) / constants["deviation"] ** 2
    return error + penalty, said | dict(penalty=penalty)

  def assess(variables: Tree, encoding: Any, references: Any) -> Assessment:
    del variables, references
    return Assessment(score=encoding["score"], attention={"self-attention": encoding["attention"]})

  return Method(init=init, encode=encode, phases=(Phase(loss, trains="."),), assess=assess, items=VIDEOS,
                streams=(stream,), prepare=training_scores, targets=labels_of,
                meanings={"self-attention": Meaning("moments that the score is read from", finds=("critical",))})


def _check(model: ConfigDict) -> None:
  for name in ("channels", "hidden", "attention_hidden", "distributions", "joined"):
    if model[name] < 1:
      raise ValueError(f"config.model.{name}={model[name]} must be at least 1.")
  for scale in model.scales:
    if len(scale) != 2 or min(scale) < 1:
      raise ValueError(f"config.model.scales={tuple(model.scales)}: each must be (window, stride) in rows, at least 1.")
  windows = [window for window, _ in model.scales]
  if not windows or len(set(windows)) < len(windows):
    raise ValueError(f"config.model.scales={tuple(model.scales)} must hold at least one scale, each window once.")
