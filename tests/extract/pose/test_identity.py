"""Who is who: colors against plain loops, places that are expected, and what decides near and far."""

import math

import numpy as np
import pytest

from jaxskill.extract.pose import crops, identity

REGION = crops.Region(0.0, 0.0, 100.0, 0.0)


def naive_colors(pixels, shares):
  """The histograms in plain loops: 12 places of each line, 16 levels of each channel, a level spread over three."""
  found = []
  for lines in identity.PARTS:
    counts = [[0] * 16 for _ in range(3)]
    for start, end in lines:
      for share in np.linspace(0.1, 0.9, 12):
        x, y = (shares[start] + share * (shares[end] - shares[start])) * len(pixels)
        pixel = pixels[int(min(max(y, 0), len(pixels) - 1)), int(min(max(x, 0), len(pixels) - 1))]
        for channel in range(3):
          counts[channel][int(pixel[channel]) // 16] += 1
    spread = [(of[max(level - 1, 0)] + 2 * of[level] + of[min(level + 1, 15)]) for of in counts for level in range(16)]
    found.append([math.sqrt(count / sum(spread)) for count in spread])
  return np.array(found)


def test_colors_are_those_along_the_limbs():
  rng = np.random.default_rng(0)
  pixels, shares = rng.uniform(0, 255, (64, 64, 3)), rng.uniform(-0.2, 1.2, (33, 2))        # some outside the square
  made = identity.colors_of(pixels, shares)
  np.testing.assert_allclose(made, naive_colors(pixels, shares), rtol=1e-9)
  np.testing.assert_allclose((made ** 2).sum(axis=1), 1)


def plain(red, green, blue):
  """Colors of somebody who is of one color all over."""
  return identity.colors_of(np.full((16, 16, 3), (red, green, blue), float), np.random.default_rng(1).uniform(size=(33, 2)))


def test_how_unlike_colors_are():
  assert identity.unlike(plain(10, 10, 10), plain(10, 10, 10)) == pytest.approx(0, abs=1e-9)
  assert identity.unlike(plain(10, 10, 10), plain(200, 200, 200)) == 1
  assert identity.unlike(plain(10, 10, 10), plain(10, 10, 200)) == pytest.approx(1 / 3)
  assert 0 < identity.unlike(plain(40, 40, 40), plain(55, 55, 55)) < 0.5                    # the next level


def person(x, colors=None, steps=1, speed=0.0):
  """Somebody who comes to x at 10 s."""
  found = identity.Person(np.array([x - speed * steps / 25, 0.0]), 10 - steps / 25, REGION)
  for step in range(1, steps + 1):
    found.see(np.array([x - speed * (steps - step) / 25, 0.0]), 10 - (steps - step) / 25, REGION, colors)
  return found


def test_where_one_would_be():
  """Who walks steadily goes on for half a second; what that may be off grows."""
  walker = person(100.0, steps=50, speed=50.0)
  assert walker.away(np.array([120.0, 0.0]), 10.4) == pytest.approx(0, abs=0.1)
  assert walker.away(np.array([125.0, 0.0]), 12.0) == pytest.approx(0, abs=0.1)
  assert person(100.0).away(np.array([103.0, 4.0]), 10.0) == 5
  assert person(100.0).beyond(np.array([180.0, 0.0]), 10.1, 40.0) == pytest.approx(2 - 0.5)
  assert person(100.0).beyond(np.array([180.0, 0.0]), 11.0, 40.0) == 0


DARK, LIGHT = plain(20, 20, 20), plain(180, 180, 180)


@pytest.mark.parametrize("place,colors,sign", [
    (100.0, DARK, 1), (300.0, LIGHT, -1),                    # each where it was
    (100.0, LIGHT, -1),                                      # the other one is in the person's place
    (300.0, DARK, -1)])                                      # neither fits: by place it is the other one
def test_what_is_seen_of_two_in_other_clothes(place, colors, sign):
  found = identity.margin(person(100.0, DARK), person(300.0, LIGHT), np.array([place, 0.0]), colors, 10.04, 100.0)
  assert np.sign(found) == sign


def test_of_two_in_the_same_clothes_the_place_decides():
  def margin(place, apart):
    return identity.margin(person(100.0, DARK), person(100.0 + apart, DARK), np.array([place, 0.0]), DARK, 10.04, 100.0)
  assert margin(100.0, 200.0) > 0.5 and margin(300.0, 200.0) < -0.5
  assert abs(margin(105.0, 10.0)) < 0.05                                                    # one behind the other


def test_one_of_whom_nothing_is_known_but_the_place():
  """What is unlike the person's own colors by more than usual is another one."""
  here = np.array([100.0, 0.0])
  assert identity.margin(person(100.0, DARK), person(110.0), here, LIGHT, 10.04, 100.0) < -0.5
  assert identity.margin(person(100.0, DARK), person(110.0), here, DARK, 10.04, 100.0) > 0.05


def test_who_is_not_seen_any_more_is_forgotten():
  others = identity.Others(lambda picture, region: None)
  others.known = [person(100.0), person(300.0)]
  others.known[1].time = 8.5
  others.forget(11.0)
  assert [other.place[0] for other in others.known] == [100.0]
  assert others.are_near(person(200.0), 50.0) and not others.are_near(person(200.0), 30.0)
