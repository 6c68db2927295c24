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

The truth of a data set: `skill` `[V]`; at the segments of `rgb`, `relevant_high`, `relevant_low`, `critical` (key
moments, whatever is shown there), `idle` `[V, T]` bool, `progress` `[V, T]` float32 canonical task time in [0, 1],
`phase` `[V, T]` int32; with `static`, `posture_error` `[V, N]` bool; with `maps`, `place` and `distractor` `[V, F, 2]`
float32 (row, column) in [0, 1]. False or 0 on padding.

The command writes such features for the real video ids of a published data set, in its layout (`like_published`):

  python -m jaxskill.data.simulation --like data/annotations/BEST --out best_simulated

V videos, T segments, N static frames, F frames of maps, P phases, M key moments, C cues, I intervals, K latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.data.simulation.performances import FRAME_TRUTH, performances
from jaxskill.data.simulation.scripts import rng_of

TEST_SHARE = 0.25     # of the performers, as a rule


def simulate(num_videos: int = 100, num_segments: int = 400, width: int = 1024, streams: Sequence[str] = ("rgb",),
             difficulty: float = 0.5, seed: int = 0, *, task_seed: int = 0,
             skills: Sequence[float] | np.ndarray | None = None, num_subjects: int = 25, num_phases: int = 8,
             test_share: float = TEST_SHARE, validation_share: float = 0.15, tie_margin: float = 0.05,
             pair_share: float = 1.0, rater_noise: float = 0.02, score_range: float = 100.0,
             routine_difficulties: Sequence[float] = (1.0,), static_rows: int = 80, static_width: int = 2048,
             map_frames: int = 25, map_size: int = 14, map_width: int = 64, max_seconds: float = 400.0,
             vary_length: bool = False) -> SkillDataset:
  """Simulates a data set of performances; video v is the same whatever the number of videos and streams.

  Args:
    num_videos: V.
    num_segments: T, rows of `rgb`.
    width: channels of `rgb`.
    streams: of `rgb` `[V, T, width]`, `static` `[V, static_rows, static_width]`, and `maps`
      `[V, map_frames, map_size, map_size, map_width]`.
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
    max_seconds: of the longest video; videos last half of it to all of it.
    vary_length: rows every `max_seconds / num_segments` seconds, so that shorter videos have fewer, padded with zeros;
      otherwise every video has `num_segments` rows, however long it lasts.

  Returns:
    A `SkillDataset` with `simulated=True` and its truth (see above). The possible range of a score is 0 to the
    `score_range` that its routine allows; criteria: `execution`, what the raters saw, 0 to `score_range` in every
    routine, and `total`, the score. Raises a `ValueError` for an argument out of its range.
  """
  _check(num_videos, num_subjects, test_share, validation_share, tie_margin, rater_noise, score_range, pair_share,
         routine_difficulties, skills)
  subjects = np.arange(num_videos) % num_subjects
  hidden, routines, execution = _drawn(subjects, skills, len(routine_difficulties), rater_noise, seed)
  videos = performances(
      hidden, subjects=subjects, routines=routines, streams=streams, num_segments=num_segments, width=width,
      difficulty=difficulty, seed=seed, task_seed=task_seed, num_phases=num_phases, static_rows=static_rows,
      static_width=static_width, map_frames=map_frames, map_size=map_size, map_width=map_width,
      max_seconds=max_seconds, vary_length=vary_length)
  padded, lengths, seconds = _padded(videos, num_videos, dict(rgb=num_segments, static=static_rows, maps=map_frames),
                                     streams)
  pairs, similar, tied = _pairs(execution, tie_margin, pair_share, seed)
  return SkillDataset(
      name=f"simulated (difficulty {difficulty:g}, seed {seed})", source="jaxskill.data.simulation.simulated",
      videos=tuple(f"sim_{v:04d}" for v in range(num_videos)),
      streams={name: padded[name] for name in streams}, lengths=lengths,
      row_seconds={name: (seconds / lengths[name]).astype(np.float32) for name in streams},
      pairs=pairs, similar=similar, folds=(_fold(subjects, pairs, test_share, validation_share, seed),),
      subject=np.array([f"performer_{s:03d}" for s in subjects]),
      truth={"skill": hidden.astype(np.float32)} | {k: a for k, a in padded.items() if k not in streams},
      tied_pairs=tied, simulated=True,
      **_scores(execution, routines, routine_difficulties, score_range))


def _check(num_videos: int, num_subjects: int, test_share: float, validation_share: float, tie_margin: float,
           rater_noise: float, score_range: float, pair_share: float, routine_difficulties: Sequence[float],
           skills: Sequence[float] | np.ndarray | None) -> None:
  """Raises a `ValueError` for an argument of `simulate` that is out of its range."""
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


