"""Tables of papers that are counted in the labels, as Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
import pathlib
import textwrap
from typing import Any

from jaxskill import cli, files, stores
from jaxskill.reproduce import printing
from jaxskill.reproduce.entries import Statistics

COUNTED = dict(
    recorded="Ours was counted in the label files that were given.",
    like="Ours was counted in the label files that were given.",
    simulated="Ours was counted in SIMULATED performances, the published columns in recorded videos.")


def write(folder: pathlib.Path, entry: Statistics, counted: dict[str, dict[str, str]], kind: str) -> list[pathlib.Path]:
  """Writes a counted table in all forms, says it, and returns the paths.

  Args:
    folder: of the table, made if missing.
    counted: {title of a line: {quantity: number}}, of what is at hand.
    kind: of the data, see `runs.Source`.

  Raises:
    ValueError: without tabulate, with what to install.
  """
  stores.make_folder(folder)
  label = printing.LABELS["simulated" if kind == "simulated" else "recorded"]            # labels are not simulated
  header = ["data set", *(f"{name}{side}" for name in entry.quantities for side in (f" ({label})", ", published"))]
  body = [[cli.plain(title), *_line(entry, title, counted.get(title, {}))] for title in {**counted, **entry.published}]
  notes = (COUNTED[kind], *entry.notes)
  text = "\n\n".join([f"# {entry.printed} of {entry.paper}: {entry.title}", printing.render(header, body, "github"),
                      *(textwrap.fill(note, 110, break_long_words=False) for note in notes)]) + "\n"
  table = io.StringIO()
  csv.writer(table, lineterminator="\n").writerows([header, *body])
  texts = {"table.md": text, "table.csv": table.getvalue(),
           "table.tex": printing.render(header, body, "latex_booktabs") + "\n",
           "table.json": files.to_json(dict(table=entry.name, paper=entry.paper, printed=entry.printed, kind=kind,
                                            ours=counted, published=entry.published, notes=notes), indent=1)}
  for name, content in texts.items():
    files.write_text(folder / name, content)
  cli.say(text)
  return [folder / name for name in texts]


def _line(entry: Any, title: str, counted: Any) -> Any:
  """The numbers of a line, ours beside what is published."""
  published = dict(zip(entry.quantities, entry.published.get(title, ())))
  return [numbers.get(name, "-") for name in entry.quantities for numbers in (counted, published)]
