"""Whether videos and recorded movements are in step: the lag at which what moves in the picture and the hands agree.

  python -m jaxskill.extract --check-sync RECORDINGS --videos VIDEOS

RECORDINGS holds recorded movements (`jaxskill.data.user.motion`), VIDEOS the films of the same names, or of names that
go on with "_" (of JIGSAWS `Suturing_B001_capture1.avi` and `Suturing_B001.txt`): a film is that of the recording with
the longest such name. The lag is the shift at which the motion energy of the film, the mean change of its pixels in a
second, correlates best with the mean speed of both hands as far as they are seen (`--hands` names them), or of all
points of what is no body. Both count from their first row. A camera that moves, or others who do, spoil the estimate: a
peak that is low, or hardly higher than another one elsewhere, is called unknown, and so is one at the largest shift
that was tried.

The status is 0 if all is in step as far as it is known, 1 if a film is out of step, a peak lies at the largest shift, a
film or a recording cannot be read, a recording has no film, or no lag is known.

N rows of a common grid, L lags.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxskill import cli
from jaxskill.data.user import motion
from jaxskill.data.user.recording import METRES
from jaxskill.data.video import decoding
from jaxskill.data.video.video_files import describe as describe_left_out
from jaxskill.data.video.video_files import find_videos

STEP = 0.04              # seconds of the grid
SIDE = 64                # pixels of the short side of the pictures that are compared
HANDS = ("left_wrist", "right_wrist")
LEAST = 0.3              # correlation below which a lag is unknown; ours
AHEAD = 0.05             # by which the highest correlation exceeds every other one more than `APART` away; ours
APART = 0.5              # seconds
OVERLAP = 0.5            # share of the shorter one that both must have in common


Curve = tuple[np.ndarray, np.ndarray]      # ([n] seconds, [n] values)


class Lag(NamedTuple):
  """How far a recording is behind its film.

  Attributes:
    seconds: above 0 where the recording shows a movement later than the film.
    correlation: at this lag.
    known: whether the peak stands out.
    at_edge: whether it is the largest shift that was tried, so that it may go on beyond.
  """

  seconds: float
  correlation: float
  known: bool
  at_edge: bool = False


def motion_energy(path: pathlib.Path) -> Curve:
  """Returns (`[n]` seconds between two pictures, `[n]` mean change of a pixel from one to the other, per second).

  Raises:
    ValueError: for a film of fewer than three pictures.
  """
  times, energy, before = [], [], None
  size = decoding.scale_short_side(SIDE)
  for picture in decoding.pictures(path):
    image = picture.image(*size(*picture.size)).astype(np.float32)
    if before is not None and picture.time > before[0]:
      times.append((picture.time + before[0]) / 2)
      energy.append(np.abs(image - before[1]).mean() / (picture.time - before[0]))
    before = (picture.time, image)
  if len(times) < 2:
    raise ValueError(f"{path}: holds fewer than three pictures; give a longer video.")
  return np.array(times), np.array(energy)


def hand_speed(path: pathlib.Path, options: motion.Options, row_seconds: float) -> Curve:
  """Returns (`[n]` seconds, `[n]` mean speed of the hands that are seen), of a recording; see `motion.read`.

  Hands are the wrists, or `options.ends`, or else all ends that have a speed. Rows that show none are left out.

  Raises:
    ValueError: if it cannot be read, or never shows a hand.
  """
  arrays, names = motion.read(path, options, row_seconds, missing=np.nan)
  speeds = [name for name in names if name.endswith(" speed")]
  hands = [f"{hand} speed" for hand in options.ends or HANDS]
  wanted = [name for name in speeds if name in hands] or speeds
  values = arrays["kinematics"][:, [names.index(name) for name in wanted]]                     # nan where not seen
  seen = np.isfinite(values).any(axis=1)
  if not seen.any():
    raise ValueError(f"{path}: no row shows {' or '.join(name.removesuffix(' speed') for name in wanted)}; say with "
                     "--hands which points move as the film shows.")
  return arrays["times"][seen].astype(np.float64), np.nanmean(values[seen], axis=1)


def lag_between(energy: Curve, speed: Curve, most: float) -> Lag:
  """Estimates the lag of two curves.

  Args:
    energy, speed: (`[n]` seconds, `[n]` values) each; gaps of more than half a second are left out.
    most: seconds, the largest lag that is looked for.

  Returns:
    `Lag`.

  Raises:
    ValueError: if they have too little in common at any lag.
  """
  if min(len(energy[0]), len(speed[0])) < 2:
    raise ValueError("film or recording has a single row; a lag needs some seconds of both.")
  first, second = _on_grid(*energy), _on_grid(*speed)
  lags = np.arange(-round(most / STEP), round(most / STEP) + 1)                              # [L]
  least = OVERLAP * min(np.isfinite(first).sum(), np.isfinite(second).sum())
  found = np.array([_correlation(first, second, lag, max(least, 1 / STEP)) for lag in lags])
  if not np.isfinite(found).any():
    raise ValueError(f"film and recording last {len(first) * STEP:.1f} and {len(second) * STEP:.1f} s, or one of them "
                     "never moves; a lag needs some seconds of movement in both.")
  best = int(np.nanargmax(found))
  others = found[np.abs(lags - lags[best]) * STEP > APART]
  next_best = np.nanmax(others, initial=-1.0)
  stands_out = bool(found[best] >= LEAST and found[best] - next_best >= AHEAD)
  at_edge = best in np.flatnonzero(np.isfinite(found))[[0, -1]]
  return Lag(float(lags[best] * STEP), float(found[best]), stands_out and not at_edge, bool(at_edge))


def _on_grid(times: Any, values: Any) -> Any:
  """Returns `[N]` square roots of values every `STEP` from 0 on, averaged over three steps; nan in gaps.

  Roots, so that a few large movements do not decide alone.
  """
  grid = np.arange(0, times[-1] + STEP / 2, STEP)
  place = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
  inside = (times[place] - times[place - 1] <= APART) & (grid >= times[0])
  on_grid = np.interp(grid, times, np.sqrt(values))
  smooth = np.convolve(np.pad(on_grid, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
  return np.where(inside, smooth, np.nan)


def _correlation(first: Any, second: Any, lag: Any, least: Any) -> Any:
  """Returns Pearson's correlation where the second is `lag` steps behind the first; nan for fewer than `least` rows."""
  start, stop = max(0, -lag), min(len(first), len(second) - lag)
  if stop - start < least:
    return np.nan
  a, b = first[start: stop], second[start + lag: stop + lag]
  both = np.isfinite(a) & np.isfinite(b)
  a, b = a[both], b[both]
  if both.sum() < least or np.ptp(a) == 0 or np.ptp(b) == 0:
    return np.nan
  return np.corrcoef(a, b)[0, 1]


