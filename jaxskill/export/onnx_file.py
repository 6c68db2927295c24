"""One model as an ONNX file, converted by jax2onnx and held against JAX by onnxruntime before it is kept."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxskill import files
from jaxskill.export import program
from jaxskill.export.one_model import OneModel
from jaxskill.training.finished_run import FinishedRun
from jaxskill.training.precision import single_precision

PACKAGES = ("jax2onnx", "onnxruntime", "onnx")
OPSET, OPSET_OF_BITS = 23, 26      # of ONNX; the second has BitCast, which soft-DTW's small numbers need
TOLERANCE = 1e-3                   # share by which an answer may differ from JAX's


@single_precision()
def write(trained: FinishedRun, number: int, file: epath.Path, say: Callable[[str], None]) -> dict[str, Any]:
  """Writes one model, computing in float32; returns what goes in and comes out, see `OneModel.describe`.

  Raises:
    ValueError: if a package is missing, or the model cannot be written so, with the operation.
  """
  missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
  if missing:
    raise ValueError(f"{file}: writing it needs {' and '.join(missing)}, not installed: pip install "
                     "'jaxskill[export]'.")
  model = OneModel(trained, number, dtype="float32")        # few runtimes multiply in bfloat16
  content, about = converted(model, file)
  with files.writing(file) as opened:
    opened.write(content)
  say(f"onnxruntime's answers differ from JAX's by {about['differs']:.1g} at most, as a share of the largest number")
  return about


def converted(model: OneModel, file: epath.Path) -> tuple[bytes, dict[str, Any]]:
  """Returns the file of a model for the most general lengths that it can be written for, and what `write` does.

  Args:
    file: that errors name.

  Raises:
    ValueError: if there is no length that it can be converted for.
  """
  why: Exception | None = None
  for rows, leasts in model.lengths():
    try:
      content, inputs = _convert(model, rows), model.inputs(rows)
      differs = _difference(model, content, leasts)
      about = model.describe(inputs, jax.eval_shape(model.answer, inputs), leasts)
      return content, about | dict(differs=differs, tolerance=TOLERANCE)
    except Exception as error:               # pylint: disable=broad-except   a converter may stop at anything
      why = error
  reason = next(iter(str(why).strip().splitlines()), type(why).__name__)
  raise ValueError(f"{file}: this model cannot be written as ONNX ({reason:.300}); write --format stablehlo.") from why


def _convert(model: OneModel, rows: Mapping[str, Any]) -> bytes:
  """Returns the ONNX file of a model for videos of so many rows."""
  import onnx
  from jax2onnx import to_onnx
  inputs = model.inputs(rows)
  outputs = list(jax.eval_shape(model.answer, inputs))

  def answer(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    said = model.answer(dict(zip(inputs, arrays)))
    return tuple(said[name] for name in outputs)
  function, operations = program.plain(answer, list(inputs.values()))
  with _quiet():
    made = to_onnx(function, list(inputs.values()), model_name=model.run.config.method,
                   opset=OPSET_OF_BITS if "bitcast_convert_type" in operations else OPSET)
  _name(made.graph, list(inputs), outputs)
  _forget_shapes(made.graph)
  onnx.checker.check_model(made)
  return made.SerializeToString()


def _name(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
  """Gives the inputs and outputs of a graph our names."""
  import onnx
  for place, (value, name) in enumerate(zip(list(graph.input), inputs)):
    graph.node.insert(place, onnx.helper.make_node("Identity", [name], [value.name]))
    value.name = name
  for value, name in zip(graph.output, outputs):
    graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
    value.name = name


def _forget_shapes(graph: Any, inner: bool = False) -> None:
  """Removes what the converter says of shapes within a graph: of loops it may be wrong, and runtimes find it out."""
  del graph.value_info[:]
  if inner:                                        # a loop's number and condition have no axis, and say so
    for value in [*graph.input[2:], *graph.output[1:]]:
      value.type.tensor_type.ClearField("shape")
  for node in graph.node:
    for attribute in node.attribute:
      if attribute.HasField("g"):
        _forget_shapes(attribute.g, inner=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hides what the converter says of plugins that it does not find, and of its own types."""
  loggers = {logger: logger.level for logger in map(logging.getLogger, ("jax2onnx", "onnx_ir"))}
  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  finally:
    for logger, level in loggers.items():
      logger.setLevel(level)


def _difference(model: OneModel, content: bytes, leasts: Mapping[str, int] | None) -> float:
  """Returns how far onnxruntime's answers about drawn videos are from JAX's, as a share of the largest number.

  Raises:
    ValueError: if that is more than `TOLERANCE`.
  """
  import onnxruntime
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 4
  session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
  names, differs = [value.name for value in session.get_outputs()], 0.0
  for more, real in ((0, 1.0), (0, 0.8), *(((3, 1.0),) if leasts else ())):
    rows = {name: longest + more + (leasts is not None) for name, longest in model.longest.items()}
    video = drawn(model, rows, real)
    expected = jax.jit(model.answer)(video)
    for name, found in zip(names, session.run(None, video)):
      right = np.asarray(expected[name], np.float64)
      apart = np.abs(found - right).max(initial=0) / max(np.abs(right).max(initial=0), 1.0)
      if not apart <= TOLERANCE:
        raise ValueError(f"onnxruntime's {name!r} differs from JAX's by {apart:.2g} of the largest number")
      differs = max(differs, float(apart))
  return differs


def drawn(model: OneModel, rows: Mapping[str, int], real: float) -> dict[str, np.ndarray]:
  """Returns inputs of `OneModel.answer`: features drawn like those of the training videos.

  Args:
    rows: {stream: of the arrays}; real: share of the rows that are real.
  """
  rng, given = np.random.default_rng(0), {}
  for name, value in model.inputs(rows).items():
    stream, shape = name.removesuffix("_rows"), value.shape
    if name in rows:
      mean, deviation = (model.run.arrays[f"{name}/{what}"] for what in ("mean", "deviation"))
      numbers = mean + deviation * rng.normal(size=shape)
      given[name] = (numbers.clip(0, 255) if model.frames else numbers).astype(value.dtype)
      given[name][int(real * rows[name]):] = 0
    else:
      count = int(real * rows[stream]) if stream in rows else int(name == "difficulty")
      given[name] = np.array(count, value.dtype)
  return given
