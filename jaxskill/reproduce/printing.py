"""A table of a paper as Markdown, CSV, LaTeX, JSON, and as a chart where the paper draws one."""

from __future__ import annotations

import csv
import io
import pathlib
import textwrap
from typing import Any

from jaxskill import cli, files, stores
from jaxskill.evaluate import protocol
from jaxskill.report import tables
from jaxskill.reproduce.cells import PERCENT, Cells
from jaxskill.reproduce.entries import Table

DIGITS = dict(accuracy=1)                                 # of others three
MEASURED = dict(
    recorded="Ours was measured on features of recorded videos that were given; the published column is of the "
             "authors' own features, splits and selection.",
    like="Ours was measured on SIMULATED features for the real ids and labels, the published column on recorded "
         "videos: the two cannot be compared, and nothing of ours says anything about people.",
    simulated="Ours was measured on SIMULATED performances, the published column on recorded videos: the two cannot be "
              "compared.")
LABELS = dict(recorded="ours", like="SIMULATED features", simulated="SIMULATED")        # of columns, apart from notes
MEASURED_ON = dict(recorded="features of recorded videos", like="SIMULATED features for real ids and labels",
                   simulated="SIMULATED performances")
AUTHORS = "recorded videos, by the authors of the paper"


def write(folder: pathlib.Path, table: Table, cells: Cells, kind: str, about: dict[str, Any]) -> list[pathlib.Path]:
  """Writes a table in all forms; returns the paths.

  Args:
    folder: of the table, made if missing.
    kind: of the data, see `runs.Source`.
    about: what else table.json says.

  Raises:
    ValueError: without tabulate, with what to install.
  """
  stores.make_folder(folder)
  header, body = grid(cells)
  notes = _notes(table, cells, kind)
  parts = [f"# {table.printed} of {table.paper}: {table.title}", _wrapped(notes[0]), render(header, body, "github"),
           *_differences(cells), *map(_wrapped, notes[1:])]
  texts = {"table.md": "\n\n".join(parts) + "\n", "table.csv": _csv(cells, kind),
           "table.tex": "".join(f"% {line}\n" for line in _wrapped(notes[0]).splitlines())
                        + render(grid(cells, LABELS[kind])[0], body, "latex_booktabs") + "\n",
           "table.json": files.to_json(dict(
               table=table.name, paper=table.paper, printed=table.printed, kind=kind, metrics=cells.metrics,
               ours=cells.ours, published=cells.published, differences=cells.differences, data=cells.had,
               not_measured=dict(cells.lacking), notes=notes, **about), indent=1)}
  for name, text in texts.items():
    files.write_text(folder / name, text)
  written = [folder / name for name in texts]
  if table.chart:
    from jaxskill.reproduce import charts  # matplotlib takes half a second to import
    written += charts.draw(folder, table, cells)
  return written


def grid(cells: Cells, label: str = "") -> tuple[list[str], list[list[str]]]:
  """Returns header and rows of text: ours beside what is published, and what was chosen on the test side last.

  Args:
    label: what every column of ours says of its data, where the table stands without the lines around it.
  """
  ours = f" ({label})" if label else ""
  printed = list(dict.fromkeys(title for row in cells.published.values() for title in row))
  columns = []                                            # (header, {row: text})
  lacking = [title for title in cells.lacking if title in cells.metrics]                # and not rows in some columns
  for title in dict.fromkeys([*cells.columns, *lacking, *printed]):
    if title in cells.columns:
      columns.append((title + ours, _of(cells, title, "last")))
    elif title in lacking:
      columns.append((title + ours, dict.fromkeys(cells.ours, "-")))
    if title in printed:
      columns.append((f"{title}, published", {row: texts.get(title, "-") for row, texts in cells.published.items()}))
  for chosen in ("validation_selected", "best_on_test"):
    for title in cells.columns:
      texts = _of(cells, title, chosen)
      if set(texts.values()) != {"-"}:
        columns.append((f"{title}, {protocol.SELECTIONS[chosen]}{ours}", texts))
  return (["row", *(name for name, _ in columns)],
          [[cli.plain(row), *(texts[row] for _, texts in columns)] for row in cells.ours])


def _of(cells: Cells, title: str, chosen: str) -> dict[str, str]:
  """{row: text} of one column of ours; the headline has its interval beside."""
  return {row: shown(numbers[title].get(chosen), cells.metrics[title]) for row, numbers in cells.ours.items()}


def shown(number: dict[str, Any] | None, metric: str) -> str:
  """Returns a number of ours as text: mean ± over seeds, (folds ...), [interval]."""
  if number is None:
    return "-"
  text = tables.number(number, percent=metric in PERCENT, digits=DIGITS.get(metric, 3))
  if number.get("interval"):
    low, high = (_text(bound, metric) for bound in number["interval"])
    text += f" [{low}, {high}]"
  return text