def pairs_of(videos: Mapping[str, pathlib.Path],
             recordings: Iterable[str]) -> dict[str, list[tuple[str, pathlib.Path]]]:
  """Returns {name of a recording: [(name of a film, its file), ...]}; a film is that of the longest name that fits."""
  found: dict[str, list[tuple[str, pathlib.Path]]] = {name: [] for name in recordings}
  for video, file in videos.items():
    fitting = [name for name in found if video == name or video.startswith(f"{name}_")]
    if fitting:
      found[max(fitting, key=len)].append((video, file))
  return found


def check(recordings: str, videos: str, *, most: float = 5.0, tolerance: float = 0.1,
          options: motion.Options = motion.Options(), row_seconds: float = 1 / 30,
          say: Callable[[str], None] = cli.say) -> dict[str, Lag | str]:
  """Says of every recording how far it is behind its films.

  Args:
    recordings, videos: folders, see above.
    most: seconds, the largest lag that is looked for.
    tolerance: seconds of lag that are taken for none.
    options, row_seconds: see `motion.read`.
    say: called with each line for the user.

  Returns:
    {film: `Lag`, or why there is none}, and {recording: why} of those that have no film.

  Raises:
    ValueError: if nothing can be begun.
  """
  if not (most > 0 and tolerance >= STEP):
    raise ValueError(f"--max-lag {most:g} must be above 0, and --tolerance {tolerance:g} at least {STEP}, in seconds.")
  recorded, left_out = motion.recordings_in(recordings)
  for line in describe_left_out(left_out):
    say(line)
  if not recorded:
    raise ValueError(f"{recordings}: holds no recorded movements (.csv, .trc, .txt, or folders of OpenPose).")
  files, _ = find_videos(cli.path(videos))
  found: dict[str, Lag | str] = {}
  lacking = []
  for name, films in pairs_of(files, recorded).items():
    if not films:
      lacking.append(name)
      say(f"failed: {name}: there is no film of this name; its lag is not checked")
    for film, file in films:
      try:
        found[film] = lag_between(motion_energy(file), hand_speed(recorded[name], options, row_seconds), most)
      except (ValueError, OSError) as error:
        found[film] = str(error).removeprefix(f"{file}: ").replace("config.data.motion.", "--")      # options here
      say(describe(film, found[film], tolerance))
  if not found:
    raise ValueError(f"{videos}: no film has the name of a recording in {recordings} ({', '.join(sorted(recorded)[:3])}"
                     ", ...); rename the films.")
  out = sum(is_out(lag, tolerance) for lag in found.values())
  known = sum(is_known(lag) for lag in found.values())
  say(f"{len(found)} films checked, {out} out of step by more than {tolerance:g} s, {len(found) - known} unknown"
      + (f"; {len(lacking)} of {len(recorded)} recordings have no film" if lacking else "")
      + ("" if known else "; nothing is known of any film: this is no sign that they are in step"))
  return found | dict.fromkeys(lacking, "there is no film of this name")


