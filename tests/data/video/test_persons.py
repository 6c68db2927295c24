"""Boxes of persons: tables with their faults, and a detector in an ONNX file that is made here."""

import numpy as np
import pytest

from jaxskill.data.video import decoding, persons
from tests.data.video.test_decoding import encode
from tests.extract.test_extraction import recipe, taken


class Picture:
  def __init__(self, time, number=0):
    self.time, self.number, self.rate = time, number, 10.0


def table(tmp_path, text):
  (tmp_path / "boxes.csv").write_text(text)
  return persons.Boxes(tmp_path / "boxes.csv")


def test_the_largest_box_at_the_nearest_time(tmp_path):
  boxes = table(tmp_path, "video,time,x1,y1,x2,y2,score\na,0,0,0,9,9,.9\na,1,0,0,5,5,1\na,1,10,10,30,20,.2\n"
                          "sub/b,3.5,1,2,3,4,1\n")
  for time, box, away in ((0.2, [0, 0, 9, 9], 0.2), (0.9, [10, 10, 30, 20], 0.1), (5, [10, 10, 30, 20], 4)):
    found, distance = boxes.largest("a", Picture(time))
    np.testing.assert_array_equal(found, box)
    assert distance == pytest.approx(away)
  with pytest.raises(ValueError, match="no person found: boxes.csv has no box of this video"):
    boxes.largest("c", Picture(0))
  assert boxes.digest("a") != boxes.digest("sub/b") and boxes.digest("c") == ""


def test_boxes_by_the_number_of_the_frame(tmp_path):
  boxes = table(tmp_path, "video,frame,x1,y1,x2,y2\na,0,0,0,9,9\na,50,1,1,2,2\n")
  found, away = boxes.largest("a", Picture(100.0, 45))
  np.testing.assert_array_equal(found, [1, 1, 2, 2])
  assert away == pytest.approx(0.5)