def _text(value: float, metric: str) -> str:
  return f"{100 * value if metric in PERCENT else value:.{DIGITS.get(metric, 3)}f}"


def _differences(cells: Cells) -> list[str]:
  """A table of the differences to the last row that was trained, each with its interval; nothing without any."""
  against = {(one["row"], one["column"]): one for one in cells.differences if one["to"] == cells.reference}
  if not against:
    return []
  columns = [title for title in cells.columns if any(column == title for _, column in against)]
  rows = list(dict.fromkeys(row for row, _ in against))
  body = [[cli.plain(row), *(_difference(against.get((row, title)), cells.metrics[title]) for title in columns)]
          for row in rows]
  return [f"Difference to {cli.plain(cells.reference)}, and its 95 % interval by a paired bootstrap over test videos "
          "(over subjects, where these are known):", render(["row", *columns], body, "github")]


def _difference(one: Any, metric: str) -> str:
  if one is None:
    return "-"
  low, high = (_text(bound, metric) for bound in one["interval"])
  return f"{'+' if one['mean'] >= 0 else ''}{_text(one['mean'], metric)} [{low}, {high}]"


def _notes(table: Table, cells: Cells, kind: str) -> list[str]:
  """Lines on what the numbers are: data first, then how they were made, then the table's own."""
  data = dict.fromkeys(had["data"] for had in cells.had.values() if had)
  measured = MEASURED[kind] + (f" Data: {'; '.join(map(cli.plain, data))}." if data else "")
  lines = [measured, "Numbers are of the last step, mean ± standard deviation over seeds, (folds: over folds), [95 % "
           "interval by a bootstrap over test videos]. * is chosen on the test side itself, as many papers print; it "
           "is not the result of an honest protocol."]
  for title in table.means:
    printed = [column.title for column in table.columns if (column.mean or table.mean) == title]
    counted = [column for column in printed if column in cells.columns]
    alone = f", of ours over {', '.join(counted)} alone" if title in cells.columns and counted != printed else ""
    lines.append(f"{title}: the mean over {'columns' if title == table.mean else ', '.join(printed)}{alone}.")
  if table.how == "fisher":
    plain = [f"{row} in {title}" for row, ours in cells.ours.items() for title, numbers in ours.items()
             if any(number and number["count"] > 1 and number["mean"] is not None and number["how"] == "mean"
                    for number in numbers.values())]
    lines.append("Means over seeds, folds and columns are by Fisher's z" + (
        f", but plain, for a correlation is 1 or -1 there, of {'; '.join(plain)}." if plain else "."))
  missing = [column.title for column in table.columns if column.title not in {*cells.columns, *cells.lacking}]
  if missing and kind != "simulated":
    lines.append(f"Not at hand: {', '.join(missing)}.")
  lines += [f"NOT measured: {cli.plain(what)}: {cli.plain(why)}" for what, why in cells.lacking.items()]
  return lines + list(table.notes)


def _wrapped(text: str) -> str:
  return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def render(header: list[str], body: list[list[str]], form: str) -> str:
  """Returns a table as text, `form` as tabulate names it.

  Raises:
    ValueError: without tabulate, with what to install.
  """
  try:
    import tabulate
  except ModuleNotFoundError:
    raise ValueError("tables need tabulate: pip install 'jaxskill[reproduce]'.") from None
  escaped = [[cell.replace("|", "\\|") for cell in line] for line in body] if form == "github" else body
  return tabulate.tabulate(escaped, header, tablefmt=form, disable_numparse=True)


def _csv(cells: Cells, kind: str) -> str:
  """One line a number: row, column, which step, mean, spreads, interval, and what it was measured on.

  Published numbers have lines of their own, for they were measured on something else; they are as printed (shares in
  percent, R-l2 times 100), ours are not.
  """
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(("row", "column", "metric", "step", "mean", "std_seeds", "std_folds", "low", "high", "measured_on"))
  for row, columns in cells.ours.items():
    for title, numbers in columns.items():
      for chosen, number in numbers.items():
        if number is not None:
          low, high = number.get("interval") or (None, None)
          table.writerow((row, title, cells.metrics[title], chosen, number["mean"], number["std_seeds"],
                          number["std_folds"], low, high, MEASURED_ON[kind]))
  for row, texts in cells.published.items():
    for title, printed in texts.items():
      table.writerow((row, title, cells.metrics[title], "published, as printed", printed, "", "", "", "", AUTHORS))
  return text.getvalue()
