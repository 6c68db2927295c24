"""What must stand beside numbers of models whose parameters come from a file that published code wrote."""

from __future__ import annotations

import pathlib


def origin(config):
  """Returns the file that parameters come from, in words.

  Args:
    config: as a run recorded it, with `init_from_sha256`.
  """
  return f"the parameters of {pathlib.Path(config.init_from).name} (SHA-256 {config.init_from_sha256[:12]}...)"


def facts(config, models):
  """Returns {"init_from": what `describe` needs} of a run, or {} where parameters were drawn.

  Args:
    config: as the run recorded it.
    models: number of its replicas.
  """
  if not config.get("init_from"):
    return {}
  return dict(init_from=dict(words=origin(config), file=config.init_from, sha256=config.init_from_sha256, models=models,
                             evaluate_only=config.evaluate_only, variant=config.variant,
                             standardized=bool(config.data.standardize)))


def describe(known):
  """Returns the lines below a table.

  Args:
    known: of `facts`, without the name around it.
  """
  models = f", the same in all {known['models']} models" if known["models"] > 1 else ""
  if known["evaluate_only"]:
    lines = [f"no step was taken: these are {known['words']} as they are{models}"
             + ("; a spread over seeds says nothing of training" if models else "")]
  else:
    lines = [f"training began with {known['words']}{models}"]
  lines.append("the test data may have been part of the training that made them, or may have chosen the epoch that was "
               "kept: the file does not say")
  if known["variant"] != "official":
    lines.append(f"they are read as the network of the variant {known['variant']}; the published code that made them "
                 "has that of the option official")
  if known["standardized"]:
    lines.append("features are standardized here (config.data.standardize), which the published code does not do")
  return lines
