"""python -m jaxskill.main --config configs/pros_cons.py [--workdir DIR] [--config.FIELD=VALUE ...]"""

from __future__ import annotations

import os
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/pros_cons.py.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", "", "Where checkpoints, metrics, plots and results go; default runs/NAME.")


def use_compilation_cache():
  """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
  import jax
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path.home() / ".cache" / "jaxskill" / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}; options look like --config.train.epochs=10.")
  use_compilation_cache()
  from jaxskill import ablations, parallel, train
  parallel.initialise()
  config = _CONFIG.value
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{config.name}_{config.data.name}")
  try:
    finished = (ablations if "rows" in config else train).run(config, workdir)
  except (ValueError, OSError, FloatingPointError) as error:
    print(f"\njaxskill: {error}", file=sys.stderr)
    sys.exit(2)
  if not finished:
    print(f"stopped by a signal; the same command goes on from the last checkpoint in {workdir}")


def console():
  flags.mark_flag_as_required("config")
  app.run(main)


if __name__ == "__main__":
  console()
