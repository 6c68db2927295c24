"""Tables of rows: configs that differ from one base, trained as replicas wherever they share their shapes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from jaxskill import cli, data, files, stores, train
from jaxskill.data.dataset import SkillDataset
from jaxskill.evaluate import protocol
from jaxskill.report import tables
from jaxskill.training import devices, kernels, operands, parallel, run_folder


def groups(config: ConfigDict) -> list[ConfigDict]:
  """Returns the configs of a table: rows that differ in loss weights alone train in one program.

  Args:
    config: base config with `rows`, {name: nested values that differ from the base}, and `row_order`, the names.

  Returns:
    Configs, each with its `weight_rows` ((row, {loss weight: value}), ...), in the order of `row_order`.

  Raises:
    ValueError: if a row names a field that the config has not, or `row_order` does not name each row once.
  """
  if sorted(config.row_order) != sorted(config.rows):
    raise ValueError(f"config.row_order={tuple(config.row_order)} must name each of config.rows once: "
                     f"{', '.join(config.rows)}.")
  together = {}
  for name in config.row_order:                           # a ConfigDict sorts its fields
    changes = config.rows[name].to_dict()
    fault = _misfit(changes, config)
    if fault:
      raise ValueError(f"row {name!r} of the table: {fault}")
    weights = changes.get("loss", {}).pop("weights", {})
    changes = {field: values for field, values in changes.items() if values != {}}
    together.setdefault(json.dumps(changes, sort_keys=True), (changes, []))[1].append((name, weights))
  result = []
  for structure, weight_rows in together.values():
    group = config.copy_and_resolve_references()
    with group.unlocked():                                # the flag gave it locked
      del group["rows"], group["row_order"]
    group.lock()
    try:
      group.update(structure)
    except TypeError as error:
      raise ValueError(f"row {weight_rows[0][0]!r} of the table: {error}.") from None
    with group.unlocked():
      group.weight_rows = tuple(weight_rows)              # not a ConfigDict: these have an order
    result.append(group)
  return result


def _place(name: str, order: tuple[str, str, str]) -> int:
  """Returns where a row of results belongs: at the row that its name begins with, simple baselines at the end."""
  return max((len(row), -len(order) + i) for i, row in enumerate([*order, ""]) if name.startswith(row))[1]


def _misfit(changes: Mapping[str, Any], config: ConfigDict, path: str = "config") -> Any:
  """Returns the first field of nested `changes` that a config has not, in words; None if it has them all."""
  for name, value in changes.items():
    if name not in config:
      return f"{path} has no field {name!r}, only {', '.join(config)}."
    if hasattr(config[name], "keys"):
      if not isinstance(value, dict):
        return f"{path}.{name} holds fields, it cannot be {value!r}."
      if fault := _misfit(value, config[name], f"{path}.{name}"):
        return fault
  return None


def run(config: ConfigDict, workdir: epath.PathLike) -> dict[str, Any]:
  """Trains every row of `config.rows` on every fold and seed, prints one table, writes `table.json` and `table.txt`.

  Returns:
    {row: summary} (on the host that writes).

  Raises:
    ValueError: for a row, data or workdir that cannot be used.
    OSError: if the workdir can no longer be written, with the remedy.
    Stopped: if a signal stopped it, see `train.run`; the same command goes on where it stopped.
  """
  workdir, main = stores.place(workdir), jax.process_index() == 0
  if config.data.get("split") == "all":
    raise ValueError("config.data.split='all' tests nothing, so that no table can compare rows; use another split.")
  for group in groups(config):
    train.check(group)
  parallel.on_first_process(lambda: run_folder.refuse_second(workdir))
  config = devices.decide(config, workdir)                         # for all rows, wherever it goes on
  for decide in (operands.decide, kernels.decide):
    config, chosen = decide(config, workdir, jax.local_devices()[0])
    if main and chosen:
      cli.say(chosen)
  configs = groups(config)
  dataset = data.load(config.data)
  with contextlib.ExitStack() as held:
    parallel.on_first_process(lambda: held.enter_context(run_folder.occupied(workdir, config)))
    rows, about = _train_rows(config, configs, workdir, dataset, main)
    if main:
      text = "\n".join([tables.table(rows, about["simulated"], about["protocol"]), *about.pop("other_data")])
      with run_folder.saying_what_to_do(workdir):
        files.save_json(workdir / "table.json", dict(rows=rows) | about)
        files.write_text(workdir / "table.txt", text + "\n")
      cli.say(f"\n{text}\nwrote {workdir / 'table.json'}\n      {workdir / 'table.txt'}")
  return rows


def _train_rows(config: ConfigDict, configs: Sequence[ConfigDict], workdir: epath.Path, dataset: SkillDataset,
                main: bool) -> tuple[dict[str, Any], dict[str, Any]]:
  """Trains the rows of the table, program by program.

  Returns:
    ({row: summary} in the order of the table, {"simulated", "protocol": what results.json says of the last rows,
    "other_data": lines about rows that had other data}); empty on other hosts.
  """
  rows, results, had = {}, {}, []
  for group in configs:
    if main:
      cli.say(f"\n== {', '.join(cli.plain(row) for row, _ in group.weight_rows)}")
    folder = "".join(c if c.isalnum() else "_" for c in group.weight_rows[0][0])
    results = train.run(group, workdir / folder, dataset if group.data == config.data else None)
    if main:
      rows |= results["rows"]
      had.append((", ".join(cli.plain(row) for row, _ in group.weight_rows), results["protocol"]))
  if not main:
    return {}, {}
  rows = {name: rows[name] for name in sorted(rows, key=lambda name: _place(name, config.row_order))}
  protocol.show(rows)                     # the same mean in all rows, whichever was chosen for some of them
  about = {name: results[name] for name in ("simulated", "protocol")}
  return rows, about | dict(other_data=_other_data(had, any("spearman" in row for row in rows.values())))


def _other_data(had: Sequence[tuple[str, dict[str, Any]]], scored: bool) -> list[str]:
  """Returns lines on rows that were trained or tested on other videos than the last ones, of which the table speaks.

  Args:
    had: [(names of rows, what `protocol.facts` says)].
  """
  *others, (last, facts) = had
  return [f"{names} had other data, so it cannot be compared with {last}, whose simple baselines these are: "
          + protocol.describe(before, scored)[0] for names, before in others if before["folds"] != facts["folds"]]
