"""Pictures of simulated performances: what a viewer would point at is there when the script says so, and only then."""

import numpy as np
import pytest

from jaxskill.data.simulation import scene, scripts

SIZE, FPS = (120, 160), 10
TASK = scripts.make_task(0, 6)


def film(skill, key=0, difficulty=0.0, seconds=20, size=SIZE):
  _, script = scripts.draw_script(TASK, skill, key, key, 0, difficulty=difficulty, seed=0)
  plan = scene.make_plan(TASK, script, seconds, FPS)
  return plan, np.stack(list(scene.draw(TASK, script, plan, FPS, size, (0, key)))).astype(float)


def near(frames, color, tolerance=40):
  """`[T, H, W]` pixels of about that colour."""
  return np.abs(frames - color).max(axis=-1) < tolerance


def settled(shown, frames=8):
  """Frames before which something has been going on for a while."""
  return np.convolve(shown, np.ones(frames), "full")[: len(shown)] == frames


@pytest.fixture(scope="module")
def clumsy():
  return film(0.02)


@pytest.fixture(scope="module")
def skilled():
  return film(0.98)


def test_frames(clumsy):
  plan, frames = clumsy
  assert frames.shape == (200, *SIZE, 3)
  assert plan.seconds[0] == pytest.approx(0.05) and plan.seconds[-1] == pytest.approx(19.95)
  np.testing.assert_array_equal(frames, film(0.02)[1])
  assert np.abs(frames - film(0.02, key=1)[1]).mean() > 5
  assert film(0.02, size=(48, 64), seconds=1)[1].shape == (10, 48, 64, 3)


def test_the_seam_is_the_progress(skilled):
  plan, frames = skilled
  dark = near(frames, scene.SEAM, 25).sum(axis=(1, 2))
  resting = settled(plan.idle)                                    # the hand does not hide the seam
  assert resting.sum() > 10 and np.corrcoef(dark[resting], plan.progress[resting])[0, 1] > 0.97
  assert dark[0] < 40 < 200 < dark[-1]


def test_the_hand_is_at_the_place_or_rests(skilled):
  plan, frames = skilled
  steel = near(frames, scene.STEEL, 12)
  where = np.array([np.argwhere(picture).mean(axis=0) if picture.any() else (np.nan, np.nan) for picture in steel])
  distance = np.hypot(*(where - plan.place * SIZE).T)
  working, resting = settled(~plan.idle), settled(plan.idle)
  assert np.nanmedian(distance[working]) < 16                     # the tool is as long
  assert np.nanmin(distance[resting]) > 25


def test_mistakes_leave_marks_and_technique_none(clumsy, skilled):
  red = lambda frames: near(frames, scene.SCRATCH, 45).sum(axis=(1, 2)) + near(frames, scene.STAIN, 30).sum(axis=(1, 2))
  plan, frames = clumsy
  first = np.flatnonzero(plan.mistakes[:, 1:].any(axis=1))[0]     # a slip or a drop
  assert red(frames)[:first].max() < 5 and red(frames)[-1] > 40
  assert red(skilled[1]).max() < 5 and not skilled[0].mistakes.any() and skilled[0].technique.any()


def test_good_technique_is_seen(skilled):
  plan, frames = skilled
  skin = near(frames, scene.SKIN, 25).sum(axis=(1, 2))
  holds, alone = settled(plan.technique[:, 0] > 0, 5), settled(~plan.idle) & settled(~(plan.technique[:, 0] > 0), 20)
  assert skin[holds].mean() > 1.5 * skin[alone].mean()            # two hands
  teal = near(frames, scene.STITCH, 40).sum(axis=(1, 2))
  stitched = np.flatnonzero(plan.technique[:, 2])
  assert teal[: stitched[0]].max() < 3 and teal[-1] > 15


def test_the_hand_trembles(clumsy):
  plan, frames = clumsy
  moved = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
  trembles = settled(plan.mistakes[:, 0] > 0, 2)[1:]
  unchanged = np.append(True, np.diff(plan.posture > 0) == 0)
  quiet = settled(~plan.idle & ~plan.mistakes.any(axis=1) & unchanged, 6)[1:]
  assert quiet.sum() > 10 and trembles.sum() > 3 and moved[trembles].mean() > 1.3 * moved[quiet].mean()


def test_difficulty_moves_what_has_nothing_to_do_with_skill():
  plan, frames = film(0.5, difficulty=0.0)
  other, restless = film(0.5, difficulty=1.0)
  assert not plan.astray.any() and other.astray[other.idle].any() and other.astray[other.distracting].any()
  np.testing.assert_array_equal(plan.mistakes, other.mistakes)
  idle = settled(plan.idle)[1:]
  moved = lambda frames: np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))[idle].mean()
  assert moved(restless) > 1.2 * moved(frames)
