"""What the command does: the index, one table or figure, the claims of a paper."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from jaxskill import cli, files, stores
from jaxskill.reproduce import cells, counting, entries, figures, printing, runs
from jaxskill.reproduce import claims as judging
from jaxskill.training.parallel import Parallel


def listing() -> str:
  """Returns the index of all tables and figures as a Markdown table."""
  body = [[entry.paper, entry.printed, entry.title,
           f"`python -m jaxskill.reproduce --table {entry.name} --{_default(entry)}`",
           _hours(entry.hours), ", ".join(dict.fromkeys(column.data[0] for column in entry.columns)) or "-"]
          for entry in entries.index().values()]
  return printing.render(["paper", "printed as", "what", "command", "hours simulated, on two cores", "data sets"], body,
                         "github")


def _default(entry: Any) -> Any:
  return "simulated" if entry.simulated else "data DIR"


def _hours(hours: Any) -> Any:
  return "-" if hours is None else f"{hours:g}"


def find(name: str) -> entries.Table | entries.Statistics | entries.Figure:
  """Returns an entry by its name.

  Raises:
    ValueError: if there is none, with those of the same paper, or all.
  """
  known = entries.index()
  if name not in known:
    alike = [other for other in known if other.partition("-")[0] == name.partition("-")[0]] or list(known)
    raise ValueError(f"--table={name} is unknown; use one of {', '.join(alike)} (--list shows all).")
  return known[name]


def reproduce(name: str, source: runs.Source, videos: pathlib.Path | None) -> dict[str, str]:
  """Trains what a table or figure needs, unless it is trained, and writes it below `source.workdir`/NAME.

  Returns:
    {column, or rows in some columns, of data that are there and cannot be used: why}, which has been said.

  Raises:
    ValueError: for an unknown name, data that are not there, or none of which can be used.
    OSError, FloatingPointError, Stopped: see `train.run`.
  """
  entry = find(name)
  folder = source.workdir / "_".join([name, *source.options])
  lacking: dict[str, str] = {}
  if isinstance(entry, entries.Table):
    written = _table(entry, source, folder, lacking)
  elif isinstance(entry, entries.Statistics):
    written = _statistics(entry, source, folder)
  else:
    written = _figure(entry, source, folder, videos, lacking)
  cli.say("wrote " + "\n      ".join(map(str, written)))
  for what, why in lacking.items():
    cli.say(f"NOT measured: {what}: {why}")
  return lacking


def _columns(entry: Any, source: runs.Source, lacking: Any) -> dict[entries.Column, runs.Place]:
  """The columns of an entry for the data that were asked for, and where each has its data.

  Args:
    lacking: {title of a column: why it cannot be measured}, to which others are added. Likewise below.
  """
  columns = entry.columns
  if source.kind == runs.SIMULATED:
    columns = entry.simulated
    if not columns:
      raise ValueError(f"{entry.name} shows what recorded data sets are like, which simulated performances are not; "
                       "give --data DIR.")
  made = {}
  for column, place in runs.places(columns, source).items():
    try:
      made[column] = runs.like(place, source)
    except ValueError as error:
      lacking[column.title] = str(error)
  return made


def _measured(columns: Any, missing: Any, lacking: Any) -> Any:
  """Returns the columns whose place is not missing; adds the others to `lacking`.

  Args:
    missing: {place: why it is}.

  Raises:
    ValueError: if there is none.
  """
  lacking |= {column.title: missing[place] for column, place in columns.items() if place in missing}
  found = {column: place for column, place in columns.items() if place not in missing}
  if not found:
    raise ValueError(next(iter(lacking.values())))
  return found


def _table(table: entries.Table, source: runs.Source, folder: pathlib.Path, lacking: Any) -> list[pathlib.Path]:
  columns = _columns(table, source, lacking)
  jobs, unread = _train(table.config, {
      (cells.source_of(table, row)[0], place): cells.trained_rows(table, cells.source_of(table, row)[0])
      for row in table.rows if row.trains or row.baseline for place in columns.values()}, source)
  trained = {place for _, place, _ in jobs}
  columns = _measured(columns, {job.place: why for job, why in unread if job.place not in trained}, lacking)
  for job, why in unread:
    rows, titles = _of_job(table, columns, job)
    if titles:
      lacking[f"{', '.join(rows)} in {', '.join(titles)}"] = why
  result = cells.collect(table, columns, jobs, lacking)
  written = printing.write(folder, table, result, source.kind, files.provenance(Parallel()))
  cli.say((folder / "table.md").read_text(encoding="utf-8") + f"\n{runs.trained_for(jobs.values())}")
  return written


def _of_job(table: entries.Table, columns: Mapping[entries.Column, runs.Place],
            job: runs.Job) -> tuple[list[str], list[str]]:
  """Returns the names of the rows, and the titles of the columns, whose numbers a job gives."""
  sources = {row.name: cells.source_of(table, row) for row in table.rows if row.trains or row.baseline}
  return ([name for name, (file, trained) in sources.items() if file == job.file and trained in job.rows],
          [column.title for column, place in columns.items() if place == job.place])


def _figure(figure: entries.Figure, source: runs.Source, folder: pathlib.Path, videos: Any, lacking: Any) -> Any:
  source = source._replace(seeds=source.seeds or figure.models)
  columns, jobs, missing = _columns(figure, source, lacking), {}, {}
  for place in dict.fromkeys(columns.values()):
    jobs[place], unread = _rows(figure.config, figure.rows or ("",), place, source)
    missing |= {job.place: why for job, why in unread}
  columns = _measured(columns, missing, lacking)
  stores.make_folder(folder)
  cli.say(runs.trained_for(job for place in set(columns.values()) for job in jobs[place].values()))
  kept: dict[str, Any] = {}
  written = []
  answers: dict[pathlib.Path, dict] = {}
  for column, place in columns.items():
    for job in jobs[place].values():
      if job.folder not in answers:
        answers[job.folder] = runs.answers(job, kept)
    said = {row: answers[job.folder]["" if runs.is_file(row) else row].of(column) for row, job in jobs[place].items()}
    for name, drawn in figure.draw(said, videos).items():
      written += figures.save(drawn, folder / (f"{name}_{files.folder(column.title)}" if len(columns) > 1 else name))
  return written


def _statistics(entry: Any, source: runs.Source, folder: pathlib.Path) -> Any:
  if source.kind == runs.SIMULATED:
    found = {column: runs.Place(column.options, column.task, None) for column in entry.simulated}
  else:
    found = runs.places(entry.columns, source)         # labels are enough: nothing is simulated for them
  counted = {column.title: entry.count(*place) for column, place in found.items()}
  return counting.write(folder, entry, counted, source.kind)


def _rows(config: str, rows: Any, place: Any, source: runs.Source) -> Any:
  """Trains some rows of a config, or config files, in one place; returns {row: its job}, and as `_train`."""
  of = {row: (row, "") if runs.is_file(row) else (config, row) for row in rows}
  wanted: dict[tuple, tuple] = {}
  for file, name in of.values():
    wanted[file, place] = (*wanted.get((file, place), ()), name)
  jobs, unread = _train(config, wanted, source)
  return {row: jobs[file, place, name] for row, (file, name) in of.items() if (file, place, name) in jobs}, unread


def _train(config: str, wanted: Mapping[tuple[str, runs.Place], Any], source: runs.Source) -> Any:
  """Trains what is wanted, {(config file, place): rows}, beside the rows of `config`.

  Returns:
    {(config file, place, row): its job}, and (job, why its data cannot be used) of each of the others.
  """
  jobs = [job for (file, place), rows in wanted.items() for job in runs.jobs(file, rows, place, source, config)]
  unread = runs.finish(jobs)
  return ({(job.file, job.place, row): job for job in jobs for row in job.rows if job.folder not in unread},
          [(job, unread[job.folder]) for job in jobs if job.folder in unread])


def claims(paper: str, source: runs.Source) -> list[judging.Verdict]:
  """Trains what the claims of a paper (or, "", of all) compare, prints a line each, and writes claims.json and .md.

  Raises:
    ValueError: if there is no such paper, or the data are not simulated performances.
    OSError, FloatingPointError, Stopped: see `train.run`.
  """
  if source.kind != runs.SIMULATED:
    raise ValueError("claims are judged on simulated performances, of which everything is known; leave out --data and "
                     "--like.")
  known = entries.claims(paper)
  rows: dict[str, dict[str, None]] = {}
  for claim in known:
    for row in claim.rows:
      rows.setdefault(claim.config, {})[row] = None
  place = runs.Place(runs.SIMULATED, "", None)
  jobs = {(config, row): job for config, asked in rows.items()
          for row, job in _rows(config, tuple(asked), place, source)[0].items()}
  results = {key: runs.results(job) for key, job in jobs.items()}
  verdicts = [judging.judge(claim, {row: results[claim.config, row] for row in claim.rows}) for claim in known]
  folder = source.workdir / files.folder("_".join(filter(None, ["claims", paper, *source.options])))
  stores.make_folder(folder)
  text = "SIMULATED performances; each difference with its 95 % interval over seeds.\n\n" + "\n".join(
      f"* {judging.line(verdict)}" for verdict in verdicts)
  files.write_text(folder / "claims.md", text + "\n")
  files.save_json(folder / "claims.json", dict(
      claims=[verdict._asdict() | dict(claim=verdict.claim._asdict()) for verdict in verdicts],
      **files.provenance(Parallel())))
  cli.say(f"\n{text}\n{runs.trained_for(jobs.values())}\nwrote {folder / 'claims.md'}\n      {folder / 'claims.json'}")
  return verdicts
