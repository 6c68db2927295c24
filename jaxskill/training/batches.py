"""Videos on the devices: put there once where they fit, handed over cycle by cycle where they do not.

What is handed over lies in two parts of memory in turn: one is filled while the devices compute with the other, and
none is filled before they are done with it. So streaming takes the memory of two cycles, on the host and on the
devices; a CPU computes with the host's memory as it is.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import math
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.data.reading import Videos
from jaxskill.training.draws import Batches
from jaxskill.training.parallel import Parallel, T
from jaxskill.training.precision import single_precision

_LANES = 128


@flax.struct.dataclass
class MapRows:
  """Maps `[V, T, h, w, C]` as the devices keep them: every video as rows of channels.

  A TPU lays out two axes in tiles of 8 x 128. A side of 14 does not fill one, so it would take the axis of the videos
  instead, and reading one video would touch all.

  Attributes:
    rows: `[V, n, C]`.
    shape: of a video.
  """
  rows: jax.Array | np.ndarray
  shape: tuple[int, ...] = flax.struct.field(pytree_node=False)


def as_rows(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray | MapRows:
  """Returns maps `[V, T, h, w, C]` as MapRows; other streams, and pictures (C no multiple of 128), as they are."""
  return x if x.ndim <= 3 or x.shape[-1] % _LANES else MapRows(x.reshape(len(x), -1, x.shape[-1]), x.shape[1:])


def as_maps(videos: T) -> T:
  """Returns a tree of streams with every MapRows as the `[V, ...]` that it was made of."""
  are_rows = lambda x: isinstance(x, MapRows)
  return jax.tree.map(lambda x: x.rows.reshape(-1, *x.shape) if are_rows(x) else x, videos, is_leaf=are_rows)


class VideoLoader:
  """The videos of a run, those that some replica trains on first.

  Attributes:
    train: `[U]` numbers (in the data set) of the videos that a replica trains on.
    resident: True when all features stay on the devices.
    videos: the training videos on the devices, maps as rows, or None when streaming.
  """

  def __init__(self, dataset: SkillDataset, folds: Sequence[Fold], parallel: Parallel, *, streams: Sequence[str],
               dtype: DTypeLike, budget: float, labels: Mapping[str, np.ndarray] | None = None) -> None:
    """Places the videos.

    Args:
      folds: the folds that are trained on.
      streams: names of the streams that the method reads.
      dtype: features are stored in it on the device; uint8 frames stay as they are.
      budget: share of a device's memory that features may fill.
      labels: {name: `[V, ...]` float32} that go with the videos.

    Raises:
      ValueError: if the data set lacks a stream.
    """
    for name in streams:
      if name not in dataset.streams:
        raise ValueError(f"{dataset.source}: there is no stream {name!r}, only {', '.join(dataset.streams)}; set "
                         "config.data.stream to one of them.")
    self._dataset, self._parallel, self._dtype = dataset, parallel, jnp.dtype(dtype)
    self._streams = {name: Videos(dataset.streams[name]) for name in streams}
    self._labels = labels or {}
    self.train = np.unique(np.concatenate([fold.train_videos for fold in folds]))
    self._rest = np.setdiff1d(np.arange(dataset.num_videos), self.train)
    self._video_bytes = sum(x.nbytes for x in self._room(1).values())
    self.bytes = dataset.num_videos * self._video_bytes // parallel.count
    self.resident = self.bytes <= budget * parallel.memory_bytes()
    self.videos = self._to_device(self.train) if self.resident else None
    self._resident_rest: Any = None                             # the other videos, placed when first asked for
    self._reader = concurrent.futures.ThreadPoolExecutor(1)
    self._under_way: tuple[int, int, Iterator] = (0, 0, iter(()))       # next step, end, and cycles that are being read

  def _room(self, size: int) -> dict[str, np.ndarray]:
    """Returns memory for the features of so many videos."""
    stored = lambda x: x.dtype if x.dtype == np.uint8 else self._dtype
    return {name: _pages((size, *x.shape[1:]), stored(x))
            for name, x in self._dataset.streams.items() if name in self._streams}

  def _to_device(self, ids: np.ndarray, size: int = 0, room: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    videos = self.host(ids, size, room)
    return self._parallel.split(videos | {name: as_rows(videos[name]) for name in self._streams})

  def host(self, ids: np.ndarray, size: int = 0, room: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Returns host arrays of the videos `ids`, padded with empty videos to `size` and to the number of devices.

    Args:
      room: of `_room`, for as many videos, that the features are put into; None takes new memory.

    Raises:
      OSError: if a file that the features lie in is gone, or is not what it was.
    """
    data, size = self._dataset, self._parallel.padded(max(size, len(ids)))
    room = self._room(size) if room is None else room
    for name, stream in self._streams.items():
      stream.read(ids, room[name])
      room[name][len(ids):] = 0
    pad = lambda x, value=0: np.concatenate([x, np.full((size - len(x), *x.shape[1:]), value, x.dtype)])
    return dict(room, lengths={name: pad(data.lengths[name][ids], 1) for name in self._streams},
                position=pad(np.asarray(ids, np.int32)),
                labels={name: pad(np.asarray(value, np.float32)[ids]) for name, value in self._labels.items()})

  def local(self, videos: np.ndarray) -> np.ndarray:
    """Returns the positions among the training videos, given numbers in the data set."""
    return np.searchsorted(self.train, videos).astype(np.int32)

  def sample(self) -> dict[str, Any]:
    """Returns one video as a batch `[1, ...]`, to take shapes from."""
    return jax.tree.map(lambda x: x[:1], self.host(self.train[:1]))

  def all_videos(self, chunk: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yields (numbers, videos on the devices) until every video was given once.

    When streaming they are given `chunk` at a time, and are gone once the next are asked for.
    """
    if self.videos is not None:
      yield self.train, self.videos
      if self._rest.size:
        self._resident_rest = self._resident_rest or self._to_device(self._rest)
        yield self._rest, self._resident_rest
      return
    order = np.concatenate([self.train, self._rest])
    chunks = (order[start: start + chunk] for start in range(0, len(order), chunk))
    for ids, (videos,) in self._ahead(((ids, [ids]) for ids in chunks), chunk):
      yield ids, videos

  def stream(self, draw: Callable[..., Any], first_step: int, last_step: int, cycle: int, size: int,
             total: int = 0) -> Iterator[tuple[tuple[dict, ...], Batches]]:
    """Yields (videos, batches in their numbering) for successive cycles; videos are gone once the next are asked for.

    Videos are one group for all phases where a step can name every training video, so that phases share what they
    compute of them; else a group for every phase.

    Args:
      draw: first step -> Batches `[steps, R, B, ...]`, whole cycles.
      cycle: steps that are handed over together, one of every phase.
      size: videos that one step can name at most.
      total: step to which further calls go on from `last_step`: their first cycle is read beforehand.
    """
    (step, end, cycles), self._under_way = self._under_way, (0, 0, iter(()))     # a call that is broken off leaves none
    if step != first_step or end < last_step:
      end = max(total, last_step)
      cycles = self._cycles(draw, first_step, end, cycle, size)
    yield from itertools.islice(cycles, -(-(last_step - first_step) // cycle))
    if last_step < end:                                                          # at the end memory is freed
      self._under_way = last_step, end, cycles

  def _cycles(self, draw: Callable[..., Any], first_step: int, last_step: int, cycle: int,
              size: int) -> Iterator[tuple[tuple[dict, ...], Batches]]:
    together = self._groups(cycle, size) == 1

    def requests() -> Iterator[tuple[Batches, list[np.ndarray]]]:
      step = first_step
      while step < last_step:
        drawn = jax.tree.map(np.asarray, draw(step))
        for at in range(0, min(len(drawn.mask), last_step - step), cycle):
          batches = jax.tree.map(lambda x: x[at: at + cycle], drawn)
          found = [np.unique(named, return_inverse=True) for named in ([batches.items] if together else batches.items)]
          items = np.stack([places for _, places in found]).reshape(batches.items.shape).astype(np.int32)
          yield batches._replace(items=items), [self.train[ids] for ids, _ in found]
        step += len(drawn.mask)

    return ((videos, batches) for batches, videos in self._ahead(requests(), size))

  def _groups(self, cycle: int, size: int) -> int:
    return 1 if size >= len(self.train) else cycle

  def stream_bytes(self, cycle: int, size: int) -> int:
    """Returns the bytes of features that `stream` holds on a device, two cycles; the host holds those of all."""
    return 2 * self._groups(cycle, size) * self._parallel.padded(size) * self._video_bytes // self._parallel.count

  def _ahead(self, requests: Iterator[tuple[T, list[np.ndarray]]],
             size: int) -> Iterator[tuple[T, tuple[dict[str, Any], ...]]]:
    """Yields (what, videos on the devices of every group), each read while those before are in use.

    Args:
      requests: (what, numbers of the videos of every group) in turn.
      size: videos of a group at most.
    """
    rooms: list[list[dict[str, np.ndarray]]] = [[], []]
    placed: list[Any] = [None, None]

    @single_precision()                # of a thread of its own
    def read(index: int) -> tuple[T, tuple[dict[str, Any], ...]] | None:
      jax.tree.map(lambda x: x.delete(), placed[index])      # so that nobody reads what comes in its place
      request = next(requests, None)
      if request is None:
        return None
      what, groups = request
      rooms[index] = rooms[index] or [self._room(self._parallel.padded(size)) for _ in groups]
      placed[index] = tuple(self._to_device(ids, size, room) for ids, room in zip(groups, rooms[index]))
      return what, placed[index]

    upcoming = self._reader.submit(read, 0)
    for following in itertools.cycle((1, 0)):
      current = upcoming.result()
      if current is None:
        return
      upcoming = self._reader.submit(read, following)
      yield current


def _pages(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
  """Returns an array of zeros in memory of its own, aligned so that a CPU computes with it as it is."""
  size = math.prod(shape) * jnp.dtype(dtype).itemsize
  return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, math.prod(shape)).reshape(shape)


def channel_sums(rows: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
  """Returns the number of rows `[T, ..., D]` (of maps, of places), and sum and sum of squares `[D]` in float64."""
  rows = rows.reshape(-1, rows.shape[-1])
  if rows.dtype == np.uint8:            # frames: counted, for a video in float64 is large
    counts = np.stack([np.bincount(channel, minlength=256) for channel in rows.T], axis=1)          # [256, D]
    values = np.arange(256.0)
    return len(rows), values @ counts, values ** 2 @ counts
  rows = rows.astype(np.float64)
  return len(rows), rows.sum(axis=0), (rows ** 2).sum(axis=0)


def mean_and_deviation(count: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation `[D]` of channels out of their sums."""
  mean = total / count
  return mean, np.sqrt(np.maximum(squares / count - mean ** 2, 0.0))


def as_scale(deviation: np.ndarray) -> np.ndarray:
  """Returns what channels are divided by: their standard deviation, 1 where they never vary."""
  return np.where(deviation > 1e-6, deviation, 1.0)


def channel_statistics(dataset: SkillDataset, video_ids: Sequence[int] | np.ndarray,
                       streams: Sequence[str]) -> dict[str, Any]:
  """Returns mean and standard deviation of every channel over the real rows of some videos.

  Returns:
    {stream: {"mean", "scale"}}, `[D]` float32 each; a channel that never varies has scale 1.
  """
  result = {}
  for name in streams:
    sums = (channel_sums(dataset.streams[name][v, : dataset.lengths[name][v]]) for v in video_ids)
    counts, totals, squares = zip(*sums)
    mean, deviation = mean_and_deviation(sum(counts), functools.reduce(np.add, totals),
                                         functools.reduce(np.add, squares))
    result[name] = dict(mean=mean.astype(np.float32), scale=as_scale(deviation).astype(np.float32))
  return result
