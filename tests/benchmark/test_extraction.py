"""The benchmark of extraction: its FLOPs, its peers, its command line; and that the networks lower for accelerators."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.benchmark import extraction as benchmark
from jaxskill.modules import i3d, resnet


def test_flops_are_those_of_the_published_networks():
  """I3D's 55.6 GFLOP a clip of 16 frames; 4.09 and 7.8 billion multiplications a frame of ResNet, twice that here."""
  of = lambda label: benchmark.work(benchmark.CASES[label])[0]
  assert np.isclose(of("i3d"), 55.6e9, rtol=0.01)
  assert np.isclose(of("resnet50-224"), 2 * 4.09e9, rtol=0.01)
  assert np.isclose(of("resnet101-448"), 4 * 2 * 7.8e9, rtol=0.01)
  tiny = benchmark.CASES["tiny-resnet"]
  assert benchmark.work(tiny)[1] == sum(x.nbytes for x in jax.tree.leaves(benchmark.weights(tiny)))


def test_command_line_measures_all_contenders(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  for name, value in dict(ROUND_S=0.0, DECODED_S=1, PEAK=(64, 64, 64)).items():
    monkeypatch.setattr(benchmark, name, value)
  names = ["float32"] + (["torch+tuned"] if importlib.util.find_spec("torch") else [])
  path = tmp_path / "results.json"
  benchmark.main(["--cases", "tiny-resnet", "--contenders", ",".join(names), "--rounds", "1", "--json", str(path)])
  results, output = json.loads(path.read_text()), capsys.readouterr()
  case = results["results"]["tiny-resnet"]
  assert list(case["contenders"]) == names and min(case["matmul_peak"].values()) > 1e6
  for row in case["contenders"].values():
    assert row["items_per_s"] > 0 and len(row["rounds"]) == 1
    assert row["difference"] < 1e-4                              # all compute the same
  assert "tiny-resnet: 32 x 40 x 3, 3 frames at once" in output.out
  if len(names) > 1:
    assert "x as fast as torch+tuned" in output.out
  if importlib.util.find_spec("av"):
    assert results["decoder"]["frames"] == 30 and results["decoder"]["frames_per_s"] > 30


@pytest.mark.peers
def test_contenders_compute_the_same_features_of_frames(monkeypatch, quick_compile):
  monkeypatch.setattr(benchmark, "ROUND_S", 0.0)
  features = {name: benchmark.prepare(name, "tiny-resnet", 2)[1]
              for name in ("float32", "torch", "torch+bfloat16", "bfloat16")}
  norm, exact = np.linalg.norm, features["float32"]
  assert exact.shape == (2, 2048)
  for name, found in features.items():
    far = norm(found - exact) / norm(exact)
    assert 1e-4 < far < 0.1 if "bfloat16" in name else far < 1e-4, name


@pytest.mark.parametrize("arguments,message", [
    (["--contenders", "float32,keras"], "keras unknown; use float32, bfloat16, stacked, lax, openvino, openvino+bf"),
    (["--cases", "vgg"], "vgg unknown; use i3d"),
    (["--contenders", "lax"], "no float32 to compare with"),
    (["--rounds", "0"], "must be 1 or more"),
    (["--json", "/no/such/folder/file.json"], "there is no such folder"),
])
def test_bad_options_are_named(arguments, message, capsys):
  with pytest.raises(SystemExit) as stopped:
    benchmark.main(arguments)
  assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("name,platform", [("i3d", "cuda"), ("resnet50-224", "tpu"),
                                           pytest.param("i3d", "tpu", marks=pytest.mark.slow),
                                           pytest.param("resnet50-224", "cuda", marks=pytest.mark.slow)])
def test_networks_lower_for_accelerators_with_their_own_convolutions(name, platform, monkeypatch):
  """As an accelerator would see them: all items in one program, no loop, every product of a window a convolution."""
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  case = benchmark.CASES[name]
  module = benchmark.make_module(case, jnp.bfloat16)
  items = jax.ShapeDtypeStruct((4, *case.shape), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), items)
  encode = i3d.clip_features if case.network == "i3d" else resnet.frame_features
  features = jax.jit(lambda variables, items: encode(variables, items, module=module))
  text = features.trace(variables, items).lower(lowering_platforms=(platform,)).as_text()
  units = sum(path[-1].key == "kernel" for path, _ in jax.tree_util.tree_leaves_with_path(variables))
  assert text.count("stablehlo.convolution") == units and "stablehlo.while" not in text
  assert "stablehlo.dot_general" not in text
