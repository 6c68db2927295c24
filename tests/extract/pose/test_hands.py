"""Hands that are followed: networks that see one straight hand in the middle of every square."""

import numpy as np

from jaxskill.extract.pose import detection, hands
from tests.extract.pose import puppets


class Networks:
  """Attributes: chances: that it is a right hand, of the pictures to come."""

  def __init__(self, chances):
    self.chances, self.read = list(chances), 0

  def run(self, name, image):
    return self._detect() if name == "palm_detection" else self._read()

  def _detect(self):
    """One palm in the middle, 40 pixels high, its wrist below the first joint of the middle finger."""
    middles = detection.anchors(192, detection.STRIDES["palm_detection"])
    raw, scores = np.zeros((len(middles), 18), np.float32), np.full((len(middles), 1), -200.0, np.float32)
    anchor = np.hypot(*(middles - 0.5).T).argmin()
    raw[anchor, 2:4], raw[anchor, 4:6], raw[anchor, 8:10], scores[anchor] = 40, (0, 20), (0, -20), 3.0
    return raw, scores

  def _read(self):
    points = np.zeros((21, 3), np.float32)
    points[0, :2] = 112, 179
    for finger in range(5):
      for joint in range(4):
        points[1 + 4 * finger + joint, :2] = 80 + 16 * finger, (150, 130, 120, 110)[joint] if not finger else (
            120, 67, 50, 40)[joint]
    self.read += 1
    return points.reshape(-1), np.array([0.9], np.float32), np.array([self.chances.pop(0)], np.float32), None


def sides(chances):
  """(the side of the hand in each picture, networks)."""
  networks = Networks(chances)
  followed = hands.Hands(networks, puppets.options())
  image = np.zeros((192, 192, 3), np.uint8)
  return [list(followed.look(puppets.Picture(image, k / 25))) for k in range(len(chances))], networks


def test_a_blurred_picture_does_not_change_the_side_of_a_hand():
  """But pictures of the other side in a row do; and of a single picture there is no mean."""
  found, networks = sides([0.1, 0.2, 0.9, 0.1, 0.1])
  assert found == [["left"]] * 5 and networks.read == 5          # one hand, read once in each picture
  assert sides([0.1, 0.9, 0.9, 0.9, 0.9])[0][-1] == ["right"]
  assert sides([0.9])[0] == [["right"]]
