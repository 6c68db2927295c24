"""The benchmark's numbers are what they claim; no test here asks how fast anything is."""

import importlib.util
import json
import os
import pathlib
import runpy
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import cli, interop, train
from jaxskill.benchmark import contenders, systems, throughput
from jaxskill.benchmark import start as benchmark_start
from jaxskill.benchmark.systems import pros_cons
from jaxskill.benchmark.systems.pros_cons import SHAPES
from jaxskill.training.parallel import Parallel
from tests.conftest import resident
from tests.places import REPO

CONFIG = str(REPO / "configs" / "pros_cons.py")
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def read():
  return cli.read_config(CONFIG, [])


def trainer_of(read, form, shape, **model):
  config = contenders.configure(read[0], form, shape, read[1])
  config.model.update(model)
  return train.Trainer(config, contenders.data_of(config, shape), Parallel(1))


def test_command_line_end_to_end(tmp_path, monkeypatch, capsys):
  """A form that is too slow is stopped and named, and the others are measured."""
  file, shape, slow = tmp_path / "out.json", SHAPES["tiny"], "float32+D1"
  forms = ["bfloat16+R2+D1"] + (["torch"] if HAS_TORCH else ["siamese+D1"])
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  ask = contenders.Worker.ask
  monkeypatch.setattr(contenders.Worker, "ask", lambda self, form, *rest, limit=0: ask(
      self, form, *rest, limit=0.01 if limit and form == slow else limit))
  monkeypatch.setattr(cli, "listen", lambda thread=True: None)               # signals are those of the tests
  monkeypatch.setattr(sys, "argv", [
      "benchmark", "--config", CONFIG, "--shape", "tiny", "--forms", ",".join([slow, *forms]), "--rounds", "2", "--steps", "4",
      "--limit", "300", "--json", str(file), "--config.train.learning_rate=1e-3", "--config.model.branches=('high','uniform')"])
  runpy.run_module("jaxskill.benchmark", run_name="__main__")
  said = capsys.readouterr().out
  for words in ("in memory", "matmul peak", "compilation apart", "arithmetic, not a run", "2000 epochs", *forms):
    assert words in said
  assert f"{slow}: stopped, its first two steps took more than 300 s" in said and f"\n{slow} " not in said
  results = json.loads(file.read_text())
  assert list(results["forms"]) == forms and results["shape"] == shape._asdict()
  assert results["machine"]["versions"]["jax"] == jax.__version__ and results["machine"]["devices"]
  assert "environment" in results
  for dtype, layouts in results["matmul_flops_per_s"].items():
    assert results["matmul_peak"][dtype] == max(layouts.values()) > 0
  for form, result in results["forms"].items():
    step_s = result["ms_per_step"]["median"] / 1e3
    videos = shape.train_videos if result["encode"] == "unique" else 2 * shape.batch_size
    assert result["replicas"] == (2 if "R2" in form else 1)
    assert result["ms_per_step"]["min"] <= result["ms_per_step"]["median"] <= result["ms_per_step"]["max"]
    assert len(result["ms_per_step"]["rounds"]) == 2 and result["ms_per_step"]["min"] > 0
    for name, value in dict(steps_per_s=1 / step_s, pairs_per_s=shape.batch_size * result["replicas"] / step_s,
                            encodes_per_s=videos * result["replicas"] / step_s, flops_per_s=result["model_flops"] / step_s,
                            estimated_task_s=2000 * 2 * step_s).items():
      assert result[name] == pytest.approx(value), (form, name)
    assert result["peak_memory_bytes"] > 0
    assert result["peak_share"] == pytest.approx(result["flops_per_s"] / results["matmul_peak"][result["dtype"]])
    if form != "torch":
      assert result["compile_s"] > 0 and result["compiled_flops"] > 0 and result["program_bytes"] > 0
  ours, other = (results["forms"][form]["ms_per_step"]["rounds"] for form in forms)
  if "torch" in forms:
    assert results["ratios"][forms[0]]["torch"] == pytest.approx(np.median(np.divide(other, ours)))


