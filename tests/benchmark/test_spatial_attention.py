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
from tests.places import CONFIGS

CONFIG = str(CONFIGS / "spatial_attention.py")
SHAPE = spatial_attention.SHAPES["tiny"]


@pytest.fixture(scope="module")
def read():
  return cli.read_config(CONFIG, [])


def trainer_of(read, form, shape=SHAPE):
  config = contenders.configure(read[0], form, shape, read[1])
  config.train.steps_per_call = 1
  return train.Trainer(config, contenders.data_of(config, shape, form), Parallel(1))


def test_flops(read):
  """The paper's sizes by hand, and a small program as XLA counts it."""
  flops = lambda form, shape: spatial_attention.flops(contenders.configure(read[0], form, shape, None), shape)
  frames = 2 * 2 * 25 * 169                    # two videos; a multiplication and an addition
  own = frames * (2 * 4 * 4096 * 512 + 3 * 512 * 256 + 3 * 256 * 32)
  paper = spatial_attention.SHAPES["paper"]
  assert flops("unique", paper) == flops("bfloat16+siamese", paper) == flops("torch", paper) == own
  assert 0.98 < own / 283e9 < 1.04             # as the module's own estimate has it
  assert flops("unique", spatial_attention.SHAPES["sixteen"]) == 8 * own
  shape = SHAPE._replace(width=64, filters=32, channels=16, segments=6, places=6)
  trainer = trainer_of(read, "unique", shape)
  counted = contenders.compiled(trainer.step, trainer).cost_analysis()["flops"]
  multiplied = 36 / 25                         # by the stacked form, also at the border
  assert 0.98 * multiplied < counted / spatial_attention.flops(trainer.config, shape) < 1.1 * multiplied


@pytest.mark.parametrize("form", ["float32", "float32+plain"])
def test_naive_recurrence_computes_the_same(read, form):
  trainer = trainer_of(read, form)
  params, videos = jax.tree.map(lambda x: x[0], trainer.state.params), as_maps(trainer.feed.videos)
  ours = trainer.method.encode(dict(params=params, constants={}), videos, jax.random.key(0), False)["score"]
  naive = spatial_attention.scores_in_scan(params, videos["maps"], trainer.config)
  np.testing.assert_allclose(naive, ours, atol=1e-5)


def test_peer_computes_the_same(read):
  """Score, loss and one update of the PyTorch port with our parameters."""
  torch = pytest.importorskip("torch")
  from jaxskill.benchmark.peers.spatial_attention import TorchPeer
  trainer = trainer_of(read, "float32")
  config, method = trainer.config, trainer.method
  params = jax.tree.map(lambda x: 3 * x[0], trainer.state.params)
  peer = TorchPeer(SHAPE, config.train, config.loss.margin)
  gru = dict(input="weight_ih", state="weight_hh", input_bias="bias_ih", state_bias="bias_hh")
  named = {"fusion.0.weight": ("fuse_1_kernel",), "fusion.0.bias": ("fuse_1_bias",), "fusion.2.weight": ("fuse_2_kernel",),
           "fusion.2.bias": ("fuse_2_bias",), "query.weight": ("query",), "key.weight": ("key_kernel",),
           "key.bias": ("key_bias",), "readout.weight": ("readout",), "score.weight": ("score",)}
  named |= {f"{cell}.{theirs}": (cell, part) for cell in ("attention_gru", "skill_gru") for part, theirs in gru.items()}

  def layout(name, value):
    value = np.asarray(value)
    if name == "fusion.0.weight":
      return value.transpose(2, 3, 0, 1)
    if name == "fusion.2.weight":
      return value[..., None, None]
    return value[None] if name in ("readout.weight", "score.weight") else value
  pick = lambda tree, path: tree[path[0]] if len(path) == 1 else tree[path[0]][path[1]]
  to_torch = lambda tree: {name: torch.tensor(layout(name, pick(tree, path)).copy()) for name, path in named.items()}
  peer.network.load_state_dict(to_torch(params))
  maps = jnp.asarray(np.random.default_rng(0).normal(size=(4, SHAPE.segments, 4, 4, 8)), jnp.float32)
  videos = dict(maps=maps, lengths=dict(maps=jnp.full(4, SHAPE.segments)), position=jnp.arange(4), labels={})

  def loss(params):
    score = method.encode(dict(params=params, constants={}), videos, jax.random.key(0), False)["score"]
    return jax.vmap(method.phases[0].loss, (None, 0, None))({}, (dict(score=score[:2]), dict(score=score[2:])), {})[0].mean()
  value, gradient = jax.jit(jax.value_and_grad(loss))(params)
  theirs = torch.tensor(np.array(maps.transpose(0, 1, 4, 2, 3)))
  assert np.isclose(peer.step(theirs[:2], theirs[2:]), value, atol=1e-5) and value > 0
  rate, decay = config.train.learning_rate, config.train.weight_decay
  expected = to_torch(jax.tree.map(lambda p, g: p - rate * (g + decay * p), params, gradient))
  for name, value in peer.network.state_dict().items():
    np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


def test_command_line(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  forms = ["bfloat16+stream+D1", "float32+inscan+D1"] + (["torch+autocast"] if importlib.util.find_spec("torch") else [])
  throughput.main(["--config", CONFIG, "--shape", "tiny", "--forms", ",".join(forms), "--rounds", "1", "--steps", "1",
                  "--limit", "300", "--json", str(tmp_path / "out.json")])
  said, results = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
  for form in forms:
    own = results["forms"][form]
    assert f"\n{form} " in said and own["pairs_per_s"] > 0 and 0 < own["peak_share"] < 1
  assert not results["forms"]["bfloat16+stream+D1"]["resident"] and results["forms"]["float32+inscan+D1"]["resident"]
  assert "spatial_attention, shape tiny" in said


def test_a_form_that_is_too_slow_is_stopped_and_named(monkeypatch, capsys):
  """And the others are measured."""
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
  ask = contenders.Worker.ask
  monkeypatch.setattr(contenders.Worker, "ask", lambda self, form, *rest, limit=0: ask(
      self, form, *rest, limit=0.01 if limit and "plain" in form else limit))
  throughput.main(["--config", CONFIG, "--shape", "tiny", "--forms", "float32+plain+D1,float32+D1", "--rounds", "1",
                  "--steps", "1", "--limit", "300"])
  said = capsys.readouterr()
  assert "float32+plain+D1: stopped, its first two steps took more than 300 s" in said.out
  assert "\nfloat32+D1 " in said.out and "\nfloat32+plain+D1 " not in said.out
