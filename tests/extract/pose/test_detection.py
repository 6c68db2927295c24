"""Detections: anchors, boxes beside them, and one for each group that overlaps."""

import numpy as np
import pytest

from jaxskill.extract.pose import detection


@pytest.mark.parametrize("name,side,count", [("pose_detection", 224, 2254), ("palm_detection", 192, 2016)])
def test_anchors(name, side, count):
  found = detection.anchors(side, detection.STRIDES[name])
  assert found.shape == (count, 2) and found.min() > 0 and found.max() < 1
  cells = side // 8
  np.testing.assert_allclose(found[:3], [[0.5 / cells, 0.5 / cells]] * 2 + [[1.5 / cells, 0.5 / cells]])
  last = 6                                                 # three layers of the widest stride, two anchors each
  assert (found[-last:] == found[-1]).all() and not (found[-last - 1] == found[-1]).all()


def test_outputs_are_beside_their_anchors():
  middles = np.array([[0.25, 0.5], [0.75, 0.5]])
  raw = np.zeros((2, 12), np.float32)
  raw[0] = [10, -20, 40, 80, 10, 0, 0, 10, 0, 0, -10, 0]
  values, scores = detection.decode(raw, np.array([[2.0], [-200.0]]), middles, 200, 0.5)
  assert scores == pytest.approx([1 / (1 + np.exp(-2.0))])
  np.testing.assert_allclose(values[0], [[0.2, 0.2], [0.4, 0.6], [0.3, 0.5], [0.25, 0.55], [0.25, 0.5], [0.2, 0.5]])
  nothing, none = detection.decode(raw, np.full((2, 1), -300.0), middles, 200, 0.5)
  assert nothing.shape == (0, 6, 2) and not len(none) and detection.merge(nothing, none) == []


def test_overlapping_boxes_are_one_by_their_scores():
  box = np.array([[0.0, 0.0], [0.2, 0.2], [0.1, 0.1]])
  values = np.stack([box, box + 0.02, box + 0.7])
  merged = detection.merge(values, np.array([0.6, 0.9, 0.5]))
  assert [score for score, _ in merged] == [0.9, 0.5]
  np.testing.assert_allclose(merged[0][1], box + 0.02 * 0.9 / 1.5)
  np.testing.assert_allclose(merged[1][1], box + 0.7)
  flat = np.zeros((2, 3, 2))                               # boxes without an area do not loop for ever
  assert len(detection.merge(flat, np.array([0.9, 0.8]))) == 2
