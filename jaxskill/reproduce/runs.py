"""Trains what entries name, once each: a run that is finished is read, one that was stopped is gone on with."""

from __future__ import annotations

import json
import pathlib
import re
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import tqdm
from etils import epath

from jaxskill import ablations, cli, data, files, stores, train
from jaxskill.data.dataset import SIMULATED_NOTE, SkillDataset
from jaxskill.data.published.labels_scores import SCORED
from jaxskill.data.simulation import like_published, rendered
from jaxskill.methods.common import operand_type
from jaxskill.reproduce.entries import Column
from jaxskill.training import finished_files, kernels, run_folder
from jaxskill.training.checkpoints import Checkpoints
from jaxskill.training.parallel import Parallel

SIMULATED = "simulated"
TINY = dict(num_segments=12, width=8, static_rows=8, static_width=8)          # of features like published ones
MEASURES = "rl2_range", "ties"            # fields of `config.evaluate` that say what a metric is
FILMED, FILMS, SECONDS = "rendered", 24, 8.0                # option of configs that read simulated films
MAPS = dict(epic_skills=25)               # frames of maps, of data sets of which a paper reads maps


class Source(NamedTuple):
  """Where the data come from.

  Attributes:
    kind: "recorded" (features of one's own), "like" (simulated, for real ids and labels) or "simulated".
    folder: that holds the data sets, or their labels; it may be the only data set itself; None for "simulated".
    workdir: below which everything is written.
    seeds: number of seeds; None is that of each config.
    options: further options of every config, as "official".
    weights: that networks on frames begin with, as `config.model.weights`; "" is that of each config.
    tiny: whether networks, trainings and features like published ones are of seconds, to see that all works.
  """

  kind: str
  folder: pathlib.Path | None
  workdir: epath.Path
  seeds: int | None = None
  options: tuple[str, ...] = ()
  tiny: bool = False
  weights: str = ""


class Place(NamedTuple):
  """Data that some columns share: options of the configs, a task, and the folder (None for simulated data)."""

  options: str
  task: str
  folder: pathlib.Path | None


class Job(NamedTuple):
  """A program to train: some rows of a config in one place.

  Attributes:
    file: of the config, perhaps with options; rows: of it, ("",) where it has none; place: of the data.
    config: of the rows that train together; folder: of the run.
  """

  file: str
  rows: tuple[str, ...]
  place: Place
  config: Any
  folder: epath.Path


class Finished(NamedTuple):
  """A trained job, asked about all its videos.

  Attributes:
    trainer: with the state of the last step; its `experiment` knows data and method.
    assessments: `[R, V, ...]` everything that the replicas say, R of all rows of the job.
    replicas: numbers of the replicas of the row.
    results: contents of results.json.
  """

  trainer: train.Trainer
  assessments: Any
  replicas: tuple[int, ...]
  results: dict

  def of(self, column: Column) -> Finished:
    """Returns the same with the replicas of the folds and the criterion of a column alone."""
    made, wanted = self.trainer.experiment, re.compile(column.folds)
    return self._replace(replicas=tuple(
        i for i in self.replicas if wanted.search(made.dataset.folds[made.replicas[i].fold].name)
        and column.criterion in ("", made.replicas[i].criterion)))


def places(columns: tuple[Column, ...], source: Source) -> dict[Column, Place]:
  """Returns the data of every column that is at hand; others are left out.

  Raises:
    ValueError: if none is at hand.
  """
  if source.kind == SIMULATED:
    return {column: Place(column.options, "", _films(source) if FILMED in column.options else None)
            for column in columns}
  assert source.folder is not None
  only = len({column.data for column in columns}) == 1
  found = {}
  for column in columns:
    folder = _folder(source.folder, column.data, only)
    if folder:
      found[column] = Place(column.options, column.task, folder)
  if not found:
    names = ", ".join(dict.fromkeys(column.data[0] for column in columns))
    raise ValueError(f"{source.folder}: holds none of the data sets of this table; it needs a folder of the name "
                     f"{names}, laid out as jaxskill/data/README.md says.")
  return found


def _data_folder(source: Source, name: str) -> pathlib.Path:
  """The folder of data that are made for a table, which are read from this machine only."""
  if not stores.is_local(source.workdir):
    raise ValueError(f"--workdir={source.workdir}: {name} are made for this, which are read from this machine only; "
                     "give a folder of it.")
  return pathlib.Path(source.workdir) / name


