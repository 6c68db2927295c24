"""Simulated performances: the default data of every system. Nothing here was recorded; no person was filmed.

One performance is a script in continuous time, drawn from a hidden skill in [0, 1]; every stream samples that script at
its own rate, and the truth is the script itself:

* The performer goes through the phases of the task at a pace of their own, interrupted by idle intervals. Progress is
  the canonical task time reached so far: it warps time and stands still while the performer is idle.
* Half of the phases are critical and hold the key moments. At each of them the performer may show good technique (more
  often and more clearly the further the skill lies above 0.4), or a mistake (the further it lies below 0.6), in one of
  a few ways (cues) that belong to the moment. Skill shows at key moments and nowhere else.
* Static frames show posture errors instead, in every phase, the more the lower the skill; no other stream shows them.
* Idle and distracting intervals carry clutter, and movements along the very directions of technique, mistakes and
  posture errors: out of context they mean nothing, so a mean over all segments is noisy. Performer and camera shift
  all features of a video. `difficulty` scales all of this, and the everyday jitter, against a fixed skill signal.
* Features are ReLU(bias + latents @ directions + noise), with directions drawn from the task's seed: non-negative,
  like averages of I3D's, mean about 0.38. Maps hold the action at one place and a stronger distractor elsewhere.
* Raters see skill plus a little noise; a score is what they saw, times the difficulty of the routine. Pairs are ordered
  by it where it differs by more than a margin. Pace and duration do not depend on skill.

The command writes such features for the real video ids of a published data set, in its layout (`simulated_files`):

  python -m jaxskill.data.simulation --like data/annotations/BEST --out best_simulated

V videos, T segments, N static frames, F frames of maps, P phases, M key moments, C cues, I intervals, K latents.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from jaxskill.data.dataset import Fold, SkillDataset

STREAMS = ("rgb", "static", "maps")
CUES = 3                                     # ways in which technique, and as many in which mistakes show
CLUTTER, LOOK, ROUTINE = 6, 8, 3             # latents of distraction, of performer and camera, of the routine
MOMENTS_PER_PHASE = 3
NUISANCE_AT_ONE = 2.0                        # nuisance scale at difficulty 1, in units of the skill signal
FRAME_TRUTH = dict(posture_error="static", place="maps", distractor="maps")   # the rest of the truth is rgb's


def _rng(*words):
  """A generator of its own for each sequence of names and numbers, so that no draw depends on what else is drawn."""
  words = [zlib.crc32(w.encode()) if isinstance(w, str) else int(w) for w in words]
  if min(words) < 0:
    raise ValueError(f"seeds and numbers of videos, subjects and routines must not be negative, got {min(words)}.")
  return np.random.default_rng(words)


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
  centre: np.ndarray          # [2] where the camera has the action
  orbit: np.ndarray           # [2] angle at the start and turns of the distractor


class Performance(NamedTuple):
  """One video: its streams `[T, ...]`, the truth, and how long it lasts."""

  seconds: float
  streams: dict
  truth: dict


def _windows(start, end, count):
  """`count` windows [count, 2] side by side in [start, end], with a tenth of their room free on either side."""
  edges = np.linspace(start, end, count + 1)
  room = np.diff(edges)
  return np.stack([edges[:-1] + 0.1 * room, edges[1:] - 0.1 * room], 1)


def make_task(seed, num_phases):
  rng = _rng("task", seed)
  shares = rng.uniform(0.5, 1.5, num_phases)
  phases = np.concatenate([[0.0], np.cumsum(shares / shares.sum())])
  phases[-1] = 1.0
  critical = np.sort(rng.permutation(num_phases)[: -(-num_phases // 2)])
  moments = np.concatenate([_windows(phases[p], phases[p + 1], MOMENTS_PER_PHASE) for p in critical])
  posture = np.concatenate([_windows(phases[p], phases[p + 1], 2) for p in range(num_phases)])
  return Task(seed, phases, moments, posture, rng.uniform(-1, 1, (2, 3)))


def make_script(task, skill, rng, look, nuisance):
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
  wave = lambda width: 1.2 * nuisance * np.abs(rng.standard_normal((num, width)))
  return Script(clock, pace / pace[-1], idle, distracting, technique, mistakes, posture,
                dict(movement=wave(2 * CUES), posture=wave(1)), 1.2 * nuisance * rng.standard_normal((num, CLUTTER)),
                look, rng.uniform(0.4, 0.6, 2), rng.uniform([0, -2], [2 * np.pi, 2]))


def draw_script(task, skill, key, subject, routine, *, difficulty, seed):
  """One performance of a task, as every stream of it shows it.

  Args:
    skill: in [0, 1].
    key, subject, routine, difficulty, seed: as in `performances`, of this one.

  Returns:
    (the share of the longest possible duration that it lasts, `Script`).
  """
  rng, nuisance = _rng("script", seed, key), NUISANCE_AT_ONE * difficulty
  share = rng.uniform(0.5, 1.0)
  look = nuisance * (0.4 * _rng("subject", seed, subject).standard_normal(LOOK) + 0.2 * rng.standard_normal(LOOK))
  look = np.concatenate([look, 0.5 * _rng("routine", task.seed, routine).standard_normal(ROUTINE)])
  return share, make_script(task, skill, rng, look, nuisance)


def inside(values, windows):
  """`[T, windows]` whether each value lies in [start, end) of each window."""
  return (values[:, None] >= windows[:, 0]) & (values[:, None] < windows[:, 1])


def places(task, script, progress):
  """`[rows, 2]` where in the frame, (row, column) in [0, 1], the action is at each `progress` `[rows]`."""
  return script.centre + 0.2 * np.mean(
      np.sin(2 * np.pi * (progress[:, None, None] * np.arange(1, 4) + task.path)), -1)


def sample_script(task, script, rows):
  """What the script shows in the middle of each of `rows` equal parts of the video (name -> `[rows, ...]`)."""
  times = (np.arange(rows) + 0.5) / rows
  progress = np.interp(np.interp(times, *script.clock), script.pace, task.phases)
  moment, posture = inside(progress, task.moments), inside(progress, task.posture)
  idle = inside(times, script.idle).any(1)
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


def _action(task, script, seen, kind, nuisance, rng):
  """Latents `[T, K]` of the action: place in the task, idleness, jitter, and skill or its out-of-context look-alike."""
  knots = np.eye(len(task.phases))
  stage = np.stack([np.interp(seen["progress"], task.phases, knot) for knot in knots], 1)      # [T, P + 1]
  stage *= np.where(seen["idle"], 0.3, 1.0)[:, None]
  cues = seen[kind] + seen["intervals"] @ script.waves[kind]
  jitter = 0.3 * nuisance * rng.standard_normal(cues.shape)
  return np.concatenate([stage, seen["idle"][:, None], cues + jitter], 1)


def _directions(task, stream, count, width):
  """What all videos of a task share: `[count, width]` directions of the latents, and the bias `[width]`."""
  rng = _rng("directions", task.seed, stream)
  directions = 0.25 * rng.standard_normal((count, width), np.float32)
  return directions, 0.15 + 0.15 * rng.standard_normal(width, np.float32)


def _features(task, script, seen, stream, width, nuisance, rng):
  """One video of the stream `rgb` (movement) or `static` (posture): `[T, width]` float32."""
  action = _action(task, script, seen, "posture" if stream == "static" else "movement", nuisance, rng)
  clutter = seen["intervals"] @ script.clutter
  latents = np.concatenate([action, clutter, np.tile(script.look, (len(action), 1))], 1, dtype=np.float32)
  directions, bias = _directions(task, stream, latents.shape[1], width)
  features = rng.standard_normal((len(latents), width), np.float32)
  features *= 0.15
  features += latents @ directions
  features += bias
  return np.maximum(features, 0, out=features)


def _maps(task, script, seen, size, width, nuisance, rng):
  """One video of feature maps `[F, size, size, width]` float32: background, action at its place, distractor at its."""
  action = _action(task, script, seen, "movement", nuisance, rng)
  num_stage, frames = len(task.phases) + 1, len(action)
  clutter = seen["intervals"] @ script.clutter
  # the distractor shows movement of its own all the time, none of the performer's
  waves = np.abs(rng.standard_normal((frames, 2 * CUES)))
  other = np.concatenate([np.zeros((frames, num_stage)), waves, rng.standard_normal((frames, CLUTTER))], 1)
  look = np.concatenate([np.zeros(action.shape[1] + CLUTTER), script.look])
  directions, bias = _directions(task, "maps", len(look), width)
  contents = [np.concatenate([action, clutter], 1), (1 + nuisance) * other]
  grid = (np.arange(size) + 0.5) / size
  maps = 0.15 * rng.standard_normal((frames, size, size, width), np.float32)
  maps += bias + look.astype(np.float32) @ directions
  for content, place in zip(contents, (seen["place"], seen["distractor"])):
    blob = np.exp(-0.5 * ((grid - place[:, :, None]) / 0.1) ** 2)                              # [F, 2, size]
    shown = (2 * content) @ directions[: content.shape[1]]                                     # [F, width]
    maps += np.einsum("fy,fx,fc->fyxc", blob[:, 0], blob[:, 1], shown, optimize=True).astype(np.float32)
  return np.maximum(maps, 0, out=maps)


def performances(skills, keys=None, *, subjects=None, routines=None, streams=("rgb",), num_segments=400, width=1024,
                 difficulty=0.5, seed=0, task_seed=0, num_phases=8, static_rows=80, static_width=2048, map_frames=25,
                 map_size=14, map_width=64, max_seconds=400.0, vary_length=False):
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
  for name, value in sizes.items():
    if value < 1:
      raise ValueError(f"{name}={value} must be at least 1.")
  if not 0 <= difficulty <= 1:
    raise ValueError(f"difficulty={difficulty} must lie in [0, 1]: 0 is easy, 1 very hard.")
  if not max_seconds > 0:
    raise ValueError(f"max_seconds={max_seconds} must be positive.")
  if isinstance(streams, str) or not streams or set(streams) - set(STREAMS):
    raise ValueError(f"streams={streams!r} must be a tuple of at least one of {STREAMS}.")
  skills = np.asarray(skills, np.float64)
  if skills.ndim != 1 or not np.all((skills >= 0) & (skills <= 1)):
    raise ValueError(f"skills must be [videos] numbers in [0, 1], got shape {skills.shape}: {skills}.")
  keys = np.arange(len(skills)) if keys is None else keys
  subjects = keys if subjects is None else subjects
  routines = np.zeros(len(skills), int) if routines is None else routines
  for name, values in (("keys", keys), ("subjects", subjects), ("routines", routines)):
    if len(values) != len(skills):
      raise ValueError(f"{name} must number each of the {len(skills)} skills, got {len(values)}.")

  def perform(skill, key, subject, routine):
    share, script = draw_script(task, skill, key, subject, routine, difficulty=difficulty, seed=seed)
    rows = {stream: max(1, round(share * n)) if vary_length else n for stream, n in
            dict(rgb=num_segments, static=static_rows, maps=map_frames).items()}
    seen = {stream: sample_script(task, script, n) for stream, n in rows.items() if stream in {"rgb", *streams}}
    arrays = {}
    for stream in streams:
      noise = _rng("noise", seed, key, stream)
      if stream == "maps":
        arrays[stream] = _maps(task, script, seen[stream], map_size, map_width, nuisance, noise)
      else:
        columns = width if stream == "rgb" else static_width
        arrays[stream] = _features(task, script, seen[stream], stream, columns, nuisance, noise)
    truth = {name: seen["rgb"][name]
             for name in ("relevant_high", "relevant_low", "critical", "idle", "progress", "phase")}
    truth.update({name: seen[stream][name] for name, stream in FRAME_TRUTH.items() if stream in streams})
    return Performance(share * max_seconds, arrays, truth)

  nuisance = NUISANCE_AT_ONE * difficulty
  task = make_task(task_seed, num_phases)
  return (perform(*video) for video in zip(skills, keys, subjects, routines))


def simulate(num_videos=100, num_segments=400, width=1024, streams=("rgb",), difficulty=0.5, seed=0, *, task_seed=0,
             skills=None, num_subjects=25, num_phases=8, test_share=0.25, validation_share=0.15, tie_margin=0.05,
             pair_share=1.0, rater_noise=0.02, score_range=100.0, routine_difficulties=(1.0,), static_rows=80,
             static_width=2048, map_frames=25, map_size=14, map_width=64, max_seconds=400.0, vary_length=False):
  """A data set of simulated performances; video v is the same whatever the number of videos and streams asked for.

  Args:
    num_videos: V.
    num_segments: T, rows of `rgb`.
    width: channels of `rgb`.
    streams: which to make, of `rgb` `[V, T, width]`, `static` `[V, static_rows, static_width]` and
      `maps` `[V, map_frames, map_size, map_size, map_width]`.
    difficulty: of telling skill, in [0, 1]: scales everything that has nothing to do with skill.
    seed: of performers and performances.
    task_seed: of the task: phases, key moments, and the directions in which all of it shows in the features.
    skills: `[V]` hidden skills in [0, 1]; drawn uniformly around the level of each subject if None.
    num_subjects: performers; video v is of performer v modulo `num_subjects`.
    num_phases: of the task.
    test_share, validation_share: of the performers, for the one fold; no performer is on two sides.
    tie_margin: pairs that differ by less, as a share of the score range, are left out as ties.
    pair_share: share of the other pairs that the raters compared, drawn at random.
    rater_noise: standard deviation of the raters, as a share of the score range.
    score_range: highest possible score.
    routine_difficulties: the difficulty of each routine (the category); a performer draws one of them for each video,
      and a score is execution times difficulty, scaled so that the hardest routine can reach `score_range`.
    max_seconds: the longest video; videos last half of it to all of it.
    vary_length: rows every `max_seconds / num_segments` seconds, so that shorter videos have fewer, padded with zeros;
      otherwise every video has `num_segments` rows, however long it lasts.

  Returns:
    A `SkillDataset` with `simulated=True`. The possible range of a score is 0 to the `score_range` that its routine
    allows; criteria: `execution`, what the raters saw, 0 to `score_range` in every routine, and `total`, the score.
    Its truth: `skill` `[V]`; at the segments of `rgb`, `relevant_high`,
    `relevant_low`, `critical` (key moments, whatever is shown there), `idle` `[V, T]` bool, `progress` `[V, T]`
    float32 canonical task time in [0, 1], `phase` `[V, T]` int32; with `static`, `posture_error` `[V, N]` bool; with
    `maps`, `place` and `distractor` `[V, F, 2]` float32 (row, column) in [0, 1]. False or 0 on padding.

  Raises:
    ValueError: for an argument out of its range.
  """
  if num_videos < 1 or num_subjects < 1:
    raise ValueError(f"num_videos={num_videos} and num_subjects={num_subjects} must be at least 1.")
  if not (0 <= test_share and 0 <= validation_share and test_share + validation_share < 1):
    raise ValueError(f"test_share={test_share} and validation_share={validation_share} must not be negative and leave "
                     "some performers for training (sum below 1).")
  if not (tie_margin >= 0 and rater_noise >= 0 and score_range > 0):
    raise ValueError(f"tie_margin={tie_margin} and rater_noise={rater_noise} must not be negative, and "
                     f"score_range={score_range} must be positive.")
  if not 0 < pair_share <= 1:
    raise ValueError(f"pair_share={pair_share} must be above 0 and at most 1.")
  if not len(routine_difficulties) or min(routine_difficulties) <= 0:
    raise ValueError(f"routine_difficulties={routine_difficulties} must be positive numbers, at least one.")
  if skills is not None and len(skills) != num_videos:
    raise ValueError(f"skills must hold one number for each of the {num_videos} videos, got {len(skills)}.")

  subjects = np.arange(num_videos) % num_subjects
  draws = [_rng("labels", seed, video) for video in range(num_videos)]
  own, rater, routine = np.array([[d.standard_normal(), d.standard_normal(), d.uniform()] for d in draws]).T
  if skills is None:
    level = np.array([_rng("level", seed, subject).standard_normal() for subject in subjects])
    skills = ndtr(np.sqrt(0.5) * (level + own))      # uniform over performers and videos
  skills = np.asarray(skills, np.float64)
  routines = (routine * len(routine_difficulties)).astype(int)
  hardness = np.asarray(routine_difficulties, np.float64)[routines]
  execution = np.clip(skills + rater_noise * rater, 0, 1)

  rows = dict(rgb=num_segments, static=static_rows, maps=map_frames)
  padded, seconds = {}, np.zeros(num_videos)
  lengths = {stream: np.zeros(num_videos, np.int32) for stream in streams}
  for v, video in enumerate(performances(
      skills, subjects=subjects, routines=routines, streams=streams, num_segments=num_segments, width=width,
      difficulty=difficulty, seed=seed, task_seed=task_seed, num_phases=num_phases, static_rows=static_rows,
      static_width=static_width, map_frames=map_frames, map_size=map_size, map_width=map_width,
      max_seconds=max_seconds, vary_length=vary_length)):
    seconds[v] = video.seconds
    for name, array in (video.streams | video.truth).items():
      if name not in padded:
        kind = dict(f=np.float32, i=np.int32, b=bool)[array.dtype.kind]
        room = rows[name if name in rows else FRAME_TRUTH.get(name, "rgb")]
        padded[name] = np.zeros((num_videos, room, *array.shape[1:]), kind)
      padded[name][v, : len(array)] = array
    for stream in streams:
      lengths[stream][v] = len(video.streams[stream])

  highest = score_range * hardness / max(routine_difficulties)
  score = (score_range * execution * hardness / max(routine_difficulties)).astype(np.float32)
  better, worse = np.nonzero(execution[:, None] - execution > tie_margin)
  pairs, differ = np.stack([better, worse], 1).astype(np.int32), len(better)
  if pair_share < 1:
    pairs = pairs[_rng("pairs", seed).random(differ) < pair_share]
  return SkillDataset(
      name=f"simulated (difficulty {difficulty:g}, seed {seed})", source="jaxskill.data.simulation.simulated",
      videos=tuple(f"sim_{v:04d}" for v in range(num_videos)),
      streams={name: padded[name] for name in streams}, lengths=lengths,
      row_seconds={name: (seconds / lengths[name]).astype(np.float32) for name in streams},
      pairs=pairs, folds=(_fold(subjects, pairs, test_share, validation_share, seed),),
      score=score, score_range=np.stack([np.zeros(num_videos), highest], 1),
      criteria=dict(execution=score_range * execution, total=score),
      difficulty=hardness.astype(np.float32), category=np.array([f"routine_{r}" for r in routines]),
      subject=np.array([f"performer_{s:03d}" for s in subjects]),
      truth={"skill": skills.astype(np.float32)} | {k: a for k, a in padded.items() if k not in streams},
      tied_pairs=num_videos * (num_videos - 1) // 2 - differ, simulated=True)


def _fold(subjects, pairs, test_share, validation_share, seed):
  """Splits by performer; a pair belongs to a side if both its videos do."""
  people = np.unique(subjects)
  count = lambda share: max(1, round(share * len(people))) if share else 0
  num_test, num_validation = count(test_share), round(validation_share * len(people))
  if num_test + num_validation >= len(people):
    raise ValueError(f"{len(people)} performer(s) do not split into {num_test} for test, {num_validation} for "
                     "validation and at least one for training; simulate more, or set both shares to 0.")
  order = _rng("fold", seed).permutation(people)
  test, validation, train = np.split(order, [num_test, num_test + num_validation])
  videos = lambda side: np.flatnonzero(np.isin(subjects, side))
  inside = lambda side: np.flatnonzero(np.isin(subjects[pairs], side).all(1))
  return Fold("simulated", videos(train), videos(test), inside(train), inside(test), videos(validation),
              inside(validation))
