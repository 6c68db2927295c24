"""A finished run, read from its folder, that can be asked about other videos: the data set is not needed.

R replicas, V videos, U training videos, M exemplars, K rows of the bank; see `training_videos`, which wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from flax import traverse_util
from ml_collections import ConfigDict

from jaxskill import files, methods, stores
from jaxskill.data import Fold, SkillDataset
from jaxskill.data import arrays as arrays_of
from jaxskill.evaluate.held_out import HeldOut
from jaxskill.methods.common import operand_type
from jaxskill.training import archives, batches, checkpoints, finished_files, packs, step
from jaxskill.training.answers import Answers
from jaxskill.training.parallel import Parallel
from jaxskill.training.precision import single_precision
from jaxskill.training.training_videos import FILE, FILES

SHARE = 8             # videos that are assessed at once: always as many, so that the same program serves every time


@dataclasses.dataclass
class NewVideo:
  """A video that is not in the data set of a run, with the features that it is asked about by.

  Attributes:
    name, file: the video's, or its features'.
    arrays: {stream: `[T, ...]`}; row_seconds: {stream: seconds from row to row}; row_times: {stream: `[T]`}.
    frames: (`[n, H, W, 3]` uint8, `[n]` seconds) that came with prepared features, or None.
    known: {"category", "difficulty"}, as far as they were said.
    warnings: sentences.
    digest: of the features, see `training_videos.digest`.
    person: {"subject", "date"}, as far as they were said: what an index of videos shows one person by.
    shown: whether pictures of it may be shown; faces: what blurs faces in them, an `assess.faces.Faces`, or None.
    features: the file of its features; film_sha256: of the video that they were made from, "" if not noted.
  """

  name: str
  file: pathlib.Path
  arrays: dict[str, np.ndarray]
  row_seconds: dict[str, float]
  row_times: dict[str, np.ndarray]
  frames: tuple[np.ndarray, np.ndarray] | None
  known: dict[str, Any]
  warnings: list[str]
  digest: str = ""
  person: dict[str, str] = dataclasses.field(default_factory=dict)
  shown: bool = True
  faces: Any = None
  features: pathlib.Path = pathlib.Path()
  film_sha256: str = ""

  def seconds(self, stream: str) -> np.ndarray:
    """Returns the seconds `[T]` at which each row begins."""
    if stream in self.row_times:
      return self.row_times[stream]
    return np.arange(len(self.arrays[stream])) * self.row_seconds[stream]

  def duration(self, stream: str) -> float:
    """Returns the seconds that the rows of a stream last."""
    return len(self.arrays[stream]) * self.row_seconds[stream]


class FinishedRun(NamedTuple):
  """A run that can be asked about other videos.

  Attributes:
    workdir: folder of the run, or its pack; config, method: of the run.
    about: {"data", "simulated", "tested" (False where no video was held out), "extraction", "published",
      "params_sha256", "replicas", "streams", "groups", "segments"}, see `save`.
    arrays: of the file by name.
    state: the trained replicas; answers: their compiled functions; parallel: the devices.
  """

  workdir: epath.Path
  config: ConfigDict
  method: methods.Method
  about: dict
  arrays: dict
  state: step.TrainState
  answers: Answers
  parallel: Parallel

  @property
  def folder(self) -> epath.Path:
    """Returns the folder of what has no other place: the run's own, or one beside a pack, which stays as it is."""
    return self.workdir if self.workdir.is_dir() else self.workdir.with_name(f"{self.workdir.stem}_answers")

  def training_scores(self, replica: int) -> np.ndarray:
    """Returns `[n]` what a replica says of its training videos, without those that nothing could be compared with."""
    scores = np.asarray(self.arrays["score"][replica][self.arrays["trained"][replica]], np.float64)
    return scores[np.isfinite(scores)]

  @property
  def tested(self) -> bool:
    """Returns whether training kept videos apart to test on, as its results.json says; None without one."""
    return self.about["tested"]

  @property
  def held_out(self) -> HeldOut | None:
    """Returns the `HeldOut` videos, which tell how sure an answer is; None of a run of an older version."""
    if "held_out/met" not in self.arrays:
      return None
    held = HeldOut(**{name: self.arrays[f"held_out/{name}"] for name in HeldOut._fields})
    chosen = "the calibration videos chose this checkpoint; leave --checkpoint out"
    return held._replace(why_not=chosen if self.about["checkpoint"] == "validation" else str(held.why_not))

  @property
  def checkpoint(self) -> dict[str, Any]:
    """Returns {"chosen": "last" or "validation", "step"} of the models that answer."""
    return dict(chosen=self.about["checkpoint"], step=self.about["step"])

  @property
  def random_weights(self) -> bool:
    """Returns whether the features trained on came from random weights."""
    return bool((self.about["extraction"] or {}).get("random_weights"))

  @property
  def recorded(self) -> dict[str, Any]:
    """Returns {stream: {"shape", "columns": their names if known}} of the rows that `data.derived` makes others of."""
    return self.about.get("recorded", self.about["streams"])

  def recorded_seconds(self, stream: str) -> np.ndarray:
    """Returns the seconds `[U]` from one row of a recorded stream of the training videos to the next."""
    name = f"recorded/{stream}/row_seconds"
    return self.arrays[name if name in self.arrays else f"{stream}/row_seconds"]

  def durations(self, stream: str) -> np.ndarray:
    """Returns the seconds `[U]` that the training videos last."""
    return self.arrays[f"{stream}/lengths"] * self.arrays[f"{stream}/row_seconds"]

  def group(self, known: Mapping[str, str]) -> int:
    """Returns the number of the group that a video belongs to.

    Args:
      known: {"category", "difficulty"} of the video, as far as they were said.

    Raises:
      ValueError: if it is in none, or they do not say in which.
    """
    kinds = self.about["groups"]
    given = {name: value for name, value in known.items() if name in kinds[0]}

    def same(a: float | str, b: str) -> bool:
      return bool(np.isclose(a, float(b), atol=1e-4)) if isinstance(a, float) else str(a) == str(b)

    left = [number for number, kind in enumerate(kinds)
            if all(same(kind[name], value) for name, value in given.items())]
    if len(left) == 1:
      return left[0]
    name = next((name for name in kinds[0] if name not in given), None)
    if left and name:
      values = ", ".join(dict.fromkeys(str(kinds[number][name]) for number in left))
      raise ValueError(f"the run compares videos of one {name} only: say which with --{name} (or a column of "
                       f"--labels): {values}.")
    what = " and ".join(f"{name} {value}" for name, value in given.items())
    raise ValueError(f"there is no training video of {what} to compare it with; there are "
                     + "; ".join(", ".join(f"{name} {value}" for name, value in kind.items()) for kind in kinds) + ".")

  def references(self, digests: Sequence[str], known: Sequence[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the bank that some videos are compared with.

    Args:
      digests: of every video's features: a training video is not compared with itself.
      known: what was said of every video, see `group`.

    Returns:
      (`[V, R, M]` rows, `[V, R, M]` mask).
    """
    videos, mask = self.arrays["bank/videos"], self.arrays["bank/mask"]
    room = len(videos) // len(self.about["groups"])
    names = dict(zip(self.arrays["digests"], self.arrays["videos"]))
    rows = np.zeros((len(digests), videos.shape[1], room - 1), np.int32)
    for place, digest, said in zip(rows, digests, known):
      candidates = self.group(said) * room + np.arange(room)
      itself = videos[candidates] == names.get(digest, "")                                 # [M + 1, R]
      order = np.argsort(itself, axis=0, kind="stable")[: room - 1]                        # itself last
      place[:] = candidates[order].T
    itself = videos[rows, np.arange(videos.shape[1])[:, None]] == np.array(
        [names.get(digest, "") for digest in digests])[:, None, None]
    return rows, mask[rows, np.arange(videos.shape[1])[:, None]] & ~itself

  def rows_compared(self, video: NewVideo) -> dict[str, np.ndarray]:
    """Returns {stream: `[M]` rows} of the training videos that a video is compared with."""
    rows, mask = self.references([video.digest], [video.known])
    named = self.arrays["bank/videos"][rows[0], np.arange(mask.shape[1])[:, None]][mask[0]]
    place = [list(self.arrays["videos"]).index(name) for name in named]
    return {stream: self.arrays[f"{stream}/lengths"][place] for stream in self.about["streams"]}

  def bank(self) -> dict[str, Any]:
    """Returns {"encodings" `[K, R, ...]`, "score" `[K, R]`} of the videos that new ones are compared with."""
    named = {name.removeprefix("bank/"): values for name, values in self.arrays.items() if name.startswith("bank/enc")}
    return traverse_util.unflatten_dict(named, sep="/") | dict(score=self.arrays["bank/score"])

  def with_free_ends(self, free_ends: str) -> FinishedRun:
    """Returns the same run, of a method that aligns videos, which aligns a piece of one with the whole of the other.

    Args:
      free_ends: whose piece, "query", the video that is asked about, or "reference". A band is dropped.
    """
    config = ConfigDict(self.config.to_dict())
    config.model.update(free_ends=free_ends, bandwidth=0)
    method = methods.build(config)
    return self._replace(config=config, method=method, answers=Answers(method, self.parallel))

  @single_precision()
  def assess(self, videos: Sequence[NewVideo],
             against: tuple[np.ndarray, np.ndarray] | None = None) -> methods.Assessment:
    """Asks every replica about videos.

    Args:
      against: (`[V, R, M]` numbers of those of the videos that each is compared with in place of training videos,
        `[V, R]` the scores of all, in the unit of the labels).

    Returns:
      Assessments `[R, V, ...]`.
    """
    labels, parallel, dataset = {}, self.parallel, as_dataset(self, videos, "the videos")
    if self.config.model.get("with_difficulty"):
      labels["difficulty"] = np.array([float(video.known["difficulty"]) for video in videos], np.float32)
    size = parallel.padded(SHARE)
    loader = batches.VideoLoader(dataset, dataset.folds, parallel, streams=self.method.streams,
                                 dtype=operand_type(self.config), budget=0.0, labels=labels)
    count, chunks = dataset.num_videos, loader.all_videos(size)
    if "bank/videos" not in self.arrays:
      return self.answers.ask(self.state, ((ids, (one,)) for ids, one in chunks), count, True)
    encodings = self.answers.encode(self.state, chunks, count)
    if against is None:
      rows, mask = self.references([video.digest for video in videos], [video.known for video in videos])
      bank = self.bank()
    else:
      (rows, score), mask = against, np.ones(against[0].shape, bool)
      final = [one["criterion"] == "score" for one in self.about["replicas"]]      # what difficulty divides, no other
      by = np.where(final, labels["difficulty"][:, None], 1.0) if labels else 1.0                  # [V, R]
      bank = dict(encodings=encodings, score=np.asarray(score / by, np.float32))
    inputs = self.answers.shares(dict(encodings=encodings, exemplars=rows, mask=mask) | labels, bank, size)
    return self.answers.ask(self.state, inputs, count, True)


def as_dataset(run: FinishedRun, videos: Sequence[NewVideo], source: str) -> SkillDataset:
  """Returns videos as a data set without labels, padded as the training videos were, or farther.

  Args:
    source: what errors name.
  """
  everyone, streams, lengths, times = np.arange(len(videos)), {}, {}, {}
  for name, about in run.about["streams"].items():
    arrays = [video.arrays[name] for video in videos]
    room = max(about["shape"][0], *map(len, arrays))
    streams[name] = np.stack([_padded(rows, room) for rows in arrays])
    lengths[name] = np.array([len(rows) for rows in arrays], np.int32)
    if all(name in video.row_times for video in videos):
      times[name] = np.stack([_padded(video.row_times[name], room) for video in videos])
  nothing = np.zeros(0, np.int32)
  return SkillDataset(
      name=run.about["data"], source=source, videos=tuple(video.name for video in videos), streams=streams,
      lengths=lengths,
      row_seconds={name: np.array([video.row_seconds[name] for video in videos], np.float32) for name in streams},
      row_times=times, pairs=np.zeros((0, 2), np.int32), folds=(Fold("own", everyone, nothing, nothing, nothing),),
      simulated=run.about["simulated"], features_checked=True)


def _padded(rows: np.ndarray, length: int) -> np.ndarray:
  """Returns rows `[T, ...]` with zeros behind them, `[length, ...]`."""
  return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])


@single_precision()
def load(workdir: epath.PathLike, checkpoint: str = "last") -> FinishedRun:
  """Reads a finished run.

  Args:
    workdir: its folder, or its pack, see `packs`.
    checkpoint: whose models answer: "last", of the end of training, or "validation", of the step at which they were
      best on validation videos, in the mean over all of them.

  Raises:
    ValueError: if there is none, an unfinished or a damaged one, or no such checkpoint, with what to do.
  """
  given = stores.place(workdir)
  with packs.opened(given) as folder:
    return _load(folder, given, checkpoint)


def _load(folder: epath.Path, workdir: epath.Path, checkpoint: str) -> FinishedRun:
  """Reads what `load` does from a folder; `workdir` is what was given."""
  (config, method), path = finished_files.config(folder), folder / FILES[checkpoint]
  if checkpoint != "last" and not path.is_file() and (folder / FILE).is_file():
    raise ValueError(f"{workdir}: none of its checkpoints was chosen on validation videos, since training kept none "
                     "apart (config.data.validation_share) or was done by an older version; leave --checkpoint out.")
  if not path.is_file():
    subs = ", ".join(path.name for path in stores.children(folder) if (path / FILE).is_file())
    if subs:
      raise ValueError(f"{workdir}: is a table of several runs; give one of its folders: {subs}.")
    reached = max(archives.steps(folder / "checkpoints"), default=0)
    raise ValueError(f"{workdir}: this run is not finished (its last checkpoint is of step {reached}); start the "
                     "command that trained it again with the same --workdir: it goes on from there and writes what "
                     "is needed.")
  with files.local_copy(path) as copy:
    room = max(arrays_of.MAX_BYTES, copy.stat().st_size)                  # what training wrote is not packed
    arrays = arrays_of.read_arrays(copy, room, named=path)
  try:
    about = json.loads(arrays.pop("about").item())
    finished_files.check(path, about, arrays, method)
  except files.OtherFormat:
    raise
  except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
    raise ValueError(f"{path}: is not what training wrote ({finished_files.reason(error)}); remove it and start the "
                     "training command again, which writes it.") from error
  stored = {tuple(name.split("/")): leaf for name, leaf in finished_files.checkpoint(folder, about["step"]).items()}
  leaves = traverse_util.unflatten_dict({name: leaf for name, leaf in stored.items()
                                         if name[0] in ("params", "constants")})
  if checkpoints.digest(leaves["params"]) != about["params_sha256"]:
    raise ValueError(f"{path}: is of other parameters than the checkpoint of step {about['step']}; remove it and start "
                     "the training command again, which writes it.")
  about |= dict(tested=finished_files.tested(folder, about), checkpoint=checkpoint)
  parallel = Parallel()
  state = step.TrainState(np.int32(about["step"]), leaves["params"], leaves.get("constants", {}), None)
  return FinishedRun(workdir, config, method, about, arrays, parallel.replicate(state), Answers(method, parallel),
                     parallel)
