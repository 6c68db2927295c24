"""A person who is followed: where the square goes, when the detector is asked, who is taken for whom."""

import numpy as np
import pytest

from jaxskill.extract.pose import body, crops, identity
from tests.extract.pose import puppets

PUPPET = np.array([160.0, 150.0, 160.0, 90.0])


class Unsure(puppets.Networks):
  """Those that do not see the persons of the first `unsure` squares."""

  def __init__(self, unsure):
    super().__init__()
    self._unsure = unsure

  def _read(self, image):
    raw, flag, *others = super()._read(image)
    self._unsure -= 1
    return raw, flag * (self._unsure < 0), *others


def look(*pictures, chosen=(), networks=None, **changes):
  """(what is seen in each picture, the follower)."""
  follower = body.Follower(networks or puppets.Networks(), puppets.options(**changes), chosen)
  return [follower.look(picture) for picture in pictures], follower


def box(puppet, size=(320, 240)):
  """The square in which a single puppet is found."""
  (seen,), _ = look(puppets.picture(puppet, size=size))
  return seen.region


@pytest.mark.parametrize("change,expected", [
    (lambda p: p + (40, 20, 40, 20), lambda r: r._replace(x=r.x + 40, y=r.y + 20)),
    (lambda p: p * (1, 1, 1, 0) + (0, 0, 0, 60), lambda r: r._replace(side=1.5 * r.side)),
    (lambda p: (p - (160, 150, 160, 150)) * (-1, 1, -1, 1) + (100, 150, 100, 150), lambda r: r._replace(x=100)),
    (lambda p: np.array([160, 150, 220, 150.0]), lambda r: r._replace(turn=np.pi / 2))])
def test_a_puppet_that_is_moved_scaled_or_turned_moves_its_square(change, expected):
  found, wanted = box(change(PUPPET)), expected(box(PUPPET))
  assert np.hypot(found.x - wanted.x, found.y - wanted.y) < 1.5
  assert found.side == pytest.approx(wanted.side, rel=0.02) and found.turn == pytest.approx(wanted.turn, abs=0.02)


def test_a_mirrored_puppet():
  """One that leans leans the other way, and so does its square."""
  leaning = PUPPET + (0, 0, 30, 0)
  mirrored = leaning * (-1, 1, -1, 1) + (320, 0, 320, 0)
  one, other = box(leaning), box(mirrored)
  assert other.x == pytest.approx(320 - one.x, abs=1.5) and other.side == pytest.approx(one.side, rel=0.02)
  assert other.turn == pytest.approx(-one.turn, abs=0.02) and one.turn == pytest.approx(np.arctan2(30, 60), abs=0.03)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (96, 400)])
def test_landmarks_are_where_the_puppet_is(size):
  puppet = np.array([size[0] / 2, 150.0, size[0] / 2 + 20, 100.0])
  (seen,), _ = look(puppets.picture(puppet, size=size))
  nose, hip = seen.points[0], seen.points[body.LANDMARKS.index("left_hip")]
  np.testing.assert_allclose(nose[:2], puppet[2:], atol=1.0)
  np.testing.assert_allclose(hip[:2], puppet[:2], atol=1.0)
  assert seen.flag == 1 and (seen.visibility > 0.9).all()
  np.testing.assert_allclose(seen.world[0, :2] / np.hypot(*seen.world[0, :2]),                # turned back
                             (puppet[2:] - puppet[:2]) / np.hypot(20, 50), atol=0.03)


def test_the_detector_is_asked_at_first_and_a_few_times_a_second():
  """And changes nothing where nobody else is there."""
  pictures = [puppets.picture(PUPPET + (3 * k, 0, 3 * k, 0), time=k / 25) for k in range(22)]
  seen, follower = look(*pictures)
  assert follower.asked == 1 + 5 and follower.looked == 22
  np.testing.assert_allclose([one.points[5, 0] for one in seen], [160 + 3 * k for k in range(22)], atol=1.0)


def test_one_who_walks_in_is_not_taken_for_the_first():
  """A larger person comes near; asked anew in every picture, the detector would find that one."""
  pictures = [puppets.picture(PUPPET)] + [puppets.picture(PUPPET, (320 - 8 * k, 190, 320 - 8 * k, 60), time=k / 25)
                                          for k in range(1, 10)]
  seen, follower = look(*pictures)
  assert not follower.hidden and not follower.is_hidden
  np.testing.assert_allclose([one.points[5, :2] for one in seen], [(160, 150)] * 10, atol=1.5)


