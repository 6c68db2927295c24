"""How sure a score is: a range around it, and how probable it is that one video is better than another.

Both are calibrated on videos that models are asked about without having trained on them. Those are the validation side
of each fold; where there is none, videos that one fold tests and another trains on (out of fold). The test side of a
single split calibrates nothing: it tells how many scores lie in their ranges.

R replicas, of which n answer; C videos that some fold holds out, P pairs of them, K folds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxskill.evaluate import conformal, pair_probability

ABSENT, TRAIN, VALIDATION, TEST = range(4)      # the side that a video is on
KEEP_APART = ("config.data.validation_share, 0.2 for instance, keeps videos apart that calibrate it; of own features "
              "config.data.split=folds or subject tests every video in turn")
OLD = "an older version trained this run and kept too little that calibrates; train it anew"


class HeldOut(NamedTuple):
  """What every replica says of videos that some fold holds out; kept with a run.

  Attributes:
    score: `[R, C]` by each replica, nan where it has none.
    label: `[R, C]` of what the replica learns; nan where scores have no unit.
    side: `[R, C]` of the replica's fold, which the video is on: `ABSENT`, `TRAIN`, `VALIDATION` or `TEST`.
    fold: `[R]` number of the fold.
    scale: `[R]` standard deviation of a replica's scores of its training videos: ranks have no unit of their own.
    subject: `[C]` number of who is seen, -1 where it is not known.
    met: `[R, C]` whether the replica trained on a video of who is seen.
    pairs: `[P, 2]` labelled pairs (better, worse), where pairs are learnt.
    why_not: why none of this may calibrate, or "".
  """

  score: np.ndarray
  label: np.ndarray
  side: np.ndarray
  fold: np.ndarray
  scale: np.ndarray
  subject: np.ndarray
  met: np.ndarray
  pairs: np.ndarray
  why_not: str = ""


class Part(NamedTuple):
  """The videos of one fold that calibrate, or that are tested.

  Attributes:
    models: `[m]` places of the fold's models among those that answer; videos: `[v]` numbers of the videos.
    said: `[v]` their mean score of each video; errors: `[v]` its distance from the label, none where pairs are learnt.
    gaps: `[p]` of pairs of these videos, mean score of the better one minus that of the worse, over the mean of
      `HeldOut.scale`: in order as mean scores are, and alike for folds of other units.
    tied: `[p]` whether neither is better.
  """

  models: np.ndarray
  videos: np.ndarray
  said: np.ndarray
  errors: np.ndarray
  gaps: np.ndarray
  tied: np.ndarray


class Calibration(NamedTuple):
  """What some models are calibrated on.

  Attributes:
    on_validation: whether these are validation sides, else predictions out of fold.
    parts: `[K]` what calibrates; tests: `[K]` the test side of the same folds.
    videos, people: number of calibration videos and of those who are seen there, None where that is not known.
    new_people: whether what is proven holds for others than these people; None where they are not known.
    by_video, parted: see `conformal.guaranteed`, for a new video of new people or else of these.
  """

  on_validation: bool
  parts: tuple[Part, ...]
  tests: tuple[Part, ...]
  videos: int
  people: int | None
  new_people: bool | None
  by_video: bool
  parted: bool


def of_experiment(experiment: Any, scores: np.ndarray) -> HeldOut:
  """Returns what the replicas of a run say of the videos that its folds hold out.

  Args:
    experiment: see `training.experiment`; scores: `[R, V]` at the end of training.
  """
  dataset, ranks = experiment.dataset, experiment.method.items.ranks
  sides = np.full((len(experiment.replicas), dataset.num_videos), ABSENT, np.int8)
  for row, replica in zip(sides, experiment.replicas):
    fold = dataset.folds[replica.fold]
    for side, videos in ((TRAIN, fold.train_videos), (VALIDATION, fold.validation_videos), (TEST, fold.test_videos)):
      row[videos] = side
  videos = np.flatnonzero((sides >= VALIDATION).any(axis=0))
  labels = [np.full(dataset.num_videos, np.nan) if ranks else dataset.labels(replica.criterion)
            for replica in experiment.replicas]
  subject, met = np.full(len(videos), -1), np.zeros((len(sides), len(videos)), bool)
  if dataset.subject is not None:
    subject = np.unique(dataset.subject[videos], return_inverse=True)[1]
    met = np.stack([np.isin(dataset.subject[videos], dataset.subject[side == TRAIN]) for side in sides])
  both = np.isin(dataset.pairs, videos).all(axis=1) & ranks
  begun = "training began with parameters of a file, and what they had seen is not known"
  return HeldOut(
      score=np.asarray(scores[:, videos], np.float32), label=np.stack(labels)[:, videos].astype(np.float32),
      side=sides[:, videos],
      fold=np.array([replica.fold for replica in experiment.replicas]), subject=subject, met=met,
      scale=np.array([_spread(row[side == TRAIN]) for row, side in zip(scores, sides)]),
      pairs=np.searchsorted(videos, dataset.pairs[both]), why_not=begun if experiment.config.get("init_from") else "")


def _spread(scores: np.ndarray) -> float:
  known = np.asarray(scores, np.float64)[np.isfinite(scores)]
  return float(known.std()) or 1.0 if known.size else 1.0


def calibrate(held: HeldOut, ids: np.ndarray) -> tuple[Calibration | None, str]:
  """Returns what the models `ids` are calibrated on, or None and why there is nothing."""
  folds = list(dict.fromkeys(held.fold[ids].tolist()))
  models = [np.flatnonzero(held.fold[ids] == fold) for fold in folds]
  side = np.stack([held.side[ids[of_fold[0]]] for of_fold in models])                              # [K, C]
  calibrates, on_validation = side == VALIDATION, True
  if not calibrates.any():
    on_validation = False
    trains = side == TRAIN
    calibrates = (side == TEST) & (trains.sum(axis=0) > trains)
  if held.why_not:
    return None, held.why_not
  if not calibrates.any():
    alone = len(folds) == 1 < len(set(held.fold.tolist()))
    return None, ("one fold alone answers, and it kept no validation videos; leave --fold out" if alone else
                  f"training kept no video apart for it: {KEEP_APART}")
  def parts(chosen: np.ndarray) -> tuple[Part, ...]:
    return tuple(_part(held, ids, of_fold, row) for of_fold, row in zip(models, chosen) if row.any())
  found = parts(calibrates)
  used = np.unique(np.concatenate([part.videos for part in found]))
  if not used.size:
    return None, "no video that was kept apart for it has a score"
  parted = not on_validation and len(found) == len(folds) and bool(np.isin(side[:, used], (TRAIN, TEST)).all()
                                                                   and (calibrates[:, used].sum(axis=0) == 1).all())
  people, new_people, by_video = _people(held, ids, found, parted)
  return Calibration(on_validation, found, parts(side == TEST), len(used), people, new_people, by_video, parted), ""


def _people(held: HeldOut, ids: np.ndarray, found: tuple[Part, ...],
            parted: bool) -> tuple[int | None, bool | None, bool]:
  """Returns `Calibration.people`, `new_people` and `by_video` of the parts that calibrate.

  New people are not like those whom the models trained on. Nor is a video of theirs like several of one person, which
  are alike: those of a fold that holds out whole persons are exchangeable with more of the same persons only, and of
  several such folds no video is with all. Folds that part the videos are counted person by person instead.
  """
  people = np.unique(np.concatenate([held.subject[part.videos] for part in found]))
  if people[0] < 0:
    return None, None, True
  met = [bool(held.met[ids[part.models[0]], part.videos].any()) for part in found]
  several = [len(set(held.subject[part.videos].tolist())) < len(part.videos) for part in found]
  new_people = not any(met) and (parted or not any(several))
  by_video = len(found) == 1 or all(known or not repeated for known, repeated in zip(met, several))
  return len(people), new_people, by_video


def _part(held: HeldOut, ids: np.ndarray, models: np.ndarray, chosen: np.ndarray) -> Part:
  """The `Part` of the videos that a row of `[K, C]` chooses, without those that have no score."""
  rows = ids[models]
  said, label = held.score[rows].mean(axis=0, dtype=np.float64), held.label[rows[0]].astype(np.float64)
  videos = np.flatnonzero(chosen & np.isfinite(said))
  errors = np.abs(said - label)[videos]
  if np.isnan(label).all():
    pairs = held.pairs[np.isin(held.pairs, videos).all(axis=1)]
    tied = np.zeros(len(pairs), bool)
  else:
    order = videos[np.argsort(-label[videos], kind="stable")]
    pairs = order[np.stack(np.triu_indices(len(order), 1), axis=1)]                        # the better one first
    tied = label[pairs[:, 0]] == label[pairs[:, 1]]
  gaps = (said[pairs[:, 0]] - said[pairs[:, 1]]) / held.scale[rows].mean(dtype=np.float64)
  return Part(models, videos, said[videos], errors[np.isfinite(errors)], gaps, tied)


def range_of(calibration: Calibration, scores: np.ndarray, level: float) -> tuple[float, float] | None:
  """Returns the range (low, high) of a new video's label; None where too few videos calibrate it.

  Args:
    scores: `[n]` by the models that answer.
  """
  said = [float(np.asarray(scores, np.float64)[part.models].mean()) for part in calibration.parts]
  low, high = conformal.interval(np.repeat(said, [len(part.errors) for part in calibration.parts]),
                                 np.concatenate([part.errors for part in calibration.parts]), level)
  return (low, high) if np.isfinite([low, high]).all() else None


def slope_of(parts: list[Part] | tuple[Part, ...]) -> float | None:
  """Returns the slope of `pair_probability` by the pairs of some parts; None of too few."""
  gaps, tied = (np.concatenate([getattr(part, name) for part in parts]) for name in ("gaps", "tied"))
  return pair_probability.fit(gaps, tied, min(len(gaps), sum(len(part.said) for part in parts)))


def _others(calibration: Calibration, test: Part) -> list[Part]:
  """The parts that calibrate a test side whose own videos must not: its validation side, or the other folds."""
  same = [part for part in calibration.parts if part.models[0] == test.models[0]]
  return same if calibration.on_validation else [part for part in calibration.parts if part.models[0] != test.models[0]]


def coverage(calibration: Calibration, level: float) -> dict[str, Any] | None:
  """Returns how many labels of test videos lie in ranges that these videos did not calibrate.

  Returns:
    The fields of `conformal.Share`, "calibration_videos" of the fold that has fewest, and the median "half_width" of
    the ranges; None where a range is infinite, or nothing is tested.
  """
  hits, widths, counts = [], [], []
  for test in calibration.tests:
    errors = np.concatenate([np.zeros(0)] + [part.errors for part in _others(calibration, test)])
    _, width = conformal.interval(np.zeros(len(errors)), errors, level)
    hits.append(test.errors <= width)
    widths += [width] * len(test.errors)
    counts.append(len(errors))
  if not widths or not np.isfinite(widths).all():
    return None
  hit = np.concatenate(hits)
  return conformal.share(int(hit.sum()), len(hit))._asdict() | dict(
      calibration_videos=min(counts), half_width=float(np.median(widths)))


def pairs_held(calibration: Calibration) -> dict[str, Any] | None:
  """Returns what probabilities come to on test pairs that calibrated none of them.

  Returns:
    {"test_pairs", "claimed": mean probability of the order that scores give, "right": share of pairs in this order,
    "brier": mean squared error of the probability that the better one is better}; None without any.
  """
  promised, gaps = [], []
  for test in calibration.tests:
    others = _others(calibration, test)
    slope = slope_of(others) if others else None
    if slope is None:
      return None
    gaps.append(test.gaps[~test.tied])
    promised.append(pair_probability.probability(slope, gaps[-1]))
  if not sum(map(len, gaps)):
    return None
  p, gap = np.concatenate(promised), np.concatenate(gaps)
  return dict(test_pairs=len(p), claimed=float(np.maximum(p, 1 - p).mean()),
              right=float((gap > 0).mean() + 0.5 * (gap == 0).mean()), brier=float(((1 - p) ** 2).mean()))


def summary(held: HeldOut | None, ids: np.ndarray, level: float) -> dict[str, Any]:
  """Returns how sure the answers of the models `ids` are, as JSON can hold it.

  Args:
    held: None of a run of an older version, which kept no such videos.

  Returns:
    {"level"; "calibrated_on": "validation videos" or "out of fold", None where nothing is, and "why_not" then;
    "videos", "people" and "pairs" that calibrate, "folds"; "at_least": the share of new videos that is guaranteed, None
    without a range, and "new_people": whether of other people too, None where it is not known who is seen; "coverage":
    of `coverage`; "slope": of `pair_probability`, None of too few pairs; "test_pairs": of `pairs_held`}.

  Raises:
    ValueError: unless the level lies between 0 and 1.
  """
  result: dict[str, Any] = dict(
      level=float(conformal.check_level(level)), calibrated_on=None, why_not=OLD, videos=0, people=None, folds=0,
      new_people=None, at_least=None, coverage=None, pairs=0, slope=None, test_pairs=None)
  if held is None:
    return result
  calibration, result["why_not"] = calibrate(held, ids)
  if calibration is None:
    return result
  sizes = [len(part.errors) for part in calibration.parts if len(part.errors)]
  result |= dict(calibrated_on="validation videos" if calibration.on_validation else "out of fold",
                 videos=calibration.videos, people=calibration.people,
                 new_people=calibration.new_people, folds=len(calibration.parts),
                 pairs=sum(len(part.gaps) for part in calibration.parts), slope=slope_of(calibration.parts))
  if result["slope"] is not None:
    result["test_pairs"] = pairs_held(calibration)
  if sum(sizes) >= conformal.videos_needed(level):
    result |= dict(coverage=coverage(calibration, level), at_least=conformal.guaranteed(
        level, sizes, by_video=calibration.by_video, parted=calibration.parted))
  return result
