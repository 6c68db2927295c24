"""The script of a simulated performance: what a hidden skill makes of a task, in continuous time.

Every stream, and every picture of `scene`, samples the same script at its own rate.

T rows of a stream, P phases, M key moments, C cues, I intervals.
"""

from __future__ import annotations

import functools
import zlib
from typing import NamedTuple

import numpy as np

CUES = 3                                     # ways in which technique, and as many in which mistakes show
CLUTTER, LOOK, ROUTINE = 6, 8, 3             # latents of distraction, of performer and camera, of the routine
MOMENTS_PER_PHASE = 3
NUISANCE_AT_ONE = 2.0                        # nuisance scale at difficulty 1, in units of the skill signal


def rng_of(*words: int | str) -> np.random.Generator:
  """Makes a generator for each sequence of names and numbers, so that no draw depends on what else is drawn.

  Raises:
    ValueError: for a negative number.
  """
  numbers = [zlib.crc32(w.encode()) if isinstance(w, str) else int(w) for w in words]
  if min(numbers) < 0:
    raise ValueError(f"seeds and numbers of videos, subjects and routines must not be negative, got {min(numbers)}.")
  return np.random.default_rng(numbers)


class Task(NamedTuple):
  """What all performers share; windows are [start, end] in progress, the canonical task time."""

  seed: int
  phases: np.ndarray          # [P + 1] progress at the boundaries of the phases
  moments: np.ndarray         # [M, 2] key moments, inside the critical phases
  posture: np.ndarray         # [M', 2] windows in which a posture error can show, in every phase
  path: np.ndarray            # [2, 3] waves of the place of the action


class Script(NamedTuple):
  """One performance; times in [0, 1] of the video."""

  clock: np.ndarray           # [2, knots] time -> time spent working
  pace: np.ndarray            # [P + 1] time spent working at the boundaries of the phases
  idle: np.ndarray            # [I, 2] intervals
  distracting: np.ndarray     # [I', 2] intervals
  technique: np.ndarray       # [M] strength of good technique, 0 where none is shown
  mistakes: np.ndarray        # [M]
  posture: np.ndarray         # [M'] strength of posture errors
  waves: dict                 # name -> [I + I', c] what the intervals show along the directions of skill
  clutter: np.ndarray         # [I + I', CLUTTER]
  look: np.ndarray            # [LOOK + ROUTINE] appearance of performer, camera and routine
  center: np.ndarray          # [2] where the camera has the action
  orbit: np.ndarray           # [2] angle at the start and turns of the distractor


def _windows(start: float, end: float, count: int) -> np.ndarray:
  """Returns `count` windows [count, 2] side by side in [start, end], with a tenth of their room free on either side."""
  edges = np.linspace(start, end, count + 1)
  room = np.diff(edges)
  return np.stack([edges[:-1] + 0.1 * room, edges[1:] - 0.1 * room], 1)


