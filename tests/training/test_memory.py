"""What a run needs is known before its first step, and costs no second compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import train
from jaxskill.training import memory
from jaxskill.training.parallel import Parallel


def trainer_of(load_config, make_dataset, devices=1, changes=None, system="whos_better"):
  config = load_config(system, "simulated", {"plots": False, "train.batch_size": 8} | (changes or {}))
  data = make_dataset(videos=12, folds=((range(12), range(8, 12)),))             # one group of videos on the device
  return train.Trainer(config, data, Parallel(devices))


@pytest.mark.parametrize("budget, devices", [(0.5, 2), (0.0, 1), pytest.param(0.5, 1, marks=pytest.mark.slow),
                                             pytest.param(0.0, 2, marks=pytest.mark.slow)])
def test_the_step_that_was_asked_about_runs(quick_compile, load_config, make_dataset, caplog, devices, budget):
  del quick_compile
  system = "whos_better" if budget else "pros_cons"            # streamed: each of two phases has its videos
  trainer = trainer_of(load_config, make_dataset, devices, {"data.device_budget": budget}, system)
  with jax.log_compiles():
    memory.check(trainer)
    asked = len([r for r in caplog.records if "Finished XLA compilation of" in r.message])
    trainer.advance()
    trainer.assess(everything=True)
  compiled = [r.message for r in caplog.records if "Finished XLA compilation of" in r.message]
  names = [message.split(" in ")[0] for message in compiled]
  assert asked >= 2 and not [name for name in names[asked:] if "run" in name or "function" in name or "packed" in name]


def test_bytes_of_a_function():
  function = Parallel(1).compile(lambda state, x: (state, jnp.sin(x @ x.T) @ x))
  x = np.zeros((1000, 10), np.float32)
  needed = memory.needed_bytes(function.lower(np.float32(0), x).compile())
  assert 4 * 1000 ** 2 < needed < 2 * (2 * x.nbytes + 4 * 1000 ** 2)
  assert memory.largest_array(function, (np.float32(0), x)) == ((1000, 1000), np.float32)


@pytest.mark.parametrize("where", ["step", "answer"])
def test_refusal_names_what_is_large_and_what_helps(quick_compile, load_config, make_dataset, monkeypatch, where):
  del quick_compile
  trainer = trainer_of(load_config, make_dataset)
  needed = iter({"step": [10 ** 9], "answer": [1, 10 ** 9]}[where])             # the step is asked about first
  monkeypatch.setattr(memory, "needed_bytes", lambda _: next(needed))
  monkeypatch.setattr(trainer.parallel, "memory_bytes", lambda: 5 * 10 ** 8)
  with pytest.raises(ValueError) as error:
    memory.check(trainer)
  text = str(error.value)
  assert "\n" not in text and "needs about 953.7 MiB of memory, and a device has 476.8 MiB" in text
  assert "videos have up to 12 rows of 'rgb'" in text
  assert ("config.train.batch_size (now 8, about 3 should fit)" in text) == (where == "step")


def test_a_run_that_cannot_fit_writes_nothing(quick_compile, load_config, make_dataset, monkeypatch, tmp_path):
  del quick_compile
  monkeypatch.setattr(train, "Parallel", lambda _: Parallel(1))
  monkeypatch.setattr(memory, "needed_bytes", lambda _: 10 ** 18)
  with pytest.raises(ValueError, match="random: one step of training needs about"):
    train.run(load_config("whos_better", changes={"plots": False}), tmp_path / "run", make_dataset())
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count,text", [(0, "0.0 KiB"), (1023, "1.0 KiB"), (2 ** 20, "1.0 MiB"), (3 * 2 ** 29, "1.5 GiB"),
                                        (1054954068816, "982.5 GiB"), (10 ** 18, "909494.7 TiB")])
def test_sizes_in_words(count, text):
  assert memory.in_words(count) == text
