"""How the numbers of folds and seeds become one row of a table, and what the row may be taken for.

A correlation over folds has three means. *Pooled*: all test videos of a task are ranked as one whole, each predicted by
the models that did not train on it. *Over folds*: the plain mean of the correlations of single folds. *Fisher*: their
mean by Fisher's z, which the field takes over classes; a fold of few videos is at 1 or -1 by chance, where z is not
finite, and would decide that mean alone, so it is given only where every fold has `FEW` test videos and none is at the
limit.

S replicas, n test videos of a fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data import Fold, SkillDataset
from jaxskill.evaluate import metrics, published_weights

FEW = 10              # test videos: with fewer, a table marks the number, and a fold has no Fisher's z
MARK = " !"
SELECTIONS = dict(last="last step", validation_selected="validation-selected", best_on_test="best on test*")
AS_THEY_ARE = dict(last="as they are")         # of parameters that no step was taken with: nothing was chosen
SCORE_METRICS = dict(pearson="Pearson", rl2="R-l2 x 100", mae="mean abs. error")
MEANS = dict(pooled="pooled over folds", fisher="mean over folds by Fisher's z", over_folds="mean over folds")
_POOLED = dict(spearman=metrics.spearman, pearson=metrics.pearson)


class Side(NamedTuple):
  """What one replica, or a simple baseline, says of the test side of its fold.

  Attributes:
    fold, seed: whose.
    task: folds of one task deal out the same videos, so their test videos can be ranked together.
    videos: `[n]` numbers of the test videos, of pairs those of the test pairs.
    pairs: number of test pairs.
    labels: `[n]` scores; None where pairs are learnt.
    said: {selection: `[n]` predictions at the step that it chose, or None}.
  """

  fold: str
  seed: int
  task: int
  videos: np.ndarray
  pairs: int = 0
  labels: Any = None
  said: Mapping[str, Any] = {}


def tasks(folds: Sequence[Fold]) -> list[int]:
  """Returns the task of each fold: folds that have some videos in common are of one; classes of AQA-7 are six."""
  members = [set(np.concatenate([f.train_videos, f.validation_videos, f.test_videos]).tolist()) for f in folds]
  result = list(range(len(folds)))
  for i, videos in enumerate(members):
    for j in range(i):
      if result[j] != result[i] and not videos.isdisjoint(members[j]):
        result = [result[j] if task == result[i] else task for task in result]
  return result


def side_of(dataset: SkillDataset, fold: Fold, seed: int, task: int, *, criterion: str | None = None,
            said: Mapping[str, Any] | None = None) -> Side:
  """Returns the `Side` of a fold; `criterion` is what is learnt of scores, None for pairs."""
  if criterion is None:
    return Side(fold.name, seed, task, metrics.tested_videos(dataset, fold), len(fold.test_pairs))
  labels = np.asarray(dataset.labels(criterion), np.float64)[fold.test_videos]
  return Side(fold.name, seed, task, np.asarray(fold.test_videos), labels=labels, said=said or {})


def sides(experiment: Any, history: Sequence[Mapping[str, Any]], replicas: Sequence[Mapping[str, Any]]) -> list[Side]:
  """Returns the `Side` of every replica.

  Args:
    history: evaluations during training; replicas: what `metrics.select` returned of each.
  """
  dataset, of_fold, result = experiment.dataset, tasks(experiment.dataset.folds), []
  for index, (replica, found) in enumerate(zip(experiment.replicas, replicas)):
    at = {entry["step"]: entry["replicas"][index].get("scores") for entry in history}
    said = {name: at.get(found[name]["step"]) for name in SELECTIONS if found[name]}
    result.append(side_of(dataset, dataset.folds[replica.fold], replica.seed, of_fold[replica.fold], said=said,
                          criterion=replica.criterion if experiment.metric == "spearman" else None))
  return result


def fewest(sides: Sequence[Side]) -> int:
  """Returns the number of different test videos, of the task that has fewest."""
  videos = {}
  for side in sides:
    videos.setdefault(side.task, set()).update(side.videos.tolist())
  return min(map(len, videos.values()), default=0)


def summarize(replicas: Sequence[Mapping[str, Any]], metric: str, sides: Sequence[Side]) -> dict[str, Any]:
  """Returns one row of a table from its replicas, which stand in the order of `sides`.

  Returns:
    {metric: {selection: number}, ...}; a number is the dict of `metrics.summarize`, of correlations with the three
    means beside (`correlation`), and "marked" where it rests on too little, then without a spread.
  """
  folds, seeds = [s.fold for s in sides], [s.seed for s in sides]
  few = fewest(sides) < FEW

  def plain(values: Sequence[float | None]) -> dict[str, Any] | None:
    return _mark(metrics.summarize(values, folds, seeds), few)

  def number(name: str, selection: str, values: Sequence[float | None]) -> dict[str, Any] | None:
    if name not in _POOLED:
      return plain(values)
    return correlation(values, sides, selection, _POOLED[name])

  def take(selection: str, name: str) -> list[float | None]:
    return [r[selection][name] if r[selection] else None for r in replicas]
  result: dict[str, Any] = {metric: {selection: number(metric, selection, take(selection, metric))
                                     for selection in SELECTIONS}}
  if metric == "accuracy":
    result |= dict(pooled=_pooled_pairs(take("last", metric), sides, few),
                   branches={b: plain([r["branches"][b] for r in replicas]) for b in replicas[0]["branches"]},
                   test_ties=sum(r["test_ties"] for r in replicas))
  else:
    result |= dict(metrics={name: number(name, "last", take("last", name)) for name in SCORE_METRICS})
  names = dict.fromkeys(name for r in replicas for name in r["against_truth"])

  def of_truth(name: str) -> list[float | None]:
    return [r["against_truth"].get(name) for r in replicas]
  result["against_truth"] = {
      name: correlation(of_truth(name), sides, None, None) if name.startswith("spearman") else plain(of_truth(name))
      for name in names}
  return result


def correlation(values: Sequence[float | None], sides: Sequence[Side], selection: str | None,
                measure: Callable[[np.ndarray, np.ndarray], float] | None) -> dict[str, Any] | None:
  """Returns the three means of a correlation.

  Args:
    values: `[S]` of the single folds.
    selection: whose predictions are pooled; None where those of different models cannot be ranked together.
    measure: (predictions, labels) -> correlation.

  Returns:
    {"pooled", "over_folds", "fisher": dicts of `metrics.summarize` or None, "no_fisher": why there is none}, which
    `show` completes; None where no value was asked for.
  """
  folds, seeds = [s.fold for s in sides], [s.seed for s in sides]
  plain = metrics.summarize(values, folds, seeds)
  if plain is None:
    return None
  small, few = min(len(s.videos) for s in sides) < FEW, fewest(sides) < FEW
  if plain["mean"] is None:
    plain["undefined"] = _why([s for s in sides if s.fold in plain["undefined"]], len(set(folds)), selection)
  no_fisher = (f"a fold has fewer than {FEW} test videos" if small else
               "it is undefined in a fold" if plain["mean"] is None else
               "a fold is at 1 or -1" if metrics.is_at_limit(values).any() else None)
  fisher = None if no_fisher else _mark(metrics.summarize(values, folds, seeds, mean=metrics.fisher_mean), False)
  several = len({(s.task, s.fold) for s in sides}) > len({s.task for s in sides})         # folds of one task
  pooled = _pooled(sides, selection, measure) if selection and several else None
  return dict(pooled=_mark(pooled, few), over_folds=_mark(plain, few) | dict(marked=small), fisher=fisher,
              no_fisher=no_fisher)


def pooled(sides: Sequence[Side], selection: str) -> list[tuple]:
  """Returns all test videos of each task and seed as one whole; one that several folds test has their mean prediction.

  Returns:
    [((task, seed), videos `[n]`, predictions `[n]`, labels `[n]`)]; a prediction is nan where a fold has no order.
  """
  result = []
  for key in dict.fromkeys((s.task, s.seed) for s in sides):
    group = [s for s in sides if (s.task, s.seed) == key]
    videos, place = np.unique(np.concatenate([s.videos for s in group]), return_inverse=True)
    counts = np.bincount(place)
    said, labels = (np.bincount(place, np.concatenate(values)) / counts for values in (
        [np.asarray(s.said[selection], np.float64) for s in group], [s.labels for s in group]))
    result.append((key, videos, said, labels))
  return result


def by_fisher(sides: Sequence[Side], values: Sequence[float]) -> bool:
  """Returns whether pooled correlations may be averaged by Fisher's z: none of few videos, none at 1 or -1."""
  return fewest(sides) >= FEW and not metrics.is_at_limit(values).any()


