"""Who may be compared with whom, by counting."""

import types

import numpy as np
import pytest

from jaxskill.data import exemplars

CATEGORY, DIFFICULTY = np.array(list("abab" * 5)), np.float32([2, 2, 3, 3, 2] * 4)


def labelled(**fields):
  return types.SimpleNamespace(**dict(num_videos=20, category=CATEGORY, difficulty=DIFFICULTY, source="folder",
                                      videos=tuple(f"v{i}" for i in range(20))) | fields)


def fold_of(train, test=(), validation=()):
  as_ids = lambda ids: np.array(ids, int)
  return types.SimpleNamespace(name="half", train_videos=as_ids(train), test_videos=as_ids(test),
                               validation_videos=as_ids(validation))


@pytest.mark.parametrize("same", [(), ("category",), ("difficulty",), ("category", "difficulty")])
def test_groups_agree_in_what_is_asked(same):
  group = exemplars.groups(labelled(), same)
  key = [tuple(dict(category=CATEGORY, difficulty=DIFFICULTY)[name][v] for name in same) for v in range(20)]
  assert group.dtype == np.int32 and len(set(group)) == len(set(key)) == group.max() + 1
  for v in range(20):
    assert ((group == group[v]) == [k == key[v] for k in key]).all()


def test_what_a_data_set_does_not_know_separates_nobody():
  assert not exemplars.groups(labelled(category=None, difficulty=None), exemplars.FIELDS).any()
  np.testing.assert_array_equal(exemplars.groups(labelled(category=None), exemplars.FIELDS),
                                exemplars.groups(labelled(), ("difficulty",)))
  with pytest.raises(ValueError, match="config.model.exemplars.same: 'judge' is unknown; use some of category, diff"):
    exemplars.groups(labelled(), ("judge",))


def test_training_items_are_runs_of_one_group():
  """Each video once, beside those of its group; who is alone is left out."""
  rng = np.random.default_rng(0)
  group, train = rng.integers(0, 9, 30), rng.permutation(30)[:17]
  videos, runs = exemplars.training_items(group, train)
  assert runs.dtype == np.int32 and runs.shape == (len(videos), 2)
  sizes = {name: (group[train] == name).sum() for name in set(group[train])}
  assert 1 in sizes.values() and sorted(videos) == sorted(v for v in train if sizes[group[v]] > 1)
  for place, (video, (first, size)) in enumerate(zip(videos, runs)):
    assert first <= place < first + size == first + sizes[group[video]]
    assert (group[videos[first: first + size]] == group[video]).all()
  nobody, no_runs = exemplars.training_items(np.arange(4), np.arange(4))
  assert not len(nobody) and no_runs.shape == (0, 2)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_draw(count):
  """Of the own group, from the training side, never itself, nobody twice; fewer are masked; the seed says who."""
  group, train = exemplars.groups(labelled(), exemplars.FIELDS), np.arange(3, 20, 2)
  chosen, mask = exemplars.draw(group, train, count, (1, 2))
  assert chosen.shape == mask.shape == (20, count) and mask.dtype == bool
  for v in range(20):
    allowed = [t for t in train if group[t] == group[v] and t != v]
    ids = chosen[v, mask[v]].tolist()
    assert len(ids) == len(set(ids)) == min(count, len(allowed)) and set(ids) <= set(allowed)
    assert mask[v].tolist() == [i < len(ids) for i in range(count)]
  again, other = (exemplars.draw(group, train, count, seed)[0] for seed in ((1, 2), (1, 3)))
  assert (again == chosen).all() and (other != chosen).any()


def test_draw_is_uniform():
  drawn = np.concatenate([exemplars.draw(np.zeros(6, int), np.arange(5), 2, seed)[0][5] for seed in range(600)])
  counts = np.bincount(drawn, minlength=5)
  assert counts.sum() == 1200 and (abs(counts - 240) < 70).all()          # 5 standard deviations


def test_best():
  """The highest scores of the group, each video without itself; among equals the seed chooses, alike for all."""
  rng = np.random.default_rng(0)
  group, train_videos, score = exemplars.groups(labelled(), ("category",)), np.arange(2, 20), rng.normal(size=20)
  chosen, mask = exemplars.best(group, train_videos, 4, score, 0)
  assert mask.all() and (chosen == exemplars.best(group, train_videos, 4, score, 5)[0]).all()
  for v in range(20):
    others = [t for t in train_videos if group[t] == group[v] and t != v]
    assert chosen[v].tolist() == sorted(others, key=lambda t: -score[t])[:4]
  first, second = (exemplars.best(group, train_videos, 4, np.zeros(20), seed)[0] for seed in (0, 1))
  assert (first != second).any()
  for v in (0, 1):
    same = [w for w in range(20) if group[w] == group[v] and w not in first[v]]
    assert all((first[w] == first[v]).all() for w in same)


@pytest.mark.parametrize("how", exemplars.CHOICES)
def test_choose(how):
  options = types.SimpleNamespace(count=3, get=lambda name, default: how)
  group, score = np.zeros(9, int), np.arange(9.0)
  expected = dict(random=lambda: exemplars.draw(group, np.arange(6), 3, (1, 2)),
                  best=lambda: exemplars.best(group, np.arange(6), 3, score, (1, 2)))[how]()
  for ours, theirs in zip(exemplars.choose(options, group, np.arange(6), score, (1, 2)), expected):
    np.testing.assert_array_equal(ours, theirs)
  options.get = lambda name, default: "worst"
  with pytest.raises(ValueError, match=r"config\.model\.exemplars\.choose='worst' is unknown; use one of random, best"):
    exemplars.choose(options, group, np.arange(6), score, 0)


def test_items_with_references():
  chosen, mask = np.array([[1, 2], [2, 0], [1, 9], [7, 7]]), np.array([[1, 1], [1, 1], [1, 0], [0, 0]], bool)
  items = exemplars.with_references(np.array([3, 0, 2]), chosen, mask)
  assert items.dtype == np.int32 and items.tolist() == [[0, 1, 2], [2, 1, 2]]      # 3 has none; 2 fills its own place


def test_check():
  group = exemplars.groups(labelled(), ("category",))
  exemplars.check(labelled(), fold_of([0, 2, 1], [3], [4]), group, ("category",))
  with pytest.raises(ValueError, match=r"folder: fold 'half': there is no exemplar of category b among the training "
                                       r"videos for video 'v3' \(3 such videos\); set config.model.exemplars.same to "):
    exemplars.check(labelled(), fold_of([0, 2], [4, 3], [5, 7]), group, ("category",))
  with pytest.raises(ValueError, match="fold 'half': no training video has an exemplar that agrees in category; set"):
    exemplars.check(labelled(), fold_of([0, 1], [4]), group, ("category",))
  with pytest.raises(ValueError, match="there is no exemplar of category b, difficulty 3.0 among"):
    exemplars.check(labelled(), fold_of([0, 4, 8], [3]), exemplars.groups(labelled(), exemplars.FIELDS),
                    exemplars.FIELDS)
