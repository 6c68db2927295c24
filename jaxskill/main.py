"""python -m jaxskill.main --config configs/pros_cons.py [--workdir DIR] [--config.FIELD=VALUE ...]"""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
  signal.signal(signal.SIGINT, signal.SIG_DFL)      # Ctrl-C outside the loop: status 130 at once, no traceback

import importlib.util
import logging
import os
import pathlib
import re
import sys

from absl import app, flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/pros_cons.py.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "", "Where checkpoints, metrics, plots and results go; default runs/NAME.")


def use_compilation_cache():
  """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
  import jax
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path.home() / ".cache" / "jaxskill" / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def parse(argv):
  """absl's parser, which says in a line or two what ml_collections says in tracebacks."""
  try:
    rest = flags.FLAGS(argv)
    _CONFIG.value.keys()                  # a config file that is not there is noticed when it is looked into
    if len(rest) > 1:
      raise flags.Error(f"unexpected argument {rest[1]!r}; options look like --config.train.epochs=10.")
    return rest
  except flags.Error as error:
    quoted = error.__cause__ or error.__context__               # holds the traceback of what get_config raised
    raised = quoted.__context__ if "parsing config file" in str(quoted) else None
    message = str(raised if isinstance(raised, ValueError) else error)
  except OSError as error:
    message = f"--config: {error.__cause__ or error}"
  except (AttributeError, LookupError, TypeError):
    message = unknown_field(argv)
    if not message:
      raise                               # from the code of the config file
  print(f"jaxskill: {message}\n(--help lists the options)", file=sys.stderr)
  sys.exit(1)


def unknown_field(argv):
  """The first `--config.FIELD` of a command line that its config has not, in words; None if it has them all."""
  files = [following if argument.lstrip("-") == "config" else argument.partition("=")[2]
           for argument, following in zip(argv, [*argv[1:], ""]) if re.match("--?config(=|$)", argument)]
  config = flags.FLAGS["config"].parser.parse(files[-1])
  for argument in argv:
    path = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    node, where = config, "config"
    for field in path[1].split(".") if path else ():
      try:
        node, where = config_path.get_value(field, node), f"{where}.{field}"
      except (AttributeError, LookupError, TypeError):
        known = ", ".join(node) if hasattr(node, "keys") else "a value"
        return f"{argument}: {where} has no field {field!r}, only {known}."
  return None


def read_config(path, overrides):
  """(config, its file's function official() or None); `overrides` are --config.FIELD=VALUE.

  Raises:
    ValueError: for a field that the config has not, or a value of another type.
  """
  values = flags.FlagValues()                 # its own, beside the flag of the command line
  arguments = ["jaxskill", f"--config={path}", *overrides]
  config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=arguments)
  try:
    values(arguments)
  except (KeyError, AttributeError) as error:
    raise ValueError(f"{' '.join(overrides)}: {path} has no field {error}.") from error
  except flags.Error as error:
    raise ValueError(str(error)) from error
  spec = importlib.util.spec_from_file_location("config_file", path.split(":")[0])
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return values.config, getattr(module, "official", None)


def main(argv):
  del argv
  logging.getLogger("jax").setLevel(logging.WARNING)            # not which accelerators it looks for in vain
  use_compilation_cache()
  from jaxskill import ablations, parallel, train
  config = _CONFIG.value
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{config.name}_{config.data.name}")
  try:
    parallel.initialise()
    (ablations if "rows" in config else train).run(config, workdir)
  except (ValueError, OSError, FloatingPointError) as error:
    print(f"\njaxskill: {error}", file=sys.stderr)
    sys.exit(2)


def console():
  flags.register_validator("config", lambda config: config is not None,
                           "give a config file: --config configs/pros_cons.py")
  app.run(main, flags_parser=parse)


if __name__ == "__main__":
  console()
