"""Builders of the published data sets for TensorFlow Datasets; `prepared` imports this file when it must prepare.

It stands apart because importing `tensorflow_datasets` takes longer than loading data that are prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.published.labels import OF_VIDEOS
from jaxskill.data.published.labels_pairs import TASKS
from jaxskill.data.published.official_files import PREPARED_VERSION, STREAM_AXES, read_streams, read_task


class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """A task's features in one split, "videos"; its labels, folds and missing videos are in `info.metadata`.

  A record has a tensor for each of `STREAMS`; what is not among `info.metadata["streams"]` is absent, and a single 0.
  """

  VERSION = tfds.core.Version(PREPARED_VERSION)
  STREAMS: tuple[str, ...] = ("rgb",)
  max_bytes = MAX_BYTES
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="all")]
  url_infos = None   # nothing is fetched; looking for check sums would need a package that nobody else here needs
  MANUAL_DOWNLOAD_INSTRUCTIONS = "Get features and labels from the authors, and pass their folder as manual_dir."

  def _info(self) -> Any:
    of_stream = {stream: tfds.features.Tensor(shape=(None,) * STREAM_AXES[stream], dtype=np.float32, encoding="bytes")
                 for stream in self.STREAMS}
    return tfds.core.DatasetInfo(
        builder=self, description=self.__doc__, homepage=self.HOMEPAGE, metadata=tfds.core.MetadataDict(),
        disable_shuffling=True, features=tfds.features.FeaturesDict({"video": tfds.features.Text()} | of_stream))

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    task = read_task(self.name, dl_manager.manual_dir, self.builder_config.name)
    known = {name: getattr(task.labels, name) for name in OF_VIDEOS}
    labels = {name: values.tolist() for name, values in known.items() if values is not None}
    labels["criteria"] = {name: values.tolist() for name, values in task.labels.criteria.items()}
    self.info.metadata.update(
        videos=list(task.files), pairs=task.pairs.tolist(), missing=list(task.missing),
        dropped_pairs=task.dropped_pairs, fingerprint=task.fingerprint, labels=labels,
        folds=[{field: value if field == "name" else value.tolist() for field, value in fold._asdict().items()}
               for fold in task.folds])
    return {"videos": self._generate_examples(task.files)}

  def _generate_examples(self, files: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, np.ndarray | str]]]:
    for number, (video, streams) in enumerate(read_streams(self.name, files, self.max_bytes)):
      self.info.metadata["streams"] = sorted(streams)
      absent = {stream: np.zeros((1,) * STREAM_AXES[stream], np.float32) for stream in self.STREAMS}
      yield number, {"video": video, **absent, **streams}


class Best(Official):
  """BEST: five daily tasks in 100 long videos each, compared in pairs (Doughty et al., CVPR 2019)."""

  HOMEPAGE = "https://github.com/hazeld/rank-aware-attention-network"
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["best"]]
  STREAMS = ("rgb", "maps", "times")


class EpicSkills(Official):
  """EPIC-Skills: four tasks, compared in pairs and dealt into four folds (Doughty et al., CVPR 2018)."""

  HOMEPAGE = "https://github.com/hazeld/EPIC-Skills2018"
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["epic_skills"]]
  STREAMS = ("rgb", "maps", "times")


class MtlAqa(Official):
  """MTL-AQA: 1412 dives with score and difficulty (Parmar and Morris, CVPR 2019)."""

  HOMEPAGE = "https://github.com/ParitoshParmar/MTL-AQA"
  STREAMS = tuple(STREAM_AXES)


class UnlvDive(Official):
  """UNLV-Dive: 370 dives with score and difficulty (Parmar and Morris, CVPRW 2017)."""

  HOMEPAGE = "http://rtis.oit.unlv.edu/datasets.html"
  STREAMS = tuple(STREAM_AXES)


class Aqa7(Official):
  """AQA-7: six classes of Olympic events with scores (Parmar and Morris, WACV 2019)."""

  HOMEPAGE = "http://rtis.oit.unlv.edu/datasets.html"
  STREAMS = tuple(STREAM_AXES)


class Jigsaws(Official):
  """JIGSAWS: 103 trials of three surgical tasks, rated in six respects (Gao et al., M2CAI 2014)."""

  HOMEPAGE = "https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release/"
  STREAMS = tuple(STREAM_AXES)


class FineDiving(Official):
  """FineDiving: 3000 dives with score, difficulty and action type (Xu et al., CVPR 2022)."""

  HOMEPAGE = "https://github.com/xujinglin/FineDiving"
  name = "finediving"
  STREAMS = tuple(STREAM_AXES)


class RhythmicGymnastics(Official):
  """Rhythmic Gymnastics: 1000 routines with four apparatus, scored (Zeng et al., ACM MM 2020)."""

  HOMEPAGE = "https://github.com/lingan1996/ACTION-NET"
  STREAMS = ("rgb", "static")


class FisV(Official):
  """Fis-V: 500 figure skating short programmes, technical and component scores (Xu et al., TCSVT 2019)."""

  HOMEPAGE = "https://github.com/loadder/MS_LSTM"
  STREAMS = ("rgb", "static")


class MitSkating(Official):
  """MIT-Skating: 150 figure skating programmes with scores (Pirsiavash et al., ECCV 2014)."""

  HOMEPAGE = "https://github.com/loadder/MS_LSTM"
  STREAMS = ("rgb", "static")


BUILDERS = {builder.name: builder for builder in (
    Best, EpicSkills, MtlAqa, UnlvDive, Aqa7, Jigsaws, FineDiving, RhythmicGymnastics, FisV, MitSkating)}
