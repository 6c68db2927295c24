"""What a run's models say of a video, in words and numbers: the score, its rank, and the moments that decided it.

R replicas, of which some answer; V videos, T rows, M references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxskill import cli
from jaxskill.evaluate import conformal, truth
from jaxskill.methods import Assessment
from jaxskill.report import agreement, certainty, wording
from jaxskill.report.agreement import STANDS_OUT
from jaxskill.training.finished_run import FinishedRun, NewVideo

MOMENTS = 3                 # that are named, of each kind
KEYS = 8                    # pictures of a video, at most


class Models(NamedTuple):
  """Which models of a run are asked: those of a row, a criterion, a fold and a seed; for None see `choose`.

  Attributes:
    checkpoint: whose parameters they have, see `finished_run.load`.
    level: share of labels that the ranges of their scores are to hold.
    free_ends: whether two videos are aligned with one another where one shows more than the other: with a piece of it.
  """

  row: str | None = None
  criterion: str | None = None
  fold: str | int | None = None
  seed: int | None = None
  checkpoint: str = "last"
  level: float = conformal.LEVEL
  free_ends: bool = False


def choose(run: FinishedRun, models: Models) -> tuple[np.ndarray, str]:
  """Returns the replicas that answer: (`[n]` numbers, who they are in words).

  A run has one model for every fold and seed. All of them answer, as none was chosen by its result; their mean is
  steadier than any one of them, and their spread says how far it can be relied on. Rows of ablations and criteria are
  not mixed.

  Args:
    models: a `Models`. Of a row and a criterion that are None the run's first answers, of a fold and a seed all.
      Names and numbers are compared as text, as a command line gives them.

  Raises:
    ValueError: if there are none such, with those that there are.
  """
  replicas, left = run.about["replicas"], list(range(len(run.about["replicas"])))
  for field in ("row", "criterion", "fold", "seed"):
    asked = getattr(models, field)
    values = list(dict.fromkeys(replicas[i][field] for i in left))
    if asked is None and field in ("row", "criterion"):
      asked = values[0]
    if asked is not None:
      if str(asked) not in map(str, values):
        raise ValueError(f"--{field}={asked}: no model of the run is of this {field}; there are "
                         f"{', '.join(map(str, values))}.")
      left = [i for i in left if str(replicas[i][field]) == str(asked)]
  chosen = [replicas[i] for i in left]
  several = lambda field: ", ".join(dict.fromkeys(str(r[field]) for r in chosen))
  words = f"mean over {len(chosen)} models" if len(chosen) > 1 else "one model"
  words += f" (folds {several('fold')}; seeds {several('seed')})"
  if chosen[0]["row"]:
    words = f"{chosen[0]['row']}: {words}"
  return np.array(left), words


def percentile(score: float, others: np.ndarray | Sequence[float]) -> float:
  """Returns the share of the others below a score, in percent; equal ones count half."""
  others = np.asarray(others)
  return float(100 * ((others < score).mean() + 0.5 * (others == score).mean()))


def bright(weights: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[dict[str, Any]]:
  """Returns the intervals that hold most attention: runs of rows above the even weight whose peak stands out.

  Args:
    weights: `[T]` that sum to 1; start, end: `[T]` seconds of the rows.

  Returns:
    [{"start", "end", "peak" in seconds, "at", "share"}], at most `MOMENTS`, the largest share of the attention first;
    none where no row has `STANDS_OUT` times an even share. The peak is the middle of the brightest row.
  """
  above = np.concatenate([[False], weights > weights.mean(), [False]])
  edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
  found = sorted(((weights[a:b].sum() / weights.sum(), a, b) for a, b in edges
                  if weights[a:b].max() >= STANDS_OUT * weights.mean()), key=lambda one: -one[0])
  peak = [a + int(np.argmax(weights[a:b])) for _, a, b in found]
  return [dict(start=float(start[a]), end=float(end[b - 1]), peak=float(start[at] + end[at]) / 2,
               at=wording.span(start[a], end[b - 1]), share=float(share))
          for (share, a, b), at in zip(found[:MOMENTS], peak)]


def decisive(segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """Returns the parts of a video that moved its score most.

  What a part moves is how far its score is from the whole, times how much it counts.

  Args:
    segments: of `truth.segments`, importance summing to 1.

  Returns:
    [{"what", "side", "start", "end", "peak" (its middle), "at", "score", "importance", "effect"}], at most `MOMENTS`
    that raised the score, the largest effect first, then at most as many that lowered it.
  """
  total = sum(one["importance"] * one["score"] for one in segments)
  effects = [one["importance"] * (one["score"] - total) for one in segments]
  least, found = 1e-9 * max((abs(one["score"]) for one in segments), default=0.0), []
  for side, what in ((1, "raised the score"), (-1, "lowered the score")):
    moved = side * np.array(effects)
    order = [number for number in np.argsort(-moved, kind="stable") if moved[number] > least]
    found += [segments[number] | dict(
        what=what, side=side, peak=(segments[number]["start"] + segments[number]["end"]) / 2, effect=effects[number],
        at=wording.span(segments[number]["start"], segments[number]["end"])) for number in order[:MOMENTS]]
  return found


def key_moments(result: dict[str, Any], count: int = KEYS) -> list[dict[str, Any]]:
  """Chooses the moments of a video that are worth a picture: those that decided; evenly spaced ones where none did.

  Args:
    result: {"moments", "duration_s"} of `answer`.
    count: at most so many; of more moments, the first of each kind.

  Returns:
    [{"at" seconds, "sides": {side: words}, "decided": bool}] in order of time.
  """
  ranked, seen = [], {}
  for one in result["moments"]:
    seen[one["what"]] = seen.get(one["what"], -1) + 1
    ranked.append((seen[one["what"]], one))
  found = {}
  for _, one in sorted(ranked, key=lambda item: item[0]):
    at = round(one["peak"], 1)                           # two kinds may choose one moment
    if at in found or len(found) < count:
      found.setdefault(at, {})[one["side"]] = one["words"]
  if not found:
    even = (np.arange(count) + 0.5) * result["duration_s"] / count
    return [dict(at=float(at), sides={}, decided=False) for at in even]
  return [dict(at=at, sides=found[at], decided=True) for at in sorted(found)]


def pick(assessments: Assessment, ids: np.ndarray, video: int) -> Assessment:
  """Returns the host Assessment of one video by some replicas, leading axis n."""
  return jax.tree.map(lambda x: x[ids, video], assessments)


def answer(run: FinishedRun, video: NewVideo, assessment: Assessment, ids: np.ndarray, words: str,
           level: float = conformal.LEVEL) -> dict[str, Any]:
  """Returns what is to be said of one video, as JSON can hold it, without its heat maps.

  Args:
    assessment: of `pick`; ids, words: of `choose`; level: see `Models`.

  Raises:
    ValueError: if the score is not finite.
  """
  scores = np.asarray(assessment.score, np.float64)
  if not np.isfinite(scores).all():
    rows = ", ".join(f"{len(rows)} rows of {name}" for name, rows in video.arrays.items())
    raise ValueError(f"its score is not finite; it has {rows}, the training videos "
                     + ", ".join(f"{run.arrays[f'{name}/lengths'].min()} to {run.arrays[f'{name}/lengths'].max()}"
                                 for name in video.arrays) + ".")
  training = [run.training_scores(i) for i in ids]
  ranks = [percentile(score, others) for score, others in zip(scores, training)]
  counts = [len(others) for others in training]
  criterion = run.about["replicas"][ids[0]]["criterion"]
  ranked = run.method.items.ranks
  result = dict(
      video=video.name, file=str(video.file), run=str(run.workdir), system=run.config.method,
      trained_on=run.about["data"],
      simulated=run.about["simulated"], random_weights=any(w.startswith("RANDOM") for w in video.warnings),
      tested=run.tested, ranked=ranked,
      score=float(scores.mean()), spread=float(scores.std(ddof=1)) if len(scores) > 1 else None,
      unit="rank score, without a unit: read the percentile" if ranked else f"that of the labels ({criterion})",
      of=words, percentile=float(np.mean(ranks)), training_videos=min(counts),
      models=[run.about["replicas"][i] | dict(score=float(score), percentile=rank)
              for i, score, rank in zip(ids, scores, ranks)],
      parts={name: float(np.mean(values)) for name, values in assessment.parts.items()},
      duration_s=ends(video, next(iter(video.arrays))), attention={}, curves={}, segments=[], moments=[],
      meanings={name: meaning._asdict() for name, meaning in run.method.meanings.items()})
  of_filters = {name: weights.mean(axis=1) for name, weights in assessment.attention.items()}
  for kind, curves in dict(attention=of_filters, curves=assessment.curves).items():
    for name, values in curves.items():
      start, end = rows_in_time(video, run.method.stream_of(name))
      result[kind][name] = dict(start=start.tolist(), end=end.tolist(),
                                values=values.mean(axis=0)[: len(start)].tolist())
  if assessment.segments:
    stream = run.method.streams[0]
    mean = {name: np.asarray(values).mean(axis=0) for name, values in assessment.segments.items()}
    start, end = rows_in_time(video, stream)
    edges = [*start.tolist(), float(end[-1])]
    result["segments"] = [one | {side: edges[round(one[side])] for side in ("start", "end")}
                          for one in truth.segments(mean, len(start), 1.0)]
  if assessment.alignment is not None:
    start, end = rows_in_time(video, run.method.streams[0])
    result["row_times"] = dict(start=start.tolist(), end=end.tolist())                # of what is aligned
  seen_at = {name: video.seconds(run.method.stream_of(name)) for name in assessment.maps}
  result["moments"] = moments(result, assessment, seen_at)
  agreement.count(result["moments"], result, assessment, video.seconds(run.method.streams[0]), seen_at)
  if run.method.items.compares:
    result["references"] = references(run, video, assessment, ids)
  if assessment.distribution:
    result["distribution"] = distribution(assessment)
  return result | certainty.of_video(run, scores, ids, level, video.warnings) | dict(warnings=video.warnings)


def distribution(assessment: Assessment) -> dict[str, Any]:
  """Returns {title: {"places", "probabilities"}} of one video, mean over the models, as JSON can hold it."""
  return {title: {name: np.asarray(values).mean(axis=0).tolist() for name, values in one._asdict().items()}
          for title, one in assessment.distribution.items()}


def moments(result: dict[str, Any], assessment: Assessment, seen_at: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
  """Returns the moments that decided, of every kind, with what they say in plain words.

  Args:
    result: {"attention", "segments", "meanings"} of `answer`.
    seen_at: {name of heat maps: `[T]` seconds of the rows that they may lie over}.
  """
  found = []
  for name, line in result["attention"].items():
    found += [dict(what=name) | one for one in bright(*(np.array(line[key]) for key in ("values", "start", "end")))]
  found += decisive(result["segments"])
  shown = [name for name in assessment.maps if result["meanings"].get(name, {}).get("shown", True)]
  found += [one for name in shown for one in _looked_at(name, assessment, seen_at[name])]
  for one in found:
    meaning = result["meanings"].get(one["what"], dict(words=one["what"], side=0))
    one |= dict(words=meaning["words"], side=one.get("side", meaning["side"]))
  return found


def ends(video: NewVideo, stream: str) -> float:
  """Returns the seconds that a video lasts, by its rows; those of known times may have gaps."""
  lasts = float(video.duration(stream))
  return max(lasts, float(rows_in_time(video, stream)[1][-1])) if stream in video.row_times else lasts


def rows_in_time(video: NewVideo, stream: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns `[T]` seconds from which and to which each row of a stream speaks; of single frames, up to the next one."""
  start = video.seconds(stream)
  return start, np.append(start[1:], start[-1] + video.row_seconds[stream])


