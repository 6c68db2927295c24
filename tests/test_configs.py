"""The configs: every option makes one that passes the checks, every field is read, and the tiny ones train in seconds."""

import ast
import importlib
import itertools
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxskill import cli, data, train
from jaxskill.training import config_checks
from tests.places import CONFIGS

SYSTEMS = sorted(path.stem.removesuffix("_ablations") for path in CONFIGS.glob("*_ablations.py"))
TABLES = [f"{system}_ablations" for system in SYSTEMS]
LONGEST = 60          # lines of a get_config
NO_READERS = ("jaxskill.cli", "jaxskill.methods.fields", "jaxskill.training.config_checks",
              "jaxskill.training.run_folder", "tests.test_configs")


def module(name):
  return importlib.import_module(f"configs.{name}")


def made(name):
  """Every config of a system: of each data set alone, and with each one of the options that fit it."""
  of = module(name)
  for data_set, change in itertools.product(of.DATA_SETS, of.CHANGES):
    try:
      yield f"{data_set},{change}", of.get_config(f"{data_set},{change}")
    except ValueError as error:                          # e.g. there are no kinematics
      assert data_set in str(error) and change not in ("tiny", "paper", "official"), (data_set, change)


def fields(config, place="config"):
  """The paths of all fields that hold values, but for those of the rows of a table, whose names are the table's."""
  for name, value in config.items():
    if isinstance(value, ConfigDict) and len(value) and name != "rows":
      yield from fields(value, f"{place}.{name}")
    else:
      yield f"{place}.{name}"


class Reads:
  """The paths of the fields that the package reads; `items` and `to_dict` read all that is below.

  Not counted: what checks read, and what copies or writes a config, for a field that nothing else reads has no effect.
  """

  def __init__(self, monkeypatch):
    self._found, self._places = set(), {}        # of the dicts seen, id: (the dict, so that it stays, its path)
    for name in ("__getitem__", "__getattr__", "get", "items", "to_dict"):
      monkeypatch.setattr(ConfigDict, name, self._recorded(getattr(ConfigDict, name)))

  def _recorded(self, function):
    def recorded(config, *arguments, **options):
      value = function(config, *arguments, **options)
      reader = sys._getframe(1).f_globals["__name__"]
      place = self._places.get(id(config), (config, "config"))[1]
      if function.__name__ in ("items", "to_dict"):
        place += ".*"
      else:
        place += f".{arguments[0]}"
        if isinstance(value, ConfigDict):
          self._places[id(value)] = value, place
      if reader.startswith("jaxskill.") and reader not in NO_READERS:
        self._found.add(place)
      return value
    return recorded

  def has(self, path):
    parts = path.split(".")
    return path in self._found or any(".".join(parts[:end]) + ".*" in self._found for end in range(2, len(parts)))


class _Stop(Exception):
  pass


def load_data(config, monkeypatch):
  """Reads `config.data` as far as to the arguments of the loader, which is not called."""
  def stop(*unused, **also_unused):
    raise _Stop

  with monkeypatch.context() as patched:
    for loader in ("user.features.load_features", "published.official.load_official"):
      patched.setattr(f"jaxskill.data.{loader}", stop)
    with pytest.raises(_Stop):
      data.read(config.data)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_combination_of_options_passes_the_checks(system):
  found = dict(made(system))
  assert found.keys() >= {f"{data_set},tiny" for data_set in module(system).DATA_SETS}
  for options, config in found.items():
    assert config.method == system and config.variant == ("official" if "official" in options else "paper")
    assert config.data.name == options.split(",")[0]
    if config.model.get("backbone") == "i3d":
      config.model.weights = "random:0"
    config_checks.check(config.lock())


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_config_is_made_anew(system):
  """What one is changed to says nothing about the next."""
  first = module(system).get_config("tiny")
  before = first.to_json()
  first.data.simulated.num_videos, first.model, first.train.epochs = 1, {}, 1
  assert module(system).get_config("tiny").to_json() == before


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_five_seeds_unless_they_are_tiny(table):
  whole, tiny = module(table).get_config(), module(table).get_config("tiny")
  assert (whole.seeds, tiny.seeds) == ((0, 1, 2, 3, 4), (0,)) and whole.name == tiny.name == table
  assert tiny.row_order == whole.row_order and set(whole.rows) == set(whole.row_order)


@pytest.mark.parametrize("system", SYSTEMS)
def test_tiny_trains_and_every_field_is_read(system, tmp_path, quick_compile, monkeypatch):
  """A small network and few steps, whose answers are finite: `:tiny` is what a newcomer starts with.

  Every field of every option is read, by this training or by what another option makes: a field that is not says what
  does not hold.
  """
  del quick_compile
  config, _ = cli.read_config(f"{CONFIGS / system}.py:tiny", ["--config.plots=False"])
  reads = Reads(monkeypatch)
  results = train.run(config, tmp_path / "run")
  assert results["steps"] <= 40 and results["simulated"]
  scores = [score for replica in results["replicas"] for score in replica["scores"].values()]
  assert scores and np.isfinite(scores).all()
  known = set()
  for options, config in made(system):
    known |= set(fields(config))
  unread = {path for path in known if not reads.has(path)}
  assert not unread, sorted(unread)


def test_get_config_is_short():
  for path in CONFIGS.glob("*.py"):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < LONGEST, f"{path.name}: {node.name}"
