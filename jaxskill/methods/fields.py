"""Names the fields that a config lacks, or has misspelt, beside those of the config that comes with its method."""

from __future__ import annotations

import difflib
import functools
import pathlib
import re
from collections.abc import Mapping

from ml_collections import ConfigDict

from jaxskill import cli

BY_NAME = ("widths", "windows", "score_ranges")       # their fields are streams or criteria, any or none
ALIKE = 0.85                                          # of two names, from which on one is the other misspelt


def check(config: ConfigDict) -> None:
  """Checks that a config has all fields of configs/METHOD.py, whose comments say what they mean.

  A method whose config does not lie there is not checked. Fields of simulated data are asked for only where data are
  simulated, and a field that is nowhere else may stand beside them, unless its name is nearly that of another.

  Args:
    config: of a training.

  Raises:
    ValueError: for a field that is missing or misspelt.
  """
  if not isinstance(config.get("method"), str):
    raise ValueError("config has no field 'method': what learns; every configs/METHOD.py has it.")
  file, complete = _complete(config.method)
  if complete is not None:
    _compare(complete, config, (), file)


@functools.cache
def _complete(method: str) -> tuple[pathlib.Path, ConfigDict | None]:
  """Returns (path, config) of configs/METHOD.py, and None as the config where that is not of this method."""
  file = pathlib.Path(cli.find_config(f"configs/{method}.py"))
  if not method.isidentifier() or not file.is_file():
    return file, None
  config, _ = cli.read_config(str(file))
  return file, config if config.method == method else None


def _compare(complete: ConfigDict, given: ConfigDict, place: tuple[str, ...], file: pathlib.Path) -> None:
  where = ".".join(("config", *place))
  others = [name for name in given if name not in complete]
  for name, value in complete.items():
    if place == ("data",) and name == "simulated" and given.get("name") != "simulated":
      continue
    likely = difflib.get_close_matches(name, others, 1, ALIKE)
    if name not in given:
      meant = f"; is {where}.{likely[0]} meant?" if likely else "."
      shown = "a group of fields" if isinstance(value, ConfigDict) else f"{value!r} there"
      said = meaning(file, place, name)
      raise ValueError(f"{where} has no field {name!r}{f', {said}' if said else ''}: configs/{file.name} has it, "
                       f"{shown}{meant}")
    if likely:
      raise ValueError(f"{where}.{likely[0]} is unknown; configs/{file.name} has {name!r}: correct the name, or leave "
                       "it out.")
    if isinstance(value, ConfigDict) and name not in BY_NAME:
      if not isinstance(given[name], ConfigDict | Mapping):
        raise ValueError(f"{where}.{name} is {given[name]!r}, but a group of fields: {', '.join(value)}.")
      _compare(value, given[name], (*place, name), file)


def meaning(file: pathlib.Path, place: tuple[str, ...], name: str) -> str:
  """Returns the comment beside a field in a config file, or what the common file beside it says; "" if neither does.

  Args:
    file: of the config.
    place: names of the groups that the field is in.
    name: of the field.
  """
  for path in (file, file.with_name("common.py")):
    lines = path.read_text(encoding="utf-8").splitlines()
    group = rf"config\.{place[0]} =|def {place[0]}|def {place[0]}ing" if place else "config ="
    first = next((number for number, line in enumerate(lines) if re.search(group, line)), 0)
    for number in (*range(first, len(lines)), *range(first)):
      code, _, comment = lines[number].partition("#")
      if comment and re.search(rf"(?<!\w){name} ?=(?!=)", code):
        said = [comment.strip()]
        for line in lines[number + 1:]:
          if not line.strip().startswith("#"):
            break
          said.append(line.strip().lstrip("# "))
        return " ".join(said)
  return cli.beside(file, "common").MEANINGS.get(name, "")
