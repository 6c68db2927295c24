"""What the figures of ACTION-NET show: rows in the order of their weights, of what the model has seen."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxskill.data.video import decoding
from jaxskill.reproduce import figures_action_net as figures
from jaxskill.reproduce.runs import Finished
from tests.data.video.test_decoding import encode

WEIGHTS = np.array([[0, 0.1, 0.4, 0.3, 0.2, 0], [0.25, 0.25, 0.3, 0.2, 0, 0]], np.float32)         # of two videos


@pytest.fixture
def run():
  """A finished row of one replica on two videos, of which the first has the higher score."""
  dataset = types.SimpleNamespace(
      name="two videos", videos=("good", "bad"), labels=lambda criterion: np.array([9.0, 2.0]), truth={},
      lengths=dict(rgb=np.array([6, 4]), static=np.array([6, 4])),
      row_seconds=dict(rgb=np.full(2, 2.0), static=np.full(2, 2.0)),
      seconds=lambda stream, video: 2.0 * np.arange([6, 4][video]))
  meaning = types.SimpleNamespace(finds=("critical",))
  experiment = types.SimpleNamespace(
      dataset=dataset, replicas=[types.SimpleNamespace(criterion="score")],
      config=types.SimpleNamespace(data=types.SimpleNamespace(name="features")),
      method=types.SimpleNamespace(streams=("rgb", "static"),
                                   meanings={"rgb attention": meaning, "static attention": meaning}),
      fold=lambda replica: types.SimpleNamespace(test_videos=np.array([0, 1])))
  said = types.SimpleNamespace(attention={name: WEIGHTS[None, :, None] for name in experiment.method.meanings})
  return Finished(types.SimpleNamespace(experiment=experiment), said, (0,), {})


def test_rows_in_the_order_of_their_weights(run):
  """Rows outside of the window were not seen, so they are not of the lowest weights."""
  good, bad = figures.seen(run, "rgb")
  assert (good.title, bad.title) == ("good, score 9", "bad, score 2")
  assert good.ordered().tolist() == [2, 3, 4, 1] and bad.ordered().tolist() == [2, 0, 1, 3]
  assert good.label(2) == "0:04.0: 0.4000" and good.found is None


def test_what_should_be_found_is_marked(run):
  run.trainer.experiment.dataset.truth["critical"] = np.array([[0, 0, 1, 0, 0, 0], [0] * 6])
  good, _ = figures.seen(run, "rgb")
  assert good.label(2).endswith("\nkey moment") and "key" not in good.label(3)


def titles(figure):
  return [axis.get_title() for axis in figure.axes]


def test_highest_weights_stand_above_the_lowest(run):
  figure = figures.segments({"": run}, None)["segments_of_the_best"]
  assert [title for title in titles(figure) if title] == [
      "0:04.0: 0.4000", "0:06.0: 0.3000", "0:08.0: 0.2000", "0:02.0: 0.1000"]
  assert "give --videos DIR" in figure.get_suptitle()
  one = figures.frames({"": run}, None)["frames"]
  assert titles(one)[:2] == ["0:04.0: 0.4000", "0:06.0: 0.3000"]                 # in the order of time
  assert titles(one)[8:10] == ["0:02.0: 0.1000", "0:08.0: 0.2000"]
  plt.close("all")


def test_frames_of_video_files(run, tmp_path, monkeypatch):
  """What stands under a weight is the picture at the middle of its row."""
  encode(tmp_path / "good.mp4", np.arange(120) / 10)
  asked = []
  original = decoding.frames_at
  monkeypatch.setattr(decoding, "frames_at", lambda file, seconds, *rest: asked.append(list(seconds)) or original(
      file, seconds, *rest))
  figure = figures.weights({"": run}, tmp_path)["weights"]
  np.testing.assert_allclose(asked, [[3, 5, 7, 9]], rtol=0.02)         # rows lie evenly over the file
  pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images]
  assert [picture.ndim for picture in pictures] == [3] * 4 + [2] * 4             # there is no file of the other video
  plt.close("all")
