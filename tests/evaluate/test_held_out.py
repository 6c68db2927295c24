"""Which videos calibrate, and which are tested: nothing is on both sides, and coverage is what theory says."""

import types

import numpy as np
import pytest

from jaxskill.evaluate import conformal, held_out
from jaxskill.evaluate.held_out import ABSENT, TEST, TRAIN, VALIDATION

EVERY = np.arange


def made(side, seed=0, *, fold=None, subject=None, label=None, score=None, ranks=False, pairs=None, **changed):
  """`HeldOut` videos by their sides `[R, C]`, of labels that the scores miss by normal errors."""
  rng, side = np.random.default_rng(seed), np.asarray(side)
  label = rng.normal(size=side.shape[1]) if label is None else np.asarray(label, float)
  score = label + 0.5 * rng.normal(size=side.shape) if score is None else score
  none = np.full(side.shape, np.nan)
  subject = np.full(side.shape[1], -1) if subject is None else np.array(subject)
  met = np.stack([np.isin(subject, subject[row == TRAIN]) & (subject >= 0) for row in side])
  return held_out.HeldOut(
      score=score, label=none if ranks else np.broadcast_to(label, side.shape), side=side,
      fold=EVERY(len(side)) if fold is None else np.array(fold), scale=np.ones(len(side)),
      subject=subject, met=met,
      pairs=np.zeros((0, 2), int) if pairs is None else np.array(pairs))._replace(**changed)


def one_split(validation, test, models=1):
  return np.repeat([[VALIDATION] * validation + [TEST] * test], models, axis=0)


def in_turn(*sizes):
  """Folds that part the videos: each tests some, and trains on all others."""
  fold = np.repeat(EVERY(len(sizes)), sizes)
  return np.where(EVERY(len(sizes))[:, None] == fold, TEST, TRAIN)


def summary(held, level=0.9):
  return held_out.summary(held, EVERY(len(held.fold)), level)


def test_a_validation_side_calibrates_and_the_test_side_is_counted_by_hand():
  held = made(one_split(12, 30, models=3), fold=[0, 0, 0])
  said, label = held.score.mean(axis=0), held.label[0]
  width = np.sort(abs(said - label)[:12])[conformal.rank(0.9, 12) - 1]
  found = summary(held)
  assert found["calibrated_on"] == "validation videos" and (found["videos"], found["folds"]) == (12, 1)
  assert found["at_least"] == 0.9 and found["people"] is None and not found["why_not"]
  share = found["coverage"]
  assert (share["hits"], share["videos"]) == ((abs(said - label)[12:] <= width).sum(), 30)
  assert share["half_width"] == pytest.approx(width) and share["calibration_videos"] == 12
  calibration, _ = held_out.calibrate(held, EVERY(3))
  assert held_out.range_of(calibration, np.array([1.0, 2.0, 3.0]), 0.9) == pytest.approx((2 - width, 2 + width))


@pytest.mark.parametrize("validation,level", [(9, 0.9), (20, 0.9), (5, 0.8)])
def test_coverage_on_test_videos_is_that_of_theory(validation, level):
  shares = [summary(made(one_split(validation, 20), seed), level)["coverage"]["share"] for seed in range(300)]
  exact = conformal.rank(level, validation) / (validation + 1)
  assert abs(np.mean(shares) - exact) <= 4 * np.std(shares) / np.sqrt(len(shares))


def test_test_labels_change_no_range():
  """Nor does any label of a fold's test side change the range of that side, where folds calibrate one another."""
  side = one_split(12, 8)
  held = made(side)
  other = held._replace(label=np.where(side == TEST, 100.0, held.label))
  ranges = [held_out.range_of(held_out.calibrate(one, EVERY(1))[0], np.array([0.0]), 0.9) for one in (held, other)]
  slopes = [summary(one)["slope"] for one in (held, other)]
  assert ranges[0] == ranges[1] and slopes[0] == slopes[1] and summary(other)["coverage"]["hits"] == 0
  turned = made(in_turn(6, 6, 6))
  wrong = turned._replace(label=np.where(EVERY(18) < 6, 100.0, turned.label))
  calibration, changed = (held_out.calibrate(one, EVERY(3))[0] for one in (turned, wrong))
  for one in (calibration, changed):
    others = held_out._others(one, one.tests[0])                              # pylint: disable=protected-access
    assert [part.models[0] for part in others] == [1, 2]
    np.testing.assert_array_equal(np.concatenate([part.errors for part in others]),
                                  np.concatenate([part.errors for part in calibration.parts[1:]]))


