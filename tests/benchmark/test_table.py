"""The benchmark of a table: its models are those of the table, and every way takes their steps."""


import numpy as np
import pytest

from jaxskill import cli
from jaxskill.benchmark import systems, table
from jaxskill.benchmark.contenders import configure
from jaxskill.benchmark.systems import pros_cons
from jaxskill.training.parallel import Parallel
from tests.places import CONFIGS

CONFIG = str(CONFIGS / "pros_cons.py")
TASKS = dict(one=systems.Task(7, 5, 6, 2), other=systems.Task(6, 4, 20, 1))


def test_data_are_of_the_sizes_of_the_tasks():
  data = table.dataset_of(TASKS, dict(rgb=(3, 2)))
  assert data.num_videos == 13 and data.simulated and [fold.name for fold in data.folds] == ["one0", "one1", "other0"]
  for fold, (videos, pairs, of_task) in zip(data.folds, ((5, 6, range(7)), (5, 6, range(7)), (4, 6, range(7, 13)))):
    assert len(fold.train_videos) == videos and len(fold.train_pairs) == pairs
    assert set(fold.train_videos) | set(fold.test_videos) == set(of_task)
    better, worse = data.pairs[fold.train_pairs].T
    assert set(better) | set(worse) <= set(fold.train_videos) and (data.score[better] > data.score[worse]).all()
    assert len(set(fold.train_pairs.tolist())) == pairs
  sizes = pros_cons.EPIC_SKILLS.values()
  assert sum(task.folds for task in sizes) == 16 and sum(task.videos for task in sizes) == 216


def test_every_way_trains_each_model_once():
  for name, programs in table.ways(TASKS, (0, 1)).items():
    models = [(fold, seed) for folds, seeds in programs for fold in folds for seed in seeds]
    assert sorted(models) == [(fold, seed) for fold in range(3) for seed in range(2)], name
  assert [len(programs) for programs in table.ways(TASKS, (0, 1)).values()] == [1, 2, 6]


def test_all_ways_end_with_the_same_models(quick_compile, monkeypatch):
  monkeypatch.setattr(table, "Parallel", lambda: Parallel(1))
  config, _ = cli.read_config(CONFIG, ["--config.train.learning_rate=1e-3", "--config.model.branches=('high','uniform')"])
  config = configure(config, "float32", pros_cons.SHAPES["tiny"], None)
  config.train.epochs = 2
  tasks = {name: task._replace(folds=1) for name, task in TASKS.items()}
  together, _, alone = table.ways(tasks, (0,)).values()
  ends = [table.train_all(config.to_json(), tasks, "tiny", programs) for programs in (together, alone)]
  for end in ends:
    assert min(end["compile_s"], end["steps_s"], end["processor_s"], end["peak_bytes"]) > 0
    for name, model in end["models"].items():
      np.testing.assert_allclose(model, ends[0]["models"][name], atol=1e-3)
  assert len({model.tobytes() for model in ends[0]["models"].values()}) == 2


def test_description():
  way = dict(compile_s=3.0, steps_s=8.0, processor_s=9.0, peak_bytes=2e9, programs=1, apart=0.0)
  alone = way | dict(compile_s=36.0, programs=80, apart=1e-5)
  text = table.describe(dict(
      method="m", table="t", shape_name="s", models=80, model_steps=400, epochs=1, dtype="float32",
      ways={"one program": way, "a program a model": alone}, machine=dict(devices=["cpu"], versions=dict(jax="1"))))
  assert "SIMULATED: 80 models, 400 steps" in text and "1e-05" in text
  assert text.splitlines()[2].split() == "one program 1 11.0 3.0 8.0 9.0 20 0.25 1.00 1.00 2.00".split()


@pytest.mark.parametrize("given,said", [
    (["--table=best"], "--table=best: config.method='pros_cons' has only epic_skills."),
    (["--shape=huge"], "--shape=huge is unknown; use one of paper, small, tiny."),
    (["--seeds=0"], "--seeds=0 and --epochs=1 must be at least 1.")])
def test_a_mistake_is_one_line(capsys, given, said):
  with pytest.raises(SystemExit, match="2"):
    table.main(["--config", CONFIG, *given])
  assert said in capsys.readouterr().err
  with pytest.raises(SystemExit, match="2"):
    table.main(["--config", str(CONFIGS / "core.py")])
  assert "has no table" in capsys.readouterr().err