def is_known(lag: Lag | str) -> bool:
  """Returns whether there is a lag, and its peak stands out."""
  return not isinstance(lag, str) and lag.known


def is_out(lag: Lag | str, tolerance: float) -> bool:
  """Returns whether a lag is known and larger than the tolerance."""
  return not isinstance(lag, str) and lag.known and abs(lag.seconds) > tolerance


def is_in_step(found: Mapping[str, Lag | str], tolerance: float) -> bool:
  """Returns whether all is in step, as far as it is known, and something is: see above."""
  doubtful = (isinstance(lag, str) or lag.at_edge or is_out(lag, tolerance) for lag in found.values())
  return not any(doubtful) and any(map(is_known, found.values()))


def describe(film: str, lag: Lag | str, tolerance: float) -> str:
  """Returns what is known of one film as a line."""
  if isinstance(lag, str):
    return f"failed: {film}: {lag}"
  seen = f"{lag.seconds:+.2f} s, correlation {lag.correlation:.2f}"
  if lag.at_edge:
    return (f"warning: {film}: the lag is unknown: the best shift is the largest that was tried ({seen}); raise "
            "--max-lag, or cut what only one of both shows")
  if not lag.known:
    return f"warning: {film}: the lag is unknown: no shift stands out (best {seen})"
  if is_out(lag, tolerance):
    side, begun = ("behind", "recording") if lag.seconds > 0 else ("ahead of", "film")
    return (f"warning: {film}: its recording is {abs(lag.seconds):.2f} s {side} the film ({seen}); cut the first "
            f"{abs(lag.seconds):.2f} s of the {begun}")
  return f"{film}: in step ({seen})"


def main(argv: list[str] | None = None) -> None:
  """Reads the command line, checks, and ends with the status that is described above."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.extract --check-sync", description=__doc__,
                                   allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--check-sync", required=True, type=cli.path, help="folder of recorded movements")
  add("--videos", required=True, type=cli.path, help="folder of their films")
  add("--max-lag", type=float, default=5.0, help="seconds, the largest lag that is looked for (5)")
  add("--tolerance", type=float, default=0.1, help="seconds of lag that are taken for none (0.1)")
  add("--units", default="", choices=tuple(METRES), help="of lengths in csv and .trc files")
  add("--hands", default="", help="names of the points that are hands in the recordings, as in LWRA,RWRA (the wrists)")
  add("--row-seconds", type=float, default=1 / 30, help="from one frame of OpenPose to the next (1/30)")
  options = parser.parse_args(argv)
  hands = tuple(name.strip() for name in options.hands.split(",") if name.strip())
  with cli.command():
    decoding.require_av()
    found = check(options.check_sync, options.videos, most=options.max_lag, tolerance=options.tolerance,
                  options=motion.Options(units=options.units, ends=hands), row_seconds=options.row_seconds)
  sys.exit(0 if is_in_step(found, options.tolerance) else 1)
