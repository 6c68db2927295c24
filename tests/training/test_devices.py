"""How many devices train: a CPU device a core where that gains, what is told before all else, and kept on resume."""

import json
import types

import jax
import pytest

from jaxskill import stores, train
from jaxskill.training import devices, run_folder
from tests import strict


@pytest.fixture
def machine(monkeypatch):
  """machine(cores) of a process in which JAX has not started; what JAX is told to show is a list that it returns."""
  shown = []
  monkeypatch.delenv("XLA_FLAGS")
  monkeypatch.setattr(devices.jax.config, "update", lambda name, value: shown.append((name, value)))

  def of(cores):
    monkeypatch.setattr(devices, "host_cores", lambda: cores)
    return shown
  return of


def in_folder(workdir, **recorded):
  workdir.mkdir()
  (workdir / "config.json").write_text(json.dumps(recorded))
  return workdir


@pytest.mark.parametrize("cores,count", [(1, 1), (2, 2), (3, 2), (5, 4), (64, 8)])
def test_a_device_a_core_as_far_as_the_batch_splits(machine, load_config, tmp_path, cores, count):
  shown = machine(cores)
  devices.prepare([load_config("skilldiff")], tmp_path / "run")
  assert shown == ([("jax_num_cpu_devices", count)] if count > 1 else [])


def test_a_table_has_one_number(machine, load_config, tmp_path):
  shown = machine(8)
  linear = load_config("skilldiff", changes={"train.batch_size": 12, "model.alignment": "linear"})
  devices.prepare([linear, load_config("skilldiff")], tmp_path / "run")
  assert shown == [("jax_num_cpu_devices", 4)]


@pytest.mark.parametrize("system,changes", [("pros_cons", {}), ("skilldiff", {"model.alignment": "linear"})])
def test_no_more_than_one_without_a_gain(machine, load_config, tmp_path, system, changes):
  shown = machine(8)
  devices.prepare([load_config(system, changes=changes)], tmp_path / "run")
  assert not shown
  devices.prepare([load_config(system, changes=changes | {"devices": 4})], tmp_path / "run")
  assert shown == [("jax_num_cpu_devices", 4)]


def test_a_run_goes_on_with_as_many_whatever_the_machine(machine, load_config, tmp_path):
  shown, config = machine(64), load_config("skilldiff")
  devices.prepare([config], in_folder(tmp_path / "run", devices=2))
  assert shown.pop() == ("jax_num_cpu_devices", 2)
  for number, before in enumerate((dict(devices=1), dict(devices=0), {})):       # an earlier version recorded none
    devices.prepare([config], in_folder(tmp_path / str(number), **before))
  assert not shown


def test_what_the_user_told_jax_holds_and_hosts_have_one_each(machine, load_config, tmp_path, monkeypatch):
  shown, config = machine(8), load_config("skilldiff")
  with monkeypatch.context() as patched:
    patched.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    devices.prepare([config], tmp_path / "run")
  with monkeypatch.context() as patched:
    patched.setattr(type(jax.config), "jax_num_cpu_devices", property(lambda _: 3))
    devices.prepare([config], tmp_path / "run")
  with monkeypatch.context() as patched:
    patched.setattr(jax.distributed, "is_initialized", lambda: True)
    devices.prepare([config], tmp_path / "run")
  assert not shown
  with pytest.raises(ValueError, match="config.devices=-1 must be a number of devices, or 0"):
    devices.prepare([load_config(changes={"devices": -1})], tmp_path / "run")


def test_jax_that_has_started_stays_with_what_it_shows(load_config, tmp_path, monkeypatch):
  monkeypatch.delenv("XLA_FLAGS")
  monkeypatch.setattr(devices, "host_cores", lambda: 2)
  assert jax.device_count() == 8
  devices.prepare([load_config("skilldiff")], tmp_path / "run")


def test_a_store_that_cannot_be_read_is_told_where_the_folder_is_claimed(monkeypatch):
  def refuse(*_, **__):
    raise RuntimeError("no credentials")
  monkeypatch.setattr(strict.StrictPath, "read_text", refuse)
  assert run_folder.recorded(stores.place("strict://bucket/run")) == {}
  assert devices._recorded(stores.place("strict://bucket/run")) == 0


def test_the_number_is_recorded(load_config, tmp_path, caplog):
  of = lambda workdir, **changes: devices.decide(load_config(changes=changes), workdir).devices
  assert (of(tmp_path), of(tmp_path, devices=2)) == (8, 2)
  assert of(in_folder(tmp_path / "two", devices=2)) == 2 and of(in_folder(tmp_path / "old")) == 8
  assert of(tmp_path / "two", devices=3) == 3 and not caplog.text
  assert of(in_folder(tmp_path / "many", devices=16)) == 8
  assert "began on 16 CPU devices and goes on on 8" in caplog.text


def test_accelerators_and_hosts_use_all(load_config, tmp_path, monkeypatch):
  config = load_config()
  with monkeypatch.context() as patched:
    patched.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="gpu")])
    assert devices.decide(config, in_folder(tmp_path / "run", devices=2)) is config
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  assert devices.decide(config, tmp_path / "run") is config
  with pytest.raises(ValueError, match="config.devices=3: 2 hosts train on all of their 8 devices; leave it out"):
    devices.decide(load_config(changes={"devices": 3}), tmp_path / "run")


def test_a_training_takes_as_many(load_config, tmp_path, monkeypatch):
  taken = []

  def parallel(count):
    taken.append(count)
    raise InterruptedError
  monkeypatch.setattr(train, "Parallel", parallel)
  in_folder(tmp_path / "two", devices=2)
  for folder, count in (("new", 0), ("new", 1), ("two", 0), ("two", 1)):
    with pytest.raises(InterruptedError):
      train.run(load_config(changes={"devices": count}), tmp_path / folder)
  assert taken == [8, 1, 2, 1]