def test_folds_in_turn_calibrate_one_another():
  held = made(in_turn(5, 5, 5, 5))
  found = summary(held)
  assert found["calibrated_on"] == "out of fold" and (found["videos"], found["folds"]) == (20, 4)
  assert found["at_least"] == conformal.guaranteed(0.9, [5] * 4, by_video=True, parted=True) > 0
  errors = abs(held.score - held.label)[held.side == TEST].reshape(4, 5)
  hits = sum((errors[fold] <= np.sort(np.delete(errors, fold, axis=0).ravel())[conformal.rank(0.9, 15) - 1]).sum()
             for fold in range(4))
  assert found["coverage"]["hits"] == hits and found["coverage"]["videos"] == 20
  calibration, _ = held_out.calibrate(held, EVERY(4))
  scores = np.array([0.0, 1.0, 2.0, 3.0])
  expected = conformal.interval(np.repeat(scores, 5), errors.ravel(), 0.9)
  assert held_out.range_of(calibration, scores, 0.9) == pytest.approx(expected)


def test_whole_persons_have_the_guarantee_of_new_persons():
  people = np.repeat(EVERY(8), 5)
  whole, mixed = (summary(made(in_turn(*[5] * 8), subject=subject)) for subject in (people, np.tile(EVERY(8), 5)))
  assert whole["people"] == mixed["people"] == 8
  assert whole["at_least"] == conformal.guaranteed(0.9, [5] * 8, by_video=False, parted=True)
  assert mixed["at_least"] == conformal.guaranteed(0.9, [5] * 8, by_video=True, parted=True)


def test_several_videos_of_whole_persons_prove_nothing_for_new_persons():
  """Of three persons, ten videos each, a new person's video is in its range far less often than the level says."""
  hits, rng = [], np.random.default_rng(0)
  for _ in range(400):
    errors = np.abs(np.repeat(rng.normal(size=4), 10) + 0.2 * rng.normal(size=40))
    held = made([[VALIDATION] * 30], subject=np.repeat(EVERY(3), 10), label=np.zeros(30), score=errors[None, :30])
    found, range_ = summary(held), held_out.range_of(held_out.calibrate(held, EVERY(1))[0], np.zeros(1), 0.9)
    hits.append(range_[0] <= errors[-1] <= range_[1])
  assert np.mean(hits) < 0.85 and found["people"] == 3
  assert found["new_people"] is False and found["at_least"] == 0.9          # of more videos of these persons
  each_once = summary(made([[VALIDATION] * 30], subject=EVERY(30)))
  assert each_once["new_people"] is True and each_once["at_least"] == 0.9
  assert summary(made([[VALIDATION] * 30]))["new_people"] is None


def test_persons_whom_the_models_trained_on_prove_nothing_for_new_persons():
  """Though each has one video that calibrates."""
  held = made([[VALIDATION] * 30], subject=EVERY(30))
  found = summary(held._replace(met=np.ones((1, 30), bool)))
  assert found["new_people"] is False and found["at_least"] == 0.9
  mixed = summary(made(in_turn(*[5] * 8), subject=np.tile(EVERY(8), 5)))
  whole = summary(made(in_turn(*[5] * 8), subject=np.repeat(EVERY(8), 5)))
  assert (mixed["new_people"], whole["new_people"]) == (False, True)


def test_whom_the_models_trained_on(make_dataset):
  """Video by video of those that a fold holds out, by the subjects of its own training side."""
  dataset = make_dataset(videos=6, folds=(((0, 1, 2, 3), (4, 5)), ((0, 4, 5), (1, 2, 3))),
                         subject=np.array(["ann", "ben", "cat", "cat", "ann", "dan"]))
  experiment = types.SimpleNamespace(
      dataset=dataset, method=types.SimpleNamespace(items=types.SimpleNamespace(ranks=False)), config={},
      replicas=[types.SimpleNamespace(fold=fold, criterion="score") for fold in (0, 1)])
  held = held_out.of_experiment(experiment, np.zeros((2, 6)))
  assert held.met.tolist() == [[True, True, True, True, False], [False, False, False, True, True]]


@pytest.mark.parametrize("people,new_people,proven", [
    (np.repeat(EVERY(4), 10), False, False), (EVERY(40), True, True), (np.tile(EVERY(20), 2), True, True)])
def test_validation_sides_of_several_folds(people, new_people, proven):
  """Nothing is proven of whole persons with several videos, for them or for others."""
  side = [[VALIDATION] * 20 + [ABSENT] * 20, [ABSENT] * 20 + [VALIDATION] * 20]
  found = summary(made(side, subject=people))
  assert found["new_people"] is new_people and found["folds"] == 2
  assert found["at_least"] == conformal.guaranteed(0.9, [20, 20], by_video=proven, parted=False)
  assert (found["at_least"] > 0) == proven


