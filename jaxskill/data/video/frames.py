"""Frames of videos, decoded once: a cache of uint8 arrays that training maps into memory and streams from.

A video is a file that FFmpeg reads, or a folder of pictures, in the order of the numbers in their names. Its frames
become one array `[N, H, W, 3]` in `<cache>/<N>x<H>x<W>_<fit>/<video>.npy`, written whole or not at all; what is there
already, of the same source, is not decoded again. `index.json` beside them says what each was made of, how many
seconds a frame stands for, and what was damaged.

V videos, N frames, H height, W width.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tqdm
from absl import logging

from jaxskill.data.dataset import VideoFiles
from jaxskill.data.video import decoding as videos_of
from jaxskill.data.video import timeline, video_files
from jaxskill.data.video.video_names import spellings
from jaxskill.files import FULL, open_folder, remove_unfinished, taking_turns, writing

STREAM = "frames"
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
FITS = ("stretch", "cover")
FEWEST = 16                    # different frames of a video: those of a clip


class Sampling(NamedTuple):
  """Which frames are kept of a video, and how large.

  Attributes:
    count: frames that a model reads at a time.
    margin: frames before and after these, by which training may move them.
    size: (width, height) in pixels.
    fit: "stretch" the picture to it, or scale it to "cover" it and keep the middle.
    rate: pictures a second of folders of pictures.
  """

  count: int = 103  # type: ignore[assignment]  # hides tuple.count
  margin: int = 0
  size: tuple[int, int] = (455, 256)
  fit: str = "stretch"
  rate: float = 25.0

  @property
  def rows(self) -> int:
    """Returns the number of frames that are kept of a video."""
    return self.count + 2 * self.margin

  def check(self) -> None:
    """Raises a `ValueError` for what cannot be."""
    if self.fit not in FITS:
      raise ValueError(f"config.data.frames.fit={self.fit!r} is unknown; use one of {', '.join(FITS)}.")
    if self.count < FEWEST or self.margin < 0 or min(self.size) < 32 or not self.rate > 0:
      raise ValueError(f"config.data.frames: count={self.count} must be at least {FEWEST}, margin={self.margin} at "
                       f"least 0, both of size={tuple(self.size)} at least 32, and rate={self.rate} positive.")


class Source(NamedTuple):
  """Where a video lies: a file, or a folder of pictures.

  `last`: it is the `count` pictures before this one of the folder, one after the other; None: spread over the whole.
  """

  path: Path
  last: int | None = None


class Ready(NamedTuple):
  """A decoded video."""

  file: Path
  row_seconds: float


def find(places: Iterable[str | os.PathLike[str]], last: int | None = None) -> Source | None:
  """Returns the first of some places that is a video file (the ending may be left out) or a folder of pictures."""
  for place in map(Path, places):
    if place.is_dir() and any(_pictures(place)):
      return Source(place, last)
    if file := video_files.find_video(place):
      return Source(file)
  return None


def _pictures(folder: Path) -> Iterator[Any]:
  return (path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith("._"))


def by_number(path: Path) -> tuple[list[int | str], str]:
  """Returns what pictures are sorted by: where names differ in a number, by that; the case of letters counts last.

  frame2.png comes before frame10.png, and 1.JPG before 2.jpg.
  """
  words = re.split(r"(\d+)", path.stem.casefold())                  # letters and numbers in turn
  return [int(word) if place % 2 else word for place, word in enumerate(words)], path.name


def prepare(sources: Mapping[str, Source], cache: Path, sampling: Sampling) -> tuple[dict[str, Ready], dict[str, str]]:
  """Decodes the videos that are not in the cache yet.

  Args:
    sources: {video: `Source`}.
    cache: folder of the caches of all samplings.
    sampling: a `Sampling`.

  Returns:
    ({video: `Ready`} in the order of `sources`, {video: why it cannot be used}).

  Raises:
    ValueError: if the cache cannot be written, or the disk is too small for it.
  """
  sampling.check()
  wide, high = sampling.size
  folder = Path(cache) / f"{sampling.rows}x{high}x{wide}_{sampling.fit}"
  with taking_turns(open_folder(folder, "config.data.prepared_dir")):
    remove_unfinished(folder)
    return _decode_missing(sources, folder, sampling)


def _decode_missing(sources: Mapping[str, Source], folder: Path,
                    sampling: Sampling) -> tuple[dict[str, Any], dict[str, Any]]:
  digests, failed = {}, {}
  for video, source in sources.items():
    try:
      digests[video] = _digest(source, sampling)
    except (ValueError, OSError) as error:
      failed[video] = str(error)
  index, files = _read_index(folder), {video: folder / f"{video}.npy" for video in sources}
  todo = [video for video in digests
          if index.get(video, {}).get("source") != digests[video] or not os.path.isfile(files[video])]
  if todo:
    need = len(todo) * sampling.rows * int(np.prod(sampling.size)) * 3
    logging.info("decoding %d of %d videos once, %.1f GB in %s", len(todo), len(sources), need / 1e9, folder)
    if (free := shutil.disk_usage(folder).free) < need:
      raise ValueError(f"{folder}: the frames of {len(todo)} videos take {need / 1e9:.1f} GB, but {free / 1e9:.1f} GB "
                       "are free; set config.data.prepared_dir to a larger disk, or config.data.frames.size smaller.")
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, tqdm.tqdm(
      total=len(todo), unit="video", dynamic_ncols=True, disable=not todo) as bar:
    running = {pool.submit(_decode, sources[video], files[video], sampling): video for video in todo}
    try:
      for done in concurrent.futures.as_completed(running):
        video = running[done]
        try:
          index[video] = dict(source=digests[video], **done.result())
        except (ValueError, OSError) as error:
          if isinstance(error, OSError) and error.errno in FULL:
            raise ValueError(f"{folder}: cannot be written ({error.strerror}); make room, or set "
                             "config.data.prepared_dir to a larger disk.") from error
          failed[video] = str(error)
        else:
          _write_index(folder, index)
        bar.update()
    finally:
      pool.shutdown(cancel_futures=True)
  for video in todo:
    for warning in index[video]["warnings"] if video not in failed else ():
      logging.warning("%s: %s", sources[video].path, warning)
  ready = {video: Ready(files[video], index[video]["row_seconds"]) for video in sources if video not in failed}
  return ready, {video: failed[video] for video in sources if video in failed}      # whichever thread was first


def _read_index(folder: Path) -> dict[str, Any]:
  """Returns {video: {"source", "row_seconds", "warnings"}} without what is damaged, which is then decoded again."""
  try:
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError):
    return {}
  return {video: about for video, about in index.items() if _is_whole(about)} if isinstance(index, dict) else {}


def _is_whole(about: Any) -> bool:
  return isinstance(about, dict) and isinstance(about.get("warnings"), list) and isinstance(
      about.get("row_seconds"), float) and 0 < about["row_seconds"] < np.inf


def _write_index(folder: Path, index: Mapping[str, Any]) -> None:
  with writing(folder / "index.json") as file:
    file.write(json.dumps(index, indent=1).encode())


def _chosen(source: Source, sampling: Sampling) -> tuple[list[Path], float]:
  """Returns the pictures of a folder that are kept, `[N]` paths; some more than once where there are fewer."""
  pictures = sorted(_pictures(source.path), key=by_number)
  if source.last is None:
    if len(pictures) < FEWEST:
      raise ValueError(f"{source.path}: holds {len(pictures)} pictures; expected at least the {FEWEST} of a clip.")
    rows = np.floor((np.arange(sampling.rows) + 0.5) * len(pictures) / sampling.rows).astype(int)
  elif not sampling.count <= source.last <= len(pictures):
    raise ValueError(f"{source.path}: the video ends with picture {source.last}, but there are {len(pictures)}, of "
                     f"which {sampling.count} are needed before it; complete the folder.")
  else:
    rows = np.clip(source.last - sampling.count - sampling.margin + np.arange(sampling.rows), 0, len(pictures) - 1)
  apart = len(pictures) / sampling.rows if source.last is None else 1
  return [pictures[row] for row in rows], apart / sampling.rate


def _digest(source: Source, sampling: Sampling) -> str:
  """Returns what tells whether a source has changed: names, sizes and times of what is read, in its order."""
  files = [source.path] if source.path.is_file() else dict.fromkeys(_chosen(source, sampling)[0])
  stats = []
  for file in files:
    stat = file.stat()
    stats.append((file.name, stat.st_size, stat.st_mtime_ns))
  reading = (timeline.READING,) if source.path.is_file() else ()
  return hashlib.sha256(repr((stats, source.last, sampling.rate, *reading)).encode()).hexdigest()


def _decode(source: Source, file: Path, sampling: Sampling) -> dict[str, Any]:
  """Writes the frames of one video; returns {"row_seconds", "warnings"}."""
  if source.path.is_file():
    videos_of.require_av()
    images, seconds, warnings = _of_file(source.path, sampling)
  else:
    chosen, seconds = _chosen(source, sampling)
    images, warnings = [_picture(path, sampling) for path in chosen], []
  file.parent.mkdir(parents=True, exist_ok=True)
  with writing(file) as out:          # NumPy's own way into a file does not say why it fails
    np.save(types.SimpleNamespace(write=out.write), np.stack(images), allow_pickle=False)
  return dict(row_seconds=float(seconds), warnings=warnings)


def _of_file(path: Path, sampling: Sampling) -> tuple[list[np.ndarray], float, list[str]]:
  """Returns (N pictures spread over the file by its time stamps, seconds from one to the next, warnings)."""
  read, faults = timeline.read_timeline(path), []
  seconds, warnings = read.seconds, list(read.warnings)

  def spread() -> list[np.ndarray]:
    times = (np.arange(sampling.rows) + 0.5) * seconds / sampling.rows
    faults.clear()
    return list(videos_of.frames_at(path, times, lambda *size: _scaled(size, sampling), faults, read))
  images = spread()
  while len(images) < sampling.rows:      # the file ends early
    last = max((picture.time for picture in videos_of.pictures(path, timeline=read)), default=0.0)
    if not 0 < last < seconds:
      raise ValueError(f"{path}: its frames cannot be decoded; the file is damaged.")
    warnings.append(f"damaged: of {seconds:.2f} s only the first {last:.2f} can be decoded")
    seconds = last
    images = spread()
  if (different := len(set(map(id, images)))) < FEWEST:      # what is shown at several times is one picture
    raise ValueError(f"{path}: shows {different} different frames; expected at least the {FEWEST} of a clip.")
  warnings += videos_of.damage(faults)
  return [_middle(image, sampling) for image in images], seconds / sampling.rows, warnings


def _picture(path: Path, sampling: Sampling) -> np.ndarray:
  from PIL import Image, ImageOps  # matplotlib brings it along
  try:
    with Image.open(path) as opened:
      image = ImageOps.exif_transpose(opened).convert("RGB")
      size = _scaled(image.size, sampling)
      if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
      return _middle(np.asarray(image), sampling)
  except (OSError, SyntaxError, Image.DecompressionBombError) as error:
    raise ValueError(f"{path}: cannot be read as a picture ({error}); copy it again.") from error


def _scaled(size: tuple[int, int], sampling: Sampling) -> Any:
  """Returns (width, height) that a picture of (width, height) is scaled to."""
  if sampling.fit == "stretch":
    return tuple(sampling.size)
  factor = max(wanted / have for wanted, have in zip(sampling.size, size))
  return tuple(max(wanted, round(have * factor)) for wanted, have in zip(sampling.size, size))


def _middle(image: np.ndarray, sampling: Sampling) -> np.ndarray:
  (wide, high), (rows, columns) = sampling.size, image.shape[:2]
  top, left = (rows - high) // 2, (columns - wide) // 2
  return image[top: top + high, left: left + wide]


def streams_of(ready: Collection[Ready]) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray],
                                                  dict[str, np.ndarray]]:
  """Returns the stream of `Ready` videos as `stream_files.take_times` returns streams of features.

  Returns:
    ({stream: `[V, N, H, W, 3]`}, {stream: `[V]` lengths}, {}: no times of single rows, {stream: `[V]` seconds from one
    frame to the next}).
  """
  stream = VideoFiles(video.file for video in ready)
  lengths = np.full(len(stream), stream.shape[1], np.int32)
  between = np.array([video.row_seconds for video in ready], np.float32)
  return {STREAM: stream}, {STREAM: lengths}, {}, {STREAM: between}


def videos_in(folder: Path, videos: Sequence[str], cache: Path, sampling: Sampling,
              allow_missing: bool) -> dict[str, Ready]:
  """Returns {video: `Ready`} of the videos of a folder of one's own: `<video>.mp4` or the like, or `<video>/*.jpg`.

  Raises:
    ValueError: if some are not there or cannot be decoded, and they must not be missing; all others are then decoded.
  """
  listings = {}
  sources = {video: find(spellings(folder, video, listings)) for video in videos}
  found = {video: source for video, source in sources.items() if source}
  ready, failed = prepare(found, cache, sampling)
  failed = {video: f"{folder / video}: there is no such video, nor a folder of pictures." for video in videos
            if video not in found} | failed
  report(failed)
  if failed and (not allow_missing or not ready):
    raise ValueError(f"{folder}: {len(failed)} of {len(videos)} videos cannot be used: {next(iter(failed.values()))}"
                     + (" The others are listed above." if len(failed) > 1 else "") + " Mend or add them, or set "
                     "config.data.allow_missing=True to leave them out and report them.")
  return ready


def report(failed: Mapping[str, str]) -> None:
  """Says which videos are left out, and why."""
  for why in failed.values():
    logging.warning("left out: %s", why)