STEP, PICTURES = 0.08, 38              # seconds from picture to picture


def crossing(there, clothes):
  """Pictures of one who stands at 160 in blue 60 and of another one who is at `there(seconds)`, in front."""
  for k in range(PICTURES):
    x = there(k * STEP)
    yield puppets.scene((160, 150, 160, 90, 60), (x, 150, x, 90, clothes), time=k * STEP)


def comes_and_goes_back(time):
  return 290 - 200 * time if time < 0.65 else 160 if time < 1.2 else min(290, 160 + 100 * (time - 1.2))


def comes_and_goes_on(time):
  return 290 - 200 * time if time < 0.65 else 160 if time < 1.2 else max(40, 160 - 100 * (time - 1.2))


@pytest.mark.parametrize("there,clothes", [
    (comes_and_goes_back, 200), (comes_and_goes_on, 60),
    pytest.param(comes_and_goes_on, 200, marks=pytest.mark.slow),
    pytest.param(comes_and_goes_back, 60, marks=pytest.mark.slow)])
def test_one_who_was_hidden_is_found_again(monkeypatch, there, clothes):
  """Behind somebody in other clothes, or in the same ones: a gap, and never the other one."""
  monkeypatch.setattr(identity, "FORGET", 1.0)
  seen, follower = look(*crossing(there, clothes), chosen=((0.0, 160, 120),))
  assert all(one is None or abs(one.points[5, 0] - 160) < 15 for one in seen)
  times = STEP * np.arange(PICTURES)
  is_seen = np.array([one is not None for one in seen])
  assert is_seen[times < 0.45].all() and is_seen[-3:].all() and not is_seen[(times > 0.67) & (times < 1.2)].any()
  assert len(follower.hidden) == 1 and 0.4 < follower.hidden[0][0] < 0.7 and not follower.again
  assert clothes == 60 or follower.hidden[0][1] < 1.9


def test_one_who_passes_in_front_is_followed_without_a_gap():
  seen, follower = look(*crossing(comes_and_goes_back, 200), chosen=((0.0, 290, 120),))
  assert all(abs(one.points[5, 0] - comes_and_goes_back(k * STEP)) < 15 for k, one in enumerate(seen))
  assert not follower.hidden


def test_a_gap_is_a_gap():
  """Where nobody is, nothing is seen, and the filters begin anew."""
  there = [puppets.picture(PUPPET, time=k / 25) for k in range(5)]
  away = [puppets.picture(time=(5 + k) / 25) for k in range(5)]
  again = [puppets.picture(PUPPET + (20, 0, 20, 0), time=(10 + k) / 25) for k in range(3)]
  seen, follower = look(*there, *away, *again, smoothing=True)
  assert [one is not None for one in seen] == [True] * 5 + [False] * 5 + [True] * 3
  np.testing.assert_allclose(seen[10].points[5, :2], (180, 150), atol=1.0)                  # not drawn to the old place
  assert follower.asked == 7 and not follower.again                                         # found by the last square


def test_somebody_else_is_not_taken_for_a_lost_person_at_once():
  other = (40, 180, 40, 140)
  gone = [puppets.picture(PUPPET, time=0.0)] + [puppets.picture(other, time=k * 0.4) for k in range(1, 5)]
  seen, follower = look(*gone, hold=1.0)
  assert [one is not None for one in seen] == [True, False, False, True, True]
  assert len(follower.again) == 1 and "followed again from 1.20 s on" in follower.again[0] and not follower.notes


def again(time):
  return puppets.picture((80, 150, 80, 90), (240, 160, 240, 95), time=time)


TWO = again(0.0)


def test_two_persons_and_none_chosen():
  with pytest.raises(ValueError, match="shows 2 persons at 0.00 s, at 240,160 and 80,150 .*--person x,y, or give it a "
                     "table; jaxskill.extract takes the largest with --config.person.several=largest"):       # assess cannot
    look(TWO)
  (seen,), follower = look(TWO, several="largest")
  assert seen.points[5, 0] == pytest.approx(240, abs=1.5)
  assert "the largest is followed" in follower.notes[0]
  (seen,), _ = look(puppets.picture((80, 150, 80, 90), (240, 160, 240, 140)))               # far away: nobody asks
  assert seen.points[5, 0] == pytest.approx(80, abs=1.5)


