"""The benchmark of spatial attention: its FLOPs, the naive recurrence, the peer, and its command line."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import cli, train
from jaxskill.benchmark import contenders, throughput
from jaxskill.benchmark.systems import spatial_attention
from jaxskill.training.batches import as_maps
from jaxskill.training.parallel import Parallel
from tests import golden_peers
from tests.places import CONFIGS

pytestmark = pytest.mark.usefixtures("quick_compile")
CONFIG = str(CONFIGS / "spatial_attention.py")
SHAPE = spatial_attention.SHAPES["tiny"]


@pytest.fixture(scope="module")
def read():
  return cli.read_config(CONFIG, [])


def trainer_of(read, form, shape=SHAPE):
  config = contenders.configure(read[0], form, shape, read[1])
  config.train.steps_per_call = 1
  return train.Trainer(config, contenders.data_of(config, shape, form), Parallel(1))


def test_flops(read, nothing_drawn):
  """The paper's sizes by hand, and a small program as XLA counts it."""
  flops = lambda form, shape: spatial_attention.flops(contenders.configure(read[0], form, shape, None), shape)
  frames = 2 * 2 * 25 * 169                    # two videos; a multiplication and an addition
  expected = frames * (2 * 4 * 4096 * 512 + 3 * 512 * 256 + 3 * 256 * 32)
  paper = spatial_attention.SHAPES["paper"]
  assert flops("unique", paper) == flops("bfloat16+siamese", paper) == flops("torch", paper) == expected
  assert 0.98 < expected / 283e9 < 1.04             # as the module's own estimate has it
  assert flops("unique", spatial_attention.SHAPES["sixteen"]) == 8 * expected
  shape = SHAPE._replace(width=64, filters=32, channels=16, segments=6, places=6)
  trainer = trainer_of(read, "unique", shape)
  counted = contenders.compiled(trainer.step, trainer).cost_analysis()["flops"]
  multiplied = 36 / 25                         # by the stacked form, also at the border
  assert 0.98 * multiplied < counted / spatial_attention.flops(trainer.config, shape) < 1.1 * multiplied


@pytest.mark.parametrize("form", ["float32", "float32+plain"])
def test_naive_recurrence_computes_the_same(read, form):
  trainer = trainer_of(read, form)
  params, videos = jax.tree.map(lambda x: x[0], trainer.state.params), as_maps(trainer.loader.videos)

  @jax.jit
  def both(params, videos):
    ours = trainer.method.encode(dict(params=params, constants={}), videos, jax.random.key(0), False)["score"]
    return ours, spatial_attention.scores_in_scan(params, videos["maps"], trainer.config)
  ours, naive = both(params, videos)
  np.testing.assert_allclose(naive, ours, atol=1e-5)


@pytest.mark.golden("peer_spatial_attention*")
def test_golden_peer(read, nothing_drawn, golden, golden_name):
  """Scores, losses and two updates of the PyTorch port, which are in a golden file."""
  data = golden(golden_name)
  sizes = {key.removeprefix("size/"): int(value) for key, value in data.items() if key.startswith("size/")}
  trainer = trainer_of(read, "float32", SHAPE._replace(**sizes))
  config, method = trainer.config, trainer.method
  part = lambda prefix: golden_peers.spatial_attention_from_torch(
      {key.removeprefix(prefix): jnp.asarray(value) for key, value in data.items() if key.startswith(prefix)})
  params, (count, segments) = part("w/"), data["maps"].shape[:2]
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda x: x.shape[1:], trainer.state.params)
  videos = dict(maps=jnp.asarray(data["maps"]).transpose(0, 1, 3, 4, 2), position=jnp.arange(count), labels={},
                lengths=dict(maps=jnp.full(count, segments)))

  def loss(params):
    score = method.encode(dict(params=params, constants={}), videos, jax.random.key(0), False)["score"]
    pairs = tuple(dict(score=half) for half in jnp.split(score, 2))
    return jax.vmap(method.phases[0].loss, (None, 0, None))({}, pairs, {})[0].mean(), score
  assert float(config.loss.margin) == data["margin"]
  assert [config.train[name] for name in golden_peers.TRAIN] == [data[name] for name in golden_peers.TRAIN]
  rate, momentum, decay = (data[name] for name in golden_peers.TRAIN)
  differentiate, velocity = jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.tree.map(jnp.zeros_like, params)
  for step, expected in enumerate(data["losses"]):
    (value, score), gradient = differentiate(params)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5)
    if step == 0:
      np.testing.assert_allclose(score, data["scores"], rtol=0, atol=1e-5)
    velocity = jax.tree.map(lambda v, g, p: momentum * v + g + decay * p, velocity, gradient, params)
    params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
  for (path, value), expected in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(part("after/"))):
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.peers
@pytest.mark.golden("peer_spatial_attention")
def test_peer_computes_its_golden_file(golden, golden_name):
  expected, found = golden(golden_name), golden_peers.spatial_attention_file()
  assert found.keys() == expected.keys()
  for name, value in found.items():
    np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_command_line(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  forms = ["bfloat16+stream+D1", "float32+inscan+D1"] + (["torch+autocast"] if importlib.util.find_spec("torch") else [])
  throughput.main(["--config", CONFIG, "--shape", "tiny", "--forms", ",".join(forms), "--rounds", "1", "--steps", "1",
                  "--limit", "300", "--json", str(tmp_path / "out.json")])
  said, results = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
  for form in forms:
    result = results["forms"][form]
    assert f"\n{form} " in said and result["pairs_per_s"] > 0 and 0 < result["peak_share"] < 1
  assert not results["forms"]["bfloat16+stream+D1"]["resident"] and results["forms"]["float32+inscan+D1"]["resident"]
  assert "spatial_attention, shape tiny" in said
