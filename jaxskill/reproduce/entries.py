"""What a paper prints, as values: tables, figures, and what it claims; `papers/` holds those of each paper.

An entry names the configs that it trains, and knows nothing of how they are trained.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxskill.reproduce import papers


class Column(NamedTuple):
  """One column of numbers, as printed.

  Attributes:
    title: as printed, e.g. "Sync. 3m".
    data: names that the folder of the data set may have, the first is the one to tell a user; capitals and marks do not
      matter.
    options: of the configs, which read that data set, e.g. "aqa7".
    task: value of `config.data.task`; columns of the same data, options and task are trained as one program.
    folds: regular expression, which the names of the folds of this column match; "" are all.
    metric: "accuracy", "spearman", "pearson", "rl2" or "mae", as results.json has them.
    criterion: which score is learnt, where several are; "" is the only one.
    mean: title of the printed mean that it goes into, where a table has several; "" is that of the table.
  """

  title: str
  data: tuple[str, ...]
  options: str
  task: str = ""
  folds: str = ""
  metric: str = "accuracy"
  criterion: str = ""
  mean: str = ""


class Row(NamedTuple):
  """One row of numbers.

  Attributes:
    name: as printed.
    trains: a row of the table's config; or a config file, e.g. "configs/usdl.py", perhaps with options of its own after
      a colon; "" where nothing of ours is like it.
    baseline: a row of results.json that needs no network, e.g. "ridge on mean features", in place of `trains`.
    branch: of the method, whose accuracy is taken in place of that of the whole.
    published: number of each column as printed, "" where there is none; the means of the row last, where some are
      printed.
  """

  name: str
  trains: str = ""
  baseline: str = ""
  branch: str = ""
  published: tuple[str, ...] = ()


class Table(NamedTuple):
  """A table of a paper, or a figure that shows nothing but numbers.

  Attributes:
    name: how the command calls it, e.g. "core-table-3".
    paper: name of the system's config file and page.
    printed: where it stands, e.g. "Table 3".
    title: what it shows, in a line.
    config: file whose rows are trained.
    columns, rows: as printed; `columns` may be empty where the paper used data that nobody else has.
    simulated: a column for --simulated: its title and metric alone are read; several where the paper has several
      metrics.
    mean: title of the printed mean over columns that name none of their own; "" is none.
    how: the mean that the paper takes over columns, and over folds of one column: "mean" or "fisher".
    chart: "bars" or "lines" for a figure, drawn beside the table; "" is none.
    reference: name of the row that others are compared with; "" is the last one that is trained.
    hours: that --simulated takes on two CPU cores, as the command says at its end; None where it was not measured.
    notes: lines below the table, what it shows and does not show.
  """

  name: str
  paper: str
  printed: str
  title: str
  config: str
  rows: tuple[Row, ...]
  columns: tuple[Column, ...] = ()
  simulated: tuple[Column, ...] = ()
  mean: str = ""
  how: str = "mean"
  chart: str = ""
  reference: str = ""
  hours: float | None = None
  notes: tuple[str, ...] = ()

  @property
  def means(self) -> tuple[str, ...]:
    """Returns the titles of the printed means."""
    return tuple(dict.fromkeys(column.mean or self.mean for column in self.columns if column.mean or self.mean))


class Statistics(NamedTuple):
  """A table of a paper that is counted in the labels: nothing is trained.

  Attributes:
    name, paper, printed, title, notes, hours: as of a `Table`.
    quantities: headings of the numbers.
    count: (options of the configs, task, folder or None for simulated performances) -> {quantity: number as text}; what
      cannot be known is left out.
    columns, simulated: data sets, each a line of the table: title, `data`, `options` and `task` are read.
    published: {title of a line: number of each quantity as printed}.
  """

  name: str
  paper: str
  printed: str
  title: str
  quantities: tuple[str, ...]
  count: Callable
  columns: tuple[Column, ...]
  simulated: tuple[Column, ...] = (Column("simulated", (), "simulated"),)
  published: Mapping[str, tuple[str, ...]] = {}
  hours: float | None = None
  notes: tuple[str, ...] = ()


class Figure(NamedTuple):
  """A figure of a paper, drawn from what trained models say of videos.

  Attributes:
    name, paper, printed, title, config, hours, notes: as of a `Table`.
    rows: rows of `config` that are trained, or config files, as `Row.trains`; () where `config` is none of rows.
    columns, simulated: data that it is drawn of, as far as they are at hand, each as a `Column` of which title, `data`,
      `options` and `task` are read.
    draw: (runs, videos) -> {name: matplotlib figure}; `runs` is {row: `runs.Finished`}, `videos` a folder of video
      files or None.
    models: seeds that are trained where none are asked for; None are those of the config.
  """

  name: str
  paper: str
  printed: str
  title: str
  config: str
  draw: Callable
  rows: tuple[str, ...] = ()
  columns: tuple[Column, ...] = ()
  simulated: tuple[Column, ...] = (Column("simulated", (), "simulated"),)
  models: int | None = None
  hours: float | None = None
  notes: tuple[str, ...] = ()


class Claim(NamedTuple):
  """What a paper says, as a difference that should be above zero on simulated performances.

  Attributes:
    paper: name of the system's config file.
    source: where the paper says it, e.g. "Sec. 5.2, Table 2".
    words: what it says, in one line.
    config: file whose rows are trained.
    more, less: (row, quantity) whose difference it is; `less` may be a number. A row may be a config file, as
      `Row.trains`. A quantity is a path in a replica of
      results.json, e.g. "last.accuracy", "branches.high" or "against_truth.NAME".
    lower: True where less is better, e.g. an error: `more` is then the row that should have the smaller number.
  """

  paper: str
  source: str
  words: str
  config: str
  more: tuple[str, str]
  less: tuple[str, str] | float
  lower: bool = False

  @property
  def rows(self) -> tuple[str, ...]:
    """Returns the rows of the config that it compares."""
    sides = (self.more,) if isinstance(self.less, (int, float)) else (self.more, self.less)
    return tuple(dict.fromkeys(row for row, _ in sides))


def index() -> dict[str, Table | Statistics | Figure]:
  """Returns every table and figure by its name, paper by paper in the order of the papers' names."""
  entries = [entry for paper in _papers() for entry in paper.ENTRIES]
  return {entry.name: entry for entry in entries}


def claims(paper: str = "") -> tuple[Claim, ...]:
  """Returns the claims of one paper, or of all.

  Raises:
    ValueError: if there is no such paper.
  """
  known = tuple(claim for each in _papers() for claim in each.CLAIMS)
  found = tuple(claim for claim in known if paper in ("", claim.paper))
  if not found:
    raise ValueError(f"--claims={paper} is unknown; use one of {', '.join(dict.fromkeys(c.paper for c in known))}.")
  return found


def _papers() -> list[Any]:
  names = sorted(module.name for module in pkgutil.iter_modules(papers.__path__))
  return [importlib.import_module(f"{papers.__name__}.{name}") for name in names]
