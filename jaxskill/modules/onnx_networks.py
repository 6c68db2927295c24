"""I3D and ResNet as graphs of ONNX, for OpenVINO and ONNX Runtime, whose convolutions are faster than ours on CPUs.

The Flax modules are the reference. Their layers are listed here once more, with normalisation folded into the kernels.
Needs onnx, and openvino (extra openvino) or onnxruntime (extra onnx).

B clips or frames, S spatial axes ([H, W] or [T, H, W]), C channels.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.host import host_cores
from jaxskill.modules import i3d, resnet
from jaxskill.modules.i3d import I3D
from jaxskill.modules.resnet import ResNet

OPENVINO, ONNX_RUNTIME = "openvino", "onnxruntime"
EXTRAS = {OPENVINO: "openvino", ONNX_RUNTIME: "onnx"}      # of the engines, the faster one first
OPSET, IR_VERSION = 17, 8      # of ONNX; every ONNX Runtime since 2022 reads them


def missing(engine: str) -> str:
  """Returns which packages of an engine are not installed or do not work, and the remedy; "" where all do."""
  names = [name for name in ("onnx", engine) if not _works(name)]
  are = "are" if len(names) > 1 else "is"
  return f"{' and '.join(names)} {are} not installed: pip install 'jaxskill[{EXTRAS[engine]}]'." if names else ""


def _works(name: str) -> bool:
  if name == OPENVINO:            # which would tell its makers of every import, in a process that it forks
    sys.modules.setdefault("openvino_telemetry", None)      # type: ignore[arg-type]
  try:
    importlib.import_module(name)
  except Exception:   # pylint: disable=broad-except   e.g. made for another release of NumPy
    return False
  return True


class _Graph:
  """The nodes of a network, in their order, and its constants; a value is its name."""

  def __init__(self, variables: Mapping[str, Any], eps: float) -> None:
    self.nodes, self.constants = [], []
    self._variables, self._eps = variables, eps

  def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
    """Adds a node; returns its value."""
    from onnx import helper
    name = f"value{len(self.nodes)}"
    self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
    return name

  def constant(self, value: Any) -> str:
    """Adds float32 numbers; returns their name."""
    from onnx import numpy_helper
    name = f"constant{len(self.constants)}"
    self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
    return name

  def has(self, layer: str) -> bool:
    """Returns whether there is a layer "block/unit"."""
    block, _, unit = layer.partition("/")
    return unit in self._variables["params"][block]

  def unit(self, x: str, layer: str, stride: int = 1, relu: bool = True, padding: int | None = None) -> str:
    """Adds a `ConvUnit` by its name, "unit" or "block/unit"; "SAME" where no padding is given."""
    params, stats = self._variables["params"], self._variables["batch_stats"]
    for name in layer.split("/"):
      params, stats = params[name], stats[name]
    scale = np.asarray(params["scale"]) / np.sqrt(np.asarray(stats["var"]) + self._eps)
    kernel = np.moveaxis(np.asarray(params["kernel"]) * scale, (-1, -2), (0, 1))          # [N, C, k...]
    bias, axes = np.asarray(params["bias"]) - np.asarray(stats["mean"]) * scale, kernel.ndim - 2
    pads = dict(auto_pad="SAME_UPPER") if padding is None else dict(pads=2 * axes * [padding])
    x = self.add("Conv", x, self.constant(kernel), self.constant(bias), strides=axes * [stride], **pads)
    return self.add("Relu", x) if relu else x

  def max_pool(self, x: str, size: Sequence[int], strides: Sequence[int], **pads: Any) -> str:
    """Adds maxima of windows; "SAME" where no padding is given."""
    return self.add("MaxPool", x, kernel_shape=size, strides=strides, **pads or dict(auto_pad="SAME_UPPER"))


def _resnet(graph: _Graph, x: str, depth: int) -> dict[str, str]:
  """Adds a ResNet to frames `[B, C, H, W]`; returns the stages that extraction reads."""
  x = graph.unit(x, "conv1", 2, padding=3)
  x = graph.max_pool(x, (3, 3), (2, 2), pads=4 * [1])
  for number, blocks in enumerate(resnet.DEPTHS[depth], 1):
    for block in (f"layer{number}_{index}" for index in range(blocks)):
      stride = 2 if number > 1 and block.endswith("_0") else 1
      y = graph.unit(x, f"{block}/conv1")
      y = graph.unit(y, f"{block}/conv2", stride, padding=1)
      y = graph.unit(y, f"{block}/conv3", relu=False)
      if graph.has(f"{block}/downsample"):
        x = graph.unit(x, f"{block}/downsample", stride, relu=False)
      x = graph.add("Relu", graph.add("Add", y, x))
  return dict(layer4=x, feature=graph.add("ReduceMean", x, axes=(2, 3), keepdims=0))


def _i3d(graph: _Graph, x: str) -> dict[str, str]:
  """Adds I3D to clips `[B, C, T, H, W]`; returns `[B, 1024, T / 8]`, averaged over space."""
  x = graph.max_pool(graph.unit(x, "conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
  x = graph.unit(graph.unit(x, "conv3d_2b_1x1"), "conv3d_2c_3x3")
  x = graph.max_pool(x, (1, 3, 3), (1, 2, 2))
  for block in i3d.BLOCKS:
    if block == "mixed_4b":
      x = graph.max_pool(x, (3, 3, 3), (2, 2, 2))
    elif block == "mixed_5b":
      x = graph.max_pool(x, (2, 2, 2), (2, 2, 2))
    x = graph.add("Concat", graph.unit(x, f"{block}/branch_0"),
                  graph.unit(graph.unit(x, f"{block}/branch_1a"), f"{block}/branch_1b"),
                  graph.unit(graph.unit(x, f"{block}/branch_2a"), f"{block}/branch_2b"),
                  graph.unit(graph.max_pool(x, (3, 3, 3), (1, 1, 1)), f"{block}/branch_3"), axis=1)
  return dict(feature=graph.add("ReduceMean", x, axes=(3, 4), keepdims=0))


def write(module: I3D | ResNet, variables: Mapping[str, Any], *, stage: str = "feature", dtype: str = "float32",
          factor: Any = 1.0, offset: Any = 0.0) -> bytes:
  """Returns a network as an ONNX file; its input is "items", as the module takes them, its output has channels first.

  Args:
    module: the reference.
    variables: of it.
    stage: "feature", of I3D before the average over time, or of a ResNet also "layer4".
    dtype: of the items: float32, float16 or uint8.
    factor, offset: the network sees items * factor + offset; numbers, or one a channel.
  """
  from onnx import TensorProto, helper
  is_clip = isinstance(module, I3D)
  axes = 3 if is_clip else 2
  graph = _Graph(variables, module.eps if is_clip else 1e-5)
  x = graph.add("Cast", graph.add("Transpose", "items", perm=(0, axes + 1, *range(1, axes + 1))), to=TensorProto.FLOAT)
  for operation, numbers in (("Mul", factor), ("Add", offset)):
    x = graph.add(operation, x, graph.constant(np.reshape(numbers, (-1, *axes * [1]))))
  result = (_i3d(graph, x) if is_clip else _resnet(graph, x, module.depth))[stage]
  kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
  shape = [*(axes + 1) * [None], variables["params"]["conv3d_1a_7x7" if is_clip else "conv1"]["kernel"].shape[-2]]
  made = helper.make_graph(graph.nodes, "network", [helper.make_tensor_value_info("items", kind, shape)],
                           [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)], graph.constants)
  return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)],
                           ir_version=IR_VERSION).SerializeToString()


def load(module: I3D | ResNet, variables: Mapping[str, Any], engine: str, *, products: str = "float32",
         **options: Any) -> Callable[[np.ndarray], np.ndarray]:
  """Returns items -> features as `i3d.clip_features` and `resnet.frame_features` do, on all cores that it may use.

  Args:
    module, variables, options: see `write`.
    engine: "openvino" or "onnxruntime".
    products: the type of their operands and of what passes between layers: float32, or bfloat16 by OpenVINO.

  Raises:
    ValueError: if a package is not installed, or does not compute so on this processor; what is returned raises it too,
      where OpenVINO cannot run the network after all.
  """
  if why := missing(engine):
    raise ValueError(f"these features are made by {engine}: {why} Or give a new --out.")
  if products != "float32" and not multiplies_bfloat16(engine):
    raise ValueError(f"{engine} does not compute in {products} on this processor; extract into a new --out, with "
                     "config.engine=jax where a recipe names the engine.")
  infer = (_openvino if engine == OPENVINO else _onnx_runtime)(write(module, variables, **options), products)

  def run(items: np.ndarray) -> np.ndarray:
    found = np.moveaxis(infer(items), 1, -1)
    return ((found[:, :-1] + found[:, 1:]) / 2).mean(axis=1) if isinstance(module, I3D) else found
  return run


@contextlib.contextmanager
def _errors() -> Iterator[None]:
  """Turns what OpenVINO raises, pages of its sources, into a `ValueError` of one line."""
  try:
    yield
  except RuntimeError as error:
    says = str(error).strip().splitlines()
    raise ValueError("openvino cannot run this network here; extract with config.engine=jax, or without "
                     f"openvino installed, into a new --out. It says: {says[-1] if says else 'nothing'}") from error


def multiplies_bfloat16(engine: str) -> bool:
  """Returns whether an engine that is installed multiplies bfloat16 by instructions of this processor."""
  try:
    return engine == OPENVINO and "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
  except RuntimeError:            # it does not work at all, which is said where it is to run a network
    return False


_CORE: list[Any] = []            # of OpenVINO, the one of this process, see `_core`
_LOCK = threading.Lock()


def _core() -> Any:
  """Returns OpenVINO, the one of this process: where a processor has AMX each gives the thread a stack for signals.

  It puts back what was there before when it goes, which of two that overlap is the stack of the one that is gone: the
  next signal then ends the process.
  """
  import openvino
  with _LOCK:
    if not _CORE:
      _CORE.append(openvino.Core())
    return _CORE[0]


def _openvino(file: bytes, products: str) -> Callable[[np.ndarray], np.ndarray]:
  settings = dict(PERFORMANCE_HINT="LATENCY", INFERENCE_NUM_THREADS=host_cores(),
                  ENABLE_CPU_PINNING=False,                                          # others decode on the same cores
                  INFERENCE_PRECISION_HINT=dict(float32="f32", bfloat16="bf16")[products])
  with _errors():
    request = _core().compile_model(_core().read_model(file), "CPU", settings).create_infer_request()
  lock = threading.Lock()                      # workers of Beam share the networks among threads

  def infer(items: np.ndarray) -> np.ndarray:
    with lock, _errors():
      request.start_async([items])             # infer() on one core loses errors and returns what the call before found
      request.wait()
      return request.get_output_tensor(0).data.copy()
  return infer


def _onnx_runtime(file: bytes, products: str) -> Callable[[np.ndarray], np.ndarray]:
  del products                                 # float32
  import onnxruntime
  settings = onnxruntime.SessionOptions()
  settings.intra_op_num_threads = host_cores()
  settings.add_session_config_entry("session.intra_op.allow_spinning", "0")      # others decode on the same cores
  session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
  return lambda items: session.run(None, dict(items=items))[0]
