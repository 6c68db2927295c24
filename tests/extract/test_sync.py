"""Films and recordings in and out of step, made up with known lags; needs PyAV."""

import subprocess
import sys

import numpy as np
import pytest

from jaxskill.data.simulation.rendered import encode
from jaxskill.extract import sync
from tests import recordings
from tests.places import REPO

pytest.importorskip("av")
FPS, SIZE = 25, (48, 64)


def hand(seconds=16.0, seed=0):
  """([n] seconds, [n, 2] place) of a hand that reaches for a new target now and then; before 0 s too."""
  rng = np.random.default_rng(seed)
  times = np.arange(-4 * FPS, round(seconds * FPS)) / FPS
  at = np.cumsum(rng.uniform(.4, 1.6, 40)) - 4
  targets, place = rng.uniform(.15, .85, (41, 2)), np.zeros((len(times), 2))
  for start, before, after in zip(at, targets, targets[1:]):
    share = np.clip((times - start) / .4, 0, 1)
    place = np.where((times >= start)[:, None], before + (after - before) * (3 * share ** 2 - 2 * share ** 3)[:, None],
                     place if start > at[0] else before)
  return times, place


def film(path, places, noise=2.0):
  """Writes a white square that moves on a grey ground, with noise."""
  rng, images = np.random.default_rng(1), []
  for x, y in places:
    image = np.full((*SIZE, 3), 90.0)
    row, column = round(y * (SIZE[0] - 12)), round(x * (SIZE[1] - 12))
    image[row: row + 12, column: column + 12] = 230
    images.append(np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8))
  encode(path, images, FPS, SIZE)


def table(path, times, places):
  points = np.concatenate([places, np.zeros((len(places), 1))], axis=1)[:, None] * .5
  recordings.write_csv(path, times - times[0], np.concatenate([points, points + .1], axis=1),
                       ("left_wrist", "right_wrist"))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
  """Three films that begin at 0 s of their hands, and recordings that begin earlier, later and at once."""
  folder = tmp_path_factory.mktemp("sync")
  (folder / "films").mkdir()
  (folder / "tables").mkdir()
  for seed, (name, begin) in enumerate(dict(early=-1.2, late=.8, same=0.0).items()):
    times, places = hand(seed=seed)
    film(folder / "films" / f"{name}_capture1.mp4", places[times >= -1e-9])
    chosen = times >= begin - 1e-9
    table(folder / "tables" / f"{name}.csv", times[chosen], places[chosen])
  return folder


@pytest.mark.parametrize("name,lag", [("early", 1.2), ("late", -.8), ("same", 0.0)])
def test_the_lag_of_a_film_is_found(films, name, lag):
  """A recording that begins earlier shows every movement later than the film."""
  energy = sync.motion_energy(films / "films" / f"{name}_capture1.mp4")
  found = sync.lag_between(energy, sync.hand_speed(films / "tables" / f"{name}.csv", sync.motion.Options(), .04), 3.0)
  assert found.known and found.correlation > .7
  assert found.seconds == pytest.approx(lag, abs=.05)


def test_the_command_warns_of_what_is_out_of_step(films):
  command = [sys.executable, "-m", "jaxskill.extract", "--check-sync", str(films / "tables"), "--videos",
             str(films / "films")]
  done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, timeout=300, check=False)
  assert done.returncode == 1, done.stderr
  early, late, same, total = done.stdout.splitlines()
  assert early.startswith("warning: early_capture1: its recording is 1.") and "behind the film" in early
  assert "of the recording" in early and "ahead of the film" in late and late.endswith("s of the film")
  assert same.startswith("same_capture1: in step") and total.startswith("3 films checked, 2 out of step")


def test_a_lag_beyond_the_largest_is_said():
  times, places = hand()
  speed = np.linalg.norm(np.gradient(places, 1 / FPS, axis=0), axis=1)
  film, recorded = (times[times >= 0], speed[times >= 0]), (times + 4, speed)          # begins 4 s earlier
  found = sync.lag_between(film, recorded, 3.96)
  assert found.at_edge and not found.known and found.seconds == pytest.approx(3.96)
  assert "is the largest that was tried" in sync.describe("v", found, .1)
  assert sync.lag_between(film, recorded, 5.0)[2:] == (True, False)


