"""Streams of features out of the files of videos: what an array must be, and how several become `[V, T, ...]`.

Recorded movements (`user.motion`) are read as the stream `kinematics`. Beside streams that are not maps, `times` `[T]`
are the seconds at which their rows were seen, and `seen` `[T]`, bool, says which rows show anybody: the others are left
out. Places of a person in the picture (`PLACES`) are no stream: pages read them, not models.

V videos, T rows of a stream.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxskill.data.arrays import MAX_BYTES, read_arrays
from jaxskill.data.dataset import pad_streams
from jaxskill.data.dataset_checks import check_features, check_times
from jaxskill.data.user import motion

PLACES = ("picture_points", "picture_size")       # of `extract.pose.points`


def read_streams(files: Mapping[str, pathlib.Path], only: str = "rgb", max_bytes: int = MAX_BYTES,
                 moves: motion.Options = motion.Options(), row_seconds: float = 1.0,
                 movement: Callable[[pathlib.Path], np.ndarray] | None = None,
                 ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
  """Reads the streams of videos, and their times.

  Args:
    files: {video: file}.
    only: what a single array is called.
    max_bytes: that the arrays of one file may take in memory.
    moves, row_seconds: see `motion.read`.
    movement: reads recorded movements in place of `motion.read`: `[T, C]` rows, without times and names.

  Returns:
    (streams `[V, T, ...]`, lengths `[V]`, names of columns where they are known), by name.

  Raises:
    ValueError: for a file that cannot be used, or that has other streams or columns than the first.
  """
  ragged, first, columns = {}, None, {}
  for video, file in files.items():
    if motion.is_motion(file) and movement:
      arrays = {motion.STREAM: movement(file)}
    elif motion.is_motion(file):
      arrays, names = motion.read(file, moves, row_seconds)
      known = columns.setdefault(motion.STREAM, names)
      check_columns(names, known, f"{file}: its kinematics have other columns than those of a file before")
    else:
      kept = {name: array for name, array in read_arrays(file, max_bytes).items() if name not in PLACES}
      arrays = _seen_rows(with_maps(kept, video, file), video, file)
    if len(arrays) == 1 and "maps" not in arrays:
      arrays = {only: next(iter(arrays.values()))}
    if first is None:
      first = (file, arrays)
    if arrays.keys() != first[1].keys():
      raise ValueError(f"{file}: holds the streams {sorted(arrays)} but {first[0]} holds {sorted(first[1])}; every "
                       "video needs the same streams.")
    for stream, array in arrays.items():
      if stream != "times" or len(arrays) == 1:
        array = as_features(array, stream, video, file)
      of_stream = ragged.setdefault(stream, [])
      of_stream.append(array)
      check_widths(array, of_stream[0], stream, file, first[0])
  padded = {stream: pad_streams(tuple(files), arrays) for stream, arrays in ragged.items()}
  streams, lengths = ({name: both[i] for name, both in padded.items()} for i in (0, 1))
  return streams, lengths, columns


def check_columns(names: Sequence[str], expected: Sequence[str], fault: str) -> None:
  """Raises a `ValueError` that begins with `fault` if the names of columns are not those that are expected."""
  if tuple(names) != tuple(expected):
    apart = sorted(set(names) ^ set(expected)) or ["their order"]
    raise ValueError(f"{fault} ({', '.join(apart):.80}); record the same points in all files, or name those to use "
                     "with config.data.motion.ends.")


def _seen_rows(arrays: dict[str, np.ndarray], video: str, source: pathlib.Path) -> dict[str, np.ndarray]:
  """Takes the rows in which nobody is seen out of the streams of a video, see the top of this file.

  Raises:
    ValueError: if `times` and `seen` do not fit each other, or a stream; or if no row is seen.
  """
  if "maps" in arrays or not {"times", "seen"} & arrays.keys() or len(arrays) == 1:
    return arrays
  rows = {name: array for name, array in arrays.items() if name not in ("times", "seen")}
  count = len(arrays["times"] if "times" in arrays else arrays["seen"])
  seen = arrays.get("seen", np.ones(count, bool))
  if seen.dtype != bool or seen.shape != (count,):
    raise ValueError(f"{source}: video {video!r}: `seen` is {seen.dtype} {list(seen.shape)}; expected one bool for "
                     f"each of {count} rows.")
  if not seen.any():
    raise ValueError(f"{source}: video {video!r}: no row shows anybody (`seen`); film the person, or remove the video "
                     "from the labels.")
  timed = {name for name, array in rows.items() if len(array) == count}
  if not timed:
    raise ValueError(f"{source}: video {video!r}: no stream has the {count} rows that `times` or `seen` have; save one "
                     "number for each row.")
  rows = {name: array[seen] if name in timed else array for name, array in rows.items()}
  if "times" in arrays:
    check_times(arrays["times"], count, video, source)
    rows["times"] = arrays["times"][seen].astype(np.float32)
  return rows


def with_maps(arrays: dict[str, np.ndarray], video: str, source: pathlib.Path) -> dict[str, np.ndarray]:
  """Puts maps of appearance `rgb` and motion `flow` of a video side by side, as `maps` `[frames, h, w, C]`.

  Raises:
    ValueError: if one of them is missing, they differ in frames or places, or `times` are not those of their frames.
  """
  for name, array in arrays.items():
    check_is_a_stream(array, name, arrays.keys() - {name}, video, source)

  def is_map(array: np.ndarray) -> bool:
    return array.ndim == 4 and array.dtype != np.uint8
  kinds = [name for name in ("rgb", "flow") if name in arrays and is_map(arrays[name])]
  if len(kinds) == 1:
    other, = {"rgb", "flow"} - set(kinds)
    raise ValueError(f"{source}: video {video!r} has maps `{kinds[0]}` {list(arrays[kinds[0]].shape)} but no maps "
                     f"`{other}`; save both, or, where there is one kind only, save it as `maps` in all files.")
  if kinds:
    rgb, flow = arrays["rgb"], arrays["flow"]
    if rgb.shape[:3] != flow.shape[:3]:
      raise ValueError(f"{source}: video {video!r} has maps `rgb` {list(rgb.shape)} and `flow` {list(flow.shape)}; "
                       "both need the same frames and places: extract them at the same times and sizes.")
    arrays = {"maps": np.concatenate([rgb, flow], axis=-1)} | {k: v for k, v in arrays.items() if k not in kinds}
  if "maps" in arrays and "times" in arrays:
    check_times(arrays["times"], len(arrays["maps"]), video, source)
    arrays = arrays | {"times": arrays["times"].astype(np.float32)}
  return arrays


def check_is_a_stream(array: np.ndarray, name: str, others: set[str], video: str, source: pathlib.Path) -> None:
  """Raises a `ValueError` for an array beside others that is no stream at all: a single number, or text."""
  what = "text" if array.dtype.kind in "SUO" else "a single number" if not array.ndim else ""
  if not what:
    return
  if others:
    raise ValueError(f"{source}: video {video!r}: `{name}` is {what}, no stream [rows, ...] of features; save the file "
                     f"without it, with {', '.join(sorted(others))} alone. How long a row lasts is said by "
                     "config.data.segment_seconds.")
  raise ValueError(f"{source}: video {video!r}: holds {what}, no features; expected [segments, channels] in "
                   "floating-point numbers: extract its features again.")


def take_times(streams: dict[str, np.ndarray],
               lengths: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray],
                                                        dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Takes the times of frames, read like a stream, out of the streams.

  Args:
    streams, lengths: name -> `[V, T, ...]`, `[V]`; "times", if there, are those of "maps", and of as many "frames", or
      where there are no maps of all other streams of as many rows.

  Returns:
    (streams, lengths, `row_times`, seconds from one row to the next by stream: of maps the mean of each video, of other
    streams, which may have gaps, the median).
  """
  if "times" not in streams or len(streams) == 1:
    return streams, lengths, {}, {}
  times, count = streams["times"], lengths["times"]
  last = np.take_along_axis(times, count[:, None] - 1, axis=1)[:, 0]
  mean = np.where(count > 1, (last - times[:, 0]) / np.maximum(count - 1, 1), 1.0).astype(np.float32)
  if "maps" not in streams:
    steps = [np.median(np.diff(row[:n])) if n > 1 else 1.0 for row, n in zip(times, count)]
    mean = np.array(steps, np.float32)

  def others(mapping: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in mapping.items() if name != "times"}
  timed = [name for name in (("maps", "frames") if "maps" in streams else others(streams))
           if name in streams and np.array_equal(lengths[name], count)]
  return others(streams), others(lengths), dict.fromkeys(timed, times), dict.fromkeys(timed, mean)