def _films(source: Source) -> Any:
  """The folder of simulated films, of the same performances for all; rendered if need be."""
  out = _data_folder(source, "films")
  if not (out / SIMULATED_NOTE).exists():
    cli.say(f"simulated films, in {out}")
    rendered.write_videos(out, FILMS, seconds=SECONDS, command="python -m jaxskill.reproduce")
  return out


def _folder(folder: pathlib.Path, names: Any, only: Any) -> Any:
  """The folder of a data set below another, whatever its capitals and marks; the other itself if it is the only one."""
  plain = {_letters(name) for name in names}
  below = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
  found = [path for path in below if _letters(path.name) in plain]
  if found:
    return found[0]
  return folder if only and (_letters(folder.name) in plain or not any(_letters(path.name) for path in below)) else None


def _letters(name: str) -> Any:
  return "".join(c for c in name.casefold() if c.isalnum())


def like(place: Place, source: Source) -> Place:
  """Returns the place of simulated features for the real ids of a place of labels; writes them if need be.

  Raises:
    ValueError: if the labels are not those any more that features were written for, or cannot be read.
  """
  if source.kind != "like":
    return place
  assert place.folder is not None
  name = place.options if place.options in SCORED else ""
  of = zlib.crc32(str(place.folder.resolve()).encode())              # another folder of labels has other features
  out = _data_folder(source, "features") / files.folder(f"{place.options}_{place.folder.name}_{of:08x}")
  if not (out / SIMULATED_NOTE).exists():
    cli.say(f"simulated features for the ids of {place.folder}, in {out}")
    sizes: dict[str, Any] = TINY if source.tiny else {}
    like_published.write_like(place.folder, out, name=name, command="python -m jaxskill.reproduce",
                              map_frames=MAPS.get(place.options, 0), **sizes)
  elif not like_published.same_labels(place.folder, out, name):
    raise ValueError(f"{place.folder}: its labels have changed since features were simulated for them in {out} and "
                     "models trained on these; give another --workdir.")
  return place._replace(folder=out)


def is_file(row: str) -> bool:
  """Returns whether a row is a config file, perhaps with options after a colon, and not a row of a table's config."""
  return row.partition(":")[0].endswith(".py")


def jobs(file: str, rows: tuple[str, ...], place: Place, source: Source, table: str) -> list[Job]:
  """Returns the programs that train some rows of a config file in a place.

  Rows that train together are one job, whichever of them are asked for: another table may ask for the others. What
  further options ask for, as "official", is of the config of a table alone: others are competitors, which train the
  same beside either, and are measured as it is.

  Args:
    table: config file of the table or figure.

  Raises:
    ValueError: for a config that does not know the data set or a row.
  """
  path, _, added = file.partition(":")
  config = _config(file, place, source if file == table else source._replace(options=()))
  measured = _config(table, place, source).evaluate
  other = {name: measured[name] for name in MEASURES if name in measured and name in config.evaluate
           and measured[name] != config.evaluate[name]}
  with config.unlocked():
    config.evaluate.update(other)
    if source.seeds:
      config.seeds = tuple(range(source.seeds))
    config.plots, config.train.dtype = False, operand_type(config).name       # tables are of one kind of numbers
    if kernels.FIELD in config.model:
      config.model[kernels.FIELD] = "scan"
    if source.weights and "weights" in config.model:
      config.model.weights = source.weights
    if source.tiny and place.folder:                     # as many videos as published
      config.train.update(epochs=1, eval_steps=1000, checkpoint_steps=1000)
    if "rows" in config:
      if unknown := sorted(set(rows) - set(config.rows)):
        raise ValueError(f"{file} has no row {unknown[0]!r}, only {', '.join(config.row_order)}.")
  words = [place.options, place.task.replace("/", "_"), *(source.options if file == table or other else ())]
  below = source.workdir / files.folder("_".join(filter(None, words)))
  if "rows" not in config:
    return [Job(file, ("",), place, config, below / "_".join(filter(None, [pathlib.Path(path).stem, added])))]
  made = []
  for group in ablations.groups(config):
    names = tuple(name for name, _ in group.weight_rows)
    label = "".join(c if c.isalnum() else "_" for c in names[0])
    if set(names) & set(rows):
      made.append(Job(file, names, place, group, below / pathlib.Path(path).stem / label))
  return made


