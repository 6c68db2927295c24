"""What a run's models say of a video, in words and numbers: the score, its rank, and the moments that decided it.

R replicas, of which some answer; V videos, T rows, M references.
"""

from __future__ import annotations

import jax
import numpy as np

from jaxskill import evaluate, methods

MOMENTS = 3                 # that are named, of each kind


def choose(run, options):
  """The replicas that answer: (`[n]` numbers, who they are in words).

  A run has one model for every fold and seed. All of them answer, as none was chosen by its result; their mean is steadier
  than any one of them, and their spread says how far it can be relied on. Rows of ablations and criteria are not mixed.

  Raises:
    ValueError: if there are none such.
  """
  replicas, left = run.about["replicas"], list(range(len(run.about["replicas"])))
  for field in ("row", "criterion", "fold", "seed"):
    asked = getattr(options, field)
    values = list(dict.fromkeys(replicas[i][field] for i in left))
    if asked is None and field in ("row", "criterion"):
      asked = values[0]
    if asked is not None:
      if asked not in values:
        raise ValueError(f"--{field}={asked}: the run has only {', '.join(map(str, values))}.")
      left = [i for i in left if replicas[i][field] == asked]
  own = [replicas[i] for i in left]
  several = lambda field: ", ".join(dict.fromkeys(str(r[field]) for r in own))
  words = f"mean over {len(own)} models" if len(own) > 1 else "one model"
  words += f" (folds {several('fold')}; seeds {several('seed')})"
  if own[0]["row"]:
    words = f"{own[0]['row']}: {words}"
  return np.array(left), words


def percentile(score, others):
  """Share of the others below a score, in percent; equal ones count half."""
  others = np.asarray(others)
  return float(100 * ((others < score).mean() + 0.5 * (others == score).mean()))


def clock(seconds, fine=False):
  """Seconds as m:ss, or m:ss.s."""
  total = round(seconds, 1) if fine else round(seconds)
  return f"{int(total // 60)}:{total % 60:04.1f}" if fine else f"{int(total // 60)}:{int(total % 60):02d}"


def span(start, end):
  """An interval as m:ss-m:ss; with tenths where it is short."""
  return f"{clock(start, end - start < 3)}-{clock(end, end - start < 3)}"


def bright(weights, start, end):
  """The intervals that hold most attention: runs of rows above the even weight.

  Args:
    weights: `[T]` that sum to 1; start, end: `[T]` seconds of the rows.

  Returns:
    [{"start", "end", "at", "share"}], at most `MOMENTS`, the largest share of the attention first; none where it is even.
  """
  above = np.concatenate([[False], weights > weights.mean() * 1.001, [False]])
  edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
  found = sorted(((weights[a:b].sum() / weights.sum(), a, b) for a, b in edges), key=lambda one: -one[0])
  return [dict(start=float(start[a]), end=float(end[b - 1]), at=span(start[a], end[b - 1]), share=float(share))
          for share, a, b in found[:MOMENTS]]


def pick(assessments, ids, video):
  """Host Assessment of one video by some replicas, leading axis n."""
  return jax.tree.map(lambda x: x[ids, video], assessments)


