"""The pipeline: Beam hands one video after another to a worker, which loads the networks once. Imports Beam."""

from __future__ import annotations

import argparse
import copy
import pathlib
import tempfile
from collections.abc import Iterable, Sequence

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from jaxskill.extract import kinds, worker
from jaxskill.training.parallel import Parallel


class Hints(PipelineOptions):
  """Our options among Beam's: which machines the workers shall be. A runner that knows no such hint passes it over."""

  @classmethod
  def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accelerator", help="of a worker, as type:nvidia-l4;count:1")
    parser.add_argument("--min_ram", help="memory of a worker, as 16GB")


class Extract(apache_beam.DoFn):
  """(video, address, what is known of it) -> nothing; the features and what is noted of them are written."""

  def __init__(self, job: worker.Job) -> None:
    self._job, self._shared = job, Shared()

  def setup(self) -> None:
    """Takes the networks that the worker has loaded; what finds persons is of each thread, for it has a memory."""
    self._networks = self._shared.acquire(lambda: _Networks(self._job))
    self._persons = copy.deepcopy(self._networks.loaded.persons)

  def process(self, item: worker.Item) -> None:
    """Makes the features of one video."""
    worker.extract_one(item, self._job, self._networks.encode, self._persons)


class _Networks:
  """The networks of a worker, on its devices; their files lie in a folder that goes with them."""

  def __init__(self, job: worker.Job) -> None:
    self._folder = tempfile.TemporaryDirectory()
    self.loaded = worker.Loaded(job.config, job.weights, job.given, pathlib.Path(self._folder.name))
    if (found := self.loaded.about["weights_sha256"]) != job.recipe["weights_sha256"]:
      raise ValueError(f"--weights: on this worker they are other files (sha256 {found}) than where the pipeline was "
                       "started; put them where all workers find them.")
    self.encode = kinds.of(job.config).encoders(job.config, self.loaded.networks, Parallel())


def run(items: Iterable[worker.Item], job: worker.Job, options: Sequence[str]) -> None:
  """Runs the pipeline, until it ends; raises whatever its runner does."""
  parsed = PipelineOptions(list(options))
  hints = {name: value for name, value in parsed.view_as(Hints).get_all_options().items()
           if name in ("accelerator", "min_ram") and value}
  with apache_beam.Pipeline(options=parsed) as pipeline:
    made = apache_beam.ParDo(Extract(job)).with_resource_hints(**hints)
    pipeline | apache_beam.Create(list(items)) | apache_beam.Reshuffle() | made
