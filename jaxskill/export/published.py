"""The networks of one model as the published code saves them, for PyTorch.

`--config.init_from=FILE.pth` reads them again, bit for bit. What the published networks carry without using it is not
in the file: in PyTorch, load each with `strict=False`.

The file holds networks alone: no epoch, no best result and no state of an optimizer. Resuming a published training from
it is not meant, for its optimizer would begin anew; CoRe's own test command wants epoch_best, rho_best, L2_min and
RL2_min beside the networks, which it prints as its own results: add them by hand.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from etils import epath

from jaxskill import weight_files
from jaxskill.export import one_model
from jaxskill.training.finished_run import FinishedRun


def write(trained: FinishedRun, number: int, file: epath.Path, say: Callable[[str], None]) -> dict[str, Any]:
  """Writes the networks of one model of a finished run; returns {}, for their names and shapes are the published ones.

  Raises:
    ValueError: if no published code has such networks, or PyTorch is missing.
  """
  if trained.method.published is None:
    raise ValueError(f"{trained.workdir}: config.method={trained.config.method!r} has no published code whose files "
                     "could be written.")
  try:
    networks = trained.method.published.write(one_model.variables_of(trained, number))
  except ValueError as error:
    raise ValueError(f"{trained.workdir}: {error}") from error
  weight_files.write_networks(pathlib.Path(file), networks)
  if trained.config.data.standardize:
    say("The features were standardized (config.data.standardize), which the file does not hold: do it first.")
  if trained.config.get("variant") != "official":
    say("The published code computes what the option official does, not what this run was trained with.")
  return {}
