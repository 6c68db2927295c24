"""Persons whom the networks of poses find, for recipes that cut them out."""

import numpy as np
import pytest

from jaxskill.extract.pose import athletes
from tests.extract.pose import puppets
from tests.extract.pose.test_streams import film
from tests.extract.test_extraction import recipe as small
from tests.extract.test_extraction import taken


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
  """At a picture a second: by more than a quarter of the square, which nobody does between two pictures of a film."""
  pictures = [puppets.picture((40 + 80 * k, 150, 40 + 80 * k, 90), time=float(k)) for k in range(4)]
  np.testing.assert_allclose(middles(athletes.Athletes("", ""), *pictures), [40, 120, 200, 280], atol=3)


def test_a_video_that_is_read_once_more_is_followed_from_its_start():
  """As damaged ones are; whoever is chosen is chosen again."""
  pictures = [puppets.picture((80 - 40 * k, 150, 80 - 40 * k, 90), (120 + 50 * k, 150, 120 + 50 * k, 90), time=float(k))
              for k in range(3)]
  who = athletes.Athletes("", "75,140")
  first = middles(who, *pictures)
  assert first == middles(who, *pictures) and first[0] == pytest.approx(80, abs=3)


TWO = [puppets.picture((80 + 60 * k, 150, 80 + 60 * k, 90), (240, 160, 240, 95), time=float(k)) for k in range(3)]


def test_a_chosen_point_outside_the_picture():
  with pytest.raises(ValueError, match="the chosen point 500,20 lies outside the picture of 320 x 240 pixels"):
    athletes.Athletes("", "500,20").largest("a", TWO[0])


def test_it_is_said_who_of_several_is_cut_out(tmp_path):
  """The largest one, where none is chosen; each video has its own notes."""
  who = athletes.Athletes("", "")
  middles(who, *TWO)
  assert len(who.notes("a")) == 1 and "shows 2 persons at 0.00 s" in who.notes("a")[0] and who.notes("b") == []
  config = small("action_net:static")
  config.streams.static.update(region="pose")
  config.streams.static.sampling.update(fps=1.0)
  path = film(tmp_path / "a.mp4", TWO, rate=1)
  warnings = taken(path, config, athletes.Athletes("", ""))[1]["warnings"]
  assert ["the largest is followed" in line for line in warnings] == [True]
  assert taken(path, config, athletes.Athletes("", "80,150"))[1]["warnings"] == []
