"""ResNet against torchvision's, stage by stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import resnet
from jaxskill.modules.convolution import random_variables
from jaxskill.modules.resnet import ResNet, frame_features
from tests.golden_networks import assert_close, check_stages, every_case, input_of

QUICK = [("resnet101", "224x224_blocks")]        # 50 has fewer of the same blocks, and is in `test_onnx_networks`


@pytest.mark.parametrize("name,case", every_case("resnet*", QUICK))
def test_golden(golden, golden_weights, name, case, quick_compile):
  file = golden(name)
  variables = interop.resnet_from_torch(golden_weights(file), 1000)
  stages = jax.jit(ResNet(int(name.removeprefix("resnet")), 1000, implementation="dots").apply)(
      variables, input_of(file, case))
  stages["bn1"] = stages.pop("stem")        # the convolution and its normalisation are one
  assert check_stages(file, case, stages, 1e-4) == 6
  assert_close(stages["feature"], file[f"{case}/feature"])
  assert_close(np.asarray(stages["layer4"]).max(axis=(1, 2)), file[f"{case}/conv5_channel_max"])
  assert_close(stages["logits"], file[f"{case}/logits"])


def test_both_forms_are_equal(monkeypatch, quick_compile):
  monkeypatch.setitem(resnet.DEPTHS, 50, (2, 1, 1, 2))            # blocks of every kind
  frames = np.random.default_rng(0).normal(size=(2, 33, 40, 3)).astype(np.float32)
  variables = random_variables(ResNet(), frames)
  lax, dots = (jax.jit(ResNet(implementation=form).apply)(variables, frames) for form in ("lax", "dots"))
  assert dots["layer4"].shape == (2, 2, 2, 2048) and dots["feature"].shape == (2, 2048)
  dots, lax = jax.tree.map(np.asarray, (dots, lax))
  for stage, value in dots.items():
    np.testing.assert_allclose(value, lax[stage], rtol=1e-3, atol=1e-4 * np.abs(lax[stage]).max())
  for stage in ("feature", "layer4"):
    np.testing.assert_allclose(jax.jit(frame_features, static_argnames="stage")(variables, frames, stage=stage),
                               dots[stage], rtol=1e-3, atol=1e-4 * np.abs(dots[stage]).max())


@pytest.mark.parametrize("depth,shape,message", [
    (18, (1, 8, 8, 3), "depth=18 is unknown; use one of 50, 101"),
    (50, (8, 8, 3), r"frames must be \[frames, height, width, channels\], got \(8, 8, 3\)"),
])
def test_bad_input(depth, shape, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(ResNet(depth).init, jax.random.key(0), jnp.zeros(shape))
