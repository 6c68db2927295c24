"""Where a model looks: the place of a heat map's peak, from the left and from the top."""

import types

import numpy as np
import pytest

from jaxskill.report import explain, wording


def test_the_place_of_a_peak_in_numbers_and_words():
  """Of two maps of 2 x 5 places, the second has its peak in the upper row, at the fourth place from the left."""
  maps = np.full((1, 2, 2, 5), 0.05)
  maps[0, 1, 0, 3] = 0.55
  shown = types.SimpleNamespace(maps=dict(attention=maps), rows=dict(attention=np.array([[0, 4]])))
  result = dict(attention={}, segments=[], meanings={})
  first, *_ = explain.moments(result, shown, dict(attention=np.arange(10.0)))
  assert (first["from_left"], first["from_top"]) == (pytest.approx(0.7), pytest.approx(0.25))
  assert first["start"] == first["end"] == 4.0 and first["share"] == pytest.approx(0.55)
  assert wording.amount(first) == "55 % of it at one place, 70 % from the left and 25 % from the top of the picture"
