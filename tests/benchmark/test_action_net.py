"""ACTION-NET's benchmark: its FLOPs, the models of several folds, scores and seeds, and its command line."""

import importlib.util
import json

import numpy as np
import pytest

from jaxskill import cli, train
from jaxskill.benchmark import contenders, throughput
from jaxskill.benchmark.systems import action_net
from jaxskill.training.parallel import Parallel
from tests.places import CONFIGS

CONFIG = str(CONFIGS / "action_net.py")
SHAPE = action_net.SHAPES["tiny"]


@pytest.fixture(scope="module")
def read():
  return cli.read_config(CONFIG, [])


def trainer_of(read, form, shape):
  config = contenders.configure(read[0], form, shape, read[1])
  config.train.steps_per_call = 1
  return train.Trainer(config, contenders.data_of(config, shape, form), Parallel(1))


@pytest.mark.parametrize("form", ["float32", pytest.param("official+R2", marks=pytest.mark.slow)])
def test_flops_agree_with_what_xla_counts(read, form, nothing_drawn, quick_compile):
  shape = SHAPE._replace(batch_size=16, train_videos=16, streams=dict(rgb=(20, 128), static=(30, 256)),
                         windows=dict(rgb=18, static=30), channels=64, attention_hidden=32, head_hidden=32)
  trainer = trainer_of(read, form, shape)
  by_hand = action_net.flops(trainer.config, shape, form)
  assert 0.95 < contenders.compiled_flops(trainer) / by_hand < 1.25            # SGD and all elementwise work is in it


def test_flops_of_the_paper(read):
  shape = action_net.SHAPES["paper"]
  flops = lambda form: action_net.flops(contenders.configure(read[0], form, shape, read[1]), shape, form)
  rows, layers = np.array([26, 80]), 512 * 256 * np.array([1, 2]) + 2 * 256 ** 2 + 513 * 128
  first = np.array([1024 * 512, 2048 * 1024])
  official = 64 * (sum(rows * (2 * first + 3 * layers + 4 * 256 * rows)) + 3 * 128 * 1025)
  assert flops("official") == flops("torch") == official
  assert flops("float32") == official + 64 * sum(5 * 256 * rows ** 2)
  assert flops("bfloat16+F4+C3+R5") == 60 * flops("float32")
  config = contenders.configure(read[0], "float32", shape, None)
  config.model.context = "lstm"
  assert action_net.flops(config, shape) is None


def test_models_of_folds_scores_and_seeds(read, quick_compile):
  trainer = trainer_of(read, "F4+C3+R2", SHAPE)
  assert len(trainer.replicas) == 24 and len({(r.fold, r.criterion, r.seed) for r in trainer.replicas}) == 24
  folds = [set(fold.train_videos) | set(fold.test_videos) for fold in trainer.dataset.folds]
  assert [len(fold) for fold in folds] == [10] * 4 and len(set.union(*folds)) == 40
  assert len(trainer.dataset.labels("further1")) == 40


@pytest.mark.slow
def test_command_line(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")      # of the processes that it starts
  forms = ["official+bfloat16+F2+C2+D1"] + (["torch+autocast"] if importlib.util.find_spec("torch") else [])
  throughput.main(["--config", CONFIG, "--shape", "tiny", "--forms", ",".join(forms), "--rounds", "1", "--steps", "2",
                  "--json", str(tmp_path / "out.json")])
  said, results = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
  for form in forms:
    result = results["forms"][form]
    assert f"\n{form} " in said and result["videos_per_s"] > 0 and result["peak_share"] > 0
    assert result["replicas"] == (1 if "torch" in form else 4)
  assert "action_net, shape tiny" in said and "ms a step and model, 4 models in one program" in said
