"""Squares of pictures: turned upright, cut out, and back into the picture."""

import numpy as np
import pytest

from jaxskill.extract.pose import crops
from tests.extract.pose import puppets


def smooth(size=(64, 48)):
  y, x = np.mgrid[: size[1], : size[0]]
  return np.stack([3 * x, 4 * y, x + y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("edge,turn", [((0, -10), 0), ((10, 0), 90), ((-10, 0), -90), ((10, -10), 45), ((0, 10), -180)])
def test_the_edge_is_straight_above_the_middle(edge, turn):
  region = crops.around((30.0, 20.0), (30.0 + edge[0], 20.0 + edge[1]), 1.25)
  assert np.degrees(region.turn) == pytest.approx(turn)
  assert region.side == pytest.approx(2.5 * np.hypot(*edge))
  above = region.to_picture(np.array([0.5, 0.5 - 1 / 2.5]))                    # as far as the edge is away
  np.testing.assert_allclose(above, (30 + edge[0], 20 + edge[1]), atol=1e-9)


def test_pixels_of_a_square_are_those_of_the_picture():
  image = smooth()
  region = crops.Region(24.0, 20.0, 16.0, 0.0)
  np.testing.assert_allclose(crops.cut(puppets.Picture(image), region, 16), image[12:28, 16:32], atol=1e-3)
  turned = crops.cut(puppets.Picture(image), region._replace(turn=np.pi / 2), 16)
  np.testing.assert_allclose(turned, np.rot90(image[12:28, 16:32]), atol=1e-3)      # what was right is up


def test_a_slow_reference_agrees():
  """Between the pixels, and beyond the edge of the picture, pixel by pixel."""
  image, region, side = smooth(), crops.Region(5.0, 40.0, 23.0, 0.4), 24
  found = crops.cut(puppets.Picture(image), region, side)
  for row, column in ((0, 0), (5, 20), (12, 12), (23, 23), (23, 0)):
    x, y = region.to_picture(np.array([(column + 0.5) / side, (row + 0.5) / side])) - 0.5
    x, y = np.clip(x, 0, 63), np.clip(y, 0, 47)
    left, top = min(int(x), 62), min(int(y), 46)
    expected = sum(image[top + j, left + i] * abs(1 - i - (x - left)) * abs(1 - j - (y - top))
                   for i in (0, 1) for j in (0, 1))
    np.testing.assert_allclose(found[row, column], expected, atol=1e-3)


def test_a_large_square_counts_every_pixel():
  stripes = np.zeros((512, 512, 3), np.uint8)
  stripes[:, ::2] = 200                                    # read off at single pixels they would be 0 or 200
  found = crops.cut(puppets.Picture(stripes), crops.Region(256.0, 256.0, 512.0, 0.0), 64)
  assert np.abs(found - 100).max() < 25


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (200, 200), (1, 1), (1, 50)])
def test_a_letterbox_shows_the_whole_picture(size):
  image = np.full((size[1], size[0], 3), 255, np.uint8)
  square, region = crops.letterbox(puppets.Picture(image), 224)
  wide, high = (round(224 * length / max(size)) or 1 for length in size)
  assert square.shape == (224, 224, 3) and (square[..., 0] > 0).sum() == pytest.approx(wide * high, rel=0.01)
  corners = region.to_picture(np.array([[0.0, 0.0], [1.0, 1.0]]))
  np.testing.assert_allclose(corners.mean(axis=0), np.array(size) / 2)
  assert (corners[1] - corners[0] == max(size)).all()


def test_squares_that_cannot_be_used():
  assert crops.Region(10, 10, 50, 0).is_usable((64, 48)) and crops.Region(-10, 10, 50, 0).is_usable((64, 48))
  for region in (crops.Region(np.nan, 1, 2, 0), crops.Region(1, 1, 0.5, 0), crops.Region(200, 10, 50, 0)):
    assert not region.is_usable((64, 48))