STEADY, OFF = sync.Lag(.04, .9, True), sync.Lag(-1.0, .9, True)
UNKNOWN, EDGE = sync.Lag(0.0, .1, False), sync.Lag(5.0, .9, False, True)


@pytest.mark.parametrize("lags,in_step", [
    ([STEADY], True), ([STEADY, UNKNOWN], True), ([STEADY, OFF], False), ([UNKNOWN], False), ([STEADY, EDGE], False),
    ([STEADY, "there is no film of this name"], False)])
def test_what_is_in_step(lags, in_step):
  assert sync.is_in_step(dict(enumerate(lags)), .1) == in_step


def test_recordings_without_a_film_are_counted(films, tmp_path, monkeypatch):
  times, places = hand(seed=2)
  for name in ("same", "other"):
    table(tmp_path / f"{name}.csv", times[times >= 0], places[times >= 0])
  (tmp_path / "README.txt").write_text("Of Monday.")
  monkeypatch.setattr(sync, "lag_between", lambda *_: UNKNOWN)
  said = []
  found = sync.check(str(tmp_path), str(films / "films"), say=said.append)
  assert set(found) == {"same_capture1", "other"} and not sync.is_in_step(found, .1)
  assert said[0] == "left out, no table of numbers: README.txt"
  assert said[1] == "failed: other: there is no film of this name; its lag is not checked"
  assert "1 unknown; 1 of 2 recordings have no film; nothing is known of any film" in said[-1]


def test_what_has_nothing_in_common_is_unknown():
  rng, times = np.random.default_rng(0), np.arange(400) / 25
  found = sync.lag_between((times, rng.uniform(size=400)), (times, rng.uniform(size=400)), 3.0)
  assert not found.known
  assert "the lag is unknown" in sync.describe("v", found, .1) and not sync.is_out(found, .1)


def test_what_moves_evenly_is_unknown():
  """Of a beat, every shift by it is as good as another."""
  times = np.arange(500) / 25
  beat = np.abs(np.sin(np.pi * times))
  assert not sync.lag_between((times, beat), (times, beat), 3.0).known


def test_gaps_and_other_rates_do_not_matter():
  """A recording of 100 rows a second, a third of it missing."""
  times, places = hand()
  speed = np.linalg.norm(np.gradient(places, 1 / FPS, axis=0), axis=1)
  fast = np.arange(0, 15, .01)
  fast = fast[(fast < 4) | (fast > 9)]
  later = np.interp(fast - .6, times, speed)
  found = sync.lag_between((times[times >= 0], speed[times >= 0]), (fast, later), 3.0)
  assert found.known and found.seconds == pytest.approx(.6, abs=.05)


def naive(first, second, lag):
  pairs = [(first[i], second[i + lag]) for i in range(len(first)) if 0 <= i + lag < len(second)]
  return np.corrcoef(*zip(*pairs))[0, 1]


@pytest.mark.parametrize("lag", [-3, 0, 4])
def test_correlation_at_a_lag(lag):
  first, second = np.random.default_rng(0).normal(size=(2, 20))
  assert sync._correlation(first, second, lag, 2) == pytest.approx(naive(first, second, lag))


@pytest.mark.parametrize("change,message", [
    (dict(most=0), "--max-lag 0 must be above 0"), (dict(recordings="films"), "holds no recorded movements"),
    (dict(videos="tables"), "holds no video")])
def test_what_cannot_be_checked(films, change, message):
  given = {name: str(films / change.get(name, default)) for name, default in
           dict(recordings="tables", videos="films").items()}
  with pytest.raises(ValueError, match=message):
    sync.check(**given, most=change.get("most", 5.0), say=lambda line: None)