def _drawn(subjects: np.ndarray, skills: Sequence[float] | np.ndarray | None, num_routines: int, rater_noise: float,
           seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """`[V]` hidden skills, where they are not given; `[V]` routines; `[V]` execution as the raters saw it, in [0, 1]."""
  draws = [rng_of("labels", seed, video) for video in range(len(subjects))]
  variation, rater, routine = np.array([[d.standard_normal(), d.standard_normal(), d.uniform()] for d in draws]).T
  if skills is None:
    level = np.array([rng_of("level", seed, subject).standard_normal() for subject in subjects])
    skills = ndtr(np.sqrt(0.5) * (level + variation))  # uniform over performers and videos
  skills = np.asarray(skills, np.float64)
  return skills, (routine * num_routines).astype(int), np.clip(skills + rater_noise * rater, 0, 1)


def _scores(execution: np.ndarray, routines: np.ndarray, routine_difficulties: Sequence[float],
            score_range: float) -> dict[str, Any]:
  """Returns what the raters say of the videos, as fields of a `SkillDataset`; execution `[V]` lies in [0, 1]."""
  hardness = np.asarray(routine_difficulties, np.float64)[routines]
  highest = score_range * hardness / max(routine_difficulties)
  score = (score_range * execution * hardness / max(routine_difficulties)).astype(np.float32)
  return dict(score=score, score_range=np.stack([np.zeros(len(score)), highest], 1),
              criteria=dict(execution=score_range * execution, total=score), difficulty=hardness.astype(np.float32),
              category=np.array([f"routine_{r}" for r in routines]))


def _pairs(execution: np.ndarray, tie_margin: float, pair_share: float,
           seed: int) -> tuple[np.ndarray, np.ndarray, int]:
  """(`[P, 2]` (better, worse) that the raters compared, `[S, 2]` that they found alike, number of all pairs alike)."""
  differs = execution[:, None] - execution > tie_margin
  pairs, similar = (np.argwhere(found).astype(np.int32) for found in (differs, np.triu(~differs & ~differs.T, 1)))
  tied = len(similar)
  if pair_share < 1:
    rng = rng_of("pairs", seed)
    pairs, similar = (found[rng.random(len(found)) < pair_share] for found in (pairs, similar))
  return pairs, similar, tied


def _padded(videos: Iterator[Any], num_videos: int, rows: Mapping[str, int],
            streams: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
  """Puts performances together, padded with zeros.

  Args:
    videos: `Performance`s, of which one is in memory at a time.
    rows: {stream: rows of a video that are kept room for}.
    streams: which there are.

  Returns:
    ({stream, or name of a truth: `[V, rows, ...]`}, {stream: `[V]` lengths}, `[V]` seconds that a video lasts).
  """
  padded, seconds = {}, np.zeros(num_videos)
  lengths = {stream: np.zeros(num_videos, np.int32) for stream in streams}
  for v, video in enumerate(videos):
    seconds[v] = video.seconds
    for name, array in (video.streams | video.truth).items():
      if name not in padded:
        kind = dict(f=np.float32, i=np.int32, b=bool)[array.dtype.kind]
        room = rows[name if name in rows else FRAME_TRUTH.get(name, "rgb")]
        padded[name] = np.zeros((num_videos, room, *array.shape[1:]), kind)
      padded[name][v, : len(array)] = array
    for stream in streams:
      lengths[stream][v] = len(video.streams[stream])
  return padded, lengths, seconds


def _fold(subjects: np.ndarray, pairs: np.ndarray, test_share: float, validation_share: float, seed: int) -> Fold:
  """Splits by performer; a pair belongs to a side if both its videos do."""
  people = np.unique(subjects)
  num_test = max(1, round(test_share * len(people))) if test_share else 0
  num_validation = round(validation_share * len(people))
  if num_test + num_validation >= len(people):
    raise ValueError(f"{len(people)} performer(s) do not split into {num_test} for test, {num_validation} for "
                     "validation and at least one for training; simulate more, or set both shares to 0.")
  order = rng_of("fold", seed).permutation(people)
  test, validation, train = np.split(order, [num_test, num_test + num_validation])
  sides = []
  for side in (train, test, validation):
    of_side = np.isin(subjects, side)
    sides.append((np.flatnonzero(of_side), np.flatnonzero(of_side[pairs].all(1))))
  (train_videos, train_pairs), (test_videos, test_pairs), (validation_videos, validation_pairs) = sides
  return Fold("simulated", train_videos, test_videos, train_pairs, test_pairs, validation_videos, validation_pairs)
