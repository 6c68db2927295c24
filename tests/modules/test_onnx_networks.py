"""The networks as ONNX graphs against the public ports of their weights; skipped without an engine."""

import concurrent.futures
import subprocess
import sys
import types

import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import onnx_networks, resnet
from jaxskill.modules.convolution import random_variables
from jaxskill.modules.i3d import I3D
from jaxskill.modules.resnet import ResNet
from tests.golden_networks import assert_close, cases, input_of


@pytest.fixture(params=onnx_networks.EXTRAS)
def engine(request):
  if missing := onnx_networks.missing(request.param):
    pytest.skip(missing)
  return request.param


@pytest.mark.golden("i3d_*", without=("padding", "rgb"))
def test_golden_i3d(golden, golden_weights, golden_name, engine):
  file = golden(golden_name)
  case = cases(file)[0]
  state = golden_weights(file, float(file.get(f"{case}/gain_f64", 1.5)))
  module = I3D(eps=1e-5 if golden_name.endswith("core") else 1e-3)
  features = onnx_networks.load(module, interop.i3d_from_torch(state), engine)(input_of(file, case))
  assert features.dtype == np.float32
  assert_close(features[0], file[f"{case}/feature"])


@pytest.mark.golden("resnet*", without=("101",))       # which has more of the same layers
def test_golden_resnet(golden, golden_weights, golden_name, engine):
  file = golden(golden_name)
  variables, case = interop.resnet_from_torch(golden_weights(file), 1000), cases(file)[0]
  module, frames = ResNet(int(golden_name.removeprefix("resnet"))), input_of(file, case)
  read = onnx_networks.load(module, variables, engine)
  features = read(frames)
  assert_close(features, file[f"{case}/feature"])
  read(np.zeros_like(frames))
  assert_close(features, file[f"{case}/feature"])                                         # no later call writes here
  if module.depth == 50:
    factor, offset = np.float32([2, 1, 0.5]), np.float32([-1, 0, 1])
    maps = onnx_networks.load(module, variables, engine, stage="layer4", factor=factor, offset=offset)
    pair = maps(np.concatenate([np.zeros_like(frames), (frames - offset) / factor]))      # of any number of frames
    assert_close(pair[1:].max(axis=(1, 2)), file[f"{case}/conv5_channel_max"])


@pytest.fixture(scope="module")
def small():
  """A ResNet-50, its variables, two frames."""
  module, frames = ResNet(50), np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
  return module, random_variables(module, frames), frames


def test_products_in_bfloat16(small):
  module, variables, frames = small
  if not onnx_networks.missing("onnxruntime"):
    with pytest.raises(ValueError, match="onnxruntime does not compute in bfloat16 on this processor; extract"):
      onnx_networks.load(module, variables, "onnxruntime", products="bfloat16")
  if missing := onnx_networks.missing("openvino"):
    pytest.skip(missing)
  apart = lambda features, other: np.linalg.norm(features - other) / np.linalg.norm(other)
  exact = onnx_networks.load(module, variables, "openvino")(frames)
  assert apart(exact, resnet.frame_features(variables, frames, module=module)) < 1e-5
  if not onnx_networks.multiplies_bfloat16("openvino"):
    pytest.skip("this processor does not multiply bfloat16")
  rough = onnx_networks.load(module, variables, "openvino", products="bfloat16")(frames)
  assert 1e-4 < apart(rough, exact) < 0.03


def test_a_processor_without_bfloat16_is_refused(small, monkeypatch):
  monkeypatch.setattr(onnx_networks, "missing", lambda engine: "")
  monkeypatch.setattr(onnx_networks, "_core", lambda: types.SimpleNamespace(get_property=lambda *_: ("FP32", "INT8")))
  with pytest.raises(ValueError, match="openvino does not compute in bfloat16 on this processor; extract into a new"):
    onnx_networks.load(*small[:2], "openvino", products="bfloat16")


def test_what_openvino_cannot_run_is_said(small):
  if missing := onnx_networks.missing("openvino"):
    pytest.skip(missing)
  refused = "openvino cannot run this network here; extract with config.engine=jax.*into a new --out. It says: ."
  with pytest.raises(ValueError, match=refused):
    onnx_networks._openvino(b"no network", "float32")
  with pytest.raises(ValueError, match=refused):                    # found later: frames of five channels
    onnx_networks.load(*small[:2], "openvino")(np.zeros((1, 32, 32, 5), np.float32))
  with pytest.raises(ValueError, match=refused + "othing$"), onnx_networks._errors():
    raise RuntimeError


def test_an_openvino_that_does_not_work_multiplies_nothing(monkeypatch):
  def broken():
    raise RuntimeError("no plugin")
  monkeypatch.setattr(onnx_networks, "_core", broken)
  assert not onnx_networks.multiplies_bfloat16("openvino")


def test_openvino_takes_the_cores_that_a_container_may_use(monkeypatch):
  asked = []
  compiled = types.SimpleNamespace(create_infer_request=lambda: None)
  monkeypatch.setattr(onnx_networks, "host_cores", lambda: 3)
  monkeypatch.setattr(onnx_networks, "_core", lambda: types.SimpleNamespace(
      read_model=lambda file: file, compile_model=lambda *options: asked.append(options) or compiled))
  onnx_networks._openvino(b"network", "float32")
  assert asked[0][:2] == (b"network", "CPU") and asked[0][2]["INFERENCE_NUM_THREADS"] == 3


def test_threads_get_their_own_features(small, engine):
  module, variables, frames = small
  read = onnx_networks.load(module, variables, engine)
  batches = [np.repeat(frames[place % 2:][:1] * (place + 1), place % 3 + 1, axis=0) for place in range(6)]
  expected = [read(batch) for batch in batches]
  with concurrent.futures.ThreadPoolExecutor(6) as threads:
    for _ in range(5):
      for found, known in zip(threads.map(read, batches), expected):
        assert found.shape == known.shape
        np.testing.assert_allclose(found, known, rtol=1e-4, atol=1e-3)


PROCESS = """
import gc, signal, sys
from onnx import TensorProto, helper
from jaxskill.modules import onnx_networks

assert not onnx_networks.missing("openvino")
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "network", values[:1], values[1:])
file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
first, second = [onnx_networks._openvino(file, "float32") for _ in range(2)]
assert onnx_networks._core() is onnx_networks._core()          # seen on every processor, what follows on those with AMX
for name in ("first", "second"):
  del globals()[name]
  gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
signal.raise_signal(signal.SIGTERM)
print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module])
"""


def test_openvino_in_a_process():
  """Signals are heard after two networks have gone, and nobody is told of its use."""
  if missing := onnx_networks.missing("openvino"):
    pytest.skip(missing)
  done = subprocess.run([sys.executable, "-c", PROCESS], check=False, capture_output=True, text=True, timeout=100)
  assert (done.returncode, done.stdout) == (0, "heard\n[]\n"), done.stderr
