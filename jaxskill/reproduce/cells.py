"""The numbers of a table: every cell from the replicas that results.json holds, and what a paper prints beside it."""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill.evaluate import metrics, protocol, simple_baselines
from jaxskill.reproduce import intervals, runs
from jaxskill.reproduce.entries import Column, Row, Table

SELECTIONS = tuple(protocol.SELECTIONS)
PERCENT = ("accuracy", "rl2")         # accuracy is printed in percent, R-l2 times 100
MEANS: dict[str, Any] = dict(mean=np.mean, fisher=metrics.fisher_mean)


class Cells(NamedTuple):
  """What a table shows.

  Attributes:
    columns: titles of the columns that are at hand, the means last where there are some.
    metrics: {column: its metric}.
    ours: {row: {column: {selection: number}}}; a number is a dict of `metrics.summarize`, with "how", the mean that was
      taken, and None where there is none.
    published: {row: {column: number as printed}}, of all columns of the paper, whether at hand or not.
    differences: {"row", "to", "column", "mean", "interval"} of two rows at the last step, row minus to.
    reference: the row that others are compared with where a table shows differences.
    had: {column: {"data", "simulated", "protocol"}}, what results.json says of its data.
    lacking: {column, or rows in some columns, whose data are there and cannot be used: why}.
  """

  columns: tuple[str, ...]
  metrics: dict[str, str]
  ours: dict[str, dict[str, dict[str, Any]]]
  published: dict[str, dict[str, str]]
  had: dict[str, dict]
  differences: tuple[dict, ...]
  reference: str
  lacking: Mapping[str, str] = {}


def collect(table: Table, columns: dict[Column, runs.Place], jobs: dict[tuple[str, runs.Place, str], runs.Job],
            lacking: Mapping[str, str]) -> Cells:
  """Returns the cells of a table whose jobs are finished.

  Args:
    columns: those that are at hand, and where.
    jobs: {(config file, place, row of the config): its job}.
    lacking: of what is not among them, see `Cells`.
  """
  results = {job.folder: runs.results(job) for job in jobs.values()}
  had = {column.title: _data([results[job.folder] for (_, at, _), job in jobs.items() if at == place])
         for column, place in columns.items()}
  rows = (*table.rows, *_baselines(table, results.values()))
  ours: dict[str, dict] = {}
  values: dict[tuple[str, str], dict] = {}
  means = means_of(table, columns)
  for row in rows:
    ours[row.name] = {}
    for column, place in columns.items():
      file, name = source_of(table, row)
      job = jobs.get((file, place, name))
      found = _values(results[job.folder], row, name, column) if job else {}
      values[row.name, column.title] = found
      few = had[column.title]["protocol"]["too_few_to_claim"]
      ours[row.name][column.title] = {chosen: _number(found.get(chosen), table.how, few) for chosen in SELECTIONS}
    ours[row.name] |= {title: {chosen: _mean([values[row.name, column.title].get(chosen) for column in of], table.how)
                               for chosen in SELECTIONS} for title, of in means.items()}
  titles = [*(column.title for column in table.columns), *table.means]
  published = {row.name: {title: number for title, number in zip(titles, row.published) if number}
               for row in rows}
  shown = (*(column.title for column in columns), *means)
  metric = {column.title: column.metric for column in (*table.columns, *columns)}
  metric |= dict.fromkeys((*table.means, *means), next(iter(metric.values())))
  differences = _add_intervals(table, rows, columns, jobs, results, ours)
  return Cells(shown, metric, ours, published, had, differences, _reference(table), lacking)


def means_of(table: Table, columns: Iterable[Column]) -> dict[str, list[Column]]:
  """Returns {title of a printed mean: the columns at hand that go into it, more than one}."""
  found: dict[str, list[Column]] = {}
  for column in columns:
    found.setdefault(column.mean or table.mean, []).append(column)
  return {title: averaged for title, averaged in found.items() if title and len(averaged) > 1}


def source_of(table: Table, row: Row) -> tuple[str, str]:
  """Returns the config file that trains a row of a table, and the row of that config ("" where it has none).

  A row that needs no network stands in the results of any other.
  """
  if runs.is_file(row.trains):
    return row.trains, ""
  return table.config, trained_rows(table, table.config)[0] if row.baseline else row.trains


def trained_rows(table: Table, file: str) -> tuple[str, ...]:
  """Returns the rows of a config file that a table trains."""
  if file != table.config:
    return ("",)
  return tuple(dict.fromkeys(row.trains for row in table.rows if row.trains and not runs.is_file(row.trains)))


def _reference(table: Table) -> str:
  """The row that others are compared with: the one that the table names, or the last one that is trained."""
  return table.reference or [row.name for row in table.rows if row.trains][-1]