@pytest.mark.parametrize("form", ["float32", "siamese", *(
    pytest.param(form, marks=pytest.mark.slow) for form in ("float32+per_video", "bfloat16+joint"))])
def test_model_flops_agree_with_what_xla_counts(read, form, nothing_drawn, quick_compile):
  trainer = trainer_of(read, form, SHAPES["small"], implementation="plain")
  by_hand = pros_cons.flops(trainer.config, SHAPES["small"])
  most = 1.2 if "per_video" in form else 1.1             # XLA counts the drawing of noise too
  assert 1.0 < contenders.compiled_flops(trainer) / by_hand < most


def test_model_flops_of_the_paper(read):
  def flops(form, peer=""):
    config = contenders.configure(read[0], form, SHAPES["paper"], read[1])
    return pros_cons.flops(config, SHAPES["paper"], peer)
  forward = 2 * 76 * 400 * (1025 * 1536 + 1024 * 3)             # 75 videos and the shared noise
  assert flops("float32") == pytest.approx(forward, rel=2e-3) and flops("bfloat16+R4") == 6 * forward
  of_each = 1.5 * forward * 75 / 76                              # with a product in every step
  assert flops("float32+per_video") == flops("bfloat16+per_video") == pytest.approx(of_each)
  assert flops("leaky") == pytest.approx(1.5 * forward, rel=2e-3)
  assert flops("siamese") == pytest.approx(1.5 * forward * 257 / 76)
  assert flops("leaky", "torch+dx") == pytest.approx(2.5 * forward, rel=2e-3)


def test_random_dataset_is_what_the_shape_says():
  shape = SHAPES["paper"]
  data = systems.random_dataset(shape, dict(rgb=(2, 3)))
  fold = data.folds[0]
  assert data.streams["rgb"].shape == (100, 2, 3) and len(fold.train_pairs) == 2115 and len(fold.test_pairs)
  assert set(data.pairs[fold.train_pairs].ravel()) == set(range(75)) == set(fold.train_videos)
  assert len({tuple(pair) for pair in data.pairs}) == len(data.pairs)
  np.testing.assert_array_equal(data.pairs, systems.random_dataset(shape, dict(rgb=(2, 3))).pairs)


