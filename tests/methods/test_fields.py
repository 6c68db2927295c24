"""A field that a config lacks or has misspelt is named, with what it means and the file that has it."""

import pathlib
import subprocess
import sys

import pytest

from jaxskill import methods
from jaxskill.methods import fields
from tests.places import CONFIGS

MINE = """
from jaxskill.cli import beside
theirs = beside({file!r}, {method!r})
def get_config(options="tiny"):
  config = theirs.get_config(options)
  {change}
  return config
"""


@pytest.fixture
def lacking(tmp_path):
  """lacking(method, change) -> path of a config that differs from that of a method by a line of Python."""
  def make(method, change):
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(file=str(CONFIGS / "common.py"), method=method, change=change))
    return path
  return make


@pytest.mark.parametrize("method, change, words", [
    ("core", "config.model['hiden'] = config.model.hidden; del config.model['hidden']",
     "config.model has no field 'hidden', 2^d leaves for d = 5; of own features 0: by the number of videos: "
     "configs/core.py has it, 64 there; is config.model.hiden meant?"),
    ("core", "del config.model.exemplars['same']", "config.model.exemplars has no field 'same', of a vote; must agree"),
    ("usdl", "del config.train['steps_per_call']", "config.train has no field 'steps_per_call', steps of a line of the"),
    ("skilldiff", "del config.train['learning_rate']", "config.train has no field 'learning_rate', of the first step"),
    ("pros_cons", "del config['loss']", "config has no field 'loss': configs/pros_cons.py has it, a group of fields"),
    ("pros_cons", "config.train['weight_decy'] = 0.1", "config.train.weight_decy is unknown; configs/pros_cons.py has "
     "'weight_decay'"),
    ("pros_cons", "del config['loss']; config.loss = 3", "config.loss is 3, but a group of fields: ")])
def test_a_field_is_named(lacking, method, change, words):
  config = _read(lacking(method, change))
  with pytest.raises(ValueError) as error:
    methods.build(config)
  assert str(error.value).startswith(words) and "\n" not in str(error.value)


def _read(path):
  from jaxskill import cli
  return cli.read_config(str(path))[0]


def test_what_is_optional_may_be_missing(lacking):
  """Streams are named by the data, and what simulated data are made of is asked for only where they are simulated."""
  change = "del config.model.windows['static']; config.data.name = 'features'; del config.data['simulated']; " \
           "config.data.comment = 'mine'"
  methods.build(_read(lacking("action_net", change)))


def test_a_command_says_it_in_a_line(lacking, tmp_path):
  path = lacking("usdl", "del config.model['hidden']")
  done = subprocess.run([sys.executable, "-m", "jaxskill.main", "--config", str(path), "--workdir", str(tmp_path / "run")],
                        capture_output=True, text=True, cwd=pathlib.Path(CONFIGS).parent)
  assert done.returncode == 2 and "Traceback" not in done.stderr
  line, = [line for line in done.stderr.splitlines() if line.startswith("jaxskill: ")]
  assert line.startswith("jaxskill: config.model has no field 'hidden', ") and "configs/usdl.py" in line
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", methods.names())
def test_what_a_field_means_is_said(method):
  """Of all fields of the groups that every run reads, or all but those whose names say it."""
  file, config = fields._complete(method)
  silent = {name for group in ("train", "evaluate") for name in config[group]
            if not fields.meaning(file, (group,), name)}
  assert silent <= {"rl2_range", "momentum"}