@pytest.mark.parametrize("text,message", [
    ("video,time,x1,y1,x2\na,0,1,1,2\n", "column 'y2' is not in the first line"),
    ("video,x1,y1,x2,y2\na,1,1,2,2\n", "needs one of the columns time"),
    ("video,time,frame,x1,y1,x2,y2\na,0,0,1,1,2,2\n", "needs one of the columns time"),
    ("video,time,x1,y1,x2,y2\na,0,1,1,2,2\na,1,1,1,one,2\n", "line 3: x2 'one' of video 'a' is not a finite number"),
    ("video,time,x1,y1,x2,y2\na,0,5,1,2,2\n", "line 2: .*x2 must be above x1"),
    ("video,time,x1,y1,x2,y2\na,-1,1,1,2,2\n", "line 2: time must not be negative"),
    ("video,time,x1,y1,x2,y2\na,0,1,1,2\n", "line 2: 5 cells but the first line has 6"),
    ("video,time,x1,y1,x2,y2\na,0,1,1,9,9\na,1,1,1,1e30,2\n", "line 3: 1, 1, 1e.30, 2 are no pixels of a picture"),
    ("video,time,x1,y1,x2,y2\na,0,1,1,9,9\na,1,-1e9,1,2,2\n", "line 3: .*are no pixels of a picture"),
    ("video,time,x1,y1,x2,y2\na,0,.1,.1,.9,.8\na,1,0,0,1,1\n", "all corners lie between 0 and 1, as shares of the"),
    ("video,time,x1,y1,x2,y2\na,1e999,1,1,2,2\n", "line 2: time '1e999' of video 'a' is not a finite number"),
    ("video,time,x1,y1,x2,y2\n", "no lines below the first"),
    ("", "column 'video' is not in the first line"),
])
def test_faults_of_a_table(tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    table(tmp_path, text)


@pytest.mark.parametrize("box", [(-50, 5, -3, 30), (5, -50, 30, -3), (64, 0, 90, 9), (0, 48, 9, 60)])
def test_a_box_outside_the_picture_fails_its_video(tmp_path, box):
  """Also left of it or above, where a negative end would count from the other side."""
  boxes = table(tmp_path, "video,time,x1,y1,x2,y2\na,0," + ",".join(map(str, box)) + "\n")
  path = encode(tmp_path / "a.mp4", [0, 1, 2])
  _, said, kinds = taken(path, recipe("action_net:static"), boxes)
  assert kinds[-1] == "failed" and "lies outside the picture of 64 x 48; boxes are in its pixels" in said


def test_boxes_of_a_detector_that_are_no_numbers(monkeypatch):
  found = persons.Detector.__new__(persons.Detector)
  found.size, picture = 64, Picture(0.0)
  picture.size, picture.image = (64, 64), lambda *_: np.zeros((64, 64, 3), np.uint8)
  boxes = np.array([[np.nan, 0, 9, 9], [1, 2, 30, 40], [0, 0, np.inf, 9]])
  monkeypatch.setattr(persons.Detector, "_boxes", lambda *_: boxes)
  np.testing.assert_array_equal(found.largest("a", picture)[0], [1, 2, 30, 40])


def test_forms_of_output():
  rows = np.array([[[0, 0, 10, 10, .9], [5, 5, 9, 9, .1]]])
  np.testing.assert_array_equal(persons.person_boxes(rows, 0.5), [[0, 0, 10, 10]])
  classes = np.array([[[0, 0, 10, 10, .9, 1], [5, 5, 9, 9, .8, 0]]])
  np.testing.assert_array_equal(persons.person_boxes(classes, 0.5), [[5, 5, 9, 9]])
  columns = np.zeros((1, 6, 7))                    # two classes, seven boxes
  columns[0, :, 0] = 5, 5, 10, 4, .9, .3
  columns[0, :, 1] = 5, 5, 8, 8, .6, .9            # rather the other class
  np.testing.assert_array_equal(persons.person_boxes(columns, 0.5), [[0, 3, 10, 7]])
  for shape in ((1, 3), (1, 8400, 84), (2, 3, 4, 5)):
    with pytest.raises(ValueError, match="gives an output of shape"):
      persons.person_boxes(np.zeros(shape), 0.5)


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
  """A network whose only box grows with the brightness of the picture, and is sure where it is bright."""
  pytest.importorskip("cv2")
  onnx = pytest.importorskip("onnx")
  helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
  box = onnx.numpy_helper.from_array(np.array([[[4, 4, 68, 52, 2], [0, 0, 1, 1, 2]]], np.float32).repeat(1, 0), "box")
  graph = helper.make_graph(
      [helper.make_node("GlobalAveragePool", ["image"], ["channels"]),                     # [1, 3, 1, 1]
       helper.make_node("Conv", ["channels", "mean"], ["bright"]),                         # [1, 1, 1, 1]
       helper.make_node("Reshape", ["bright", "shape"], ["one"]),
       helper.make_node("Mul", ["box", "one"], ["rows"])],
      "detector", [helper.make_tensor_value_info("image", numbers, [1, 3, 64, 64])],
      [helper.make_tensor_value_info("rows", numbers, [1, 2, 5])],
      [box, onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 3, np.float32), "mean"),
       onnx.numpy_helper.from_array(np.array([1, 1, 1], np.int64), "shape")])
  file = tmp_path_factory.mktemp("detector") / "person.onnx"
  onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)
  return file


def test_detector(detector_file, tmp_path):
  pytest.importorskip("av")
  found = persons.Detector(detector_file, 64, 0.5)
  path = encode(tmp_path / "a.mp4", np.arange(22), size=(128, 96))          # twice the size that the network sees
  boxes = [found.largest("a", picture)[0] for picture in decoding.pictures(path)]
  assert boxes[0] is None and boxes[21] is not None
  image = next(iter(decoding.pictures(path))).image(64, 48)
  del image
  bright = [picture.image(64, 48) for picture in decoding.pictures(path)][21]
  padded = np.full((64, 64, 3), 114, np.uint8)
  padded[:48] = bright
  np.testing.assert_allclose(boxes[21], np.array([4, 4, 68, 52]) * 2 * padded.mean() / 255, rtol=1e-3)


def test_detectors_that_cannot_be(tmp_path, detector_file):
  with pytest.raises(ValueError, match="there is no such file of a detector"):
    persons.Detector(tmp_path / "none.onnx", 64, 0.5)
  (tmp_path / "a.onnx").write_text("no network")
  with pytest.raises(ValueError, match="OpenCV cannot run this as a detector on"):
    persons.Detector(tmp_path / "a.onnx", 64, 0.5)