def as_features(array: np.ndarray, stream: str, video: str, source: pathlib.Path) -> np.ndarray:
  """Returns one video's features as float32 (frames stay uint8); `rgb` and `static` are `[T, D]`.

  Raises:
    ValueError: if they cannot be used, see `check_features`.
  """
  if stream in ("rgb", "static") and array.ndim != 2:
    raise ValueError(f"{source}: video {video!r}, stream {stream!r} has {array.ndim} axes (shape {array.shape}); "
                     "expected [segments, channels]; reshape it and save it again.")
  if np.issubdtype(array.dtype, np.floating) and array.dtype != np.float32:
    with np.errstate(over="ignore"):   # a float64 too large for float32 becomes inf, which the check reports
      array = array.astype(np.float32)
  check_features(array, stream, video, source)
  return array


def check_widths(array: np.ndarray, first: np.ndarray, stream: str, source: pathlib.Path,
                 first_source: pathlib.Path) -> None:
  """Raises a `ValueError` if two files disagree about a stream in anything but the number of segments."""
  if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
    raise ValueError(f"{source}: stream {stream!r} is {array.dtype} {list(array.shape)} but {first_source} has "
                     f"{first.dtype} {list(first.shape)}; all but the number of segments must agree: extract both with "
                     "the same model.")
