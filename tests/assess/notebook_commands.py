"""Commands of a notebook in the process of its kernel, which has imported JAX once and keeps what it compiled."""

import importlib
import shlex

import matplotlib
from IPython import get_ipython

MODULES = {"jaxskill.extract": "jaxskill.extract.local", "jaxskill.assess": "jaxskill.assess.__main__"}


def run_here(processes):
  """Makes `!python -m jaxskill.NAME` call its `main`; those of `processes` and other programs stay processes."""
  shell = get_ipython()
  system = shell.system

  def run(line):
    text = shell.var_expand(line, depth=1)
    words = shlex.split(text)
    if words[1] != "-m" or words[2] in processes:
      return system(text)
    backend = matplotlib.get_backend()               # commands draw into files only
    try:
      importlib.import_module(MODULES.get(words[2], words[2])).main(words[3:])
    except SystemExit as ended:
      assert not ended.code, text
    finally:
      matplotlib.use(backend)
  shell.system = run
