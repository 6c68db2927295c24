"""What follows from what a method learns from."""

import numpy as np
import pytest

from jaxskill import methods
from jaxskill.methods import spatial_attention


@pytest.mark.parametrize("items, expected", [(methods.PAIRS, 2 * 2 * 4), (methods.VIDEOS, 2 * 4),
                                             (methods.EXEMPLARS, 2 * 2 * 4), (methods.REFERENCES, 2 * 4 + 3),
                                             (methods.RANKED_REFERENCES, 2 * 2 * 4 + 2)])
def test_a_step_has_room_for_all_videos_that_it_can_name(items, expected):
  """Two replicas, four items a batch; of references, all that stand in the tables."""
  table = np.array([[[0, 7, 8], [1, 7, 8]], [[0, 8, 9], [2, 8, 9]]])
  assert items.most_named(table, 4) == expected


def test_what_attention_finds_must_be_known(load_config, monkeypatch):
  """A method that means to find what no simulated performance tells is refused when it is built, not after training."""
  config = load_config("spatial_attention")
  methods.build(config)
  monkeypatch.setattr(spatial_attention, "PLACES", ("place", "mood"))
  with pytest.raises(ValueError, match=r"methods/spatial_attention.py: 'attention' finds 'mood', .* use some of relevant_"):
    methods.build(config)