@pytest.mark.parametrize("videos", [2, 7, 100])
def test_random_pairs_are_distinct_and_follow_the_order(videos):
  shape = SHAPES["paper"]._replace(train_videos=videos, test_videos=2)
  data = systems.random_dataset(shape, dict(rgb=(1, 1)))
  codes = {tuple(sorted(pair)) for pair in data.pairs[data.folds[0].train_pairs].tolist()}
  assert len(codes) == len(data.folds[0].train_pairs) == min(2115, videos * (videos - 1) // 2)
  rank = data.score
  assert (rank[data.pairs[:, 0]] < rank[data.pairs[:, 1]]).all()


def test_a_stream_from_a_file_holds_little_of_it(read, quick_compile):
  """131 MB of zeros that take no room on the disk; most of it is read, two cycles at a time are held."""
  shape, form = SHAPES["tiny"]._replace(num_segments=64, width=256), "float32+holes+V2000+D1"
  contender = contenders.JaxContender(contenders.configure(read[0], form, shape, None), shape, form, num_steps=4)
  path, = pathlib.Path(contender._folder.name).iterdir()
  assert path.stat().st_size > 131e6 and (os.name != "posix" or path.stat().st_blocks * 512 < 1e6)
  assert not contender.ready["resident"] and contender._trainer.num_unique == 16
  contender.round()
  before = resident()
  for _ in range(8):                        # of four steps, each of 16 videos of 66 kB: 34 MB
    contender.round()
  assert resident() - before < 15e6


def peer_module():
  from jaxskill.benchmark.peers import pros_cons
  return pros_cons


@pytest.mark.peers
@pytest.mark.parametrize("encode", ["unique", "siamese"])
def test_torch_peer_takes_our_official_steps(read, encode, quick_compile):
  """One cycle: losses of both phases, all gradients (they are in the optimizers' moments and left over), parameters."""
  import torch
  shape = SHAPES["tiny"]._replace(batch_size=4)                # 12 pairs, so both batches are whole
  trainer = trainer_of(read, f"official+{encode}", shape, noise_std=0.0)
  peer = peer_module().TorchPeer(trainer.config, shape.width)
  start = interop.pros_cons_from_torch(
      {name: {k: v.cpu().numpy() for k, v in network.state_dict().items()} for name, network in peer.networks.items()})
  start = jax.tree.map(lambda x: jnp.asarray(x)[None], start)
  assert jax.tree.structure(start) == jax.tree.structure(trainer.state.params)
  pairs = np.asarray(trainer.step.draw(trainer.tables, 0).items)[:, 0]                    # [2, B, 2]
  trainer.state = trainer.state.replace(params=start)
  trainer.state, metrics = trainer.step.run_batches(
      trainer.state, (trainer.loader.videos,) * 2, trainer.tables, trainer.step.draw(trainer.tables, 0))

  features = trainer.dataset.streams["rgb"][trainer.loader.train]
  for phase in (0, 1):
    better, worse = (torch.tensor(features[pairs[phase][:, side]], device=peer.device) for side in (0, 1))
    loss = float(peer.step(better, worse, phase, first=phase == 0))
    total, count = (float(x.item()) for x in metrics[phase]["loss"])
    assert total / count == pytest.approx(loss, abs=1e-5) and loss > 0.1

  def ours(tree, prefix):
    """Flat parameters of one group, named as torch does."""
    whole = {"ranking": {}, "filters": {}}
    for path, value in tree.items():
      *parents, name = path.split("/")
      (whole[parents[0]] if len(parents) == 1 else whole[parents[0]].setdefault(parents[1], {}))[name] = value[0]
    if prefix == "fc":
      whole["filters"] = {}
    else:                                                       # to_torch wants the ranking layers too
      whole["ranking"] = {k: v[0] for k, v in trainer.state.params["ranking"].items()}
    named = interop.pros_cons_to_torch(whole)
    return {f"{net}.{k}": v for net, state in named.items() for k, v in state.items() if k.startswith(prefix)}

  compared = 0
  parameters = dict(peer.networks.named_parameters())
  for phase, prefix in ((0, "fc"), (1, "att_net")):
    moment = ours(trainer.state.opt_state[str(phase)][0].mu, prefix)
    for name, value in moment.items():
      expected = peer.optimizers[phase].state[parameters[name]]["exp_avg"].cpu().numpy()  # a tenth of the gradient
      np.testing.assert_allclose(10 * value, 10 * expected, atol=1e-5, err_msg=name)
      compared += np.abs(expected).max() > 1e-4
  left = {k: v for k, v in trainer.state.opt_state["left_over"].items() if k.startswith("ranking/")}
  for name, value in ours(left, "fc").items():
    np.testing.assert_allclose(value, parameters[name].grad.cpu().numpy(), atol=1e-5, err_msg=name)
    compared += np.abs(value).max() > 1e-3
  assert compared >= 10                                         # the gradients compared are not all zero
  after = interop.pros_cons_to_torch(jax.tree.map(lambda x: x[0], trainer.state.params))
  for net, state in after.items():
    for name, value in state.items():
      if not name.endswith(".2.bias"):                          # its gradient is zero: Adam steps on rounding noise
        expected = parameters[f"{net}.{name}"].detach().cpu().numpy()
        np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=f"{net}.{name}")


