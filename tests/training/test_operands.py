"""Operands of products: the faster type of the machine, once a run, and never against what is named."""

import importlib
import json

import jax
import pytest

from jaxskill import ablations, measured, train
from jaxskill.methods import names
from jaxskill.methods.common import operand_type
from jaxskill.training import operands


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """machine(ratio): a machine whose products of bfloat16 are so many times as fast as those of float32."""
  (tmp_path / "cache").mkdir()
  monkeypatch.setattr(measured, "place", lambda: tmp_path / "cache")

  def of(ratio):
    monkeypatch.setattr(operands, "_measure", lambda device: ratio)
  return of


def decided(config, workdir):
  made, said = operands.decide(config, workdir, jax.devices()[0])
  return made.train.dtype, said


def test_the_faster_type_is_chosen_and_said(machine, config, tmp_path):
  machine(0.43)
  assert decided(config, tmp_path) == ("float32", "operands of products: float32 (products of bfloat16 are 0.43 times "
                                       "as fast as those of float32 here; config.train.dtype names one)")
  machine(2.5)                                    # is kept: nothing is measured again
  assert decided(config, tmp_path)[0] == "float32"
  (tmp_path / "cache" / measured.OPERANDS).write_text("{")
  assert decided(config, tmp_path)[0] == "bfloat16" and config.train.dtype == "auto"
  kept = json.loads((tmp_path / "cache" / measured.OPERANDS).read_text())
  assert kept == {measured.kind(jax.devices()[0]): 2.5}


def test_a_named_type_is_taken_with_a_warning_where_it_is_slow(machine, load_config, tmp_path):
  machine(0.43)
  of = lambda dtype: load_config(changes={"train.dtype": dtype})
  assert decided(of("float32"), tmp_path) == ("float32", "")
  dtype, said = decided(of("bfloat16"), tmp_path)
  assert dtype == "bfloat16" and "0.43 times as fast" in said and "config.train.dtype=float32, or auto" in said
  (tmp_path / "cache" / measured.OPERANDS).unlink()
  machine(1.1)
  assert decided(of("bfloat16"), tmp_path) == ("bfloat16", "") and decided(of("auto"), tmp_path)[0] == "float32"


def test_the_device_at_hand_is_measured(monkeypatch, tmp_path):
  monkeypatch.setitem(operands._SIDES, "cpu", 64)
  monkeypatch.setattr(measured, "place", lambda: None)
  assert 1e-3 < operands.speed(jax.devices()[0]) < 1e3


def test_processors_of_one_name_with_other_instructions_are_other_kinds(monkeypatch, tmp_path):
  kinds = []
  for flags in ("fpu avx512_bf16 amx_bf16", "fpu avx2"):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A Processor\nflags\t\t: {flags}\n\n" * 2)
    monkeypatch.setattr(measured, "CPUS", tmp_path / "cpuinfo")
    kinds.append(measured.kind(jax.devices()[0]).partition(",")[0])
  assert kinds == ["A Processor avx512_bf16 amx_bf16", "A Processor"]


def test_a_run_records_its_type_and_keeps_it(machine, load_config, quick_training, tmp_path, capsys):
  config = load_config("whos_better", changes={"train.epochs": 1})
  machine(2.5)
  found = train.run(config, tmp_path / "run")
  assert found["config"]["train"]["dtype"] == "bfloat16" and "operands of products: bfloat16" in capsys.readouterr().out
  (tmp_path / "cache" / measured.OPERANDS).unlink()
  machine(0.43)                                    # it goes on elsewhere
  again = train.run(config, tmp_path / "run")
  assert again["config"]["train"]["dtype"] == "bfloat16" and again["params_sha256"] == found["params_sha256"]
  assert "bfloat16, as this run began" in capsys.readouterr().out


def test_a_table_has_one_type_wherever_it_goes_on(machine, config, tmp_path, monkeypatch):
  with config.unlocked():
    config.rows, config.row_order = dict(a=dict(model=dict(hidden=9)), b={}), ("a", "b")
  trained = []

  def fail_after_the_first(group, *_):
    trained.append(group.train.dtype)
    raise InterruptedError
  monkeypatch.setattr(ablations.train, "run", fail_after_the_first)
  for ratio in (2.5, 0.43):                        # it goes on elsewhere
    (tmp_path / "cache" / measured.OPERANDS).unlink(missing_ok=True)
    machine(ratio)
    with pytest.raises(InterruptedError):
      ablations.run(config, tmp_path / "table")
  assert trained == ["bfloat16", "bfloat16"]


@pytest.mark.parametrize("name", names())
def test_own_data_follow_the_machine_and_published_data_are_float32(name):
  module = importlib.import_module(f"configs.{name}")
  for options in module.DATA_SETS:
    found = module.get_config(options)
    unpublished = options in ("simulated", "features", "frames")
    assert found.train.dtype == ("auto" if unpublished else "float32") and operand_type(found) == "float32", options
    for variant in {"paper", "official"} & set(module.CHANGES):
      assert module.get_config(f"{options},{variant}").train.dtype == "float32"
