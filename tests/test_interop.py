"""Published weights in and out: every entry in its place, nothing lost, and errors that name the entry."""

import importlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxskill import interop, methods
from jaxskill.modules import resnet
from jaxskill.modules.convolution import random_variables


def networks(seed=0, filters=2, hidden=3, width=4):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  result = {}
  for name in ("pos", "neg", "uniform"):
    result[name] = {"fc.0.weight": draw(1, width), "fc.0.bias": draw(1)}
    for k in range(filters):
      result[name] |= {f"att_net.{k}.0.weight": draw(hidden, width), f"att_net.{k}.0.bias": draw(hidden),
                       f"att_net.{k}.2.weight": draw(1, hidden), f"att_net.{k}.2.bias": draw(1)}
  return result


def test_entries_and_round_trip():
  theirs = networks(filters=11)      # ten and more: "att_net.10" must not sort before "att_net.2"
  params = interop.pros_cons_from_torch(theirs)
  for network, branch in (("pos", "high"), ("neg", "low")):
    for k in range(11):
      module, state = params["filters"][branch], theirs[network]
      np.testing.assert_array_equal(module["kernel"][k], state[f"att_net.{k}.0.weight"])
      np.testing.assert_array_equal(module["bias"][k], state[f"att_net.{k}.0.bias"])
      np.testing.assert_array_equal(module["readout"][k], state[f"att_net.{k}.2.weight"][0])
      assert module["readout_bias"][k] == state[f"att_net.{k}.2.bias"][0]
    np.testing.assert_array_equal(params["ranking"][f"{branch}_kernel"], theirs[network]["fc.0.weight"][0])
    assert params["ranking"][f"{branch}_bias"] == theirs[network]["fc.0.bias"][0]
  assert set(params["filters"]) == {"high", "low"}       # the uniform network never uses its filters
  expected = theirs | dict(uniform={k: v for k, v in theirs["uniform"].items() if k.startswith("fc.")})
  back = interop.pros_cons_to_torch(params)
  assert {n: set(s) for n, s in back.items()} == {n: set(s) for n, s in expected.items()}
  for network, state in expected.items():
    for name, value in state.items():
      assert back[network][name].shape == value.shape and back[network][name].dtype == np.float32
      np.testing.assert_array_equal(back[network][name], value, err_msg=f"{network} {name}")


def test_fits_the_method(load_config):
  method = methods.build(load_config(changes={"model.num_filters": 2, "model.hidden": 3}))
  video = dict(rgb=np.zeros((1, 5, 4), np.float32), lengths=dict(rgb=np.array([5])))
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), tree)
  expected = jax.eval_shape(method.init, jax.random.key(0), video, {})
  assert shapes(interop.pros_cons_from_torch(networks())) == shapes(expected)


def test_some_networks():
  theirs = networks()
  params = interop.pros_cons_from_torch(dict(uniform=theirs["uniform"]))
  assert set(params) == {"ranking"} and set(interop.pros_cons_to_torch(params)) == {"uniform"}
  params = interop.pros_cons_from_torch(dict(neg={k: v.astype(np.float64) for k, v in theirs["neg"].items()}))
  assert set(params["filters"]) == {"low"} and params["filters"]["low"]["kernel"].dtype == np.float32


def test_errors():
  theirs = networks()
  with pytest.raises(ValueError, match="network 'high' is unknown; expected some of pos, neg, att, uniform"):
    interop.pros_cons_from_torch(dict(high=theirs["pos"]))
  for missing in ("fc.0.bias", "att_net.1.2.weight"):
    broken = {k: v for k, v in theirs["pos"].items() if k != missing}
    with pytest.raises(ValueError, match=f"network 'pos' lacks '{missing}'; expected .* but found att_net.0.0.bias"):
      interop.pros_cons_from_torch(dict(pos=broken))