def answer(run, own, assessment, ids, words):
  """What is to be said of one video, as JSON can hold it, without its heat maps.

  Args:
    own: `own.Own`; assessment: of `pick`; ids, words: of `choose`.

  Raises:
    ValueError: if the score is not finite.
  """
  scores = np.asarray(assessment.score, np.float64)
  if not np.isfinite(scores).all():
    rows = ", ".join(f"{len(rows)} rows of {name}" for name, rows in own.arrays.items())
    raise ValueError(f"its score is not finite; it has {rows}, the training videos "
                     + ", ".join(f"{run.arrays[f'{name}/lengths'].min()} to {run.arrays[f'{name}/lengths'].max()}"
                                 for name in own.arrays) + ".")
  training = [run.arrays["score"][i][run.arrays["trained"][i]] for i in ids]
  ranks = [percentile(score, others) for score, others in zip(scores, training)]
  mean = {name: np.asarray(values).mean(axis=0) for name, values in assessment.timelines.items()}
  criterion = run.about["replicas"][ids[0]]["criterion"]
  ranked = run.method.learns_from == "pairs"
  result = dict(
      video=own.name, file=str(own.file), run=str(run.workdir), system=run.config.method, trained_on=run.about["data"],
      simulated=run.about["simulated"], random_weights=any(w.startswith("RANDOM") for w in own.warnings),
      score=float(scores.mean()), spread=float(scores.std(ddof=1)) if len(scores) > 1 else None,
      unit="rank score, without a unit: read the percentile" if ranked else f"that of the labels ({criterion})",
      of=words, percentile=float(np.mean(ranks)), training_videos=int(len(training[0])),
      models=[run.about["replicas"][i] | dict(score=float(score), percentile=rank)
              for i, score, rank in zip(ids, scores, ranks)],
      parts={name: float(np.mean(values)) for name, values in assessment.parts.items()},
      duration_s=float(own.duration(next(iter(own.arrays)))), timelines={}, segments=[], moments=[])
  for name, values in mean.items():
    if name.startswith("segment"):
      continue
    start, end = rows_in_time(own, run.method.stream_of(name))
    result["timelines"][name] = dict(start=start.tolist(), end=end.tolist(), values=values[: len(start)].tolist())
    if name.endswith(" attention"):
      result["moments"] += [dict(what=name) | one for one in bright(values[: len(start)], start, end)]
  if "segment" in mean:
    stream = run.method.streams[0]
    padded = {name: values[None] for name, values in mean.items()}
    result["segments"] = evaluate.segments(padded, 0, len(own.arrays[stream]), own.row_seconds[stream])
    order = sorted(result["segments"], key=lambda one: one["score"])
    few = min(MOMENTS, len(order) // 2)
    result["moments"] += [dict(what=what, at=span(one["start"], one["end"])) | one for what, some in (
        ("lowest segment", order[:few]), ("highest segment", order[::-1][:few])) for one in some]
  result["moments"] += [one for name in assessment.maps if name != "uniform" for one in
                        _looked_at(name, assessment, own.seconds(run.method.stream_of(name)))]
  if run.method.learns_from in methods.COMPARING:
    result["references"] = references(run, own, assessment, ids)
  if assessment.probabilities:
    result["probabilities"] = {name: np.asarray(p).mean(axis=0).tolist() for name, p in assessment.probabilities.items()}
  return result | dict(warnings=own.warnings)


def rows_in_time(own, stream):
  """`[T]` seconds from which and to which each row of a stream speaks; of single frames, up to the next one."""
  start = own.seconds(stream)
  return start, np.append(start[1:], start[-1] + own.row_seconds[stream])


def maps(run, own, assessment):
  """{name: `[N, h, w]` heat maps, mean over the models} and {name: `[N]` seconds}."""
  found = {name: np.asarray(values).mean(axis=0) for name, values in assessment.maps.items()}
  return found, {name: own.seconds(run.method.stream_of(name))[np.asarray(assessment.rows[name][0])] for name in found}


def _looked_at(name, assessment, seconds):
  """The frames whose heat map is narrowest, and the place of its peak."""
  values = np.asarray(assessment.maps[name]).mean(axis=0)
  rows, peak = np.asarray(assessment.rows[name][0]), values.max(axis=(1, 2))
  found = []
  for number in np.argsort(-peak, kind="stable")[:MOMENTS]:
    down, right = np.unravel_index(values[number].argmax(), values[number].shape)
    at = float(seconds[rows[number]])
    found.append(dict(what=f"{name} in the frame", start=at, end=at, at=clock(at), share=float(peak[number]),
                      from_left=float((right + 0.5) / values.shape[2]), from_top=float((down + 0.5) / values.shape[1])))
  return found


def references(run, own, assessment, ids):
  """The training videos that a video was compared with, most often used first.

  Returns:
    [{"video", "score" of its labels, "models" that used it, and where rows are aligned "seconds", `[T]` when the reference
    shows what each row shows, "duration_s", "segments"}].
  """
  rows, mask = (x[0, ids] for x in run.references([own.digest], [own.known]))               # [n, M]
  stream = run.method.streams[0]
  position = {name: number for number, name in enumerate(run.arrays["videos"])}
  found = {}
  for model in range(len(ids)):
    for place in np.flatnonzero(mask[model]):
      row = rows[model, place], ids[model]
      name, label = str(run.arrays["bank/videos"][row]), float(run.arrays["bank/label"][row])
      one = found.setdefault(name, dict(score=label, places=[]))
      places = next((p for n, p in assessment.alignment.items() if n == f"reference {place + 1}"), None)
      one["places"].append(None if places is None else np.asarray(places[model]))
  result = []
  for name, one in sorted(found.items(), key=lambda item: -len(item[1]["places"])):
    entry = dict(video=name, score=one["score"], models=len(one["places"]))
    if one["places"][0] is not None:
      seconds = float(run.arrays[f"{stream}/row_seconds"][position[name]])
      aligned = np.mean(one["places"], axis=0, dtype=np.float64)[: len(own.arrays[stream])] * seconds
      entry |= dict(seconds=aligned.round(3).tolist(), segments=run.about["segments"].get(name, []),
                    duration_s=float(run.arrays[f"{stream}/lengths"][position[name]] * seconds))
    result.append(entry)
  return result


def flags(*results):
  """What answers must not be taken for, in words; "" where there is nothing."""
  return ", ".join(word for word, field in (("SIMULATED data", "simulated"), ("RANDOM weights", "random_weights"))
                   if any(result[field] for result in results))


def describe(result):
  """One video's answer as lines of text."""
  spread = f" ± {result['spread']:.3g} over models" if result["spread"] is not None else ""
  lines = [f"{result['video']}: score {result['score']:.4g}{spread}, above {result['percentile']:.0f} % of the "
           f"{result['training_videos']} training videos" + (f" ({flags(result)})" if flags(result) else "")]
  kinds = {}
  for one in result["moments"]:
    more = (f" ({one['share']:.0%})" if "share" in one else f" ({one['score']:.3g})")
    kinds.setdefault(one["what"], []).append(one["at"] + more)
  lines += [f"  {what}: {', '.join(some)}" for what, some in kinds.items()]
  if result.get("references"):
    shown = [f"{one['video']} ({one['score']:.3g})" for one in result["references"]]
    lines.append(f"  compared with {', '.join(shown[:5])}" + (f" and {len(shown) - 5} more" if len(shown) > 5 else ""))
  return "\n".join(lines + [f"  warning: {warning}" for warning in result["warnings"]])