def test_films_of_other_names(films, tmp_path):
  times, places = hand()
  table(tmp_path / "other.csv", times, places)
  with pytest.raises(ValueError, match="no film has the name of a recording"):
    sync.check(str(tmp_path), str(films / "films"), say=lambda line: None)


def test_hands_that_are_not_seen_are_no_hands_at_rest(tmp_path):
  """The speed is that of the hand that is seen; rows without any are left out."""
  times, places = np.arange(40) / 20, np.zeros((40, 3, 3))
  places[:, :2, 0] = np.stack([times, 3 * times], axis=1)                              # metres: 1 and 3 a second
  places[10:20, 0], places[15:25, 1] = np.nan, np.nan
  recordings.write_csv(tmp_path / "v.csv", times, places, ("LWrist", "RWrist", "table"))
  at, speed = sync.hand_speed(tmp_path / "v.csv", sync.motion.Options(), .04)
  np.testing.assert_allclose(at, np.delete(times, np.s_[15:20]), atol=1e-6)
  np.testing.assert_allclose(speed, [2] * 10 + [3] * 5 + [1] * 5 + [2] * 15, rtol=1e-3)


def test_hands_are_named(tmp_path):
  times, places = np.arange(40) / 20, np.zeros((40, 2, 3))
  places[:, 1, 0] = times
  recordings.write_csv(tmp_path / "v.csv", times, places, ("LWrist", "LWRA"))
  _, speed = sync.hand_speed(tmp_path / "v.csv", sync.motion.Options(ends=("LWRA",)), .04)
  np.testing.assert_allclose(speed, 1, rtol=1e-3)
  places[:, 1] = np.nan
  recordings.write_csv(tmp_path / "v.csv", times, places, ("LWrist", "LWRA"))
  with pytest.raises(ValueError, match="no row shows LWRA; say with --hands"):
    sync.hand_speed(tmp_path / "v.csv", sync.motion.Options(ends=("LWRA",)), .04)


def test_a_file_that_cannot_be_read_does_not_end_the_check(films, tmp_path, monkeypatch):
  times, places = hand(seed=2)
  for name, size in dict(early=1, late=1e3, same=1).items():
    table(tmp_path / f"{name}.csv", times[times >= 0], size * places[times >= 0])

  def energy(file):
    if file.name.startswith("early"):
      raise PermissionError(13, "Permission denied", str(file))
    return times[times >= 0], np.ones((times >= 0).sum())
  monkeypatch.setattr(sync, "motion_energy", energy)
  monkeypatch.setattr(sync, "lag_between", lambda *_: STEADY)
  said = []
  found = sync.check(str(tmp_path), str(films / "films"), say=said.append)
  assert "Permission denied" in said[0] and said[0].startswith("failed: early_capture1: ")
  assert said[1].startswith("failed: late_capture1: ") and "set --units to their unit" in said[1]
  assert found["same_capture1"] == STEADY and not sync.is_in_step(found, .1)


def test_a_film_is_that_of_the_longest_name():
  films = {name: name for name in ("squat", "squat_cam1", "squat_2", "squat_2_cam1", "squat_20", "jump")}
  pairs = sync.pairs_of(films, ["squat", "squat_2"])
  assert {name: [film for film, _ in of] for name, of in pairs.items()} == {
      "squat": ["squat", "squat_cam1", "squat_20"], "squat_2": ["squat_2", "squat_2_cam1"]}


def test_two_recordings_of_one_name_are_refused(films, tmp_path):
  times, places = hand()
  for name in ("early.csv", "early.CSV"):
    table(tmp_path / name, times, places)
  with pytest.raises(ValueError, match="are two recordings of one name"):
    sync.check(str(tmp_path), str(films / "films"), say=lambda line: None)


def test_too_little_of_both():
  with pytest.raises(ValueError, match="never moves"):
    sync.lag_between((np.arange(50) / 25, np.zeros(50)), (np.arange(50) / 25, np.ones(50)), 1.0)
  with pytest.raises(ValueError, match="single row"):
    sync.lag_between((np.zeros(1), np.zeros(1)), (np.zeros(1), np.ones(1)), 1.0)