def _pooled(sides: Sequence[Side], selection: str, measure: Any) -> dict[str, Any] | None:
  """Correlation over all test videos of each task and seed; mean over tasks and seeds, by Fisher's z where it may be.

  None where predictions are not known.
  """
  if any(s.said.get(selection) is None for s in sides):
    return None
  parts = pooled(sides, selection)
  values = [measure(said, labels) if np.isfinite(said).all() else np.nan for _, _, said, labels in parts]
  of_tasks, seeds = zip(*(key for key, *_ in parts))
  mean = metrics.fisher_mean if by_fisher(sides, values) else np.mean
  result: Any = metrics.summarize(values, of_tasks, seeds, mean=mean)
  if result["mean"] is None:
    equal = [s for s in sides if not np.isfinite(s.said[selection]).all()]
    result["undefined"] = _why(equal, len({s.fold for s in sides}), selection) or "labels or predictions are equal"
  return result | dict(test_videos=len({v for s in sides for v in s.videos.tolist()}))


def _pooled_pairs(values: Sequence[Any], sides: Sequence[Side], few: bool) -> dict[str, Any] | None:
  """Share of all test pairs that are in order, each in its own fold: scores of different models have no common unit."""
  if len({s.fold for s in sides}) < 2:
    return None
  seeds = list(dict.fromkeys(s.seed for s in sides))
  shares = []
  for seed in seeds:
    of_seed = [(value, s.pairs) for value, s in zip(values, sides) if s.seed == seed]
    shares.append(sum(value * pairs for value, pairs in of_seed) / sum(pairs for _, pairs in of_seed))
  return _mark(metrics.summarize(shares, [0] * len(seeds), seeds), few) | dict(
      test_pairs=sum(s.pairs for s in sides) // len(seeds))


def _mark(number: Any, marked: bool) -> Any:
  """A number that rests on too little has no spread, and is marked."""
  if number is None:
    return None
  return number | (dict(std_seeds=None, std_folds=None) if marked else {}) | dict(marked=bool(marked))


def _why(sides: Sequence[Side], folds: int, selection: str | None) -> str:
  """Why a correlation is undefined in the folds of some sides, out of `folds`, in words."""
  reasons = {}
  for side in sides:
    reason = (f"{len(side.videos)} test video(s)" if len(side.videos) < 2 else
              "labels are equal" if side.labels is not None and np.ptp(side.labels) == 0 else
              "predictions are equal" if selection else "all values are equal")
    reasons.setdefault(reason, {})[side.fold] = None

  def where(names: Mapping[str, None]) -> str:
    return "" if folds == 1 else " in every fold" if len(names) == folds else f" in fold {', '.join(names)}"
  return "; ".join(reason + where(names) for reason, names in reasons.items())


def show(rows: Mapping[str, Any]) -> str | None:
  """Chooses which mean of correlations a table shows, the same in all rows, and puts it on top of each number.

  Pooled where a task has several folds, so that no fold is too small to be ranked; else by Fisher's z where that may be
  taken in every row; else plainly. What is only true of ranks without a unit is never pooled.

  Args:
    rows: {row: of `summarize`}, changed in place.

  Returns:
    The mean of the headline, a key of `MEANS`; None where it is no correlation.
  """
  columns = {}
  for row in rows.values():
    for group in ("spearman", "metrics", "against_truth"):
      for name, number in row.get(group, {}).items():
        if number and "over_folds" in number:
          columns.setdefault(name if group == "against_truth" else "", []).append(number)
  chosen = None
  for column, numbers in columns.items():
    defined = [number for number in numbers if number["over_folds"]["mean"] is not None]
    best = ("pooled" if any(number["pooled"] for number in numbers) else
            "fisher" if defined and all(number["fisher"] for number in defined) else "over_folds")
    for number in numbers:
      name = best if number[best] else "over_folds"
      number.pop("undefined", None)
      number |= dict(shown=name) | number[name]
    chosen = chosen if column else best
  return chosen


def facts(experiment: Any, trained: Mapping[int, np.ndarray], sides: Sequence[Side]) -> dict[str, Any]:
  """Returns what models and baselines had, and are tested on: [{"name", "train", "validation", "test"}] of each fold.

  Args:
    trained: {fold: numbers of the videos that training reads}.

  Returns:
    Of each side {"videos", "pairs", "subjects"}, None where subjects are not known; "all_folds" names also those that
    the config leaves out.
  """
  dataset, result = experiment.dataset, []

  def side(videos: np.ndarray, pairs: np.ndarray) -> dict[str, Any]:
    subjects = None if dataset.subject is None else len(np.unique(dataset.subject[videos]))
    return dict(videos=len(videos), pairs=len(pairs), subjects=subjects)
  for number, videos in trained.items():
    fold = dataset.folds[number]
    result.append(dict(name=fold.name, train=side(videos, fold.train_pairs),
                       validation=side(fold.validation_videos, fold.validation_pairs),
                       test=side(metrics.tested_videos(dataset, fold), fold.test_pairs)))
  return dict(folds=result, all_folds=[fold.name for fold in dataset.folds], **sizes(sides),
              **published_weights.facts(experiment.config, len(experiment.replicas)))


def sizes(sides: Sequence[Side]) -> dict[str, Any]:
  """Returns how many videos are tested, and whether that is too few: part of `facts`."""
  smallest = min(len(s.videos) for s in sides)
  return dict(test_videos=fewest(sides), too_few_to_claim=fewest(sides) < FEW, smallest_fold=smallest,
              small_folds=smallest < FEW)


def selections(facts: Mapping[str, Any]) -> dict[str, str]:
  """Returns {selection: its title} of the steps that a table shows: one alone where none was taken."""
  initial = facts.get("init_from")
  return AS_THEY_ARE if initial and initial["evaluate_only"] else SELECTIONS


def describe(facts: Mapping[str, Any], scored: bool) -> list[str]:
  """Returns what stands below a table: what each side had, and what the marks mean."""
  folds = facts["folds"]

  def counted(side: str) -> str:
    def of(what: str) -> list[Any]:
      return [fold[side][what] for fold in folds]
    pairs = f"{_range(of('pairs'))} pairs of " if not scored else ""
    subjects = f" of {_range(of('subjects'))} subject(s)" if of("subjects")[0] is not None else ""
    return f"{pairs}{_range(of('videos'))} videos{subjects}" if any(of("videos")) else "none"
  initial = facts.get("init_from")
  who = "baselines" if initial and initial["evaluate_only"] else "models and baselines"
  known = len(facts.get("all_folds", folds))
  of_all = f" of {known}" if known > len(folds) else ""
  lines = [f"{len(folds)}{of_all} fold(s): {who} train on {counted('train')}; validation "
           f"{counted('validation')}; test {counted('test')}"
           + (f", {facts['test_videos']} different ones in all" if len(folds) > 1 else ""),
           *(published_weights.describe(initial) if initial else [])]
  if facts["too_few_to_claim"]:
    lines.append(f"! {facts['test_videos']} test videos are too few for a claim (fewer than {FEW}), and their spread "
                 "says nothing: test more; config.data.split=subject or folds tests every video once, "
                 "config.data.test_share says how many a random split holds out")
  elif facts["small_folds"]:
    lines.append(f"! the correlation of {facts['smallest_fold']} test videos (fewer than {FEW}) is often 1 or -1 by "
                 "chance, and so a mean over such folds is no claim" + ("; read the pooled number" if scored else ""))
  return lines


def _range(values: Sequence[int]) -> str:
  return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"
