"""The command `jaxskill`: all commands by one name, and nothing imported but the one that was asked for."""

import importlib.util
import os
import subprocess
import sys

import pytest

from jaxskill import __main__ as command
from tests.places import REPO


@pytest.mark.parametrize("module", [module for module, _ in command.COMMANDS.values()])
def test_every_command_is_a_program(module):
  """Its options are read in `test_documents.py`."""
  spec = importlib.util.find_spec(module)
  assert spec and (not spec.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__"))


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(words, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["jaxskill", *words])
  command.main()
  said = capsys.readouterr().out
  assert all(f"\n  {name} " in said for name in command.COMMANDS) and max(map(len, said.splitlines())) < 100


def test_an_unknown_command_is_a_line(monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["jaxskill", "trian", "--config", "pros_cons"])
  with pytest.raises(SystemExit) as end:
    command.main()
  out, err = capsys.readouterr()
  assert end.value.code == 2 and not out
  assert err.count("\n") == 1 and err.startswith("jaxskill: there is no command 'trian'; use one of train, ")


def test_only_the_command_that_runs_is_imported():
  """As `python -m` runs it: listening to signals before what takes long, with the words that follow its name."""
  code = """if True:
    import runpy, sys
    sys.argv = ["jaxskill", "train", "--config", "nothing", "--workdir", "x"]
    try:
      runpy.run_module("jaxskill", run_name="__main__", alter_sys=True)
    except SystemExit as end:
      print(end.code, *sorted(name for name in sys.modules if name.split(".")[0] in ("jaxskill", "jax", "numpy")))
  """
  ended = subprocess.run([sys.executable, "-c", code], env=os.environ | dict(PYTHONPATH=str(REPO)), capture_output=True,
                         text=True, check=True)
  assert ended.stdout.split() == ["2", "jaxskill", "jaxskill.cli", "jaxskill.overrides"]
  assert ended.stderr.startswith("\njaxskill: --config=nothing: there is no config of this name")
