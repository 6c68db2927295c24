"""Spatial attention guided by what was seen so far: where in the frames of a video the skill shows.

Each frame is a feature map. Two convolutions fuse its channels; an attention GRU, which knows the frame at a glance and
the state of the skill GRU, says where to look; the skill GRU reads what is seen there. All that does not depend on the
recurrence is computed for all frames at once before it, so that the recurrence is one scan over small vectors.

V videos, T frames, h x w places of a map, C channels, S filters of the first fusion layer, D fused channels, P places
of a fused map, A hidden units of the attention GRU, H of the skill GRU, R = V * T maps of a batch. Activations are
feature-major, `[channels, R * P]`, up to the recurrence (see `gcn_context`).

Reference: Li, Huang, Cai, Sato, Manipulation-skill Assessment from Videos with Spatial Attention Network, ICCVW 2019.
"Eq." below are its equations. The paper does not say how the convolutions are padded, nor what anything starts from.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.gcn_context import product
from jaxskill.modules.layers import torch_uniform

FUSION_SIZE, CBAM_SIZE, CBAM_REDUCTION = 2, 7, 16
PADDINGS = ("valid", "same")
IMPLEMENTATIONS = ("auto", "plain", "stacked")
ATTENTIONS = ("gru", "cbam")
GUIDES = ("frame", "skill")


def convolve(kernel: jax.Array, maps: jax.Array, *, padding: str = "valid", dtype: DTypeLike = jnp.float32,
             implementation: str = "auto") -> jax.Array:
  """Convolves feature maps that are data: no gradient flows into them.

  Args:
    kernel: `[k, k, S, C]`, as the stacked form multiplies it.
    maps: `[R, h, w, C]`.
    padding: "valid", or "same" with zeros, the odd one behind.
    dtype: of the operands; results are float32.
    implementation: "plain" (`lax.conv`), "stacked" (one product with all kernel positions, then shifted sums: the form
      for CPUs), or "auto": "stacked" where JAX runs on a CPU.

  Returns:
    `[S, R, h', w']` float32, feature-major; h' = h - k + 1 with "valid", h with "same".

  Raises:
    ValueError: if `padding` or `implementation` is not one of its choices.
  """
  if padding not in PADDINGS:
    raise ValueError(f"padding={padding!r} is unknown; use one of {', '.join(PADDINGS)}.")
  if implementation == "auto":
    implementation = "stacked" if jax.default_backend() == "cpu" else "plain"
  if implementation == "stacked":
    size, _, filters, width = kernel.shape
    stacked = product(kernel.reshape(-1, width), maps.reshape(-1, width), True, dtype)
    return shifted_sum(stacked.reshape(size, size, filters, *maps.shape[:3]), padding)
  if implementation == "plain":
    return _data_convolution(kernel, maps, padding, dtype)
  raise ValueError(f"implementation={implementation!r} is unknown; use one of {', '.join(IMPLEMENTATIONS)}.")


def shifted_sum(products: jax.Array, padding: str) -> jax.Array:
  """Returns a `[S, R, h', w']` convolution: the shifted sum of `[k, k, S, R, h, w]` products, one a kernel position."""
  size, _, _, _, height, width = products.shape
  if padding == "same":
    before, after = (size - 1) // 2, size // 2
    products = jnp.pad(products, [(0, 0)] * 4 + [(before, after)] * 2)
  else:
    height, width = height - size + 1, width - size + 1
  shifted = (products[i, j, :, :, i:i + height, j:j + width] for i, j in itertools.product(range(size), repeat=2))
  return functools.reduce(jnp.add, shifted)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _data_convolution(kernel: jax.Array, maps: jax.Array, padding: str, dtype: DTypeLike) -> jax.Array:
  return jax.lax.conv_general_dilated(maps.astype(dtype), kernel.astype(dtype), (1, 1), padding.upper(),
                                      dimension_numbers=("NHWC", "HWOI", "CNHW"), preferred_element_type=jnp.float32)


def _data_convolution_forward(kernel: jax.Array, maps: jax.Array, padding: str,
                              dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _data_convolution(kernel, maps, padding, dtype), (kernel, maps)


def _data_convolution_backward(padding: str, dtype: DTypeLike, residuals: tuple[jax.Array, jax.Array],
                               gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Does as autodiff, but with operands of `dtype`: it would ask for a convolution of two different types."""
  kernel, maps = residuals
  size = len(kernel)
  pads = [(0, 0)] * 2 if padding == "valid" else [((size - 1) // 2, size // 2)] * 2
  of_kernel = jax.lax.conv_general_dilated(maps.astype(dtype), gradient.astype(dtype), (1, 1), pads,
                                           dimension_numbers=("CHWN", "OIHW", "HWCN"),
                                           preferred_element_type=jnp.float32)
  return of_kernel, jnp.zeros_like(maps)


_data_convolution.defvjp(_data_convolution_forward, _data_convolution_backward)


def gru_gates(weights: Mapping[str, jax.Array], inputs: jax.Array) -> jax.Array:
  """Returns what `[..., D]` inputs of a GRU add to its gates, `[..., 3H]`: known before the recurrence."""
  return inputs @ weights["input"].T + weights["input_bias"]


def gru_step(weights: Mapping[str, jax.Array], gates: jax.Array, state: jax.Array) -> jax.Array:
  """Takes one step of a GRU as PyTorch defines it (the n gate has a bias of its own on either side of r).

  Args:
    weights: {"input": `[3H, D]`, "state": `[3H, H]`, "input_bias", "state_bias": `[3H]`}, rows by gate: r, z, n.
    gates: `[V, 3H]` see `gru_gates`.
    state: `[V, H]`.

  Returns:
    `[V, H]` next state.
  """
  from_state = state @ weights["state"].T + weights["state_bias"]
  size = state.shape[-1]
  reset, update = (nn.sigmoid(gates[:, part] + from_state[:, part]) for part in (slice(size), slice(size, 2 * size)))
  new = jnp.tanh(gates[:, 2 * size:] + reset * from_state[:, 2 * size:])
  return (1 - update) * new + update * state


def places_seen(weights: jax.Array, size: int, padding: str) -> jax.Array:
  """Returns weights of fused places, spread over the places of the map that each of them looked at.

  Args:
    weights: `[T, h', w']`.
    size: k of the convolution that made them.
    padding: of that convolution.

  Returns:
    `[T, h, w]` with the same sums.
  """
  _, height, width = weights.shape
  before, after = ((size - 1) // 2, size // 2) if padding == "same" else (0, 0)

  def real(count: int) -> jax.Array:    # places of the map among the `size` that a fused one looks at, along an axis
    first = jnp.arange(count) - before
    return jnp.minimum(first + size, count + size - 1 - before - after) - jnp.maximum(first, 0)
  share = weights / (real(height)[:, None] * real(width))
  seen: Any = sum(jnp.pad(share, ((0, 0), (i, size - 1 - i), (j, size - 1 - j)))
             for i, j in itertools.product(range(size), repeat=2))
  return seen[:, before:seen.shape[1] - after, before:seen.shape[2] - after]


class SpatialAttention(nn.Module):
  """The whole network: feature maps of the frames of a video -> its score, and where it looked.

  Attributes:
    filters, channels: S and D of the two fusion layers (Eq. 1).
    padding: of the first one, see `convolve`.
    attention: "gru", or "cbam": channel and spatial attention of every frame by itself (Woo et al., CBAM, ECCV 2018)
      and average pooling, in place of Eq. 2 to 7.
    guides: what says where to look: the "frame" at a glance (Eq. 2), the state of the "skill" GRU, or both (Eq. 3).
    attention_gru: False lets the guides be read as they are, without a GRU of their own (Eq. 4).
    attention_hidden, attention_width, hidden: A, width of the additive attention (Eq. 5), H.
    dtype: operands of the products with feature maps; the recurrence is float32.
    implementation: see `convolve`.
    update_bias: added to the biases of the skill GRU's update gates at the start. At 0 it keeps half of its state from
      frame to frame, so that the loss hardly reaches frames before the last few; at 2 it keeps nine tenths.
  """

  filters: int = 512
  channels: int = 256
  padding: str = "valid"
  attention: str = "gru"
  guides: tuple[str, ...] = GUIDES
  attention_gru: bool = True
  attention_hidden: int = 128
  attention_width: int = 32
  hidden: int = 128
  dtype: DTypeLike = jnp.float32
  implementation: str = "auto"
  update_bias: float = 0.0

  @nn.compact
  def __call__(self, maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores videos.

    Args:
      maps: `[V, T, h, w, C]` feature maps. They are data: no gradient flows into them.

    Returns:
      `[V]` scores, and `[V, T, h', w']` how much each fused place weighs: sums to 1 in every frame. Both float32.

    Raises:
      ValueError: if an attribute is none of its choices.
    """
    if self.attention not in ATTENTIONS:
      raise ValueError(f"attention={self.attention!r} is unknown; use one of {', '.join(ATTENTIONS)}.")
    videos, frames = maps.shape[:2]
    fused = self._fuse(maps.reshape(-1, *maps.shape[2:]))                                 # [D, R, h', w']
    height, width = fused.shape[2:]
    fused = fused.reshape(self.channels, videos, frames, -1)                              # [D, V, T, P]
    if self.attention == "cbam":
      seen, weights = self._cbam(fused.reshape(self.channels, videos * frames, height, width))
      state = self._skill(seen.reshape(self.channels, videos, frames).transpose(2, 1, 0))
    else:
      state, weights = self._recurrence(fused)
    readout = self.param("score", torch_uniform(self.hidden), (self.hidden,))     # a bias means nothing to a rank score
    return state @ readout, weights.reshape(videos, frames, height, width)                # Eq. 9

  def _layer(self, name: str, count: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel `[count, width]` and bias `[count]` of a layer."""
    start = torch_uniform(width)
    return self.param(f"{name}_kernel", start, (count, width)), self.param(f"{name}_bias", start, (count,))

  def _convolution(self, name: str, size: int, count: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel `[size, size, count, width]` and bias `[count]` of a convolution."""
    start = torch_uniform(size ** 2 * width)
    return self.param(f"{name}_kernel", start, (size, size, count, width)), self.param(f"{name}_bias", start, (count,))

  def _gru(self, name: str, width: int, hidden: int, update_bias: float = 0.0) -> dict[str, jax.Array]:
    shapes = dict(input=(3 * hidden, width), state=(3 * hidden, hidden), input_bias=(3 * hidden,),
                  state_bias=(3 * hidden,))
    start = torch_uniform(hidden)

    def init(key: jax.Array) -> dict[str, jax.Array]:
      weights = {part: start(part_key, shape) for (part, shape), part_key in
                 zip(shapes.items(), jax.random.split(key, len(shapes)))}
      more = update_bias * (jnp.arange(3 * hidden) // hidden == 1)                        # rows by gate: r, z, n
      return weights | dict(input_bias=weights["input_bias"] + more)
    return self.param(name, init)

  def _fuse(self, maps: jax.Array) -> jax.Array:
    """Fuses `[R, h, w, C]` maps of appearance and motion into `[D, R, h', w']` (Eq. 1)."""
    kernel, bias = self._convolution("fuse_1", FUSION_SIZE, self.filters, maps.shape[-1])
    x = convolve(kernel, maps, padding=self.padding, dtype=self.dtype, implementation=self.implementation)
    shape, x = x.shape[1:], nn.relu(x + bias[:, None, None, None]).reshape(self.filters, -1)
    kernel, bias = self._layer("fuse_2", self.channels, self.filters)
    return (product(kernel, x, False, self.dtype) + bias[:, None]).reshape(self.channels, *shape)

  def _recurrence(self, fused: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reads `[D, V, T, P]` maps; returns the `[V, H]` last state of the skill GRU, `[V, T, P]` attention weights."""
    _, videos, frames, places = fused.shape
    unknown = [guide for guide in self.guides if guide not in GUIDES]
    if unknown or not self.guides:
      raise ValueError(f"guides={tuple(self.guides)} must be some of {', '.join(GUIDES)}, at least one.")
    sizes = dict(frame=self.channels, skill=self.hidden)
    guided = sum(sizes[guide] for guide in self.guides)
    offset: Any = 0.0
    if self.attention_gru:
      attention_gru = self._gru("attention_gru", guided, self.attention_hidden)
      query = self.param("query", torch_uniform(self.attention_hidden), (self.attention_width, self.attention_hidden))
      reads, offset = attention_gru["input"], attention_gru["input_bias"]
    else:
      attention_gru = None
      reads = self.param("query", torch_uniform(guided), (self.attention_width, guided))
    from_skill = reads[:, guided - self.hidden:].T if "skill" in self.guides else None    # [H, N]
    guide = jnp.broadcast_to(offset, (frames, videos, len(reads)))                        # [T, V, N]
    if "frame" in self.guides:
      glance = (fused.mean(axis=3) + fused.max(axis=3)).transpose(2, 1, 0)                # [T, V, D] (Eq. 2)
      guide += glance @ reads[:, :self.channels].T
    kernel, bias = self._layer("key", self.attention_width, self.channels)
    keys = product(kernel, fused.reshape(self.channels, -1), False, self.dtype) + bias[:, None]
    keys = keys.reshape(-1, videos, frames, places).transpose(2, 0, 1, 3)                 # [T, 32, V, P]
    readout = self.param("readout", torch_uniform(self.attention_width), (self.attention_width,))
    skill_gru = self._gru("skill_gru", self.channels, self.hidden, self.update_bias)

    def step(states: tuple[jax.Array, jax.Array],
             now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      attention, skill = states                                                           # [V, A], [V, H]
      shown, keys, guide = now                                        # [V, D, P], [32, V, P], [V, N]
      if from_skill is not None:
        guide += skill @ from_skill                                                       # Eq. 3
      if attention_gru:
        attention = gru_step(attention_gru, guide, attention)                             # Eq. 4
        guide = attention @ query.T
      logits = jnp.einsum("kvp,k->vp", jnp.tanh(keys + guide.T[..., None]), readout)      # Eq. 5
      weights = nn.softmax(logits, axis=1)                                                # Eq. 6
      seen = jnp.einsum("vp,vdp->vd", weights, shown)                                    # Eq. 7
      return (attention, gru_step(skill_gru, gru_gates(skill_gru, seen), skill)), weights # Eq. 8

    start = (jnp.zeros((videos, self.attention_hidden)), jnp.zeros((videos, self.hidden)))
    (_, state), weights = jax.lax.scan(step, start, (fused.transpose(2, 1, 0, 3), keys, guide))
    return state, weights.transpose(1, 0, 2)

  def _skill(self, seen: jax.Array) -> jax.Array:
    """Returns the last state `[V, H]` of the skill GRU after `[T, V, D]`."""
    weights = self._gru("skill_gru", self.channels, self.hidden, self.update_bias)

    def step(state: jax.Array, gates: jax.Array) -> tuple[jax.Array, None]:
      return (gru_step(weights, gates, state), None)
    return jax.lax.scan(step, jnp.zeros((seen.shape[1], self.hidden)), gru_gates(weights, seen))[0]

  def _cbam(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Refines `[D, R, h', w']`; returns `[D, R]` averages and `[R, P]` spatial attention, its sum scaled to 1."""
    reduced = max(1, self.channels // CBAM_REDUCTION)
    squeeze, squeeze_bias = self._layer("squeeze", reduced, self.channels)
    excite, excite_bias = self._layer("excite", self.channels, reduced)

    def shared(pooled: jax.Array) -> jax.Array:
      return excite @ nn.relu(squeeze @ pooled + squeeze_bias[:, None]) + excite_bias[:, None]
    x *= nn.sigmoid(shared(x.mean(axis=(2, 3))) + shared(x.max(axis=(2, 3))))[..., None, None]
    glance = jnp.stack([x.mean(axis=0), x.max(axis=0)])                                   # [2, R, h', w']
    kernel, bias = self._convolution("spatial", CBAM_SIZE, 1, 2)
    taps = kernel.reshape(-1, 2) @ glance.reshape(2, -1)
    taps = taps.reshape(CBAM_SIZE, CBAM_SIZE, 1, *x.shape[1:])
    weights = nn.sigmoid(shifted_sum(taps, "same")[0] + bias)                             # [R, h', w']
    refined = (x * weights).mean(axis=(2, 3))
    return refined, (weights / weights.sum(axis=(1, 2), keepdims=True)).reshape(len(weights), -1)

