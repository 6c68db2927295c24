"""Trains the method of a config, or the rows of a table, and prints what came of it.

  python -m jaxskill.main --config configs/pros_cons.py [--workdir DIR] [--evaluate-only] [--config.FIELD=VALUE ...]

Exit status: 0 finished, 2 a mistake that the message explains, 128 + n stopped by signal n after saving; the same
command goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxskill import cli
from jaxskill.cli import read_config

if TYPE_CHECKING:
  from ml_collections import ConfigDict


def begin(config: ConfigDict) -> None:
  """Lets the process keep freed memory where features are likely to stream on a CPU, and listens to signals.

  That is a guess, from the files that a config names and the memory of the host: data are read later, the device is not
  known, and the config has not been checked.
  """
  from jaxskill import host
  named = getattr(config.get("data"), "get", {}.get)
  folders = [folder for folder in (named("dir"), named("prepared_dir")) if folder and isinstance(folder, str)]
  budget = named("device_budget")
  if isinstance(budget, (int, float)) and host.hold_more(folders, budget * host.host_bytes()):
    cli.keep_memory()
  cli.listen()


def main(argv: Sequence[str] | None = None, begin: Callable[[ConfigDict], None] = lambda config: None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake.

  Args:
    begin: called with the config, before anything is imported that starts threads.
  """
  parser = argparse.ArgumentParser(prog="python -m jaxskill.main", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  cli.add_config(parser, "config file, e.g. configs/pros_cons.py, with :OPTIONS such as :features or :best,official")
  parser.add_argument("--workdir", default="",
                      help="where checkpoints, metrics, plots and results go, here or on gs:// or s3://; default "
                      "runs/NAME")
  parser.add_argument("--evaluate-only", action="store_true",
                      help="take no step: measure the parameters of the file --config.init_from=FILE as they are")
  options, overrides = cli.parse(parser, argv)
  with cli.command():
    config, _ = read_config(options.config, overrides)
    begin(config)
    cli.use_compilation_cache()
    from jaxskill import ablations, train
    from jaxskill.training import devices, hosts
    workdir = options.workdir or f"runs/{config.name}_{config.data.name}"
    with hosts.joined():
      devices.prepare(ablations.groups(config) if "rows" in config else [config], workdir)
      if "rows" not in config:
        train.run(config, workdir, evaluate_only=options.evaluate_only)
      elif options.evaluate_only:
        raise ValueError(f"--evaluate-only measures one network, but --config={options.config} is a table of rows, "
                         "each of another; give the config of the system itself.")
      else:
        ablations.run(config, workdir)


if __name__ == "__main__":
  cli.listen(thread=False)
  main(begin=begin)