def test_action_net():
  """Every entry in its place, the shapes of the method, and what is missing by name."""
  rng = np.random.default_rng(0)
  theirs = {}
  for stream, width in (("d_ct", 1024), ("s_ct", 2048)):
    sizes = {"embedding.0": (width // 2, width), "embedding.2": (256, width // 2), "gcn1": (256, 256), "gcn2": (256, 256),
             "att.0": (128, 512), "att.2": (1, 128)}
    for name, shape in sizes.items():
      theirs |= {f"{stream}.{name}.weight": rng.normal(size=shape), f"{stream}.{name}.bias": rng.normal(size=shape[0])}
  for name, shape in (("fc.0", (128, 1024)), ("fc.3", (1, 128))):
    theirs |= {f"{name}.weight": rng.normal(size=shape), f"{name}.bias": rng.normal(size=shape[0])}
  theirs = {name: value.astype(np.float32) for name, value in theirs.items()}
  params = interop.action_net_from_torch(theirs | dict(extra=np.zeros(3)))
  np.testing.assert_array_equal(params["streams"]["static"]["graph_2"]["kernel"], theirs["s_ct.gcn2.weight"])
  np.testing.assert_array_equal(params["streams"]["rgb"]["attend_1"]["bias"], theirs["d_ct.att.0.bias"])
  np.testing.assert_array_equal(params["head"]["fc_2"]["kernel"], theirs["fc.3.weight"])
  back = interop.action_net_to_torch(params)
  assert back.keys() == theirs.keys()
  for name, value in theirs.items():
    np.testing.assert_array_equal(back[name], value, err_msg=name)
  method = methods.build(importlib.import_module("configs.action_net").get_config("rhythmic_gymnastics,official"))
  video = dict(rgb=np.zeros((1, 28, 1024), np.float32), static=np.zeros((1, 90, 2048), np.float32),
               lengths=dict(rgb=np.array([28]), static=np.array([90])))
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), tree)
  expected = jax.eval_shape(method.init, jax.random.key(0), video, {})
  assert shapes(params) == shapes(expected)
  del theirs["d_ct.gcn1.bias"]
  with pytest.raises(ValueError, match="the network lacks 'd_ct.gcn1.bias'; found d_ct.att.0.bias, "):
    interop.action_net_from_torch(theirs)


def resnet_state(variables):
  """torchvision's names and layouts for some of our variables; the tests below take tensors away and bend them."""
  state = {}
  for kind, tree in variables.items():
    for path, value in traverse_util.flatten_dict(tree).items():
      *block, last, entry = (*path[:-1], path[-1])
      prefix = "".join(f"{name.replace('_', '.')}." for name in block)
      name = dict(kernel="weight", scale="weight", bias="bias", mean="running_mean", var="running_var")[entry]
      part = ("downsample.0" if entry == "kernel" else "downsample.1") if last == "downsample" else (
          last if entry == "kernel" else f"bn{last[-1]}")
      value = np.asarray(value)
      state[f"{prefix}{part}.{name}"] = value.transpose(3, 2, 0, 1) if entry == "kernel" else value
  return state


@pytest.fixture(scope="module")
def resnet_50():
  variables = random_variables(resnet.ResNet(50), np.zeros((1, 32, 32, 3), np.float32))
  return variables, resnet_state(variables)


def test_resnet_entries(resnet_50):
  variables, state = resnet_50
  jax.tree.map(np.testing.assert_array_equal, interop.resnet_from_torch(state), variables)


def test_weights_of_another_architecture(resnet_50):
  _, state = resnet_50
  with pytest.raises(ValueError, match="the weights lack conv3d_1a_7x7.batch3d.bias, which I3D has"):
    interop.i3d_from_torch(state)
  bent = state | {"layer2.0.conv2.weight": state["layer2.0.conv2.weight"][:, :5]}
  with pytest.raises(ValueError, match=r"layer2.0.conv2.weight has the shape \(128, 5, 3, 3\), which is not"):
    interop.resnet_from_torch(bent)
  with pytest.raises(ValueError, match="lack layer4.2.bn3.running_var"):
    interop.resnet_from_torch({k: v for k, v in state.items() if k != "layer4.2.bn3.running_var"})
