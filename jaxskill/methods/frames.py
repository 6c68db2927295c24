"""CoRe's video network, trained with the rest: frames -> snippets -> I3D -> the mean of their features.

Training sees another window, crop and side of a video at every step, the same for all of its frames; testing the middle
of both. The statistics of the batch normalisation never move, as in the published code.

V videos, N frames kept of each, C snippets of L frames, S side of the crop.

Reference: Yu, Rao, Zhao, Lu, Zhou, Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021,
Sec. 4.1, "Implementation Details".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill import pretrained
from jaxskill.data.dataset import SkillDataset
from jaxskill.methods.common import operand_type
from jaxskill.modules import i3d

NAME = "backbone"          # of the parameters: `config.train.rates` slows them down
WIDTH = i3d.FEATURES
SCALINGS = ("symmetric", "imagenet")       # of frames, among those of `encoders`


class Backbone:
  """I3D as `config.model.i3d` says, its first weights those of `config.model.weights`."""

  def __init__(self, config: ConfigDict) -> None:
    self._options, self._weights, self._stream = config.model.i3d, config.model.weights, config.data.stream
    self._check(config)
    self._in_place = f"{pretrained.RANDOM}0" if config.get("init_from") else ""      # until those of the file come
    self._module = i3d.I3D(eps=self._options.eps, dtype=operand_type(config))
    self._initial: dict[str, Any] = {}    # until they are prepared
    self._starts, self._margin = np.asarray(self._options.starts), config.data.frames.margin

  @property
  def note(self) -> str:
    """Returns what every result must say of the weights."""
    return f"RANDOM weights ({self._weights})" if self._weights.startswith(pretrained.RANDOM) else ""

  def prepare(self) -> dict[str, Any]:
    """Returns the variables that training begins with.

    Raises:
      ValueError: for weights that cannot be used.
    """
    if not self._initial:                 # once for all replicas
      recipe = dict(network="i3d", input="rgb", eps=self._options.eps, sampling=dict(length=self._options.length))
      try:
        loaded, _ = pretrained.load(ConfigDict(dict(streams=dict(rgb=recipe))), self._weights or self._in_place)
      except ValueError as error:
        raise ValueError(str(error).replace("--weights", "config.model.weights")) from error
      self._initial = loaded["rgb"]
    return self._initial

  def check(self, dataset: SkillDataset, others: Mapping[str, np.ndarray] | None = None) -> None:
    """Raises a `ValueError` for a data set whose videos are no frames, or too few or small."""
    del others
    stream = dataset.streams.get(self._stream)
    if stream is None or stream.dtype != np.uint8 or stream.ndim != 5 or stream.shape[-1] != 3:
      raise ValueError(f"{dataset.source}: config.model.backbone='i3d' is trained on frames, uint8 [frames, height, "
                       f"width, 3], but the stream {self._stream!r} is "
                       f"{'not there' if stream is None else stream.dtype}; use configs/core.py:frames, or set "
                       "config.model.backbone=features.")
    need, lengths = self._needed(), dataset.lengths[self._stream]
    short = np.flatnonzero(lengths < need)
    if short.size:
      raise ValueError(f"{dataset.source}: video {dataset.videos[short[0]]!r} has {lengths[short[0]]} frames, but the "
                       f"snippets reach over {need}; set config.data.frames.count, or config.model.i3d.starts.")
    if (smallest := min(stream.shape[2:4])) < self._options.crop:
      raise ValueError(f"{dataset.source}: frames of {stream.shape[3]} x {stream.shape[2]} are smaller than "
                       f"config.model.i3d.crop={self._options.crop}; set it to at most {smallest}, or "
                       "config.data.frames.size larger.")

  def encode(self, variables: Mapping[str, Any], videos: Mapping[str, Any], key: jax.Array, train: bool) -> jax.Array:
    """Returns `[V, 1024]` features: each video once, a few snippets at a time; only these are kept for the gradient.

    Args:
      variables: {"params", "batch_stats"} of the network.
      videos: as `Method.encode` takes them; the stream is `[V, N, H, W, 3]` uint8.
      key, train: the augmentation of a training step, which depends on the key and the number of the video alone.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, videos["position"])
    windows = jax.vmap(functools.partial(self.window, train=train))(keys, videos[self._stream])  # [V, T, S, S, 3]
    snippets = windows[:, self._starts[:, None] + np.arange(self._options.length)]        # [V, C, L, S, S, 3]

    @jax.checkpoint                       # what I3D holds of a clip is a hundred times the clip
    # Not of one clip, mapped: each would have a gradient of the network to itself.
    def features(variables: Mapping[str, Any], clips: Any) -> Any:
      found: Any = self._module.apply(variables, self._scaled(clips))
      return found["features"].mean(axis=1)
    count = snippets.shape[0] * snippets.shape[1]
    most = self._options.clips_at_once or (1 if jax.default_backend() == "cpu" else len(self._starts))
    together = max(number for number in range(1, most + 1) if count % number == 0)
    rows = jax.lax.map(lambda clips: features(variables, clips), snippets.reshape(-1, together, *snippets.shape[2:]))
    return rows.reshape(*snippets.shape[:2], -1).mean(axis=1)

  def maps(self, variables: Mapping[str, Any], pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `[C, T', h, w, 1024]`, what the last block shows of the middle of one video, and what is seen of it.

    The features are a weighted mean of the maps over time and space, whose weights sum to 1.

    Args:
      variables: as of `encode`.
      pictures: `[N, H, W, 3]` uint8.

    Returns:
      The maps, and `[C, L, S, S, 3]` uint8 snippets.
    """
    window = self.window(jax.random.key(0), pictures, train=False)       # nothing is drawn
    snippets = window[self._starts[:, None] + np.arange(self._options.length)]
    last = list(i3d.BLOCKS)[-1]

    def of_one(clip: Any) -> Any:
      found: Any = self._module.apply(variables, self._scaled(clip[None]))
      return found[last][0]
    return jax.lax.map(of_one, snippets), snippets

  def _scaled(self, clips: Any) -> jax.Array:
    """Returns clips of pixels as the network reads them."""
    mean, scale = (np.array(values, np.float32) for values in pretrained.SCALINGS[self._options.scaling])
    return (clips.astype(jnp.float32) / 255 - mean) / scale

  def window(self, key: jax.Array, frames: jax.Array, train: bool) -> jax.Array:
    """Returns `[T, S, S, 3]`, the part of a video `[N, H, W, 3]` that is read: the middle, or drawn and mirrored."""
    side, margin = self._options.crop, self._margin
    high, wide = frames.shape[1] - side, frames.shape[2] - side
    first, top, left = margin, high // 2, wide // 2
    if train:
      draw = lambda number, most: jax.random.randint(jax.random.fold_in(key, number), (), 0, most + 1)
      first, top, left = draw(0, 2 * margin), draw(1, high), draw(2, wide)
    count = self._needed() - 2 * margin
    part = jax.lax.dynamic_slice(frames, (first, top, left, 0), (count, side, side, 3))
    if train and self._options.flip:
      part = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 3)), part[:, :, ::-1], part)
    return part

  def _needed(self) -> int:
    return max(self._options.starts) + self._options.length + 2 * self._margin

  def _check(self, config: ConfigDict) -> None:
    options = self._options
    if config.get("init_from") and self._weights:
      raise ValueError(f"config.model.weights={self._weights} and config.init_from={config.init_from}: the latter "
                       "holds this network too; leave the former out.")
    if not self._weights and not config.get("init_from"):
      raise ValueError("config.model.weights is not given. The paper begins with "
                       f"{pretrained.WEIGHTS['i3d', 'rgb']}. For a trial, "
                       "--config.model.weights=random:0 draws weights, and every result says so.")
    if options.scaling not in SCALINGS:
      raise ValueError(f"config.model.i3d.scaling={options.scaling!r} is unknown; use one of "
                       f"{', '.join(SCALINGS)}.")
    if options.length < i3d.MIN_FRAMES or options.crop < 32 or not options.starts or min(options.starts) < 0:
      raise ValueError(f"config.model.i3d: length={options.length} must be at least {i3d.MIN_FRAMES}, "
                       f"crop={options.crop} at least 32, and starts={tuple(options.starts)} some numbers from 0 on.")
    if options.clips_at_once < 0 or not options.eps > 0:
      raise ValueError(f"config.model.i3d: clips_at_once={options.clips_at_once} must be 0 (chosen by platform) or "
                       f"more, and eps={options.eps} positive.")
    if config.data.standardize:
      raise ValueError("config.data.standardize=True is for features; frames are scaled as config.model.i3d.scaling "
                       "says: set it to False.")