def _config(file: str, place: Any, source: Source) -> Any:
  """The config of a file, perhaps with options, in a place."""
  path, _, added = file.partition(":")
  options = [place.options, *filter(None, [added]), *source.options, *(["tiny"] if source.tiny else [])]
  overrides = [] if place.folder is None else [f"--config.data.dir={place.folder}", f"--config.data.task={place.task}"]
  return cli.read_config(f"{path}:{','.join(options)}", overrides)[0].copy_and_resolve_references()


def finish(wanted: list[Job]) -> dict[epath.Path, str]:
  """Trains every job that is not finished, with a bar over all of them.

  Returns:
    {folder of a job: why it cannot be trained on the data that were given}; the others are finished.

  Raises:
    ValueError, OSError, FloatingPointError, Stopped: see `train.run`.
  """
  datasets: dict[str, Any] = {}
  unread: dict[epath.Path, str] = {}
  with tqdm.tqdm(total=len(wanted), unit="run", dynamic_ncols=True, position=1) as bar:
    for job in wanted:
      bar.set_postfix_str(cli.short(f"{job.place.options} {job.place.task} {', '.join(job.rows)}", 60))
      if read(job) is None:
        try:
          train.run(job.config, job.folder, dataset(job, datasets))
        except ValueError as error:
          if job.place.folder is None:                     # simulated performances lack nothing
            raise
          unread[job.folder] = str(error)
      bar.update()
  return unread


def dataset(job: Job, kept: dict[str, Any]) -> SkillDataset:
  """Returns the data of a job; the last ones are kept, for the next job may have the same.

  Raises:
    ValueError: for data that cannot be read.
  """
  key = job.config.data.to_json()
  if key not in kept:
    kept.clear()
    kept[key] = data.load(job.config.data)
  return kept[key]


def read(job: Job) -> dict | None:
  """Returns results.json of a job, None if it is not finished."""
  try:
    found = json.loads((job.folder / "results.json").read_text(encoding="utf-8"))
  except (FileNotFoundError, ValueError):                # damaged: training writes it again from its last checkpoint
    return None
  if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
    return None
  other = run_folder.differences(run_folder.completed(found["config"]),
                                 run_folder.completed(json.loads(job.config.to_json())),
                                 allowed=run_folder.WATCHING)      # of earlier versions too
  return None if other or found.get("format") != finished_files.RESULTS_FORMAT else found


def results(job: Job) -> dict:
  """Returns results.json of a finished job.

  Raises:
    ValueError: if it is not finished.
  """
  found = read(job)
  if found is None:
    raise ValueError(f"{job.folder}: its results.json is not there any more; start the same command again.")
  return found


def trained_for(jobs: Iterable[Job]) -> str:
  """Returns how long finished jobs took, in words; a job that was resumed counts from its last start.

  Raises:
    ValueError: for a job that is not finished.
  """
  found = {job.folder: results(job) for job in jobs}
  devices = dict.fromkeys(device for one in found.values() for device in one["devices"])
  return (f"trained for {sum(one['seconds'] for one in found.values()) / 3600:.2g} h: {len(found)} run(s) on "
          f"{', '.join(devices)}; one that was resumed counts from its last start")


def answers(job: Job, kept: dict[str, Any]) -> dict[str, Finished]:
  """Returns what the trained rows of a finished job say of all videos, {row: `Finished`}.

  Raises:
    ValueError: if the last checkpoint is not there any more.
  """
  trainer = train.Trainer(job.config, dataset(job, kept), Parallel())
  with Checkpoints(job.folder / "checkpoints", keep=job.config.train.keep_checkpoints, best=True) as checkpoints:
    if trainer.restore(checkpoints) != trainer.total:
      raise ValueError(f"{job.folder}: its last checkpoint is not there any more; remove the folder and start the same "
                       "command again.")
  said, found = trainer.assess(everything=True), results(job)
  named = [named_row(r.row, r.criterion) for r in trainer.replicas]
  return {row: Finished(trainer, said, tuple(i for i, name in enumerate(named) if name == row), found)
          for row in job.rows}


def named_row(row: str, criterion: str) -> str:
  """Returns the row of a table that a replica belongs to, without the criterion that its own name ends with."""
  return "" if row == criterion else row.removesuffix(f" {criterion}")