@pytest.mark.peers
@pytest.mark.golden("raan_train*")
@pytest.mark.parametrize("rate", [1e-3, 1e-4])
def test_torch_peer_is_the_published_training(read, golden, golden_name, rate):
  """Six batches of the published loop, leaked gradients included."""
  import torch
  arrays = golden(golden_name)
  config = contenders.configure(read[0], "official", SHAPES["tiny"], read[1])
  first = [v for k, v in arrays.items() if k.startswith("w0/pos/att_net.") and k.endswith(".0.weight")]
  config.model.update(num_filters=len(first), hidden=len(first[0]), noise_std=0.0)
  config.train.learning_rate = rate
  peer = peer_module().TorchPeer(config, first[0].shape[1])
  names = {name: name.replace(".", "/", 1) for name in dict(peer.networks.named_parameters())}
  peer.networks.load_state_dict({name: torch.tensor(arrays[f"w0/{theirs}"]) for name, theirs in names.items()})
  batches = zip(*(torch.tensor(arrays[name], device=peer.device) for name in ("x1", "x2")))
  losses = [float(peer.step(*batch, int(phase), first=i == 0)) for i, (batch, phase) in
            enumerate(zip(batches, arrays["phases"]))]
  run = f"lr{rate:g}/official"
  np.testing.assert_allclose(losses, arrays[f"{run}/losses"], atol=5e-6)
  for name, value in peer.networks.state_dict().items():
    if not name.endswith(".2.bias"):
      np.testing.assert_allclose(value.cpu(), arrays[f"{run}/after/{names[name]}"], atol=1e-6, err_msg=name)


@pytest.mark.peers
def test_peer_variants_step(read):
  import torch
  shape = SHAPES["tiny"]
  config = contenders.configure(read[0], "official", shape, read[1])
  for words in (("autocast",), ("dx",)):
    peer = peer_module().TorchPeer(config, shape.width, words=words)
    better, worse = torch.randn(2, 4, shape.num_segments, shape.width, device=peer.device)
    assert all(np.isfinite(float(peer.step(better, worse, phase))) for phase in (0, 1))


@pytest.mark.peers
def test_a_form_is_compiled_if_it_says_so(monkeypatch):
  import torch

  from jaxskill.benchmark.peers import timing
  monkeypatch.setattr(torch, "compile", lambda function, **options: ("compiled", function, options))
  monkeypatch.setattr(timing.shutil, "which", lambda name: name == "g++")
  assert timing.compiled(len, ["torch", "autocast"]) is len
  assert timing.compiled(len, ["torch", "compile"], freezing=True) == (
      "compiled", len, dict(dynamic=False, options=dict(freezing=True)))
  assert timing.first_cycle(int, ["torch"]).keys() == {"first_cycle_s"}
  assert timing.first_cycle(int, ["compile"]).keys() == {"first_cycle_s", "compile_s"}
  monkeypatch.setattr(timing.shutil, "which", lambda name: None)
  monkeypatch.delenv("CXX", raising=False)
  with pytest.raises(ValueError, match="needs a C.. compiler, and there is none: install g.., or leave the form out"):
    timing.compiled(len, ["compile"])


def test_the_faster_of_eager_and_compiled_is_named():
  times = {"float32": 1.0, "torch": 3.0, "torch+compile": 2.0, "torch+dx": 1.5, "torch+autocast": 1.2,
           "torch+compile+autocast": 1.9}
  assert [form for form in times if throughput.remark(form, times)] == ["torch+compile", "torch+autocast"]


def test_start_up_layout_is_loadable(tmp_path):
  official = pytest.importorskip("jaxskill.data.published.official")
  shape = SHAPES["tiny"]
  files = benchmark_start.official_layout(tmp_path, shape, shape.num_segments, shape.width)
  assert len(files) == shape.train_videos + shape.test_videos
  task = official.read_task("best", tmp_path / "best", "origami")
  assert len(task.folds[0].train_pairs) == shape.pairs
  if HAS_TORCH:
    assert peer_module().npz_batch(files, shape, repeats=1) > 0


