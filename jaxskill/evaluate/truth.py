"""Answers against the truth of simulated performances: attention, places, segments, alignment."""

from __future__ import annotations

import numpy as np

from jaxskill.evaluate.metrics import average_precision, kendall_tau, spearman

PLACES = ("place", "distractor")     # truths about maps: where the action is, and what only looks like it
PLACE_RADIUS = 0.2                   # share of the frame's side: two standard deviations of what is shown at a place
# What attention should find: the truth, and whose attention it is held against, the first of these that there is.
TRUTHS = dict(high=("relevant_high", ("high", "attention", "both")), low=("relevant_low", ("low", "attention", "both")),
              key_moment=("critical", ("rgb",)), posture_error=("posture_error", ("static",)))


def place_mass(maps, places, radius=PLACE_RADIUS):
  """Mean share of heat maps that lies around places.

  Args:
    maps: `[N, h, w]`, each of a positive sum; their places tile the frame.
    places: `[N, 2]` (row, column) as shares of its sides.
    radius: what counts as around, as a share of a side.
  """
  rows, columns = ((np.arange(size) + 0.5) / size for size in maps.shape[1:])
  square = (rows[:, None] - places[:, 0, None, None]) ** 2 + (columns - places[:, 1, None, None]) ** 2
  return float(((maps * (square <= radius ** 2)).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))).mean())


def against_truth(dataset, fold, scores, timelines, scored=False, stream_of=None, maps=None, rows=None):
  """How well scores and attention agree with what is known about the test videos.

  Args:
    stream_of: timeline -> the stream whose rows it follows; the first stream if None.
    maps, rows: {name: `[V, N, h, w]`}, {name: `[V, N]`} heat maps and the frames they lie over.

  Returns:
    {"spearman_skill" | "spearman_score" | "kendall_score": test videos against the simulated skill or the labels;
    "ap_" and a name of `TRUTHS`: mean average precision of that attention for the truly relevant rows, beside
    "chance_", what equal weights reach; the name of heat maps and one of `PLACES`, e.g. "attention_place": their share
    around that place}.
  """
  ids, result = fold.test_videos, {}
  if dataset.score is not None and len(ids) and not scored:      # where scores are learnt, they are measured as such
    result["spearman_score"] = spearman(scores[ids], dataset.score[ids])
    result["kendall_score"] = kendall_tau(scores[ids], dataset.score[ids])
  if "skill" in dataset.truth and len(ids):
    result["spearman_skill"] = spearman(scores[ids], dataset.truth["skill"][ids])
  for side, (truth, modules) in TRUTHS.items():
    relevant = dataset.truth.get(truth)
    names = [f"{module} attention" for module in modules]
    name = next((name for name in names if name in timelines), None)
    if relevant is None or name is None or relevant.shape != timelines[name].shape:     # the truth is of another stream
      continue
    lengths = dataset.lengths[stream_of(name) if stream_of else next(iter(dataset.lengths))]
    found, chance = [], []
    for video in ids:
      shown = relevant[video, :lengths[video]]
      found.append(average_precision(timelines[name][video, :lengths[video]], shown))
      chance.append(float(shown.mean()) if shown.any() else float("nan"))
    if np.isfinite(found).any():
      result[f"ap_{side}"], result[f"chance_{side}"] = float(np.nanmean(found)), float(np.nanmean(chance))
  for name, shown in (maps or {}).items():
    for truth in PLACES if len(ids) else ():
      if truth in dataset.truth:
        places = np.take_along_axis(dataset.truth[truth][ids], rows[name][ids][..., None], axis=1).reshape(-1, 2)
        own = shown[ids].reshape(-1, *shown.shape[2:])
        result[f"{name}_{truth}"] = place_mass(own, places)
  return result


def alignment_against_truth(dataset, fold, alignment, references, known, stream):
  """How well test videos are aligned with their references, where the progress through the task is known.

  Args:
    alignment: {name: `[V, T]`} the place in each of M references that a row leads to, in rows of the reference.
    references, known: `[V, M]` videos, and which of them there are.
    stream: whose rows are aligned.

  Returns:
    Means over test videos and references: "alignment_error_s", seconds between the aligned place in the reference and
    the one where it was as far in the task, and "kendall_alignment", Kendall's tau of true progress, of the video and
    of the reference at the aligned place (near 1 for whatever goes forward); beside them "linear_error_s" and
    "kendall_linear", what scaling time alone reaches. Empty where the truth is not known.
  """
  progress, result = dataset.truth.get("progress"), {}
  if progress is None or progress.shape != dataset.streams[stream].shape[:2]:
    return {}
  lengths, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  for video in fold.test_videos:
    own = progress[video, : lengths[video]]
    compared = zip(alignment.values(), references[video], known[video])
    for place, reference in [(places[video], reference) for places, reference, there in compared if there]:
      times = (np.arange(lengths[reference]) + 0.5) * seconds[reference]
      reached = progress[reference, : lengths[reference]]
      true = np.interp(own, reached, times)
      for name, found in dict(alignment=place[: len(own)] * seconds[reference],
                              linear=(np.arange(len(own)) + 0.5) / len(own) * len(times) * seconds[reference]).items():
        result.setdefault(f"{name}_error_s", []).append(np.abs(found - true).mean())
        tau = kendall_tau(np.interp(found, times, reached), own)
        result.setdefault(f"kendall_{name}", []).append(tau)
  return {name: float(np.nanmean(values)) for name, values in result.items() if np.isfinite(values).any()}


def segments(timelines, video, length, row_seconds):
  """The segments of one video: [{"start", "end" in seconds, "score", "importance"}].

  Args:
    timelines: {"segment", "segment score", "segment importance": `[V, T]`}, equal within a segment.
  """
  number = timelines["segment"][video, :length]
  first = np.flatnonzero(np.diff(number, prepend=-1))
  return [dict(start=float(start * row_seconds), end=float(end * row_seconds),
               score=float(timelines["segment score"][video, start]),
               importance=float(timelines["segment importance"][video, start]))
          for start, end in zip(first, [*first[1:], length])]


def segments_against_truth(dataset, fold, timelines, stream):
  """Whether the segments of a test video that score lowest are the faulty ones, which show a mistake.

  Returns:
    {"ap_faulty": mean average precision, "chance_faulty": what equal scores reach}; empty where the truth is not known.
  """
  faulty, found = dataset.truth.get("relevant_low"), []
  if faulty is None or faulty.shape != timelines["segment"].shape:
    return {}
  for video in fold.test_videos:
    number = timelines["segment"][video, : dataset.lengths[stream][video]]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    shown = np.logical_or.reduceat(faulty[video, : len(number)], first)
    if shown.any():
      found.append((average_precision(-timelines["segment score"][video, first], shown), shown.mean()))
  return dict(zip(("ap_faulty", "chance_faulty"), map(float, np.mean(found, axis=0)))) if found else {}


def filter_correlation(dataset, fold, timelines, module, count):
  """Mean correlation of the attention of each two filters over the test videos (Fig. 7), `[K, K]` nested lists."""
  matrices = []
  for video in fold.test_videos:
    real = next(iter(dataset.lengths.values()))[video]
    curves = np.stack([timelines[f"{module} filter {k + 1}"][video, :real] for k in range(count)])
    if real > 1 and (np.ptp(curves, axis=1) > 0).all():
      matrices.append(np.corrcoef(curves))
  return np.mean(matrices, axis=0).tolist() if matrices else None
