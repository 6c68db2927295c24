"""What a training command does before its first step ends, and how long that is said to take."""
import os
import pathlib

import pytest

from jaxskill.benchmark import first_step
from tests.conftest import CACHE, QUICK_FLAGS

SLOW = {"matplotlib", "tensorboardX", "tensorflow_datasets", "scipy.optimize", "scipy.stats", "torch", "tqdm.notebook",
        "jax.experimental.pallas"}                        # to import; not needed until a step has been taken
ORBAX = {"orbax.checkpoint", "tensorstore"}               # the thread imports it that saves, while steps are taken


def test_nothing_is_imported_before_it_is_needed(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", QUICK_FLAGS)            # a single device
  made = first_step.start(["--config", "configs/pros_cons.py:tiny"], pathlib.Path(os.environ[CACHE]))
  assert {"jax", "optax", "jaxskill.train"} <= set(made["imported"]) <= set(made["loaded"])
  assert not (SLOW | ORBAX) & set(made["imported"])
  assert not SLOW & set(made["loaded"])
  assert list(made["parts"]) == ["imports", "data", "tracing", "lowering", "compiling", "first step", "rest"]
  assert min(made["parts"].values()) > 0 and made["cpu"] > 0
  assert sum(made["parts"].values()) == pytest.approx(made["wall"])
  assert made["programs"] <= 4                            # keys, the first parameters, the step, the answers


def test_rounds_take_turns_and_each_begins_with_an_empty_cache(monkeypatch):
  starts = []

  def start(arguments, cache):
    starts.append((arguments, cache))
    cold = [before for _, before in starts].count(cache) == 1
    return dict(wall=(9.0 if cold else 2.0) + len(starts), cpu=1.0, programs=4, parts=dict(imports=0.5 * len(starts)))
  monkeypatch.setattr(first_step, "start", start)
  measured = first_step.measure(["--config", "x"], 3, lambda text: None)
  caches = [cache for _, cache in starts]
  assert caches == [caches[0]] * 2 + [caches[2]] * 2 + [caches[4]] * 2 and len(set(caches)) == 3
  assert measured["starts"]["cold"]["wall"] == [10, 12, 14] and measured["starts"]["warm"]["wall"] == [4, 6, 8]
  assert measured["starts"]["warm"]["parts"] == dict(imports=2.0)        # of the median round
  said = first_step.describe(measured)
  assert "cold: 12.00 (10.00 to 14.00) s, of the CPU 1.00 (1.00 to 1.00) s" in said and "imports 2.00" in said


def test_a_command_that_takes_no_step_is_said_in_a_line(tmp_path):
  with pytest.raises(ValueError, match=r"did not take its first step \(status 2\): jaxskill: .*there is no config"):
    first_step.start(["--config", "nothing"], tmp_path)


@pytest.mark.parametrize("arguments, said", [
    (["--rounds", "0"], "--rounds=0 must be at least 1"), (["--config", "nothing"], "there is no config of this name")])
def test_a_mistake_is_said_before_anything_starts(arguments, said, capsys):
  with pytest.raises(SystemExit) as ended:
    first_step.main(["--start-up", *arguments])
  assert ended.value.code == 2 and said in capsys.readouterr().err
