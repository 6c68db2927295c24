"""The configs: every option makes one that passes the checks, every field is read, and the tiny ones train in seconds."""

import ast
import importlib
import itertools

import numpy as np
import pytest

from jaxskill import cli, train
from jaxskill.training import config_checks
from tests.places import CONFIGS, REPO

SYSTEMS = sorted(path.stem.removesuffix("_ablations") for path in CONFIGS.glob("*_ablations.py"))
TABLES = [f"{system}_ablations" for system in SYSTEMS]
LONGEST = 60          # lines of a get_config
NOT_READ = frozenset()        # fields that nothing reads; may only shrink


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


def fields(config):
  """The names of all fields, but for those of the rows of a table, whose names are those of the table."""
  for name, value in config.items():
    yield name
    if hasattr(value, "items") and name != "rows":
      yield from fields(value)


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
def test_tiny_trains(system, tmp_path, quick_compile):
  """A small network and few steps, whose answers are finite: `:tiny` is what a newcomer starts with."""
  del quick_compile
  config, _ = cli.read_config(f"{CONFIGS / system}.py:tiny", ["--config.plots=False"])
  results = train.run(config, tmp_path / "run")
  assert results["steps"] <= 40 and results["simulated"]
  scores = [score for replica in results["replicas"] for score in replica["scores"].values()]
  assert scores and np.isfinite(scores).all()


def names_in(folder):
  """Every name that the code of a folder uses: attributes, arguments of functions, and strings that may be keys."""
  found = set()
  for path in folder.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.Attribute):
        found.add(node.attr)
      elif isinstance(node, ast.arg):
        found.add(node.arg)
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.update(node.value.split("."))
      elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        found.add(node.target.id)                        # a field of a class that takes them all
  return found


def test_every_field_is_read():
  """By the code of the package: a field that is not read says what does not hold."""
  read = names_in(REPO / "jaxskill")
  configs = [config for system in SYSTEMS for _, config in made(system)] + [module(name).get_config() for name in TABLES]
  known = {name for config in configs for name in fields(config)}
  assert known - read == NOT_READ


def test_get_config_is_short():
  for path in CONFIGS.glob("*.py"):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < LONGEST, f"{path.name}: {node.name}"
