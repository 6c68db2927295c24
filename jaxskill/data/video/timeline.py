"""When the pictures of a video file are shown: the stream that a player takes, and one time axis for its packets.

Only packets are read, nothing is decoded. What a file says of time differs by its format, and is often wrong:
  edit lists (mp4, mov)        FFmpeg applies them; what they cut away is not shown and does not count
  joined transport streams     time stamps that jump back or far forward are laid behind one another
  avi, raw streams             no times of presentation: the pictures are shown in the order in which they are decoded

N packets of a stream. Times are seconds from the first picture. Needs PyAV (pip install 'jaxskill[video]').
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxskill.data.video import containers
from jaxskill.data.video.containers import VideoError

if TYPE_CHECKING:
  from av.container import InputContainer
  from av.packet import Packet
  from av.stream import Stream
  from av.video.stream import VideoStream

READING = 2                # version of what is made of a file; raised where the same one gives other pictures
_JUMP = 10.0               # seconds: a longer gap in a transport stream is a join, as for the program ffmpeg
_PAUSE = 3600.0            # seconds: the same in files that store how long a picture is shown
_LONGEST = 7 * 86400       # seconds; a film that says more is damaged, and would be planned beyond the memory
_BEGUN = 100               # streams that may begin within a file
_GAP = 1.0                 # seconds without a picture that are told of a transport stream
_WHOLE = ("avi", "mpeg")   # formats of which all parts are read; an index may follow, or packets have no place
_PAGED, _PAGE = ("asf", "wtv"), 2**20            # formats in pages, of at most so many bytes


class Timeline(NamedTuple):
  """What is known of a video before it is decoded.

  Attributes:
    stream: index of its stream in the file.
    times: `[N]` seconds at which the picture of each packet is shown; nan where the packet does not say.
    hidden: `[N]` whether the file says that the picture is not to be shown.
    ranked: the packets do not say which picture belongs to which time: the k-th picture is shown at the k-th time.
    seconds: from the first picture to the end of the last one that is there.
    announced: seconds by the file; the same where it does not say.
    rate: pictures a second, on average.
    warnings: sentences on what a user must know.
  """

  stream: int
  times: np.ndarray
  hidden: np.ndarray
  ranked: bool
  seconds: float
  announced: float
  rate: float
  warnings: tuple[str, ...]


def read_timeline(path: str | os.PathLike[str]) -> Timeline:
  """Reads the time stamps of the packets of the stream that a player shows.

  Raises:
    VideoError: if the file is no video or holds no picture.
  """
  import av
  with containers.open_file(path) as container:
    packets, ends, read_to = _packets(container)
    stream, warnings = choose_stream(container, {index: len(rows) for index, rows in packets.items()})
    if stream is None:
      raise VideoError(f"{path}: {warnings[0]}")
    index, rows = stream.index, np.array(packets[stream.index], float)            # [N, 5]
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    rate = rate if rate > 1 / _PAUSE else 25.0       # less is damage, as in `_axis`
    flags: Any = av.format.Flags                     # whose values PyAV's types take for flags
    discontinuous = bool(container.format.flags & flags.ts_discont.value)
    name = container.format.name
    avi = name == "avi"                              # FFmpeg's guesses of pts are wrong there
    if avi and np.isfinite(rows[:, 1]).any():
      rows[:, 0] = rows[:, 1]
    ordered = np.all(np.diff(rows[:, 0]) > 0) and bool(stream.codec_context.has_b_frames)
    ranked = avi or ordered or not np.isfinite(rows[:, :2]).any()
    if "matroska" in name:                           # stores no dts; FFmpeg's guesses are wrong at joins
      rows[:, 1] = _order(rows[:, 0], rows[:, 4])
    # Times in mp4 and mov are steps, which cannot jump: where they do, it is from one edit to the next.
    jump = _JUMP if discontinuous else np.inf if "mp4" in name else _PAUSE
    times, ends_at, joins, rate, said = _axis(rows, rate, jump)
    if not np.isfinite(times).any():
      raise VideoError(f"{path}: no picture of it is to be shown; convert it with ffmpeg first.")
    seconds, hidden = float(np.nanmax(ends_at)), rows[:, 3] > 0
    if seconds > _LONGEST:
      raise VideoError(f"{path}: lasts {seconds / 86400:.0f} days by its time stamps; the file is damaged: convert it "
                       "with ffmpeg first.")
    announced = seconds if joins else max(seconds, _announced(container, stream, ends))
  warnings += said
  if announced - seconds > max(1.0, 0.02 * announced):
    warnings.append(f"damaged: of {announced:.2f} s only {seconds:.2f} are there")
  if discontinuous:
    warnings += _gaps(times, 1 / rate)
  warnings += _left(Path(path), name, read_to)
  return Timeline(index, times, hidden, ranked, seconds, announced, rate, tuple(warnings))


def _packets(container: InputContainer) -> tuple[dict[int, Any], dict[int, float], int]:
  """Reads the packets of pictures and sound.

  Returns:
    ({index of a video stream: [(pts, dts, duration, discarded, key) in seconds, nan where unknown]}, {index: end in
    seconds}, where in the file the last packet ends). A packet that is larger than all before it does not count as
    read beyond that: some formats take a film that is joined on for one packet.
  """
  import av
  streams = [*container.streams.video, *container.streams.audio]
  packets, ends, read_to, largest = {stream.index: [] for stream in container.streams.video}, {}, 0, 0
  try:
    for packet in demux(container, streams):
      if is_flush(packet):
        continue
      pts, dts, duration = (np.nan if value is None else float(value * packet.time_base)
                            for value in (packet.pts, packet.dts, packet.duration or None))
      if packet.stream_index in packets:
        packets[packet.stream_index].append((pts, dts, duration, packet.is_discard, packet.is_keyframe))
      if packet.pos:
        read_to = max(read_to, packet.pos + min(packet.size, largest or packet.size))
      largest = max(largest, packet.size)
      if packet.pts is not None:
        ends[packet.stream_index] = max(ends.get(packet.stream_index, pts), pts)
  except av.error.FFmpegError:          # cut short; what is there counts
    pass
  return packets, ends, read_to


def demux(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
  """Yields the packets of some streams. PyAV fails where another one begins within the file, but can be asked again."""
  for _ in range(_BEGUN):
    try:
      yield from container.demux(streams)
      return
    except IndexError:
      continue


def is_flush(packet: Packet) -> bool:
  """Returns whether a packet is the empty one that PyAV puts at the end of each stream."""
  return packet.pts is None and packet.dts is None and not packet.size


def is_cover(stream: VideoStream) -> bool:
  """Returns whether a stream of video is the cover picture of something else."""
  from av.stream import Disposition
  return bool(stream.disposition & Disposition.attached_pic)


def choose_stream(container: InputContainer,
                  counts: Mapping[int, int]) -> tuple[VideoStream | None, list[str]]:
  """Returns (the video stream that a player shows, [what to say of the others]); (None, [why]) where there is none.

  A cover picture is no film. Of several films it is the one flagged as default, else the largest, else the first.

  Args:
    counts: {index of a video stream: its number of packets}.
  """
  from av.stream import Disposition
  covers = [s for s in container.streams.video if is_cover(s)]
  filled = [s for s in container.streams.video if counts.get(s.index) and s not in covers]
  known = [s for s in filled if s.codec_context is not None]
  films = [s for s in known if counts[s.index] > 1] or known
  if filled and not known:
    return None, ["its pictures are coded in a way that this FFmpeg does not know; convert it to mp4 elsewhere."]
  if not films:
    return None, ["is sound with a cover picture, and no film; give a video." if covers else
                  "holds no picture; copy it again, or convert it with ffmpeg first."]
  best = max(films, key=lambda s: (bool(s.disposition & Disposition.default),
                                   s.codec_context.width * s.codec_context.height, -s.index))
  if len(container.streams.video) == 1:
    return best, []
  single = len(container.streams.video) - len(films)
  others = (["a single picture" if single == 1 else f"{single} single pictures"] if single else []) + (
      [f"{len(films) - 1} other film{'s'[: len(films) > 2]}"] if len(films) > 1 else [])
  return best, [f"holds {len(container.streams.video)} video streams: taken is stream {best.index} "
                f"({best.codec_context.width} x {best.codec_context.height}), as a player does, and not "
                f"{' and '.join(others)}"]


def _axis(rows: np.ndarray, rate: float, jump: float) -> tuple[Any, ...]:
  """Lays all packets on one axis of time.

  Args:
    rows: `[N, 5]`, see `_packets`.
    rate: pictures a second.
    jump: seconds; a longer step forward is a join. Infinite: parts are edits of one film, of which nothing is said.

  Returns:
    (`[N]` times, `[N]` when each picture ends, number of joins, rate, warnings).
  """
  pts, dts, durations, hidden, _ = rows.T
  known, warnings = np.isfinite(durations), []
  if not np.isfinite(rows[:, :2]).any():
    rate = 1 / np.median(durations[known]) if known.any() else rate
    dts = np.arange(len(rows)) / rate
    warnings.append(f"has no time stamps: {rate:.4g} pictures a second are assumed")
  durations = np.where(known & (durations < _PAUSE), durations, 1 / rate)            # longer ones are damage
  times = np.where(hidden > 0, np.nan, pts if np.isfinite(pts).any() else dts)
  part = _parts(times, dts, 1.5 / rate, jump)
  laid, joins, end = np.full(len(rows), np.nan), [], 0.0
  for number in range(part[-1] + 1):
    inside = (part == number) & np.isfinite(times)
    if inside.any():
      begin = times[inside].min()
      joins += [end] if end else []
      laid[inside] = times[inside] - begin + end
      end = (laid + durations)[inside].max()
  if joins and np.isfinite(jump):
    warnings.append(f"its time stamps jump {len(joins)} time{'s'[: len(joins) > 1]}, first at {joins[0]:.2f} s: it is "
                    f"taken as {len(joins) + 1} parts joined to one film of {end:.2f} s")
  return laid, laid + durations, len(joins), rate, warnings


def _order(pts: np.ndarray, key: np.ndarray) -> np.ndarray:
  """Returns `[N]` what ascends in the order of decoding: the latest time so far, begun anew where a part begins.

  A part begins with a key frame that is to be shown before a picture that came before it.
  """
  order, latest = np.full(len(pts), np.nan), -np.inf
  for packet in np.flatnonzero(np.isfinite(pts)):
    order[packet] = latest = pts[packet] if key[packet] else max(latest, pts[packet])
  return order


def _parts(times: np.ndarray, dts: np.ndarray, back: float, jump: float) -> np.ndarray:
  """`[N]` to which part each packet belongs: a new one begins where the order of decoding jumps back or far forward."""
  order = dts if np.isfinite(dts).any() else times                # ascends where nothing is joined
  places = np.flatnonzero(np.isfinite(order))
  steps = np.diff(order[places])
  part = np.zeros(len(times), int)
  part[places[1:]] = (steps < -back) | (steps > jump)
  part = np.cumsum(part)
  for start in places[1:][np.diff(part[places]) > 0]:
    before = start - 1                                            # packets without a place belong to the nearer part
    while before > 0 and not np.isfinite(order[before]) and (
        abs(times[before] - order[start]) < abs(times[before] - order[places[places < before][-1]])):
      part[before] = part[start]
      before -= 1
  return part


def _announced(container: Any, stream: Any, ends: Mapping[int, float]) -> float:
  """Returns seconds that the file says the stream lasts; 0 where it does not say, or says it of the sound."""
  duration = float(stream.duration * stream.time_base) if stream.duration else 0.0
  if duration and "mp4" in container.format.name:              # each track has its own
    return duration
  whole = duration or (container.duration or 0) / 1e6
  start = (container.start_time or 0) / 1e6
  sound = max((end - start for index, end in ends.items() if index != stream.index), default=0.0)
  return 0.0 if sound > whole - max(1.0, 0.02 * whole) else whole


def _left(path: Path, name: str, read_to: int) -> Iterator[str]:
  """Sentences on films that are joined on and not read.

  Args:
    path: of the file.
    name: of its format.
    read_to: where in the file the last packet that is found ends; 0 if that is not known.
  """
  if "mp4" in name:                                            # its packets lie in any order
    boxes, _ = containers.boxes(path)
    if boxes.count(b"moov") > 1:
      some = ", and only some of its pictures are read" if b"moof" in boxes else ", nor is it read"
      yield f"a second film is joined on, which players do not show{some}; cut the file into its parts"
    return
  size = path.stat().st_size
  if read_to and name not in _WHOLE and size - read_to > max(0.1 * size, _PAGE if name in _PAGED else 0):
    yield (f"the last packet ends at {read_to / size:.0%} of the file: what follows is damaged, or begins another film "
           "or stream, and is not read; cut the file into its parts")


def _gaps(times: np.ndarray, every: float) -> Iterator[str]:
  """Sentences on times without a picture."""
  times = np.sort(times[np.isfinite(times)])
  wide = np.flatnonzero(np.diff(times) > max(_GAP, 10 * every))
  if wide.size:
    first, last = times[wide[0]], times[wide[0] + 1]
    more = f", and at {wide.size - 1} more places" if wide.size > 1 else ""
    yield f"has no pictures from {first + every:.2f} to {last:.2f} s{more}; the picture before stays"