def test_validation_sides_that_share_whole_persons_prove_nothing():
  side = [[VALIDATION] * 20 + [ABSENT] * 10, [ABSENT] * 10 + [VALIDATION] * 20]
  found = summary(made(side, subject=np.repeat(EVERY(3), 10)))
  assert found["at_least"] == 0.0 and found["new_people"] is False


def test_a_test_side_that_no_fold_trains_on_calibrates_nothing():
  """One split; and folds of other videos each, as classes of actions are."""
  for side in ([[TEST] * 30], [[TEST] * 15 + [ABSENT] * 15, [ABSENT] * 15 + [TEST] * 15]):
    found = summary(made(side))
    assert found["calibrated_on"] is None and found["at_least"] is None and found["slope"] is None
    assert "config.data.validation_share" in found["why_not"] and found["coverage"] is None
  calibration, why = held_out.calibrate(made(in_turn(9, 9)), EVERY(1))
  assert calibration is None and "leave --fold out" in why
  assert summary(made(np.zeros((1, 0), int)))["calibrated_on"] is None
  assert held_out.summary(None, EVERY(1), 0.9)["why_not"] == held_out.OLD
  begun = made(one_split(20, 9), why_not="unknown")
  assert summary(begun)["why_not"] == "unknown" and summary(begun)["at_least"] is None


@pytest.mark.parametrize("validation,level,there", [(8, 0.9, False), (9, 0.9, True), (9, 0.95, False), (19, 0.95, True),
                                                    (4, 0.8, True), (1, 0.8, False), (1, 0.5, True)])
def test_too_few_videos_give_no_range(validation, level, there):
  held = made(one_split(validation, 12))
  found = summary(held, level)
  assert (found["at_least"] is not None) == (found["coverage"] is not None) == there and found["videos"] == validation
  range_ = held_out.range_of(held_out.calibrate(held, EVERY(1))[0], np.array([0.0]), level)
  assert (range_ is not None) == there


def test_undefined_scores_calibrate_nothing():
  held = made(one_split(12, 6))
  held.score[0, [0, 1, 2, 13]] = np.nan
  found = summary(held)
  assert found["videos"] == 9 and found["coverage"]["videos"] == 5 and found["pairs"] == 36
  held.score[0] = np.nan
  assert "has a score" in summary(held)["why_not"]


def test_equal_labels_and_scores():
  held = made(one_split(12, 6), label=np.ones(18), score=np.ones((1, 18)))
  found = summary(held)
  assert found["coverage"]["hits"] == 6 and found["coverage"]["half_width"] == 0 and found["slope"] == 0
  assert found["test_pairs"] is None                                          # neither is better in any


def test_pairs_by_hand():
  """Ranks have no range; a pair counts where both its videos are held out alike, the better one first."""
  pairs = [(i, i + 1) for i in range(11)] + [(i, i + 1) for i in range(12, 17)] + [(11, 12)]
  score = -np.arange(18.0)[None]
  score[0, 13] = 5.0                                                          # one test pair is in the wrong order
  found = summary(made(one_split(12, 6), ranks=True, pairs=pairs, score=score))
  assert found["at_least"] is None and found["coverage"] is None and found["pairs"] == 11
  assert found["test_pairs"]["test_pairs"] == 5 and found["test_pairs"]["right"] == 4 / 5
  few = summary(made(one_split(12, 6), ranks=True, pairs=pairs[2:], score=score))
  assert few["pairs"] == 9 and few["slope"] is None and few["test_pairs"] is None


def test_scores_of_folds_are_compared_in_their_own_unit():
  held = made(in_turn(10, 10))
  scaled = held._replace(score=held.score * [[1.0], [50.0]], scale=np.array([1.0, 50.0]))
  assert summary(scaled)["slope"] == pytest.approx(summary(held)["slope"])


def test_gaps_that_calibrate_are_in_the_order_of_mean_scores():
  """Also where one model's scores are spread wider than another's."""
  rng = np.random.default_rng(0)
  held = made(one_split(12, 6, models=2), fold=[0, 0], score=rng.normal(size=(2, 18)) * [[10.0], [1.0]],
              scale=np.array([10.0, 1.0]))
  part, = held_out.calibrate(held, EVERY(2))[0].parts
  order = np.argsort(-held.label[0, :12])
  first, second = order[np.stack(np.triu_indices(12, 1))]
  said = held.score.mean(axis=0)
  np.testing.assert_allclose(part.gaps, (said[first] - said[second]) / 5.5)


def test_promised_probabilities_are_kept():
  """On scores that are labels and noise, of two hundred videos: what is promised is right so often."""
  found = summary(made(one_split(100, 100)))["test_pairs"]
  assert found["test_pairs"] == 4950 and abs(found["claimed"] - found["right"]) < 0.05 and found["brier"] < 0.2
