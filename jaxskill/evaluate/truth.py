"""Answers against the truth of simulated performances: attention, places, segments, alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxskill.data import Fold, SkillDataset
from jaxskill.evaluate.metrics import average_precision, kendall_tau, spearman

PLACE_RADIUS = 0.2                   # share of the frame's side: two standard deviations of what is shown at a place
# Truths of rows that attention may be meant to find, by the names that results have for them.
MOMENTS = dict(relevant_high="high", relevant_low="low", critical="key_moment", posture_error="posture_error")
PLACES = "place", "distractor"       # truths of frames that heat maps may be meant to find


def place_mass(maps: np.ndarray, places: np.ndarray, radius: float = PLACE_RADIUS) -> float:
  """Returns the mean share of heat maps that lies around places.

  Args:
    maps: `[N, h, w]`, each of a positive sum; their places tile the frame.
    places: `[N, 2]` (row, column) as shares of its sides.
    radius: what counts as around, as a share of a side.
  """
  rows, columns = ((np.arange(size) + 0.5) / size for size in maps.shape[1:])
  square = (rows[:, None] - places[:, 0, None, None]) ** 2 + (columns - places[:, 1, None, None]) ** 2
  return float(((maps * (square <= radius ** 2)).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))).mean())


def against_truth(dataset: SkillDataset, fold: Fold, scores: np.ndarray, attention: Mapping[str, np.ndarray],
                  finds: Mapping[str, Sequence[str]], scored: bool = False,
                  stream_of: Callable[[str], str] | None = None, maps: Mapping[str, np.ndarray] = {},
                  rows: Mapping[str, np.ndarray] = {}) -> dict[str, float]:
  """Returns how well scores and attention agree with what is known about the test videos.

  Args:
    attention: {name: `[V, T]`} weights.
    finds: {name of attention or of heat maps: names of the truths that it should find}.
    stream_of: name of attention -> the stream whose rows it follows; the first stream if None.
    maps, rows: {name: `[V, N, h, w]`}, {name: `[V, N]`} heat maps and the frames they lie over.

  Returns:
    {"spearman_skill" | "spearman_score" | "kendall_score": test videos against the simulated skill or the labels;
    "ap_" and a name of `MOMENTS`: mean average precision of the attention for the truly relevant rows, beside
    "chance_", what equal weights reach; the name of heat maps and a place that they should find, e.g.
    "attention_place": their share around that place}.
  """
  ids, result = fold.test_videos, {}
  if dataset.score is not None and len(ids) and not scored:      # where scores are learnt, they are measured as such
    result["spearman_score"] = spearman(scores[ids], dataset.score[ids])
    result["kendall_score"] = kendall_tau(scores[ids], dataset.score[ids])
  if "skill" in dataset.truth and len(ids):
    result["spearman_skill"] = spearman(scores[ids], dataset.truth["skill"][ids])
  for name, weights in attention.items():
    lengths = dataset.lengths[stream_of(name) if stream_of else next(iter(dataset.lengths))]
    for truth in finds.get(name, ()):
      relevant, moment = dataset.truth.get(truth), MOMENTS[truth]
      if relevant is None or relevant.shape != weights.shape or f"ap_{moment}" in result:     # it is of another stream
        continue
      shown = [relevant[video, :lengths[video]] for video in ids]
      found = [average_precision(weights[video, :lengths[video]], true) for video, true in zip(ids, shown)]
      if np.isfinite(found).any():
        result[f"ap_{moment}"] = float(np.nanmean(found))
        result[f"chance_{moment}"] = float(np.mean([true.mean() for true in shown if true.any()]))
  for name, seen in maps.items():
    for truth in finds.get(name, ()) if len(ids) else ():
      if truth in dataset.truth:
        places = np.take_along_axis(dataset.truth[truth][ids], rows[name][ids][..., None], axis=1).reshape(-1, 2)
        result[f"{name}_{truth}"] = place_mass(seen[ids].reshape(-1, *seen.shape[2:]), places)
  return result


def alignment_against_truth(dataset: SkillDataset, fold: Fold, alignment: np.ndarray, references: np.ndarray,
                            known: np.ndarray, stream: str) -> dict[str, float]:
  """Returns how well test videos are aligned with their references, where the progress through the task is known.

  Args:
    alignment: `[V, M, T]` the place in each of M references that a row leads to, in rows of the reference.
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
    true_progress = progress[video, : lengths[video]]
    compared = zip(alignment[video], references[video], known[video])
    for place, reference in [(place, reference) for place, reference, there in compared if there]:
      times = (np.arange(lengths[reference]) + 0.5) * seconds[reference]
      reached = progress[reference, : lengths[reference]]
      true = np.interp(true_progress, reached, times)
      scaled = (np.arange(len(true_progress)) + 0.5) / len(true_progress) * len(times)        # rows of the reference
      for name, found in dict(alignment=place[: len(true_progress)] * seconds[reference],
                              linear=scaled * seconds[reference]).items():
        result.setdefault(f"{name}_error_s", []).append(np.abs(found - true).mean())
        tau = kendall_tau(np.interp(found, times, reached), true_progress)
        result.setdefault(f"kendall_{name}", []).append(tau)
  return {name: float(np.nanmean(values)) for name, values in result.items() if np.isfinite(values).any()}