def maps(run: FinishedRun, video: NewVideo,
         assessment: Assessment) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns {name: `[N, h, w]` heat maps that are to be shown, mean over the models} and {name: `[N]` seconds}."""
  meanings = run.method.meanings
  found = {name: np.asarray(values).mean(axis=0) for name, values in assessment.maps.items()
           if name not in meanings or meanings[name].shown}
  seconds = {name: video.seconds(run.method.stream_of(name)) for name in found}
  return found, {name: at[np.asarray(assessment.rows[name][0])] for name, at in seconds.items()}


def narrowest(maps: np.ndarray, count: int = KEYS) -> np.ndarray:
  """Chooses the heat maps worth a picture: those with the highest peaks.

  Args:
    maps: `[N, h, w]`.

  Returns:
    `[n]` numbers in order of time, at most `count`.
  """
  return np.sort(np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:count])


def _looked_at(name: str, assessment: Any, seconds: np.ndarray) -> list[dict[str, Any]]:
  """The frames whose heat map is narrowest, and the place of its peak."""
  values = np.asarray(assessment.maps[name]).mean(axis=0)
  rows, peak = np.asarray(assessment.rows[name][0]), values.max(axis=(1, 2))
  found = []
  for number in np.argsort(-peak, kind="stable")[:MOMENTS]:
    down, right = np.unravel_index(values[number].argmax(), values[number].shape)
    at = float(seconds[rows[number]])
    found.append(dict(what=name, start=at, end=at, peak=at, at=wording.clock(at), share=float(peak[number]),
                      from_left=float((right + 0.5) / values.shape[2]), from_top=float((down + 0.5) / values.shape[1])))
  return found


def references(run: FinishedRun, video: NewVideo, assessment: Assessment, ids: np.ndarray) -> list[dict[str, Any]]:
  """Returns the training videos that a video was compared with, most often used first.

  Returns:
    [{"video", "score" of its labels, "models" that used it, and where rows are aligned "seconds", `[T]` when the
    reference shows what each row shows, "duration_s", "segments"}].
  """
  rows, mask = (x[0, ids] for x in run.references([video.digest], [video.known]))           # [n, M]
  stream = run.method.streams[0]
  position = {name: number for number, name in enumerate(run.arrays["videos"])}
  found = {}
  for model in range(len(ids)):
    for place in np.flatnonzero(mask[model]):
      row = rows[model, place], ids[model]
      name, label = str(run.arrays["bank/videos"][row]), float(run.arrays["bank/label"][row])
      one = found.setdefault(name, dict(score=label, places=[]))
      one["places"].append(None if assessment.alignment is None else np.asarray(assessment.alignment[model, place]))
  result = []
  for name, one in sorted(found.items(), key=lambda item: -len(item[1]["places"])):
    entry = dict(video=name, score=one["score"], models=len(one["places"]))
    if one["places"][0] is not None:
      seconds = float(run.arrays[f"{stream}/row_seconds"][position[name]])
      aligned = np.stack(one["places"]).mean(axis=0, dtype=np.float64)[: len(video.arrays[stream])] * seconds
      entry |= dict(seconds=aligned.round(3).tolist(), segments=run.about["segments"].get(name, []),
                    duration_s=float(run.arrays[f"{stream}/lengths"][position[name]] * seconds))
    result.append(entry)
  return result


def moment_lines(result: dict[str, Any], moments: Sequence[dict[str, Any]]) -> list[str]:
  """Returns moments of a video as lines of text, a line for each kind, also where none stands out.

  Args:
    result: {"attention", "meanings"} of `answer`.
  """
  kinds = {result["meanings"].get(name, {"words": name})["words"]: [] for name in result["attention"]}
  for one in moments:
    kinds.setdefault(one["words"], []).append(f"{one['at']} ({wording.amount(one)})")
  return [f"{words}: {', '.join(some) or 'none stands out'}" for words, some in kinds.items()]


def describe(result: dict[str, Any]) -> str:
  """Returns one video's answer as lines of text: what must be known first, then the score, then what decided it."""
  cautions = ", ".join(wording.cautions(result))
  lines = [cli.plain(result["video"]) + (f": {cautions}" if cautions else "")]
  lines += [f"  warning: {cli.plain(warning)}" for warning in result["warnings"]]
  lines.append(f"  {wording.standing(result)}")
  lines += [] if result["ranked"] else [f"  {wording.exact_percent(result['level'])} range: {result['guarantee']}"]
  lines += [f"  {line}" for line in moment_lines(result, result["moments"])]
  if result.get("references"):
    shown = [f"{cli.plain(one['video'])} ({one['score']:.3g})" for one in result["references"]]
    lines.append(f"  compared with {', '.join(shown[:5])}" + (f" and {len(shown) - 5} more" if len(shown) > 5 else ""))
  return "\n".join(lines)
