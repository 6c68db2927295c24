"""I3D against the public ports of its weights, stage by stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import i3d
from jaxskill.modules.convolution import random_variables
from jaxskill.modules.i3d import I3D, MIN_FRAMES, clip_features
from tests.golden_networks import assert_close, check_stages, every_case, input_of

QUICK = [("i3d_rgb", "t16_noise"), ("i3d_padding", "16x225x225")]        # core: the same network but for eps


@functools.cache
def network():
  """Compiled (variables, clips, eps) -> stages, in the form for CPUs."""
  return jax.jit(lambda variables, clips, eps: I3D(400, eps=eps, implementation="dots").apply(variables, clips))


@pytest.mark.parametrize("name,case", every_case("i3d_*", QUICK))
def test_golden(golden, golden_weights, name, case, quick_compile):
  """ "padding" has sizes that the strides do not divide."""
  file = golden(name)
  padding, eps = name.endswith("padding"), 1e-5 if name.endswith("core") else 1e-3
  gain = float(file.get(f"{case}/gain_f64", 1.5))
  state = golden_weights(file, gain, golden("i3d_rgb")["params"] if padding else None)
  stages = network()(interop.i3d_from_torch(state), input_of(file, case), eps)
  prefix = f"{case}/piergiaj" if padding else case
  assert check_stages(file, prefix, stages, 2e-4) == len({k.split("/")[-2] for k in file if k.startswith(f"{prefix}/")
                                                          and k.endswith("/shape")})
  if padding:
    assert_close(stages["mixed_5c"][0].mean(axis=(0, 1, 2)), file[f"{prefix}/mixed_5c_channel_mean"])
    return
  features, logits = np.asarray(stages["features"][0]), np.asarray(stages["logits"][0])
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


@pytest.fixture
def few_blocks(monkeypatch):
  """One block behind each pool."""
  names = dict(mixed_3b="mixed_3b", mixed_4b="mixed_4b", mixed_5b="mixed_5c")
  monkeypatch.setattr(i3d, "BLOCKS", {name: i3d.BLOCKS[like] for name, like in names.items()})


def small_clips():
  return np.random.default_rng(1).uniform(-1, 1, (2, MIN_FRAMES, 32, 32, 3)).astype(np.float32)


def test_forms_and_precisions_are_near_and_clips_do_not_mix(few_blocks, quick_compile):
  clips = small_clips()
  variables = random_variables(I3D(), clips)
  features = lambda **options: np.asarray(jax.jit(I3D(**options).apply)(variables, clips)["features"])
  lax, dots = (features(implementation=form) for form in ("lax", "dots"))
  assert lax.shape == (2, 1, 1024)
  np.testing.assert_allclose(dots, lax, rtol=1e-4, atol=1e-5 * np.abs(lax).max())
  np.testing.assert_allclose(jax.jit(clip_features)(variables, clips), dots.mean(axis=1), rtol=1e-4, atol=1e-6)
  rough = features(implementation="dots", dtype=jnp.dtype("bfloat16"))
  assert rough.dtype == np.float32
  assert 1e-4 < np.linalg.norm(rough - dots) / np.linalg.norm(dots) < 0.05


def test_gradients_reach_every_weight_but_no_statistic(quick_compile, monkeypatch):
  """CoRe trains the network; its statistics stay. A block of few channels behind each pool tells."""
  monkeypatch.setattr(i3d, "BLOCKS", dict.fromkeys(("mixed_3b", "mixed_4b", "mixed_5b"), (8, 8, 8, 8, 8, 8)))
  clips = small_clips()[:1]
  variables = random_variables(I3D(), clips)
  loss = lambda params: jnp.sum(I3D().apply(dict(params=params, batch_stats=variables["batch_stats"]),
                                            clips)["features"] ** 2)
  gradient = jax.jit(jax.grad(loss))(variables["params"])
  assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in map(np.asarray, jax.tree.leaves(gradient)))


def test_every_normalization_has_the_eps_of_the_network(few_blocks):
  """CoRe's copy has another than the authors'; where variances are small, outputs fall by the root of the quotient."""
  clips, variance, seen = small_clips()[:1], 1e-4, {}
  variables = random_variables(I3D(), clips)
  zero = dict(mean=0.0, bias=0.0, var=variance)
  variables = jax.tree_util.tree_map_with_path(lambda path, x: jnp.full_like(x, zero[path[-1].key])
                                               if path[-1].key in zero else x, variables)
  for eps in (1e-3, 1e-5):
    first = jax.jit(lambda variables, eps=eps: I3D(eps=eps).apply(variables, clips)["conv3d_1a_7x7"])
    seen[eps] = np.asarray(first(variables))
  ratio = np.sqrt((variance + 1e-3) / (variance + 1e-5))
  np.testing.assert_allclose(seen[1e-5], ratio * seen[1e-3], rtol=1e-3, atol=1e-3)
  assert seen[1e-3].max() > 0.1


def test_bad_clips():
  with pytest.raises(ValueError, match=r"at least 9 frames, got \(1, 8, 32, 32, 3\)"):
    jax.eval_shape(I3D().init, jax.random.key(0), jnp.zeros((1, 8, 32, 32, 3)))
