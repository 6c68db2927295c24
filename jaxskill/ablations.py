"""Tables of rows: configs that differ from one base, trained as replicas wherever they share their shapes."""

from __future__ import annotations

import json
import pathlib

from jaxskill import report, train


def groups(config):
  """Rows that differ in loss weights alone train in one program.

  Args:
    config: base config with `rows`, {name: nested values that differ from the base}, and `row_order`, the names.

  Returns:
    Configs, each with its `weight_rows` {row: {loss weight: value}}, in the order of their first rows.

  Raises:
    ValueError: if a row names a field that the config has not.
  """
  together = {}
  for name in config.row_order:                           # a ConfigDict sorts its fields
    changes = config.rows[name].to_dict()
    weights = changes.get("loss", {}).pop("weights", {})
    changes = {field: values for field, values in changes.items() if values != {}}
    together.setdefault(json.dumps(changes, sort_keys=True), (changes, {}))[1][name] = weights
  result = []
  for structure, weight_rows in together.values():
    own = config.copy_and_resolve_references()
    del own["rows"], own["row_order"]
    own.lock()
    try:
      own.update(structure)
    except (KeyError, TypeError) as error:
      raise ValueError(f"row {next(iter(weight_rows))!r} of the table does not fit the config: {error}") from None
    with own.unlocked():
      own.weight_rows = weight_rows
    result.append(own)
  return result


def run(config, workdir):
  """Trains every row of `config.rows` on every fold and seed, prints one table, writes `table.json` and `table.txt`.

  Returns:
    {row: summary}, or None if a signal stopped it; the same command goes on where it stopped.
  """
  workdir, rows, simulated = pathlib.Path(workdir), {}, False
  train.claim(workdir, config)
  for own in groups(config):
    first = next(iter(own.weight_rows))
    print(f"\n== {', '.join(own.weight_rows)}")
    results = train.run(own, workdir / "".join(c if c.isalnum() else "_" for c in first))
    if results is None:
      return None
    rows |= results["rows"]
    simulated = results["simulated"]
  rows = {name: rows[name] for name in config.row_order}
  text = report.table(rows, simulated)
  report.save_json(workdir / "table.json", dict(rows=rows, simulated=simulated))
  (workdir / "table.txt").write_text(text + "\n")
  print(f"\n{text}\nwrote {workdir / 'table.json'}\n      {workdir / 'table.txt'}")
  return rows
