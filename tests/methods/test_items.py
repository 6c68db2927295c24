"""What follows from what a method learns from."""

import numpy as np
import pytest

from jaxskill import methods


@pytest.mark.parametrize("items, expected", [(methods.PAIRS, 2 * 2 * 4), (methods.VIDEOS, 2 * 4),
                                             (methods.EXEMPLARS, 2 * 2 * 4), (methods.REFERENCES, 2 * 4 + 3)])
def test_a_step_has_room_for_all_videos_that_it_can_name(items, expected):
  """Two replicas, four items a batch; of references, all that stand in the tables."""
  table = np.array([[[0, 7, 8], [1, 7, 8]], [[0, 8, 9], [2, 8, 9]]])
  assert items.most_named(table, 4) == expected
