"""What follows from what a method learns from."""

import dataclasses

import numpy as np
import pytest

from jaxskill import methods
from jaxskill.data import Fold
from jaxskill.methods import spatial_attention


@pytest.mark.parametrize("items, expected", [(methods.PAIRS, 2 * 2 * 4), (methods.VIDEOS, 2 * 4),
                                             (methods.EXEMPLARS, 2 * 2 * 4), (methods.REFERENCES, 2 * 4 + 3),
                                             (methods.RANKED_REFERENCES, 2 * 2 * 4 + 2),
                                             (methods.PAIRS_AND_SIMILAR, 3 * 2 * 4)])
def test_a_step_has_room_for_all_videos_that_it_can_name(items, expected):
  """Two replicas, four items a batch; of references, all that stand in the tables."""
  table = np.array([[[0, 7, 8], [1, 7, 8]], [[0, 8, 9], [2, 8, 9]]])
  assert items.most_named(table, 4) == expected


def test_every_pair_comes_with_a_similar_one(load_config, make_dataset):
  """Of training videos alone, each again and again, in an order of the seed; a video itself where a fold has none."""
  similar = np.array([[0, 2], [1, 3], [4, 5], [0, 9], [8, 10]])           # the last two are not of the training side
  fold = Fold("one", np.arange(8), np.arange(8, 11), np.array([0, 1, 2, 1]), np.array([3]))
  dataset = dataclasses.replace(make_dataset(), pairs=np.array([[6, 7], [0, 6], [7, 5], [8, 9]]), folds=(fold,),
                                similar=similar)
  config = load_config("whos_better", "features")
  of = methods.PAIRS_AND_SIMILAR.of_fold
  items, runs = of(config, dataset, fold, "score", 3)
  assert runs is None and items[:, :2].tolist() == [[6, 7], [0, 6], [7, 5], [0, 6]]
  named = list(map(tuple, items[:, 2:].tolist()))
  assert set(named) == {(0, 2), (1, 3), (4, 5)} and named[3] == named[0]
  assert any(not np.array_equal(of(config, dataset, fold, "score", seed)[0], items) for seed in range(9))
  other = fold._replace(train_videos=np.array([6, 7, 0]), train_pairs=np.array([0, 1]))
  assert of(config, dataset, other, "score", 3)[0].tolist() == [[6, 7, 6, 6], [0, 6, 0, 0]]
  unknown = dataclasses.replace(dataset, similar=similar[:0])
  assert of(config, unknown, fold, "score", 3)[0].shape == (4, 2)


def test_what_attention_finds_must_be_known(load_config, monkeypatch):
  """A method that means to find what no simulated performance tells is refused when it is built, not after training."""
  config = load_config("spatial_attention")
  methods.build(config)
  monkeypatch.setattr(spatial_attention, "PLACES", ("place", "mood"))
  with pytest.raises(ValueError, match=r"methods/spatial_attention.py: 'attention' finds 'mood', .* use some of relevant_"):
    methods.build(config)