def test_a_form_that_is_no_training_has_no_time_to_its_end():
  known = dict(model_flops=1e6, batch_size=8, encode="batch", replicas=1, dtype="float32", devices=1, steps_per_epoch=3)
  made = lambda epochs: throughput.rates([0.1, 0.3, 0.2], known | dict(epochs=epochs), SHAPES["tiny"], dict(float32=1e9))
  assert made(10)["estimated_task_s"] == pytest.approx(6.0) and made(0)["estimated_task_s"] is None


def test_a_start_takes_a_cycle(read, tmp_path, monkeypatch, quick_compile):
  """In this process: what is timed is a step that training takes, in the dtype asked for."""
  pytest.importorskip("tensorflow_datasets")
  benchmark_start.official_layout(tmp_path, SHAPES["tiny"], rows=10, width=32)
  config = contenders.configure(read[0], "bfloat16", SHAPES["tiny"], None)
  config.data.update(dir=str(tmp_path / "best"), name="best", task="origami")
  config.train.steps_per_call = 1
  trained = []
  monkeypatch.setattr(train.Trainer, "_check_finite", lambda self, *_: trained.append(self))
  monkeypatch.setattr(sys, "argv", ["", config.to_json(), repr(time.monotonic()), str(tmp_path)])
  monkeypatch.setattr(benchmark_start.cli, "use_compilation_cache", lambda: None)
  benchmark_start.start()
  answer = json.loads((tmp_path / "start.json").read_text())
  assert len(trained) == 2 and int(trained[0].state.step) == 2 * 2     # a cycle with its compilation, one without
  assert trained[0].loader.videos["rgb"].dtype == jnp.bfloat16
  assert answer["first_step_s"] == pytest.approx(sum(answer["marks"].values())) and answer["videos"] == 9
  assert 0 < answer["cycle_s"] < answer["marks"]["first steps"]
  assert all(seconds > 0 for seconds in answer["marks"].values()) and min(answer["map_s"], answer["place_s"]) > 0
  starts = {"bfloat16": dict(cold=answer, warm=answer)}
  assert "bfloat16, warm" in "\n".join(benchmark_start.describe(dict(prepare_s=1.0, starts=starts)))


@pytest.mark.parametrize("arguments,message", [
    (["--shape", "huge"], "--shape=huge is unknown; use one of paper, small, tiny"),
    (["--forms", "unique+float8"], "'float8' is unknown"),
    (["--forms", "torch+cuda"], "'cuda' is unknown; use unique"),
    (["--peer", "keras"], "--peer=keras is unknown"),
    (["--rounds", "-1"], "must not be negative"),
    (["--json", "no/such/folder.json"], "no such folder"),
])
def test_messages(capsys, arguments, message):
  with pytest.raises(SystemExit) as stopped:
    throughput.main(["--config", CONFIG, *arguments])
  assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_missing_torch_says_how_to_get_it(capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(SystemExit):
    throughput.main(["--config", CONFIG, "--shape", "tiny", "--peer", "torch"])
  assert "pip install 'jaxskill[bench]'" in capsys.readouterr().err


def test_a_worker_that_fails_says_why(read):
  config = contenders.configure(read[0], "float32", SHAPES["tiny"], None)
  config.train.batch_size = 0
  with contenders.Worker() as worker, pytest.raises(ValueError, match="batch_size=0 does not split"):
    worker.ask("float32", "jax", config, SHAPES["tiny"], "float32", 0)


def test_a_full_run_ends(read, quick_compile):
  shape = SHAPES["tiny"]
  devices = min(2, jax.device_count())
  config = contenders.configure(read[0], f"bfloat16+D{devices}", shape, None)
  config.train.epochs = 3
  contender = contenders.JaxContender(config, shape, f"bfloat16+D{devices}", num_steps=4)
  assert contender.ready["steps_per_round"] == 4 and contender.ready["devices"] == devices
  assert contender.round() > 0
  full = contender.full()
  assert full["steps"] == 6 and np.isfinite(full["loss"]) and full["seconds"] > 0
