"""Config files that build on one another: they lie side by side in a folder that is no package."""

from __future__ import annotations

import importlib.util
import pathlib


def beside(file, name):
  """The module of the config file `name`.py in the folder of another.

  Args:
    file: `__file__` of the one that asks.
    name: of the other, without its ending.
  """
  path = pathlib.Path(file).with_name(f"{name}.py")
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