def _add_intervals(table: Table, rows: Sequence[Row], columns: Any, jobs: Any, results: Mapping[pathlib.Path, Any],
                   ours: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
  """Puts the interval of every cell of the last step beside it; returns all differences between two rows."""
  figures, kept = {}, {}
  for column, place in columns.items():
    of_row = {row.name: (row, jobs.get((source_of(table, row)[0], place, source_of(table, row)[1]))) for row in rows
              if not row.branch}
    models = {name: models_of(results[job.folder], row, source_of(table, row)[1], column)
              for name, (row, job) in of_row.items() if job}
    configs = {name: job.config for name, (_, job) in of_row.items() if job}
    dataset = runs.dataset(next(job for _, job in of_row.values() if job), kept)
    figures[column.title] = intervals.of_column(dataset, configs, column, models, table.how)
  figures |= {title: intervals.of_mean([figures[column.title] for column in averaged], table.how)
              for title, averaged in means_of(table, columns).items()}
  differences: list[dict] = []
  for title, of_rows in figures.items():
    for row in of_rows.of_row:
      number, interval = ours[row][title]["last"], of_rows.interval(row)
      if number and number["mean"] is not None and interval:
        number["interval"] = interval
    for first, second in itertools.permutations(of_rows.of_row, 2):
      if found := of_rows.difference(first, second):
        differences.append(dict(row=first, to=second, column=title) | found)
  return tuple(differences)


def _baselines(table: Table, results: Any) -> list[Row]:
  """Rows of what needs no network, of those runs that have them, unless the table itself has them."""
  named = {row.baseline for row in table.rows}
  names = dict.fromkeys(name.removeprefix(simple_baselines.PREFIX).partition(",")[0] for result in results
                        for name in result["rows"] if name.startswith(simple_baselines.PREFIX))
  return [Row(simple_baselines.named(name), baseline=name) for name in names if name not in named]


def _values(result: Mapping[str, Any], row: Row, name: str, column: Column) -> dict[str, Any]:
  """{selection: [(fold, seed, value)]} of a row in a column, as far as the run has them."""
  found: dict[str, list] = {}
  for model in models_of(result, row, name, column):
    for chosen in SELECTIONS:
      if row.branch and chosen == "last":
        value = model["branches"].get(row.branch)
      else:
        figures = {} if row.branch else model.get(chosen) or {}
        value = figures.get(column.metric)
        if value is None and column.metric in figures:
          value = np.nan                                 # undefined, as of a model that says the same of all videos
      if value is not None:
        found.setdefault(chosen, []).append((model["fold"], model["seed"], value))
  return found


def models_of(result: Mapping[str, Any], row: Row, name: str, column: Column) -> list[dict]:
  """Returns what results.json holds of the models of a row in a column: {"fold", "seed", "last", "scores", ...}.

  Args:
    result: contents of results.json; name: of the row in its config.
  """
  wanted = re.compile(column.folds)
  if row.baseline:
    names = [simple_baselines.named(row.baseline, of) for of in (column.criterion, "")]     # "" where it is alone
    of_folds = next((result["rows"][name]["by_fold"] for name in names if name in result["rows"]), {})
    return [model | dict(fold=fold, seed=0) for fold, model in of_folds.items() if wanted.search(fold)]
  return [model for model in result["replicas"]
          if runs.named_row(model["row"], model["criterion"]) == name and wanted.search(model["fold"])
          and column.criterion in ("", model["criterion"])]


def _number(values: Sequence[tuple[Any, int, float]] | None, how: str, few: bool = False) -> dict[str, Any] | None:
  """`metrics.summarize` of [(fold, seed, value)], marked where there are few test videos; None without any."""
  if not values:
    return None
  folds, seeds, numbers = zip(*values)
  how = _how(how, numbers)
  summary: Any = metrics.summarize(numbers, folds, seeds, mean=MEANS[how])
  return summary | dict(marked=few, how=how)


def _how(how: str, numbers: Any) -> Any:
  """The mean that is taken, a key of `MEANS`: that of the paper, but plain where Fisher's z is not finite."""
  return "mean" if how == "fisher" and metrics.is_at_limit(numbers).any() else how


def _mean(columns: Any, how: str) -> Any:
  """The mean over columns, as `_number`: of each seed the mean over folds in every column, then over columns."""
  if not all(columns):
    return None
  how = _how(how, [value for values in columns for *_, value in values])
  rows = [(number, seed, value) for number, values in enumerate(columns) for seed, value in _by_seed(values, how)]
  return _number(rows, how)


def _by_seed(values: Any, how: str) -> Any:
  """[(seed, mean over folds)] of [(fold, seed, value)]."""
  seeds = dict.fromkeys(seed for _, seed, _ in values)
  of_seed = {seed: [value for _, at, value in values if at == seed] for seed in seeds}
  return [(seed, float(MEANS[how](at)) if np.isfinite(at).all() else np.nan) for seed, at in of_seed.items()]


def _data(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """{"data", "simulated", "protocol"} of the results of one place."""
  return {name: results[0][name] for name in ("data", "simulated", "protocol")}