def segments(found: Mapping[str, np.ndarray], length: int, row_seconds: float) -> list[dict[str, float]]:
  """Returns the segments of one video: [{"start", "end" in seconds, "score", "importance"}].

  Args:
    found: {"number": `[T]` the segment that each row is in, "score": `[K]`, "importance": `[K]`} of the video.
    length: real rows.
  """
  number = np.asarray(found["number"][:length]).astype(int)
  first = np.flatnonzero(np.diff(number, prepend=-1))
  return [dict(start=float(start * row_seconds), end=float(end * row_seconds),
               score=float(found["score"][number[start]]), importance=float(found["importance"][number[start]]))
          for start, end in zip(first, [*first[1:], length])]


def segments_against_truth(dataset: SkillDataset, fold: Fold, found: Mapping[str, np.ndarray],
                           stream: str) -> dict[str, float]:
  """Returns whether the segments of a test video that score lowest are the faulty ones, which show a mistake.

  Args:
    found: {"number": `[V, T]`, "score": `[V, K]`, "importance": `[V, K]`}.

  Returns:
    {"ap_faulty": mean average precision, "chance_faulty": what equal scores reach}; empty where the truth is not known.
  """
  faulty, result = dataset.truth.get("relevant_low"), []
  if faulty is None or faulty.shape != found["number"].shape:
    return {}
  for video in fold.test_videos:
    number = found["number"][video, : dataset.lengths[stream][video]]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    shown = np.logical_or.reduceat(faulty[video, : len(number)], first)
    if shown.any():
      result.append((average_precision(-found["score"][video, number[first]], shown), shown.mean()))
  return dict(zip(("ap_faulty", "chance_faulty"), map(float, np.mean(result, axis=0)))) if result else {}


def filter_correlation(dataset: SkillDataset, attention: np.ndarray, other: np.ndarray,
                       stream: str) -> list[list[float]] | None:
  """Returns how each filter of one module correlates with each of another, mean over all videos (Pros & Cons, Fig. 7).

  Args:
    attention, other: `[V, K, T]`, `[V, L, T]` of both modules, over the rows of a stream.

  Returns:
    `[K, L]` lists; None where in every video some filter is the same all along.
  """
  matrices = []
  for video in range(dataset.num_videos):
    real = dataset.lengths[stream][video]
    curves = np.concatenate([attention[video, :, :real], other[video, :, :real]])
    if real > 1 and (np.ptp(curves, axis=1) > 0).all():
      matrices.append(np.corrcoef(curves)[: attention.shape[1], attention.shape[1]:])
  return np.mean(matrices, axis=0).tolist() if matrices else None