def make_task(seed: int, num_phases: int) -> Task:
  """Draws the task of a seed: its phases, key moments and windows of posture errors."""
  rng = rng_of("task", seed)
  shares = rng.uniform(0.5, 1.5, num_phases)
  phases = np.concatenate([[0.0], np.cumsum(shares / shares.sum())])
  phases[-1] = 1.0
  critical = np.sort(rng.permutation(num_phases)[: -(-num_phases // 2)])
  moments = np.concatenate([_windows(phases[p], phases[p + 1], MOMENTS_PER_PHASE) for p in critical])
  posture = np.concatenate([_windows(phases[p], phases[p + 1], 2) for p in range(num_phases)])
  return Task(seed, phases, moments, posture, rng.uniform(-1, 1, (2, 3)))


def make_script(task: Task, skill: float, rng: np.random.Generator, look: np.ndarray, nuisance: float) -> Script:
  """Draws what happens in one performance; the only place where the hidden skill enters."""
  idle_shares = rng.uniform(0.15, 0.35) * rng.dirichlet(np.full(rng.integers(4, 8), 3.0))
  work = np.sort(rng.uniform(size=len(idle_shares)))
  start = work * (1 - idle_shares.sum()) + np.cumsum(idle_shares) - idle_shares
  idle = np.stack([start, start + idle_shares], 1)
  clock = np.array([[0, *idle.ravel(), 1], [0, *np.repeat(work, 2), 1]])
  pace = np.cumsum([0, *(np.diff(task.phases) * rng.lognormal(0, 0.35, len(task.phases) - 1))])
  start = rng.uniform(0, 0.95, rng.integers(3, 7))
  distracting = np.stack([start, start + rng.uniform(0.01, 0.05, len(start))], 1)

  expertise, clumsiness = np.clip((skill - 0.4) / 0.6, 0, 1), np.clip((0.6 - skill) / 0.6, 0, 1)
  outcome, clarity = rng.uniform(size=len(task.moments)), rng.lognormal(0, 0.2, len(task.moments))
  technique = (outcome < 0.9 * expertise) * (0.6 + 0.6 * expertise) * clarity
  mistakes = (outcome > 1 - 0.9 * clumsiness) * (0.6 + 0.6 * clumsiness) * clarity
  posture = (rng.uniform(size=len(task.posture)) < 0.8 * (1 - skill)) * rng.lognormal(0, 0.2, len(task.posture))

  num = len(idle) + len(distracting)
  waves = {name: 1.2 * nuisance * np.abs(rng.standard_normal((num, width)))
           for name, width in dict(movement=2 * CUES, posture=1).items()}
  clutter = 1.2 * nuisance * rng.standard_normal((num, CLUTTER))
  center, orbit = rng.uniform(0.4, 0.6, 2), rng.uniform([0, -2], [2 * np.pi, 2])
  return Script(clock, pace / pace[-1], idle, distracting, technique, mistakes, posture, waves, clutter, look, center,
                orbit)


def draw_script(task: Task, skill: float, key: int, subject: int, routine: int, *, difficulty: float,
                seed: int) -> tuple[float, Script]:
  """Returns one performance of a task, as every stream of it shows it.

  Args:
    skill: in [0, 1].
    key, subject, routine, difficulty, seed: as in `performances`, of this one.

  Returns:
    (the share of the longest possible duration that it lasts, `Script`).
  """
  rng, nuisance = rng_of("script", seed, key), NUISANCE_AT_ONE * difficulty
  share = rng.uniform(0.5, 1.0)
  look = nuisance * (0.4 * rng_of("subject", seed, subject).standard_normal(LOOK) + 0.2 * rng.standard_normal(LOOK))
  return share, make_script(task, skill, rng, np.concatenate([look, _look_of_routine(task.seed, routine)]), nuisance)


@functools.lru_cache(maxsize=64)
def _look_of_routine(task_seed: int, routine: int) -> np.ndarray:
  return 0.5 * rng_of("routine", task_seed, routine).standard_normal(ROUTINE)


def inside(values: np.ndarray, windows: np.ndarray) -> np.ndarray:
  """Returns `[T, windows]` whether each value lies in [start, end) of each window."""
  return (values[:, None] >= windows[:, 0]) & (values[:, None] < windows[:, 1])


def inside_any(values: np.ndarray, windows: np.ndarray) -> np.ndarray:
  """Returns `[T]` whether each value lies in [start, end) of some window."""
  return np.logical_or.reduce(inside(values, windows), axis=1)


def places(task: Task, script: Script, progress: np.ndarray) -> np.ndarray:
  """Returns `[rows, 2]` where in the frame, (row, column) in [0, 1], the action is at each `progress` `[rows]`."""
  return script.center + 0.2 * np.mean(
      np.sin(2 * np.pi * (progress[:, None, None] * np.arange(1, 4) + task.path)), -1)


def sample_script(task: Task, script: Script, rows: int) -> dict[str, np.ndarray]:
  """Returns what the script shows in the middle of each of `rows` equal parts of the video (name -> `[rows, ...]`)."""
  times = (np.arange(rows) + 0.5) / rows
  progress = np.interp(np.interp(times, *script.clock), script.pace, task.phases)
  moment, posture = inside(progress, task.moments), inside(progress, task.posture)
  idle = inside_any(times, script.idle)
  moment, posture = moment & ~idle[:, None], posture & ~idle[:, None]
  ways = np.arange(len(task.moments))[:, None] % CUES == np.arange(CUES)                       # [M, C]
  technique, mistakes = (moment @ (strength[:, None] * ways) for strength in (script.technique, script.mistakes))
  place = places(task, script, progress)
  angle = script.orbit[0] + 2 * np.pi * script.orbit[1] * times
  offset = 0.4 * np.stack([np.sin(angle), np.cos(angle)], 1)
  return dict(
      progress=progress, idle=idle, critical=moment.any(1),
      phase=np.clip(np.searchsorted(task.phases, progress, side="right") - 1, 0, len(task.phases) - 2),
      movement=np.concatenate([technique, mistakes], 1), posture=posture @ script.posture[:, None],
      relevant_high=technique.any(1), relevant_low=mistakes.any(1), posture_error=posture @ (script.posture > 0),
      intervals=inside(times, np.concatenate([script.idle, script.distracting])),
      place=place, distractor=place + np.where(np.abs(place + offset - 0.5) > 0.5, -offset, offset))
