"""The configs: every option makes one that passes the checks, every field is read, and the tiny ones train in seconds."""

import contextlib
import functools
import importlib
import inspect
import itertools
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxskill import cli, data, methods, train
from jaxskill.methods import frames
from jaxskill.modules import i3d
from jaxskill.training import config_checks, experiment, optimizer, sizes
from tests.places import CONFIGS

SYSTEMS = [name for name in methods.names() if (CONFIGS / f"{name}.py").is_file()]
TABLES = sorted(path.stem for path in CONFIGS.glob("*_ablations.py"))
BY_NAME = ("widths", "windows", "score_ranges", "stream_seconds", "epochs_share")     # of streams, criteria or folds
RECORDED = {"config.variant"}          # says in results.json what `official` has changed
WEIGHT = re.compile(r'weights(?:"\])?\["(\w+)"\]')          # as a loss reads it, among the constants of a replica
CHECKS = ("jaxskill.cli", "jaxskill.methods.fields", "jaxskill.training.config_checks", "jaxskill.training.run_folder")
COPIES = {("to_dict", "jaxskill.report.results"), ("items", "jaxskill.training.experiment")}


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


def leaves(config, place="config"):
  """The paths of all fields that hold values; what is named by streams, criteria or folds is one field."""
  for name, value in config.items():
    if isinstance(value, ConfigDict) and len(value) and name not in BY_NAME:
      yield from leaves(value, f"{place}.{name}")
    else:
      yield f"{place}.{name}"


class Reads:
  """The paths of the fields that the package reads; `items` and `to_dict` read all that is below.

  Not counted: what checks read, and what copies, writes or decides fields, for one that nothing else reads has no
  effect. Weights of losses are constants of the replicas: a weight is read where the source of its method names it.
  """

  def __init__(self, monkeypatch):
    self._found, self._places = set(), {}        # of the groups seen, id: (the group, so that it stays; its path)
    for name in ("__getitem__", "__getattr__", "get", "items", "to_dict"):
      monkeypatch.setattr(ConfigDict, name, self._recorded(getattr(ConfigDict, name)))

  def _recorded(self, function):
    def recorded(config, *arguments, **options):
      value = function(config, *arguments, **options)
      place = self._places.get(id(config), (config, "config"))[1]
      place += ".*" if function.__name__ in ("items", "to_dict") else f".{arguments[0]}"
      if isinstance(value, ConfigDict):
        self._places[id(value)] = value, place
      reader = sys._getframe(1)
      module, within = reader.f_globals["__name__"], reader.f_code.co_name
      decided = (module, within) == (sizes.__name__, sizes._get.__name__)                   # pylint: disable=W0212
      copied = decided or (function.__name__, module) in COPIES
      if module.startswith("jaxskill.") and module not in CHECKS and within != "_check" and not copied:
        self._found.add(place)
      return value
    return recorded

  def add_weights(self, method):
    """Adds the loss weights that a method uses, by its source."""
    source = inspect.getsource(importlib.import_module(f"jaxskill.methods.{method}"))
    self._found |= {f"config.loss.weights.{name}" for name in WEIGHT.findall(source)}

  def has(self, path):
    parts = path.split(".")
    return path in self._found or any(".".join(parts[:end]) + ".*" in self._found for end in range(2, len(parts)))


def read_as_training_does(config, dataset, monkeypatch):
  """Reads the fields of a config of other data: as far as to the loader of these, and all that a method is made of."""
  if config.data.name != "simulated":
    config.data.dir = "DATA"
  if config.model.get("backbone") == "i3d":
    config.model.weights = "random:0"
  with monkeypatch.context() as patched:
    for loader in ("simulation.simulated.simulate", "user.features.load_features", "published.official.load_official",
                   "published.rehab_pile.load_rehab_pile"):
      patched.setattr(f"jaxskill.data.{loader}", lambda *unused, **also_unused: dataset)
    data.read(config.data)
  config = sizes.decide(config)
  method = methods.build(config)
  with contextlib.suppress(ValueError):                  # the data at hand are others
    method.prepare(dataset, dataset.folds[0], config.data.get("criteria", ("score",))[0])
  with contextlib.suppress(ValueError):
    method.check(dataset, None)
  if method.items.metric == "accuracy":                  # of scores, what this training measures
    made = types.SimpleNamespace(metric="accuracy", config=config, dataset=dataset, fold=lambda _: dataset.folds[0])
    experiment.Experiment.measured(made, 0, np.zeros(dataset.num_videos), {})
  for rule in ("adam", "sgd"):
    config.train.optimizer = rule
    optimizer.make_optimizer(config.train)


def look_at_frames(config):
  """Traces a training step's look at one video through the network on frames, which is too large to train here."""
  options = config.model.i3d
  options.starts, options.crop, options.length = (0,), 32, 9
  network = frames.Backbone(config)
  variables = i3d.I3D(eps=options.eps).init
  shapes = jax.eval_shape(variables, jax.random.key(0), jnp.zeros((1, 9, 32, 32, 3)))
  videos = dict(frames=jnp.zeros((1, 120, 40, 40, 3), jnp.uint8), position=jnp.zeros(1, jnp.int32))
  jax.eval_shape(functools.partial(network.encode, train=True), shapes, videos, jax.random.key(0))


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
def test_every_option_of_simulated_data_can_be_simulated(system):
  """At its own sizes, but for the number of videos: `tiny` has sizes of its own."""
  for options, config in made(system):
    if config.data.name == "simulated":
      config.data.simulated.update(num_videos=8, num_subjects=8)
      assert data.load(config.data).num_videos == 8, options


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


@pytest.mark.parametrize("system", [
    pytest.param(system, marks=[pytest.mark.slow] * (system in ("lstm", "ms_lstm"))) for system in SYSTEMS])
def test_tiny_trains_and_every_field_is_read(system, tmp_path, quick_training, monkeypatch):
  """A small network and few steps, whose answers are finite: `:tiny` is what a newcomer starts with.

  Every field of every option is read, by this training or by what another option makes: a field that is not says what
  does not hold.
  """
  del quick_training
  config, _ = cli.read_config(f"{CONFIGS / system}.py:tiny", ["--config.plots=False"])
  reads = Reads(monkeypatch)
  results = train.run(config, tmp_path / "run")
  assert results["steps"] <= 40 and results["simulated"]
  scores = [score for replica in results["replicas"] for score in replica["scores"].values()]
  assert scores and np.isfinite(scores).all()
  known, dataset, on_frames = set(leaves(config)), data.load(config.data), None
  for _, option in made(system):
    known |= set(leaves(option))
    read_as_training_does(option, dataset, monkeypatch)
    if option.model.get("backbone") == "i3d":
      on_frames = option
  if on_frames:
    look_at_frames(on_frames)
  reads.add_weights(config.method)
  unread = {path for path in known - RECORDED if not reads.has(path)}
  assert not unread
