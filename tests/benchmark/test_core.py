"""CoRe's benchmark: its FLOPs, its vote, and a peer that computes what the published code does."""

import importlib.util

import jax
import numpy as np
import pytest

from jaxskill import cli, interop, train
from jaxskill.benchmark import contenders, throughput
from jaxskill.benchmark.systems import core
from jaxskill.training.parallel import Parallel
from tests.places import CONFIGS

CONFIG = str(CONFIGS / "core.py")
SHAPE = core.SHAPES["tiny"]


@pytest.fixture(scope="module")
def read():
  return cli.read_config(CONFIG, [])


def trainer_of(read, form, shape=SHAPE):
  config = contenders.configure(read[0], form, shape, read[1])
  config.train.steps_per_call = 1
  return train.Trainer(config, contenders.data_of(config, shape), Parallel(1))


@pytest.mark.parametrize("form", ["official+B64+R2", pytest.param("float32+B64", marks=pytest.mark.slow)])
def test_flops_agree_with_what_xla_counts(read, form, nothing_drawn, quick_compile):
  shape = SHAPE._replace(width=256, hidden=64)
  trainer = trainer_of(read, form, shape)
  by_hand = core.flops(trainer.config, shape)
  assert 0.95 < contenders.compiled_flops(trainer) / by_hand < 1.25            # Adam, the loss and the gathering are in it


def test_flops_of_the_paper(read):
  shape = core.SHAPES["paper"]
  config = contenders.configure(read[0], "official", shape, read[1])
  tree = 15 * 256 * 514 + 16 * 256
  assert core.flops(config, shape) == 2 * 128 * (2 * 2049 * 256 + 3 * tree)
  assert core.flops(config, shape, "torch+vote") == 2 * 640 * (2049 * 256 + tree)


def test_only_times_of_the_same_kind_are_compared():
  assert throughput.kind("official+B512+bfloat16") == throughput.kind("torch+B512") != throughput.kind("torch")
  assert throughput.kind("vote") == throughput.kind("torch+vote") != throughput.kind("float32")


@pytest.mark.peers
@pytest.mark.golden("core_loss*")
def test_peer_loss_is_the_published_one(golden, golden_name):
  """The peer's loss is the published one."""
  import torch

  from jaxskill.benchmark.peers.core import Peer
  data = golden(golden_name)
  span = float(data["score_range"])
  for depth in sorted({key.split("/")[0] for key in data if key.endswith("/bounds")}):
    state = {k.removeprefix(f"{depth}/w/tree/"): torch.tensor(v) for k, v in data.items() if k.startswith(f"{depth}/w/tree/")}
    hidden, width = state["first_layer.0.weight"].shape
    peer = Peer((width - 1) // 2, hidden, len(data[f"{depth}/bounds"]), data["dataset"], span)
    np.testing.assert_array_equal(np.float32(peer.bounds), data[f"{depth}/bounds"])
    peer.tree.load_state_dict(state)
    for batch in sorted({key.split("/")[1] for key in data if key.startswith(f"{depth}/batch")}):
      rows = torch.tensor(data[f"{depth}/{batch}/combined1"]).to(peer.device)
      others, inputs = rows[:, : (width - 1) // 2], rows[:, (width - 1) // 2: -1]
      scores = [torch.tensor(data[f"{batch}/label{i}"][:, 0]).to(peer.device) for i in (1, 2)]
      assert float(peer.loss(inputs, others, scores[1], scores[0]).detach()) == pytest.approx(
          float(data[f"{depth}/{batch}/loss"]), abs=1e-5)


@pytest.mark.peers
def test_peer_votes_as_we_do(read):
  import torch

  from jaxskill.benchmark.peers.core import Peer
  trainer = trainer_of(read, "official")
  vote = core.Vote(trainer)
  share, bank = vote._inputs                                    # pylint: disable=protected-access
  assert len(share["exemplars"]) == core.VOTERS and vote.round(1) > 0
  constants = jax.tree.map(lambda x: np.asarray(x[0]), trainer.state.constants["labels"])
  peer = Peer(SHAPE.width, SHAPE.hidden, trainer.config.model.num_leaves, np.ones(3), float(constants["span"]))
  peer.bounds = constants["bounds"].tolist()
  params = jax.tree.map(lambda x: np.asarray(x[0]), trainer.state.params["head"])
  peer.tree.load_state_dict({k: torch.tensor(v) for k, v in interop.regression_tree_to_torch(params).items()})
  chosen = np.asarray(share["exemplars"])[:3, 0]
  tensor = lambda x: torch.tensor(np.asarray(x)).to(peer.device)
  encodings, score = bank["encodings"][:, 0], bank["score"][:, 0]
  theirs = peer.vote(tensor(share["encodings"][:3, 0]), tensor(encodings[chosen]), tensor(score[chosen]))
  scores = trainer.assess().score
  np.testing.assert_allclose(scores[0][:3], theirs, rtol=1e-4)


@pytest.mark.slow
def test_command_line(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  forms = ["vote+D1"] + (["torch+vote"] if importlib.util.find_spec("torch") else [])
  throughput.main(["--config", CONFIG, "--shape", "tiny", "--forms", ",".join(forms), "--rounds", "1", "--steps", "2",
                  "--json", str(tmp_path / "out.json")])
  said = capsys.readouterr().out
  for form in forms:
    assert f"\n{form} " in said
  assert "core, shape tiny" in said
