"""The benchmark of training on frames: a step of a narrow network, and a config without frames."""

import queue

import pytest

from jaxskill import cli
from jaxskill.benchmark import frames as benchmark
from jaxskill.methods import frames
from jaxskill.modules import i3d
from tests.places import CONFIGS

SMALL = ("data.frames.count=26", "data.frames.size=(44,36)", "model.i3d.crop=32", "model.i3d.starts=(0,7)",
         "model.num_leaves=4", "model.exemplars.count=2")


@pytest.mark.slow
def test_a_step_is_measured(monkeypatch, quick_compile):
  del quick_compile
  monkeypatch.setattr(cli, "use_compilation_cache", lambda: None)          # of the process of the tests
  monkeypatch.setattr(i3d, "BLOCKS", {name: (8, 8, 8, 8, 8, 8) for name in ("mixed_3b", "mixed_4b", "mixed_5b")})
  monkeypatch.setattr(frames, "WIDTH", 32)
  config = benchmark.read(f"{CONFIGS / 'core.py'}:frames", [f"--config.{field}" for field in SMALL], "bfloat16", 1)
  assert config.train.dtype == "bfloat16" and config.data.frames.count == 26
  results = queue.SimpleQueue()
  benchmark.measure(config, 1, 2, results)
  found = results.get()
  assert found["videos"] == 2 and len(found["step_s"]) == 2
  assert min(found["first_s"], *found["step_s"]) > 0 and found["peak_gb"] > 0


def test_a_config_of_features_is_refused(capsys):
  with pytest.raises(SystemExit, match="2"):
    benchmark.main(["--config", f"{CONFIGS / 'core.py'}:tiny"])
  assert "trains on features; give one that trains on frames" in capsys.readouterr().err
