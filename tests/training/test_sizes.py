"""Sizes that follow the number of training videos: decided once, said, recorded, and never against the user's own."""

import importlib
import json

import ml_collections
import pytest

from jaxskill import train
from jaxskill.training import sizes
from tests.known_programs import Known


def config_of(**model):
  steps = (("model.leaves", ((10, 4), (20, 8), (10 ** 9, 16))),)
  return ml_collections.ConfigDict(dict(model=dict(leaves=0, hidden=3) | model, by_videos=steps))


@pytest.mark.parametrize("videos,expected", [(1, 4), (10, 4), (11, 8), (20, 8), (21, 16)])
def test_size_of_the_smallest_fold(make_dataset, videos, expected):
  data = make_dataset(videos=videos + 2, folds=((range(videos + 1), [videos + 1]), (range(videos), [videos])))
  decided = sizes.decide(config_of(), data)
  assert decided.model.leaves == expected and decided.model.hidden == 3
  assert sizes.describe(config_of(), decided).endswith(f"model.leaves={expected}")


def test_a_size_that_is_given_stays(make_dataset):
  config = config_of(leaves=32)
  assert sizes.decide(config, make_dataset()) is config and sizes.describe(config, config) == ""
  assert sizes.decide(config_of()).model.leaves == 16                             # to check a config beforehand
  without = ml_collections.ConfigDict(dict(model=dict(leaves=0)))
  assert sizes.decide(without, make_dataset()) is without


def test_the_config_asked_for_is_not_changed(make_dataset):
  config = config_of().lock()
  assert sizes.decide(config, make_dataset()).is_locked and config.model.leaves == 0


def test_published_presets_have_the_paper_s_sizes():
  get = importlib.import_module("configs.core").get_config
  for options in ("simulated", "mtl_aqa", "unlv_dive", "aqa7", "jigsaws", "finediving", "frames"):
    assert get(options).model.num_leaves == 32 and "by_videos" not in get(options)
  assert get("features").model.num_leaves == get("features").model.hidden == 0


def test_a_run_records_its_sizes_and_resumes_with_them(quick_training, make_dataset, tmp_path, capsys, monkeypatch):
  Known().patch(monkeypatch)
  config = importlib.import_module("configs.core").get_config("features")
  config.update_from_flattened_dict({"data.dir": "features", "plots": False, "train.epochs": 1, "train.steps_per_call": 1})
  config.lock()
  data = make_dataset()
  results = train.run(config, tmp_path, data)
  assert "sizes that follow the number of training videos: model.num_leaves=4, model.hidden=64" in capsys.readouterr().out
  for recorded in (results["config"], json.loads((tmp_path / "config.json").read_text())):
    assert recorded["model"]["num_leaves"] == 4 and recorded["model"]["hidden"] == 64
  again = train.run(config, tmp_path, data)
  assert again["params_sha256"] == results["params_sha256"] and "resumed from step 1" in capsys.readouterr().out
