"""Pictures of a simulated performance: a hand follows a line on a workpiece with a tool. No person was filmed.

What a viewer sees is the script of `scripts`, and nothing else:

* The tool goes along the line of the task; the seam that it leaves behind is the progress. While the performer is idle,
  the hand rests beside the workpiece.
* At key moments good technique is a second hand that holds the workpiece, a tool held upright, or a seam with stitches;
  a mistake is a hand that trembles, a slip that leaves a scratch, or a drop that leaves a stain. What is left stays.
* A raised elbow is a posture error.
* A ball rolls about the table all the time. In idle and distracting intervals the hand at rest, and the ball, make the
  very movements of technique and mistakes; they leave nothing on the workpiece.
* Light, colours, and where the camera has the workpiece belong to the performer and the video.

Positions are (row, column) in pixels, H the height, W the width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data.simulation import scripts

REACH = 1.8                                  # the path of the action, larger than in feature maps
TECHNIQUE = ("second hand holds", "tool upright", "stitches")       # by the way in which it shows
MISTAKES = ("tremor", "slip", "drop")
WOOD, PIECE, SKIN, SLEEVE = (150, 120, 90), (214, 208, 192), (222, 172, 140), (60, 90, 140)
GUIDE, SEAM, STITCH, STEEL = (165, 160, 150), (70, 60, 60), (20, 140, 160), (235, 238, 242)
SCRATCH, STAIN, BALL = (190, 40, 40), (110, 20, 40), (90, 150, 70)
HANDLE, SHADOW = (50, 52, 58), (40, 35, 30)
_LIFT = 0.25                                 # seconds that the hand takes to come and go


class Plan(NamedTuple):
  """What the pictures show of a performance, frame by frame; T frames, M key moments."""

  seconds: np.ndarray         # [T] middle of each frame
  progress: np.ndarray        # [T]
  idle: np.ndarray            # [T] bool
  distracting: np.ndarray     # [T] bool
  posture: np.ndarray         # [T] strength of a posture error
  moment: np.ndarray          # [T, M] bool
  technique: np.ndarray       # [T, 3] by way
  mistakes: np.ndarray        # [T, 3]
  astray: np.ndarray          # [T, 6] the same, out of context
  place: np.ndarray           # [T, 2] of the action, (row, column) in [0, 1]
  ball: np.ndarray            # [T, 2]


def make_plan(task: scripts.Task, script: scripts.Script, seconds: float, fps: int) -> Plan:
  """Returns the script at `round(seconds * fps)` frames."""
  frames = round(seconds * fps)
  seen = scripts.sample_script(task, script, frames)
  moment = scripts.inside(seen["progress"], task.moments) & ~seen["idle"][:, None]
  technique, mistakes = np.split(seen["movement"], 2, axis=1)
  times = (np.arange(frames) + 0.5) / frames
  angle = script.orbit[0] + 2 * np.pi * script.orbit[1] * times
  return Plan(
      times * frames / fps, seen["progress"], seen["idle"], scripts.inside_any(times, script.distracting),
      seen["posture"][:, 0], moment, technique, mistakes,
      np.minimum(seen["intervals"] @ script.waves["movement"], 1.5), _enlarged(seen["place"], script),
      np.clip(script.center + 0.42 * np.stack([np.sin(angle), np.cos(angle)], 1), 0.05, 0.95))


def _enlarged(place: np.ndarray, script: scripts.Script) -> np.ndarray:
  return script.center + REACH * (place - script.center)


def _stroke(image: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, color: Any,
            opacity: float = 1.0) -> None:
  """Paints a line with round ends onto `[H, W, 3]` float; a dot where it starts and ends at one point."""
  start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
  low = np.maximum(np.floor(np.minimum(start, end) - radius - 1), 0).astype(int)
  high = np.minimum(np.ceil(np.maximum(start, end) + radius + 2), image.shape[:2]).astype(int)
  if (low >= high).any():
    return
  away = [axis - np.float32(s) for axis, s in zip(np.ogrid[low[0]: high[0], low[1]: high[1]], start)]
  line = end - start
  along = np.clip((away[0] * line[0] + away[1] * line[1]) / max(float(line @ line), 1e-6), 0, 1)
  distance = np.hypot(away[0] - along * line[0], away[1] - along * line[1])
  cover = opacity * np.clip(radius + 0.5 - distance, 0, 1)[..., None]           # half a pixel of soft edge
  part = image[low[0]: high[0], low[1]: high[1]]
  part += cover * (np.asarray(color, np.float32) - part)


def _gradually(values: np.ndarray, fps: int) -> np.ndarray:
  """Returns `[T, ...]` values that change within `_LIFT` seconds, as limbs move."""
  share, now, path = 1 - np.exp(-1 / (fps * _LIFT)), values[0], []
  for value in values:
    now = now + share * (value - now)
    path.append(now)
  return np.stack(path)


def _board(task: scripts.Task, script: scripts.Script, size: tuple[int, int], seed: tuple[int, int]) -> np.ndarray:
  """Returns `[H, W, 3]` float: the table, and on it the workpiece with the line to follow."""
  height, width = size
  look, unit = script.look, height / 120
  rng = np.random.default_rng([*seed, 0])
  grain = np.repeat(rng.normal(0, 5, (height, 1, 1)), width, 1) + rng.normal(0, 2, (height, width, 1))
  board = (np.array(WOOD) + 14 * np.tanh(look[:3]) + grain).astype(np.float32)
  line = _enlarged(scripts.places(task, script, np.linspace(0, 1, 160)), script) * size
  color = np.array(PIECE) + 12 * np.tanh(look[scripts.LOOK:])
  for point in line:                                    # the workpiece: all that is near the line
    _stroke(board, point, point, 17 * unit, 0.6 * color)
  for point in line:
    _stroke(board, point, point, 15.5 * unit, color)
  for start, end in zip(line[::2], line[1::2]):
    _stroke(board, start, end, 0.7 * unit, GUIDE)
  return board


def draw(task: scripts.Task, script: scripts.Script, plan: Plan, fps: int, size: np.ndarray | tuple[int, int],
         seed: tuple[int, int]) -> Iterator[np.ndarray]:
  """Yields the frames of a performance.

  Args:
    task, script: of `simulated`.
    plan: `Plan` of the script.
    fps: frames a second.
    size: (H, W).
    seed: numbers, of what no two videos share: grain, unsteadiness of the hand, noise of the camera.

  Yields:
    `[H, W, 3]` uint8, RGB.
  """
  size, unit, look = np.array(size), size[0] / 120, script.look
  rng = np.random.default_rng([*seed, 1])
  board = _board(task, script, tuple(size), seed)
  light = np.exp(0.25 * np.tanh(look[3]))
  skin, sleeve = np.array(SKIN) + 25 * np.tanh(look[4]), np.array(SLEEVE) + 50 * np.tanh(look[5:8])

  idle = plan.idle[:, None]
  cues = np.concatenate([plan.technique, plan.mistakes], 1) + np.where(idle, plan.astray, 0)
  tremor, slip = (np.minimum(cues[:, [way]], 1.5) for way in (3, 4))
  turns = 2 * np.pi * plan.seconds[:, None]
  shaking = np.sin(turns * (2.9, 3.7) + (0, np.pi / 2))                                    # [T, 2]
  sliding = np.abs(np.sin(1.3 * turns)) * (-0.5, 0.85)                                     # out and back
  place = plan.place * size
  away = _gradually(idle.astype(float), fps)                                               # 1: at rest
  work = place + unit * (6 * tremor * shaking + 17 * slip * sliding)                     # of the tip, while at work
  rest = np.minimum(size * (0.86, 0.8), size - 12 * unit)
  tip = work + away * (rest - place) + 0.8 * unit * _gradually(rng.standard_normal(work.shape), fps)
  other = place + away * (size * (0.7, 0.2) - place)                                       # of the second hand
  hold, upright, raised, drop = _gradually(np.stack([*cues[:, :2].T, plan.posture > 0, cues[:, 5]], 1), fps).T
  astray = np.where(plan.distracting[:, None], plan.astray, 0)                             # of the ball
  ball = plan.ball * size + 3 * unit * astray[:, 3:].sum(1, keepdims=True) * shaking

  marks = _Marks(board, unit)
  for t in range(len(tip)):
    marks.add(work[t], place[t], cues[t], plan.idle[t])
    image = board.copy()
    _stroke(image, ball[t] + 2 * unit, ball[t] + 2 * unit, 6 * unit, SHADOW, 0.4)
    _stroke(image, ball[t], ball[t], (6 + 2 * astray[t, :3].sum()) * unit, BALL)
    _second_hand(image, other[t], min(hold[t], 1), unit, skin, sleeve)
    _tool_hand(image, tip[t], min(upright[t], 1), 0.6 * raised[t], drop[t], unit, skin, sleeve)
    image = image * light + rng.normal(0, 1.5, image.shape)
    yield np.clip(np.round(image), 0, 255).astype(np.uint8)


class _Marks:
  """What the tool leaves on the workpiece: seam, stitches, scratches, stains."""

  def __init__(self, board: np.ndarray, unit: float) -> None:
    self._board, self._unit, self._since = board, unit, 0.0
    self._last: tuple | None = None

  def add(self, work: np.ndarray, place: np.ndarray, cues: np.ndarray, idle: bool) -> None:
    """Args: where the tip is and where it should be; the strength of each cue."""
    last, self._last = self._last, None if idle else (work, place)
    if last is None or idle:
      return
    unit, (_, _, stitches, _, slip, drop), step = self._unit, cues, place - last[1]
    if slip:
      _stroke(self._board, last[0], work, 1.1 * unit, SCRATCH, 0.8)
      _stroke(self._board, last[1], place, 1.3 * unit, SEAM)
    else:
      _stroke(self._board, last[0], work, 1.3 * unit, SEAM)
    if drop:
      _stroke(self._board, place, place, (2 + 2 * min(drop, 1.5)) * unit, STAIN, 0.6)
    self._since += float(np.hypot(*step))
    if stitches and self._since > 4 * unit:
      across = 4 * unit * step[::-1] * (1, -1) / max(float(np.hypot(*step)), 1e-6)
      _stroke(self._board, place - across, place + across, 0.8 * unit, STITCH)
      self._since = 0.0


def _second_hand(image: np.ndarray, place: np.ndarray, hold: float, unit: float, skin: np.ndarray,
                 sleeve: np.ndarray) -> None:
  """Comes from the left and holds the workpiece beside `place`; `hold` 1: is there, 0: is out of the picture."""
  if hold < 0.03:
    return
  wrist = place + unit * np.array([6, -26]) - (1 - hold) * np.array([0, place[1]])
  _stroke(image, wrist + unit * np.array([60, -200]), wrist + unit * np.array([2, -10]), 8 * unit, sleeve)
  _stroke(image, wrist, wrist + unit * np.array([0, 4]), 7.5 * unit, skin)
  for finger in (-7, 0, 7):
    _stroke(image, wrist + unit * np.array([finger * 0.6, 2]), wrist + unit * np.array([finger, 14]), 2.6 * unit,
            0.93 * skin)


def _tool_hand(image: np.ndarray, tip: np.ndarray, upright: float, raised: float, drop: float, unit: float,
               skin: np.ndarray, sleeve: np.ndarray) -> None:
  """The arm with the tool, the tip of which is at `tip`."""
  slant = unit * ((1 - upright) * np.array([17, 19]) + upright * np.array([26, 2]))
  hand = tip + slant
  arm = (1 - raised) * np.array([0.9, 0.45]) + raised * np.array([-0.6, 1.0])
  arm *= unit / np.hypot(*arm)
  wrist, thumb = hand + 14 * arm, hand - 0.35 * slant
  _stroke(image, wrist, hand + 250 * arm, 9 * unit, sleeve)
  _stroke(image, hand, wrist, 7 * unit, skin)
  _stroke(image, tip, hand - 0.3 * slant, 1.5 * unit, STEEL)
  _stroke(image, tip + 0.55 * slant, hand + 0.45 * slant, 2.4 * unit, HANDLE)
  for finger in (-5, 0, 5):
    _stroke(image, hand + unit * np.array([0.5, 1]) * finger, thumb + unit * np.array([0, 0.6]) * finger, 2.6 * unit,
            0.93 * skin)
  if drop > 0.1:
    _stroke(image, tip, tip, 4.5 * unit * min(drop, 1.2), STAIN)
