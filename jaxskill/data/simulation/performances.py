"""Streams of features of simulated performances: their scripts, as movement, posture and maps show them.

V videos, T rows of a stream, F frames of maps, P phases, K latents.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxskill.data.simulation.scripts import (
  CLUTTER,
  CUES,
  NUISANCE_AT_ONE,
  Script,
  Task,
  draw_script,
  make_task,
  rng_of,
  sample_script,
)

STREAMS = ("rgb", "static", "maps")
FRAME_TRUTH = dict(posture_error="static", place="maps", distractor="maps")   # the rest of the truth is rgb's
SEGMENT_TRUTH = ("relevant_high", "relevant_low", "critical", "idle", "progress", "phase")


class Performance(NamedTuple):
  """One video: its streams `[T, ...]`, the truth, and how long it lasts."""

  seconds: float
  streams: dict
  truth: dict


def performances(skills: ArrayLike, keys: Sequence[int] | np.ndarray | None = None, *,
                 subjects: Sequence[int] | np.ndarray | None = None, routines: Sequence[int] | np.ndarray | None = None,
                 streams: Sequence[str] = ("rgb",), num_segments: int = 400, width: int = 1024, difficulty: float = 0.5,
                 seed: int = 0, task_seed: int = 0, num_phases: int = 8, static_rows: int = 80,
                 static_width: int = 2048, map_frames: int = 25, map_size: int = 14, map_width: int = 64,
                 max_seconds: float = 400.0, vary_length: bool = False) -> Iterator[Performance]:
  """Simulates one performance for each of the given skills, one video at a time.

  Args:
    skills: `[V]` hidden skills in [0, 1].
    keys: `[V]` integers >= 0 that number the videos' random draws; default 0 to V - 1.
    subjects, routines: `[V]` integers: who performs (default: everybody once), and which routine (default 0).
    streams, num_segments, ..., vary_length: as in `simulate`.

  Returns:
    An iterator over one `Performance` for each skill, in order, made when asked for.

  Raises:
    ValueError: for an argument out of its range.
  """
  sizes = dict(num_segments=num_segments, width=width, num_phases=num_phases, static_rows=static_rows,
               static_width=static_width, map_frames=map_frames, map_size=map_size, map_width=map_width)
  _check(sizes, difficulty, max_seconds, streams)
  skills = np.asarray(skills, np.float64)
  if skills.ndim != 1 or not np.all((skills >= 0) & (skills <= 1)):
    raise ValueError(f"skills must be [videos] numbers in [0, 1], got shape {skills.shape}: {skills}.")
  keys = np.arange(len(skills)) if keys is None else keys
  subjects = keys if subjects is None else subjects
  routines = np.zeros(len(skills), int) if routines is None else routines
  for name, values in (("keys", keys), ("subjects", subjects), ("routines", routines)):
    if len(values) != len(skills):
      raise ValueError(f"{name} must number each of the {len(skills)} skills, got {len(values)}.")
  task = make_task(task_seed, num_phases)

  def perform(skill: float, key: int, subject: int, routine: int) -> Performance:
    share, script = draw_script(task, skill, key, subject, routine, difficulty=difficulty, seed=seed)
    rows = dict(rgb=num_segments, static=static_rows, maps=map_frames)
    if vary_length:
      rows = {stream: max(1, round(share * n)) for stream, n in rows.items()}
    shown, truth = _show(task, script, rows, streams, sizes, NUISANCE_AT_ONE * difficulty, (seed, key))
    return Performance(share * max_seconds, shown, truth)
  return (perform(*video) for video in zip(skills, keys, subjects, routines))


def _check(sizes: Mapping[str, int], difficulty: float, max_seconds: float, streams: Sequence[str]) -> None:
  if isinstance(streams, str) or not streams or set(streams) - set(STREAMS):
    raise ValueError(f"streams={streams!r} must be a tuple of at least one of {STREAMS}.")
  left_out = tuple(prefix for prefix, stream in (("static_", "static"), ("map_", "maps")) if stream not in streams)
  for name, value in sizes.items():
    if value < 1 and not name.startswith(left_out):
      raise ValueError(f"{name}={value} must be at least 1.")
  if not 0 <= difficulty <= 1:
    raise ValueError(f"difficulty={difficulty} must lie in [0, 1]: 0 is easy, 1 very hard.")
  if not max_seconds > 0:
    raise ValueError(f"max_seconds={max_seconds} must be positive.")


def _show(task: Task, script: Script, rows: Mapping[str, int], streams: Sequence[str], sizes: Mapping[str, int],
          nuisance: float, seeds: tuple[int, int]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns ({stream: `[T, ...]`}, {name: `[T, ...]` of the truth}) of one performance.

  Args:
    rows: {stream: rows of this video}.
    streams: which to make.
    sizes: of `performances`, by name.
    nuisance: scale of everything that has nothing to do with skill, in units of the skill signal.
    seeds: (seed, key) of the noise.
  """
  seen = {stream: sample_script(task, script, n) for stream, n in rows.items() if stream in {"rgb", *streams}}
  arrays = {}
  for stream in streams:
    noise = rng_of("noise", *seeds, stream)
    if stream == "maps":
      arrays[stream] = _maps(task, script, seen[stream], sizes["map_size"], sizes["map_width"], nuisance, noise)
    else:
      columns = sizes["width" if stream == "rgb" else "static_width"]
      arrays[stream] = _features(task, script, seen[stream], stream, columns, nuisance, noise)
  truth = {name: seen["rgb"][name] for name in SEGMENT_TRUTH}
  truth |= {name: seen[stream][name] for name, stream in FRAME_TRUTH.items() if stream in streams}
  return arrays, truth


