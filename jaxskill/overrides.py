"""Overrides of a config: --config.FIELD=VALUE, one by one, each with its mistakes in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from ml_collections import ConfigDict

# Fields of a config that its file and options decide, for others follow from them; and how each is asked for instead.
DECIDED = {"method": "configs/{value}.py", "variant": "{file}:{data},{value}", "data.name": "{file}:{value}"}


def with_override(config: ConfigDict, override: str, file: str) -> ConfigDict:
  """Returns the config with one --config.FIELD=VALUE.

  Args:
    config: of which the fields and their types are known.
    override: the word of a command line.
    file: what --config names, without its options, for messages.

  Raises:
    ValueError: for a field that the config has not, a value of another type, or of a field that only the file and its
      options may set.
  """
  before = {field: _value(config, field) for field in DECIDED}
  config = _overridden(config, override)
  _check_decided(before, config, override, file)
  return config


def _overridden(config: ConfigDict, override: str) -> ConfigDict:
  """Returns the config with one --config.FIELD=VALUE."""
  from absl import flags
  from ml_collections import config_flags
  field = override.partition("=")[0].removeprefix("--config.")
  if unknown := _unknown_field(config, field):
    raise ValueError(f"{override}: {unknown}")
  group = list(config[field]) if "." not in field and hasattr(config[field], "keys") else []
  values = flags.FlagValues()                              # its own, beside those of libraries
  arguments = ["jaxskill", override]
  try:
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    values(arguments)
  except (flags.Error, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError,
          RuntimeError, MemoryError) as error:
    why = (str(error).splitlines() or [type(error).__name__])[0].removeprefix(f"flag {override}: ")
    raise ValueError(f"{override}: {why[:300]} (the config has {_known_value(config, field)})") from error
  if lost := [name for name in group if name not in values.config[field]]:
    raise ValueError(f"{override}: config.{field} would lose {', '.join(lost[:3])} and others; set its fields one by "
                     f"one, e.g. --config.{field}.{lost[0]}=VALUE.")
  return values.config


def _check_decided(before: Mapping[str, Any], config: ConfigDict, override: str, file: str) -> None:
  """Raises a `ValueError` if an override has changed a field that the config file and its options decide.

  Args:
    before: {field of `DECIDED`: its value before}.
    config: with the override.
    file: name of the config file.
  """
  for field, old in before.items():
    value = _value(config, field)
    if value != old:
      asked = DECIDED[field].format(file=file, data=before["data.name"], value=value)
      raise ValueError(f"{override}: config.{field} is not set alone, for other fields follow from it; use "
                       f"--config {asked}.")


def _value(config: ConfigDict, field: str) -> str:
  """Returns the value of a field `a.b` of a config; None if it has no such field."""
  for name in field.split("."):
    config = config.get(name) if hasattr(config, "get") else None
  return config


def _unknown_field(config: ConfigDict, field: str) -> str | None:
  """Returns which part of `a.b` or `a[0]` a config has not, in words; None if it has them all."""
  node, where = config, "config"
  for name in field.split("."):
    if not hasattr(node, "keys") or name not in node:
      if hasattr(node, "keys") and name.partition("[")[0] in node:
        whole = name.partition("[")[0]
        return f"{where}.{name}: elements cannot be set one by one; give the whole, e.g. --{where}.{whole}='(0,1)'."
      known = f"only {', '.join(node)}" if hasattr(node, "keys") else "it is a value"
      return f"{where} has no field {name!r}, {known}."
    node, where = node[name], f"{where}.{name}"
  return None


def _known_value(config: ConfigDict, field: str) -> str:
  value = _value(config, field)
  return f"{field}={', '.join(value)}" if hasattr(value, "keys") else f"{field}={value!r}"
