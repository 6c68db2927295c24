"""Heat maps of spatial attention: which videos and frames, whose weights, what is known of them."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxskill import methods
from jaxskill.data.simulation import simulated
from jaxskill.reproduce import figures_spatial_attention as figures
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished


@pytest.fixture
def runs():
  """Two rows of two replicas each, of which the second stands first among those of its row; 8 videos of 7 frames."""
  dataset = simulated.simulate(8, num_subjects=8, streams=("maps",), map_frames=7, map_size=4, map_width=3, num_segments=7)
  experiment = types.SimpleNamespace(dataset=dataset, method=types.SimpleNamespace(stream_of=lambda name: "maps"),
                                     fold=lambda replica: dataset.folds[0])
  rng, rows = np.random.default_rng(0), np.tile(np.arange(7, dtype=np.int32), (2, 8, 1))

  def finished(known):
    said = methods.Assessment(score=rng.normal(size=(2, 8)), maps=dict(attention=rng.uniform(size=(2, 8, 7, 4, 4))),
                              rows=dict(attention=rows))
    return Finished(types.SimpleNamespace(experiment=experiment), said, (1, 0),
                    dict(replicas=[dict(against_truth={}), dict(against_truth=known)]))
  yield {"whole": finished(dict(attention_place=0.5, uniform_place=0.25)), "other": finished({})}
  plt.close("all")


def panels(figure):
  """[[axis of a frame] of each strip], from above."""
  return [np.array(part.axes).reshape(2, -1) for part in figure.subfigs]


def test_strips_show_the_same_frames_of_the_extreme_test_videos(runs):
  figure = figures.draw(runs, None)["attention"]
  first = runs["whole"]
  dataset, test = first.trainer.experiment.dataset, first.trainer.experiment.dataset.folds[0].test_videos
  score = first.assessments.score[1][test]
  videos = test[np.argmax(score)], test[np.argmin(score)]
  assert len(panels(figure)) == 2
  for axes, video in zip(panels(figure), videos):
    for strip, run in zip(axes, runs.values()):
      maps = run.assessments.maps["attention"][1]
      for axis, number in zip(strip, (0, 1, 2, 4, 5, 6)):
        picture, heat = axis.images
        np.testing.assert_allclose(picture.get_array(), dataset.streams["maps"][video, number].mean(axis=-1))
        np.testing.assert_allclose(heat.get_array(), maps[video, number])
        assert heat.norm.vmax == maps[list(videos)].max()           # one scale for all that is shown of a row
        marks = [tuple(np.ravel(line.get_xydata())) for line in axis.lines]
        assert marks == [tuple(dataset.truth[name][video, number][::-1]) for name in ("place", "distractor")]
  above, below = (strip[0].get_ylabel() for strip in panels(figure)[0])
  assert "at the true place 0.50\n(equal weights 0.25)" in above and "true place" not in below


def test_frames_of_video_files_where_they_are_given(runs, tmp_path, monkeypatch):
  """In place of the mean over channels; where a file ends early, that stands in."""
  film = np.full((8, 8, 3), 7, np.uint8)
  monkeypatch.setattr(stills, "at", lambda experiment, video, seconds, videos: [film] * (len(seconds) - 1))
  strip = panels(figures.draw(runs, tmp_path)["attention"])[0][0]
  assert all((axis.images[0].get_array() == film).all() for axis in strip[:-1])
  assert strip[-1].images[0].get_array().shape == (4, 4)