def test_who_is_chosen_is_followed():
  (seen,), _ = look(TWO, chosen=((0.0, 90, 140),))
  assert seen.points[5, 0] == pytest.approx(80, abs=1.5)
  later = again(0.2)
  (first, second), _ = look(TWO, later, chosen=((0.1, 240, 150),))
  assert first is None and second.points[5, 0] == pytest.approx(240, abs=1.5)
  (first, second), _ = look(TWO, later, chosen=((0.0, 80, 150), (0.1, 240, 150)))
  assert (first.points[5, 0], second.points[5, 0]) == (pytest.approx(80, abs=1.5), pytest.approx(240, abs=1.5))
  (nobody,), follower = look(TWO, chosen=((0.0, 160, 20),))
  assert nobody is None and len(follower.passed_by) == 2
  (nobody, still_nobody), follower = look(puppets.picture(), again(0.2), chosen=((0.0, 80, 150), (0.1, 160, 20)))
  assert nobody is still_nobody is None and follower.passed_by[0][3] == [160, 20]           # and not the first choice


def test_who_is_chosen_is_asked_for_until_seen():
  """Where the second network is not sure at first, also of a larger one beside the chosen one."""
  seen, _ = look(TWO, again(0.04), again(0.08), chosen=((0.0, 90, 140),), networks=Unsure(2))
  assert [one is not None for one in seen] == [False, False, True]
  assert seen[2].points[5, 0] == pytest.approx(80, abs=1.5)


def test_a_later_choice_does_not_wait_for_an_earlier_one():
  seen, follower = look(TWO, again(0.04), again(0.2), chosen=((0.0, 160, 20), (0.2, 80, 150)))
  assert seen[:2] == [None, None] and seen[2].points[5, 0] == pytest.approx(80, abs=1.5)
  assert follower.notes == ["nobody seen at the chosen point 160,20 from 0.00 s on, until another one is chosen at "
                            "0.20 s: correct --person"]


def test_one_note_of_one_who_is_seen():
  """And none of those whom the second network does not see."""
  pictures = [again(k / 25) for k in range(5)]
  seen, follower = look(*pictures, several="largest", networks=Unsure(3))
  assert seen[2] is None and seen[3] and len(follower.notes) == 1 and "2 persons at 0.12 s" in follower.notes[0]
  far = [puppets.picture(PUPPET), *(puppets.picture((40, 180, 40, 140), time=2 + k / 25) for k in range(4))]
  networks = Unsure(0)
  follower = body.Follower(networks, puppets.options())
  follower.look(far[0])
  networks._unsure = 2
  assert [follower.look(picture) is not None for picture in far[1:]] == [False, False, True, True]
  assert len(follower.again) == 1 and "followed again from 2.08 s on" in follower.again[0]


def test_refinement():
  maps = np.full((64, 64, 2), -10.0, np.float32)
  maps[20, 30, 0] = maps[20, 31, 0] = 8.0                              # between two cells
  places = np.array([[29.2 / 64, 20.4 / 64], [0.5, 0.5]])
  found = body.refine(places, maps)
  np.testing.assert_allclose(found[0], [30.5 / 64, 20 / 64], atol=2e-3)
  np.testing.assert_array_equal(found[1], places[1])                   # nothing is sure there
  corner = body.refine(np.array([[-0.1, 1.2], [0.99, 0.01]]), maps)    # outside, and at the edge
  assert np.isfinite(corner).all()


def test_landmarks_of_raw_outputs():
  """The same by hand: shares of the square, turned with it; chances of logits."""
  rng, region = np.random.default_rng(0), crops.Region(100.0, 80.0, 64.0, 0.3)
  outputs = [rng.uniform(50, 200, 195), np.ones(1), None, np.full((64, 64, 39), -9.0), rng.normal(size=117)]
  points, world, visibility = body.landmarks(outputs, region)
  raw = outputs[0].reshape(39, 5)
  turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
  np.testing.assert_allclose(points[:, :2], (raw[:, :2] / 256 - 0.5) * 64 @ turn.T + (100, 80))
  np.testing.assert_allclose(points[:, 2], raw[:, 2] / 4)
  np.testing.assert_allclose(world[:, :2], outputs[4].reshape(39, 3)[:33, :2] @ turn.T)
  np.testing.assert_allclose(visibility, 1 / (1 + np.exp(-raw[:33, 3])))
