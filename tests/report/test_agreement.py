"""In how many models a moment stands out, by hand."""

import numpy as np

from jaxskill.report import agreement

LINE = dict(start=[0.0, 1.0, 2.0, 3.0], end=[1.0, 2.0, 3.0, 4.0])


def test_attention_of_a_model_must_stand_out_within_the_moment():
  """The first has its peak there, the second elsewhere, the third none; the last has two filters, whose mean counts."""
  weights = np.array([[[1, 5, 1, 1]] * 2, [[1, 1, 1, 5]] * 2, [[2, 2, 2, 2]] * 2, [[1, 7, 1, 1], [2, 2, 2, 2]]], float)
  assert agreement.of_attention(dict(start=1.0, end=2.0), LINE, weights) == 2
  assert agreement.of_attention(dict(start=1.0, end=4.0), LINE, weights) == 3


def test_segments_of_a_model_must_move_its_score_to_the_same_side():
  number = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]])
  found = dict(number=number, score=np.array([[2.0, 4.0], [5.0, 1.0], [0.0, 9.0]]), importance=np.full((3, 2), 0.5))
  for starts in (0.5 * np.arange(4), np.array([0.0, 0.2, 1.0, 1.7])):
    assert agreement.of_segments(dict(start=1.0, end=2.0, side=-1), starts, found) == 1       # the last weighs both rows evenly
    assert agreement.of_segments(dict(start=0.0, end=starts[1], side=-1), starts, found) == 2


def test_places_of_a_model_must_be_the_same_or_beside_it():
  maps = np.zeros((3, 2, 4, 4))
  for model, place in enumerate(((1, 1), (2, 2), (3, 3))):
    maps[model, 1][place] = 1.0
  moment = dict(start=5.0, from_left=1.5 / 4, from_top=1.5 / 4)
  assert agreement.of_maps(moment, np.array([0.0, 5.0]), maps) == 2
