"""I3D against the public ports of its weights, stage by stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import i3d
from jaxskill.modules.convolution import random_variables
from jaxskill.modules.i3d import I3D, MIN_FRAMES, clip_features
from tests.golden_networks import assert_close, cases, check_stages, input_of


@pytest.mark.golden("i3d_*")
def test_golden(golden, golden_weights, golden_name, quick_compile):
  """Every case of every file, in the form for CPUs; "padding" has sizes that the strides do not divide."""
  file, built = golden(golden_name), {}
  padding, eps = golden_name.endswith("padding"), 1e-5 if golden_name.endswith("core") else 1e-3
  run = jax.jit(I3D(400, eps=eps, implementation="dots").apply)
  for case in cases(file):
    gain = float(file.get(f"{case}/gain_f64", 1.5))
    if gain not in built:
      state = golden_weights(file, gain, golden("i3d_rgb")["params"] if padding else None)
      built[gain] = interop.i3d_from_torch(state)
    stages = run(built[gain], input_of(file, case))
    prefix = f"{case}/piergiaj" if padding else case
    assert check_stages(file, prefix, stages, 2e-4) == len({k.split("/")[-2] for k in file if k.startswith(prefix)
                                                           and k.endswith("/shape")})
    if padding:
      assert_close(stages["mixed_5c"][0].mean(axis=(0, 1, 2)), file[f"{prefix}/mixed_5c_channel_mean"])
      continue
    features, logits = stages["features"][0], stages["logits"][0]
    assert_close(features.T, file[f"{case}/features"])
    assert_close(features.mean(axis=0), file[f"{case}/feature"])
    for key, value in (("logits", logits.mean(axis=0)), ("logits_per_step", logits.T)):
      if f"{case}/{key}" in file:
        assert_close(value, file[f"{case}/{key}"])
    if f"{case}/probs" in file:
      assert_close(jax.nn.softmax(logits.mean(axis=0)), file[f"{case}/probs"], 1e-4)


def test_golden_names_of_the_other_port(golden, golden_weights):
  file = golden("i3d_rgb")
  state = golden_weights(file, 1.0)
  names = zip(file["weight_names"], file["piergiaj_names"], strict=True)
  renamed = {str(theirs): state[ours] for ours, theirs in names}
  jax.tree.map(np.testing.assert_array_equal, interop.i3d_from_torch(renamed), interop.i3d_from_torch(state))


@pytest.fixture(scope="module")
def small():
  """(variables, clips `[2, 9, 32, 32, 3]`)."""
  clips = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, MIN_FRAMES, 32, 32, 3)), jnp.float32)
  return random_variables(I3D(), clips), clips


def test_both_forms_are_equal_and_clips_do_not_mix(small, quick_compile):
  variables, clips = small
  lax, dots = (jax.jit(I3D(implementation=form).apply)(variables, clips)["features"] for form in ("lax", "dots"))
  assert lax.shape == (2, 1, 1024)
  np.testing.assert_allclose(dots, lax, rtol=1e-4, atol=1e-5 * float(jnp.abs(lax).max()))
  np.testing.assert_allclose(jax.jit(clip_features)(variables, clips), dots.mean(axis=1), rtol=1e-4, atol=1e-6)


def test_reduced_precision_is_near(small, quick_compile):
  variables, clips = small
  exact, rough = (np.asarray(jax.jit(I3D(dtype=jnp.dtype(dtype)).apply)(variables, clips)["features"])
                  for dtype in ("float32", "bfloat16"))
  assert rough.dtype == np.float32
  assert 1e-4 < np.linalg.norm(rough - exact) / np.linalg.norm(exact) < 0.05


def test_gradients_reach_every_weight_but_no_statistic(small, quick_compile, monkeypatch):
  """CoRe trains the network; its statistics stay. A block of few channels behind each pool tells."""
  monkeypatch.setattr(i3d, "BLOCKS", dict.fromkeys(("mixed_3b", "mixed_4b", "mixed_5b"), (8, 8, 8, 8, 8, 8)))
  clips = small[1]
  variables = random_variables(I3D(), clips)
  loss = lambda params: jnp.sum(I3D().apply(dict(params=params, batch_stats=variables["batch_stats"]),
                                            clips[:1])["features"] ** 2)
  gradient = jax.jit(jax.grad(loss))(variables["params"])
  assert all(bool(jnp.isfinite(g).all()) and float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))


def test_bad_clips():
  with pytest.raises(ValueError, match=r"at least 9 frames, got \(1, 8, 32, 32, 3\)"):
    jax.eval_shape(I3D().init, jax.random.key(0), jnp.zeros((1, 8, 32, 32, 3)))
