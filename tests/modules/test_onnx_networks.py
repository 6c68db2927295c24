"""The networks as ONNX graphs against the public ports of their weights; skipped without ONNX Runtime."""

import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import onnx_networks
from jaxskill.modules.i3d import I3D
from jaxskill.modules.resnet import ResNet
from tests.golden_networks import assert_close, cases, input_of

pytestmark = pytest.mark.skipif(bool(onnx_networks.missing()), reason="needs ONNX Runtime")


@pytest.mark.golden("i3d_*", without=("padding", "rgb"))
def test_golden_i3d(golden, golden_weights, golden_name):
  file = golden(golden_name)
  case = cases(file)[0]
  state = golden_weights(file, float(file.get(f"{case}/gain_f64", 1.5)))
  module = I3D(eps=1e-5 if golden_name.endswith("core") else 1e-3)
  features = onnx_networks.load(module, interop.i3d_from_torch(state))(input_of(file, case))
  assert features.dtype == np.float32
  assert_close(features[0], file[f"{case}/feature"])


@pytest.mark.golden("resnet*", without=("101",))       # which has more of the same layers
def test_golden_resnet(golden, golden_weights, golden_name):
  file = golden(golden_name)
  variables, case = interop.resnet_from_torch(golden_weights(file), 1000), cases(file)[0]
  module, frames = ResNet(int(golden_name.removeprefix("resnet"))), input_of(file, case)
  assert_close(onnx_networks.load(module, variables)(frames), file[f"{case}/feature"])
  if module.depth == 50:
    factor, offset = np.float32([2, 1, 0.5]), np.float32([-1, 0, 1])
    maps = onnx_networks.load(module, variables, stage="layer4", factor=factor, offset=offset)
    pair = maps(np.concatenate([np.zeros_like(frames), (frames - offset) / factor]))      # of any number of frames
    assert_close(pair[1:].max(axis=(1, 2)), file[f"{case}/conv5_channel_max"])