def _action(task: Task, script: Script, seen: Mapping[str, np.ndarray], kind: str, nuisance: float,
            rng: np.random.Generator) -> np.ndarray:
  """Latents `[T, K]` of the action: place in the task, idleness, jitter, and skill or its out-of-context look-alike."""
  knots = np.eye(len(task.phases))
  stage = np.stack([np.interp(seen["progress"], task.phases, knot) for knot in knots], 1)      # [T, P + 1]
  stage *= np.where(seen["idle"], 0.3, 1.0)[:, None]
  cues = seen[kind] + seen["intervals"] @ script.waves[kind]
  jitter = 0.3 * nuisance * rng.standard_normal(cues.shape)
  return np.concatenate([stage, seen["idle"][:, None], cues + jitter], 1)


@functools.lru_cache(maxsize=8)
def _directions(seed: int, stream: str, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns what all videos of a task share: `[count, width]` directions of the latents, and the bias `[width]`."""
  rng = rng_of("directions", seed, stream)
  directions = 0.25 * rng.standard_normal((count, width), np.float32)
  return directions, 0.15 + 0.15 * rng.standard_normal(width, np.float32)


def _features(task: Task, script: Script, seen: Mapping[str, np.ndarray], stream: str, width: int, nuisance: float,
              rng: np.random.Generator) -> np.ndarray:
  """Returns one video of the stream `rgb` (movement) or `static` (posture): `[T, width]` float32."""
  action = _action(task, script, seen, "posture" if stream == "static" else "movement", nuisance, rng)
  clutter = seen["intervals"] @ script.clutter
  latents = np.concatenate([action, clutter, np.tile(script.look, (len(action), 1))], 1, dtype=np.float32)
  directions, bias = _directions(task.seed, stream, latents.shape[1], width)
  features = rng.standard_normal((len(latents), width), np.float32)
  features *= 0.15
  features += latents @ directions
  features += bias
  return np.maximum(features, 0, out=features)


def _maps(task: Task, script: Script, seen: Mapping[str, np.ndarray], size: int, width: int, nuisance: float,
          rng: np.random.Generator) -> np.ndarray:
  """One video of feature maps `[F, size, size, width]` float32: background, action at its place, distractor at its."""
  action = _action(task, script, seen, "movement", nuisance, rng)
  num_stage, frames = len(task.phases) + 1, len(action)
  clutter = seen["intervals"] @ script.clutter
  # the distractor shows movement of its own all the time, none of the performer's
  waves = np.abs(rng.standard_normal((frames, 2 * CUES)))
  other = np.concatenate([np.zeros((frames, num_stage)), waves, rng.standard_normal((frames, CLUTTER))], 1)
  look = np.concatenate([np.zeros(action.shape[1] + CLUTTER), script.look])
  directions, bias = _directions(task.seed, "maps", len(look), width)
  contents = [np.concatenate([action, clutter], 1), (1 + nuisance) * other]
  grid = (np.arange(size) + 0.5) / size
  maps = 0.15 * rng.standard_normal((frames, size, size, width), np.float32)
  maps += bias + look.astype(np.float32) @ directions
  for content, place in zip(contents, (seen["place"], seen["distractor"])):
    blob = np.exp(-0.5 * ((grid - place[:, :, None]) / 0.1) ** 2)                              # [F, 2, size]
    shown = (2 * content) @ directions[: content.shape[1]]                                     # [F, width]
    maps += np.einsum("fy,fx,fc->fyxc", blob[:, 0], blob[:, 1], shown, optimize=True).astype(np.float32)
  return np.maximum(maps, 0, out=maps)
