"""Published weights in and out: every entry in its place, nothing lost, and errors that name the entry."""

import jax
import numpy as np
import pytest

from jaxskill import interop, methods


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
  expected = jax.eval_shape(method.init, jax.random.key(0), video, {}, {})["params"]
  assert shapes(interop.pros_cons_from_torch(networks())) == shapes(expected)


def test_some_networks():
  theirs = networks()
  params = interop.pros_cons_from_torch(dict(uniform=theirs["uniform"]))
  assert set(params) == {"ranking"} and set(interop.pros_cons_to_torch(params)) == {"uniform"}
  params = interop.pros_cons_from_torch(dict(neg={k: v.astype(np.float64) for k, v in theirs["neg"].items()}))
  assert set(params["filters"]) == {"low"} and params["filters"]["low"]["kernel"].dtype == np.float32


def test_errors():
  theirs = networks()
  with pytest.raises(ValueError, match="network 'high' is unknown; expected some of pos, neg, uniform"):
    interop.pros_cons_from_torch(dict(high=theirs["pos"]))
  for missing in ("fc.0.bias", "att_net.1.2.weight"):
    broken = {k: v for k, v in theirs["pos"].items() if k != missing}
    with pytest.raises(ValueError, match=f"network 'pos' lacks '{missing}'; expected .* but found att_net.0.0.bias"):
      interop.pros_cons_from_torch(dict(pos=broken))
