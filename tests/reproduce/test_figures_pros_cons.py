"""Figures of Pros & Cons and its counted table, from numbers that are made up or counted by hand."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxskill.data.simulation import simulated
from jaxskill.reproduce import figures_pros_cons as drawn
from jaxskill.reproduce.papers import pros_cons as paper
from jaxskill.reproduce.runs import Finished
from tests.places import SHARED


@pytest.fixture
def run():
  """Six simulated videos of ten segments, of whom video v scores v; both modules look at one segment of each."""
  dataset = simulated.simulate(6, 10, 4, num_subjects=6, test_share=0.5, validation_share=0)
  attention = {drawn.HIGH: np.zeros((1, 6, 2, 10)), drawn.LOW: np.zeros((1, 6, 2, 10))}
  for video in range(6):
    attention[drawn.HIGH][0, video, :, video] = attention[drawn.LOW][0, video, :, 9 - video] = 0.5
  score = np.arange(6.0)[None]
  said = types.SimpleNamespace(attention=attention, score=score, parts=dict(high=score, low=-score))
  config = ConfigDict(dict(data=dict(name="simulated", simulated=dict(num_subjects=6))))
  experiment = types.SimpleNamespace(dataset=dataset, config=config, method=types.SimpleNamespace(streams=("rgb",)),
                                     replicas=[types.SimpleNamespace(fold=0)])
  correlations = dict(replicas=[dict(filter_correlation={drawn.HIGH: {drawn.LOW: [[0.25, -1], [0, 0.75]]}})],
                      data=dataset.name)
  yield Finished(types.SimpleNamespace(experiment=experiment), said, (0,), correlations)
  plt.close("all")


def test_heat_map_of_filters_has_the_numbers_of_the_results(run):
  """Fig. 7: a row for each high-skill filter, a column for each low-skill filter."""
  axis = drawn.correlation({drawn.ROW: run}, None)["correlation"].axes[0]
  np.testing.assert_array_equal(axis.images[0].get_array(), [[0.25, -1], [0, 0.75]])
  written = {text.get_position(): text.get_text() for text in axis.texts}
  assert written == {(0, 0): "0.25", (1, 0): "-1.00", (0, 1): "0.00", (1, 1): "0.75"}
  assert "low-skill" in axis.get_xlabel() and "high-skill" in axis.get_ylabel()
  assert "mean of the matrix: 0.00" in axis.get_title()


def test_pairs_show_frames_where_a_module_looks(run):
  """Fig. 8: the test pair of the widest margin, its better video first, frames named by their segments."""
  dataset = run.trainer.experiment.dataset
  figure = drawn.examples({drawn.ROW: run}, None)["pair_1"]
  better, worse = max(dataset.pairs[dataset.folds[0].test_pairs].tolist(), key=lambda pair: pair[0] - pair[1])
  titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
  moments = lambda video: [f"segment {at + 1}" for at in sorted((video, 9 - video))]
  assert titles[:2] == moments(better) and titles[3:5] == moments(worse)
  assert f"better: {dataset.videos[better]}" in titles[2] and f"worse: {dataset.videos[worse]}" in titles[5]
  assert sum(bool(axis.images) for axis in figure.axes) == 4              # drawn anew, as all is simulated


@pytest.mark.parametrize("task", paper.TASKS, ids=[task.title for task in paper.TASKS])
def test_counts_of_published_labels(task):
  """Table 1, but for the pairs of BEST that are in no list."""
  folder = SHARED / "data" / "annotations" / task.data[0]
  if not folder.is_dir():
    pytest.skip(f"shared/data/annotations/{task.data[0]} is not at hand")
  found = paper.count(task.options, task.task, folder)
  entry = next(entry for entry in paper.ENTRIES if entry.name == "pros_cons-table-1")
  printed = dict(zip(entry.quantities, entry.published[task.title]))
  listed = ("#Videos", "Av. Length (s)") if task in paper.BEST else ("#Videos", "#Pairs", "%Pairs")
  assert {name: found[name] for name in listed} == {name: printed[name] for name in listed}
