"""Which engine runs the networks: chosen once, kept by a folder, never mixed."""

import json

import jax
import numpy as np
import pytest

from jaxskill import pretrained
from jaxskill.data.user import extraction_note
from jaxskill.extract import engine, recipe_checks
from jaxskill.modules import onnx_networks
from tests.extract.test_extraction import recipe

EMPTY = dict(recipe={}, videos={})
EARLIER = dict(recipe=dict(dtype="float32"), videos=dict(a={}))          # of a version that knew no engine
OF_ONNX = dict(recipe=dict(engine="onnxruntime"), videos=dict(a={}))
OF_ANOTHER = dict(recipe=dict(engine="tensorrt"), videos=dict(a={}))
OF_OPENVINO = dict(recipe=dict(engine="openvino"), videos=dict(a={}))
LACKS = "onnxruntime is not installed: pip install 'jaxskill[onnx]'."
BOTH, RUNTIME, NEITHER = ("openvino", "onnxruntime"), ("onnxruntime",), ()


def made(asked="auto", dtype="float32"):
  config = recipe("trial")
  config.update(engine=asked, dtype=dtype)
  return config


@pytest.mark.parametrize("asked,dtype,platform,installed,note,here,expected", [
    ("auto", "float32", "cpu", BOTH, EMPTY, True, "openvino"),
    ("auto", "float32", "cpu", RUNTIME, EMPTY, True, "onnxruntime"),
    ("auto", "float32", "cpu", NEITHER, EMPTY, True, "jax"),
    ("auto", "bfloat16", "cpu", BOTH, EMPTY, True, "openvino"),
    ("auto", "bfloat16", "cpu", RUNTIME, EMPTY, True, "jax"),
    ("auto", "bfloat16", "old cpu", BOTH, EMPTY, True, "jax"),
    ("auto", "float32", "gpu", BOTH, EMPTY, True, "jax"),
    ("auto", "float32", "cpu", BOTH, EMPTY, False, "jax"),               # of workers nothing is known
    ("auto", "float32", "cpu", BOTH, EARLIER, True, "jax"),              # a folder goes on as it began
    ("auto", "float32", "cpu", BOTH, OF_ONNX, True, "onnxruntime"),
    ("auto", "float32", "gpu", RUNTIME, OF_OPENVINO, True, "openvino"),
    ("auto", "float32", "cpu", NEITHER, OF_ONNX, False, "onnxruntime"),
    ("auto", "float32", "cpu", NEITHER, OF_ONNX, True, "onnxruntime"),   # who has nothing left to do needs none
    ("jax", "float32", "cpu", BOTH, EMPTY, True, "jax"),
    ("onnxruntime", "float32", "gpu", RUNTIME, EMPTY, True, "onnxruntime"),
    ("openvino", "bfloat16", "gpu", BOTH, EMPTY, True, "openvino"),
])
def test_engine(monkeypatch, asked, dtype, platform, installed, note, here, expected):
  monkeypatch.setattr(onnx_networks, "missing", lambda engine: "" if engine in installed else LACKS)
  monkeypatch.setattr(onnx_networks, "multiplies_bfloat16", lambda engine: (engine, platform) == ("openvino", "cpu"))
  monkeypatch.setattr(jax, "default_backend", lambda: platform.split()[-1])
  config = made(asked, dtype)
  assert engine.settle(config, note, here=here).to_dict() == config.to_dict() | dict(engine=expected)
  if asked == "auto":
    with config.unlocked():
      del config.engine                                              # a recipe of one's own, or of an earlier note
    assert engine.settle(config, note, here=here).engine == expected


@pytest.mark.parametrize("asked,note,message", [
    ("onnxruntime", EMPTY, f"config.engine=onnxruntime: {LACKS} Or leave it out."),
    ("onnxruntime", OF_ONNX, f"config.engine=onnxruntime: {LACKS} Or give a new --out."),
    ("openvino", EMPTY, "config.engine=openvino: openvino is not installed: pip install 'jaxskill[openvino]'"),
    ("auto", OF_ANOTHER, "the features that are there were made by 'tensorrt', which this version does not know"),
    ("openvino", OF_ONNX, "config.engine=openvino: the features that are there were made by onnxruntime, and engines"),
    ("jax", OF_ONNX, "config.engine=jax: the features that are there were made by onnxruntime"),
    ("onnxruntime", EARLIER, "config.engine=onnxruntime: the features that are there were made by jax"),
])
def test_messages(monkeypatch, asked, note, message):
  monkeypatch.setattr(onnx_networks, "_works", lambda name: name == "onnx")
  with pytest.raises(ValueError) as raised:
    engine.settle(made(asked), note)
  assert str(raised.value).startswith(message)


@pytest.mark.parametrize("options,message", [
    (dict(asked="tensorrt"), "config.engine='tensorrt' is unknown; use one of auto, jax, openvino, onnxruntime"),
    (dict(asked="onnxruntime", dtype="bfloat16"), "computes in float32; leave config.dtype=bfloat16 out"),
])
def test_recipes_are_checked(options, message):
  with pytest.raises(ValueError, match=message):
    recipe_checks.check(made(**options))


def test_notes_of_one_engine_are_alike():
  old, jax_s, other = {}, dict(engine="jax"), dict(engine="onnxruntime")
  assert extraction_note.are_alike(old, jax_s) and not extraction_note.are_alike(old, other)
  assert extraction_note.are_alike(json.loads(json.dumps(jax_s)), old)


@pytest.mark.parametrize("name,value", [("action_net:static", 200), ("trial", 200), ("spatial_attention", 0.25)])
def test_pictures_are_scaled_as_for_jax(monkeypatch, name, value):
  """What the network sees, of all engines."""
  config = recipe(name)
  stream = dict(config.streams.items()).get("flow", next(iter(config.streams.values())))
  is_clip, channels = stream.network == "i3d", pretrained.channels(stream)
  items = np.full((2, 9 if is_clip else channels // 2 if stream.input == "flow" else 1, 32, 32,
                   2 if stream.input == "flow" else 3), value, np.float16 if stream.input == "flow" else np.uint8)
  seen = []

  def load(module, variables, engine, *, products, stage, dtype, factor, offset):
    assert (engine, products) == ("openvino", "bfloat16") and variables == {} and dtype == items.dtype
    assert stage == ("layer4" if stream.keep == "maps" else "feature")
    return lambda x: seen.append(x.astype(np.float32) * factor + offset) or np.full((2, 3), 1e6, np.float32)
  monkeypatch.setattr(onnx_networks, "load", load)
  features = pretrained.make_onnx(stream, "bfloat16", {}, "openvino")(items)
  assert features.dtype == (np.float16 if stream.keep == "maps" else np.float32) and np.isfinite(features).all()
  mean, scale = (np.array(numbers, np.float32) for numbers in pretrained.SCALINGS[stream.scaling])
  expected = ((value + 1) / 2 if stream.input == "flow" else value / 255) - mean
  assert seen[0].shape == ((2, 9, 32, 32, 3) if is_clip else (2, 32, 32, channels))
  np.testing.assert_allclose(seen[0], np.broadcast_to(expected / scale, seen[0].shape), rtol=1e-5, atol=1e-6)
