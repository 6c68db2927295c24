"""Persons whom the networks of poses find, for recipes that cut them out."""

import numpy as np
import pytest

from jaxskill.extract.pose import athletes
from tests.extract.pose import puppets


@pytest.fixture(autouse=True)
def networks(monkeypatch):
  """Those of puppets; returns them."""
  found = puppets.Networks()
  monkeypatch.setattr(athletes, "Networks", lambda *_: found)
  return found


def middles(who, *pictures, video="a"):
  """x of the middle of the box in each picture, None without one."""
  boxes = [who.largest(video, picture)[0] for picture in pictures]
  return [None if box is None else round((box[0] + box[2]) / 2) for box in boxes]


def test_an_athlete_who_moves_far_between_two_pictures_is_the_same():
  """At a picture a second: more than a quarter of the square on, which a follower of every picture would not believe."""
  pictures = [puppets.picture((40 + 80 * k, 150, 40 + 80 * k, 90), time=float(k)) for k in range(4)]
  np.testing.assert_allclose(middles(athletes.Athletes("", ""), *pictures), [40, 120, 200, 280], atol=3)


def test_a_video_that_is_read_once_more_is_followed_from_its_start():
  """As damaged ones are; whoever is chosen is chosen again."""
  pictures = [puppets.picture((80 - 40 * k, 150, 80 - 40 * k, 90), (120 + 50 * k, 150, 120 + 50 * k, 90), time=float(k))
              for k in range(3)]
  who = athletes.Athletes("", "75,140")
  first = middles(who, *pictures)
  assert first == middles(who, *pictures) and first[0] == pytest.approx(80, abs=3)
