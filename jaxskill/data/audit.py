"""The audit of a data set: what is lawful but must be known before anybody believes a result.

V videos, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import cli
from jaxskill.data.audit_features import audit_features, describe_features, same_features
from jaxskill.data.audit_labels import audit_labels, describe_labels
from jaxskill.data.dataset import Fold, SkillDataset

FEW = 10             # training videos of a category or difficulty; with fewer, the audit says so


def distinct_pairs(pairs: np.ndarray, num_videos: int) -> np.ndarray:
  """Returns each of `[P, 2]` pairs once, in order: single numbers are sorted ten times as fast as rows."""
  better, worse = np.asarray(pairs, np.int64).reshape(-1, 2).T
  numbers = np.sort(better * num_videos + worse)
  return np.stack(np.divmod(numbers[np.diff(numbers, prepend=-1) > 0], num_videos), axis=1)


def count_cycles(pairs: np.ndarray, num_videos: int) -> tuple[int, int]:
  """Counts contradictions among `[P, 2]` pairs (better, worse): no ranking of the videos satisfies a cycle.

  Returns:
    (number of cycles of three videos, number of videos that lie on any cycle).
  """
  pairs = distinct_pairs(pairs, num_videos)
  before = len(pairs) + 1
  while len(pairs) < before:               # who only wins or only loses lies on no cycle, nor do their pairs
    before, (wins, loses) = len(pairs), np.zeros((2, num_videos), bool)
    wins[pairs[:, 0]], loses[pairs[:, 1]] = True, True
    pairs = pairs[loses[pairs[:, 0]] & wins[pairs[:, 1]]]
  if not len(pairs):
    return 0, 0
  from scipy.sparse import coo_array  # slow to import, and most annotators do not contradict themselves
  from scipy.sparse.csgraph import connected_components
  graph = coo_array((np.ones(len(pairs), np.int64), (pairs[:, 0], pairs[:, 1])), shape=(num_videos, num_videos)).tocsr()
  triangles = int((graph @ graph).multiply(graph.T).sum()) // 3
  _, component = connected_components(graph, directed=True, connection="strong")
  sizes = np.bincount(component, minlength=num_videos)
  return triangles, int(sizes[sizes > 1].sum())


def audit(data: SkillDataset) -> dict:
  """Returns what is lawful but must be known of a `SkillDataset`; it is printed and stored with every result."""
  triangles, on_cycles = count_cycles(data.pairs, data.num_videos)
  first = same_features(data)

  def distinct(values: np.ndarray | None) -> int | None:
    return None if values is None else len(np.unique(values))
  return dict(
      videos=data.num_videos, pairs=len(data.pairs), missing_videos=list(data.missing),
      dropped_pairs=int(data.dropped_pairs), tied_pairs_left_out=int(data.tied_pairs),
      repeated_pairs=len(data.pairs) - len(distinct_pairs(data.pairs, data.num_videos)),
      cycles_of_three=triangles, videos_on_cycles=on_cycles, simulated=data.simulated, scored=data.score is not None,
      criteria=sorted(data.criteria), categories=distinct(data.category), difficulties=distinct(data.difficulty),
      **audit_features(data, first), labels_out_of_line=audit_labels(data),
      folds=[_audit_fold(data, fold, first) for fold in data.folds])


def _audit_fold(data: SkillDataset, fold: Fold, first: np.ndarray) -> dict[str, Any]:
  """Of one fold; `first` are the `same_features`: two names of equal features are one video."""
  test, pairs = first[data.pairs[fold.test_pairs]], first[data.pairs[fold.train_pairs]]
  trained_on = np.isin(test, pairs).sum(axis=1) if len(test) else np.zeros(0, int)
  known = first[np.concatenate([fold.train_videos, fold.validation_videos])]
  return dict(
      name=fold.name, train_videos=len(fold.train_videos), validation_videos=len(fold.validation_videos),
      test_videos=len(fold.test_videos), train_pairs=len(fold.train_pairs),
      validation_pairs=len(fold.validation_pairs), test_pairs=len(fold.test_pairs),
      test_pairs_with_one_training_video=int((trained_on == 1).sum()),
      test_pairs_of_two_training_videos=int((trained_on == 2).sum()),
      test_videos_with_features_of_training=int(np.isin(first[fold.test_videos], known).sum()),
      cycles_of_three_in_training=count_cycles(data.pairs[fold.train_pairs], data.num_videos)[0],
      test_videos_of_training_subjects=_count_seen(data.subject, fold),
      test_videos_of_training_competitions=_count_seen(data.competition, fold),
      test_videos_of_rare_category=_count_rare(data.category, fold),
      test_videos_of_rare_difficulty=_count_rare(data.difficulty, fold))


def _count_rare(values: np.ndarray | None, fold: Fold) -> int | None:
  """Number of test videos with fewer than `FEW` training videos of the same value; None where it is not known."""
  if values is None:
    return None
  names, counts = np.unique(values[fold.train_videos], return_counts=True)
  return int((~np.isin(values[fold.test_videos], names[counts >= FEW])).sum())


def _count_seen(values: np.ndarray | None, fold: Fold) -> int | None:
  """Number of test videos whose value (a subject, a competition) a training video has too; None where unknown."""
  return None if values is None else int(np.isin(values[fold.test_videos], values[fold.train_videos]).sum())


def describe_audit(facts: dict) -> str:
  """Returns the audit as the lines printed above every table."""
  known = [f"{facts[name]} {name}" for name in ("categories", "difficulties") if (facts[name] or 0) > 1]
  lines = [", ".join([f"{facts['videos']} videos", f"{facts['pairs']} pairs" if facts["pairs"] else "scores, no pairs",
                      *known, f"{len(facts['folds'])} fold(s)"])
           + ("; SIMULATED data, not recordings of people" if facts["simulated"] else "")]
  missing = facts["missing_videos"]
  shown = ", ".join(map(cli.plain, missing[:5])) + (", ..." if len(missing) > 5 else "")
  lines.append(f"missing videos: {len(missing)}" + (f" ({shown})" if missing else "")
               + (f", leaving out {facts['dropped_pairs']} pairs" if facts["dropped_pairs"] else ""))
  lines += [(_describe_pairs if facts["pairs"] else _describe_videos)(fold) + _describe_seen(fold)
            + _describe_rare(facts, fold) for fold in _plain_names(facts["folds"])]
  if facts["pairs"]:
    lines.append(f"cycles of three pairs: {facts['cycles_of_three']} ({facts['videos_on_cycles']} videos on cycles); "
                 f"repeated pairs: {facts['repeated_pairs']}; tied pairs left out: {facts['tied_pairs_left_out']}")
  lines += describe_features(facts) + describe_labels(facts["labels_out_of_line"])
  return "\n".join(lines)


def _plain_names(folds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  return [fold | dict(name=cli.plain(fold["name"])) for fold in folds]


def _describe_pairs(fold: Mapping[str, Any]) -> str:
  total, one, two = (fold["test_pairs"], fold["test_pairs_with_one_training_video"],
                     fold["test_pairs_of_two_training_videos"])
  return (f"fold {fold['name']}: {fold['train_pairs']} training / {fold['validation_pairs']} validation / {total} test "
          f"pairs of {fold['train_videos']} / {fold['validation_videos']} / {fold['test_videos']} videos; leaks: {one} "
          f"test pairs hold one training video, {two} hold two"
          + (f" ({100 * (one + two) / total:.0f} %)" if total else ""))


def _describe_videos(fold: Mapping[str, Any]) -> str:
  return (f"fold {fold['name']}: {fold['train_videos']} training / {fold['validation_videos']} validation / "
          f"{fold['test_videos']} test videos")


def _describe_seen(fold: Mapping[str, Any]) -> str:
  counts = {one: fold[f"test_videos_of_training_{one}s"] for one in ("subject", "competition")}
  seen = [f"{count} by {one}" for one, count in counts.items() if count is not None]
  if count := fold["test_videos_with_features_of_training"]:
    seen = [f"{count} by features equal to theirs: LEAKS", *seen]
  return f"; test videos that training knows: {', '.join(seen)}" if seen else ""


def _describe_rare(facts: Mapping[str, Any], fold: Mapping[str, Any]) -> str:
  rare = [f"{fold['test_videos_of_rare_' + one]} by {one}" for one, many in
          (("category", "categories"), ("difficulty", "difficulties")) if (facts[many] or 0) > 1]
  return f"; test videos with fewer than {FEW} training videos of their kind: {', '.join(rare)}" if rare else ""
