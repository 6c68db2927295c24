"""Small trained runs of every system, and their features as a user would save them; made once for all tests."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

from jaxskill import assess, data, train
from jaxskill.training import finished_run, locks
from tests.conftest import RUNS, small_config

SYSTEMS = dict(
    pros_cons={}, core={"model.num_leaves": 4}, skilldiff={"model.segments": 3, "model.width": 6, "model.head_hidden": 4, "model.bandwidth": 7},
    action_net={"data.simulated.static_rows": 6, "data.simulated.static_width": 6, "model.channels": 6,
                "model.windows.rgb": 5, "model.windows.static": 3},
    spatial_attention={"data.simulated.map_frames": 20, "model.segments": 6, "data.simulated.map_size": 4,
                       "data.simulated.map_width": 3, "data.simulated.pair_share": 1.0, "data.simulated.tie_margin": 0.05})
SIZES = SYSTEMS | dict(                   # what else is small, of any method
    ms_lstm={"model.scales": ((2, 1), (4, 2))},
    whos_better={"train.learning_rate": 1e-3})         # its first step is on rounding noise in places: a short one
QUICK = {"plots": False, "seeds": (0, 1), "train.epochs": 1, "data.simulated.vary_length": True}


class Run:
  """A trained system, its data and its results, and features of its videos as a user would save them.

  Workers share `workdir`, which one of them trains; `folder` is of this one.
  """

  def __init__(self, workdir, folder, system):
    config = small_config(system, "simulated", QUICK | SIZES.get(system, {}))
    self.workdir, self.folder, self.dataset = workdir, folder, data.load(config.data)
    train_once(config, workdir, self.dataset)
    self.results = json.loads((workdir / "results.json").read_text())
    self.labels = folder / "labels.csv"
    self.labels.write_text("video,category,difficulty\n" + "".join(
        f"{video},{category},{difficulty}\n" for video, category, difficulty in
        zip(self.dataset.videos, self.dataset.category, self.dataset.difficulty)))

  def save(self, video, folder=None, name=None, **changed):
    folder = folder or self.folder
    arrays = {stream: values[video, : self.dataset.lengths[stream][video]]
              for stream, values in self.dataset.streams.items()}
    path = folder / f"{name or self.dataset.videos[video]}.npz"
    np.savez(path, **(arrays | changed))
    return path

  def assess(self, *files, out, **options):
    return assess.run(self.workdir, out=out, features=files, labels=self.labels, **options, say=lambda line: None)


def changed(folder, about=lambda about: about, **arrays):
  """Writes training_videos.npz again with other content; an array that is None is left out."""
  with np.load(folder / finished_run.FILE) as file:
    content = dict(file)
  content["about"] = np.array(json.dumps(about(json.loads(content["about"].item()))))
  content |= arrays
  np.savez(folder / finished_run.FILE, **{name: values for name, values in content.items() if values is not None})


def train_once(config, workdir, dataset):
  """Trains, or waits for the worker that does; where that one fails or dies, tries again."""
  workdir.parent.mkdir(parents=True, exist_ok=True)
  ended, lock = workdir.with_suffix(".ended"), workdir.with_suffix(".lock")
  while not ended.exists():
    with contextlib.ExitStack() as held:
      try:
        held.enter_context(locks.hold(lock, "worker", "wait", print))
      except ValueError:                      # held by another one, and let go when it dies, however it dies
        time.sleep(0.05)
        continue
      if not ended.exists():
        shutil.rmtree(workdir, ignore_errors=True)
        train.run(config, workdir, dataset)
        ended.touch()


@functools.cache
def _folder():
  return tempfile.TemporaryDirectory(prefix="jaxskill_own_videos_")


@functools.cache
def trained(system):
  """The `Run` of a system."""
  folder = pathlib.Path(_folder().name) / system
  folder.mkdir(exist_ok=True)
  return Run(pathlib.Path(os.environ.get(RUNS) or folder) / f"{system}_run", folder, system)
