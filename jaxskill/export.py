"""Writes the networks of a finished run as the published code saves them, for PyTorch.

  python -m jaxskill.export --workdir RUN --out FILE.pth [--model NUMBER]

`--config.init_from=FILE.pth` reads them again, bit for bit. What the published networks carry without using it is not
in the file: in PyTorch, load each with `strict=False`.

The file holds networks alone: no epoch, no best result and no state of an optimizer. Resuming a published training from
it is not meant, for its optimizer would begin anew; CoRe's own test command wants epoch_best, rho_best, L2_min and
RL2_min beside the networks, which it prints as its own results: add them by hand.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from jaxskill import cli, weight_files
from jaxskill.training import finished_run


def run(workdir: str | os.PathLike[str], out: str | os.PathLike[str], model: int | None = None) -> pathlib.Path:
  """Writes the networks of one model of a finished run; returns the path.

  Args:
    workdir: folder of the run.
    out: file to write.
    model: its number, from 0 on, in the order of results.json; None where there is one alone.

  Raises:
    ValueError: if the run cannot be read, no published code has such networks, or it is not said which model.
  """
  trained, file = finished_run.load(workdir), pathlib.Path(out)
  replicas = trained.about["replicas"]
  if trained.method.published is None:
    raise ValueError(f"{workdir}: config.method={trained.config.method!r} has no published code whose files could be "
                     "written.")
  if model is None and len(replicas) > 1 or model is not None and not 0 <= model < len(replicas):
    known = "; ".join(f"{number}: fold {one['fold']}, seed {one['seed']}" for number, one in enumerate(replicas))
    raise ValueError(f"{workdir}: has {len(replicas)} models; say which one with --model NUMBER ({known}).")
  variables = jax.tree.map(lambda leaf: np.asarray(leaf)[model or 0], trained.state.variables())
  try:
    networks = trained.method.published.write(variables)
  except ValueError as error:
    raise ValueError(f"{workdir}: {error}") from error
  if not file.parent.is_dir():
    raise ValueError(f"{file}: there is no folder {file.parent}; make it, or give another --out.")
  if file.suffix == ".safetensors":
    raise ValueError(f"{file}: what is written is PyTorch's own format; call it .pth.")
  weight_files.write_networks(file, networks)
  if trained.config.data.standardize:
    cli.say("The features were standardized (config.data.standardize), which the file does not hold: do it first.")
  if trained.config.get("variant") != "official":
    cli.say("The published code computes what the option official does, not what this run was trained with.")
  return file


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.export", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", required=True, type=cli.path, help="folder of a finished run")
  parser.add_argument("--out", required=True, type=cli.path, help="file to write, e.g. mine.pth")
  parser.add_argument("--model", type=int, help="its number in results.json, from 0 on, where there are several")
  options = parser.parse_args(argv)
  with cli.command():
    cli.say(f"wrote {run(options.workdir, options.out, options.model)}")


if __name__ == "__main__":
  cli.listen()
  main()
