"""The trained networks: on drawn persons, on real films where they are at hand, and through the command."""

import functools
import itertools
import json
import zipfile

import numpy as np
import pytest

from jaxskill.data.simulation import mannequin
from jaxskill.data.video import decoding
from jaxskill.extract import local, recipes
from jaxskill.extract.pose import athletes, body, crops, detection
from jaxskill.extract.pose import hands as hands_of
from jaxskill.extract.pose.networks import NETWORKS, Networks
from tests.extract.pose import puppets
from tests.extract.pose.test_streams import recipe
from tests.extract.test_extraction import recipe as small
from tests.extract.test_extraction import taken
from tests.places import POSE, SHARED

pytestmark = pytest.mark.pose
FILMS = SHARED / "films"
needs_films = pytest.mark.skipif(not FILMS.is_dir(), reason=f"no real films in {FILMS}")
STANDING = mannequin.Posture(300, 440, 340, left=60, right=30)


@functools.cache
def networks():
  return Networks(POSE, NETWORKS)


def drawn(*postures, size=(640, 480), time=0.0):
  return puppets.Picture(mannequin.draw(postures, size), time)


def look(*pictures, **changes):
  follower = body.Follower(networks(), puppets.options(**changes))
  return [follower.look(picture) for picture in pictures]


def apart(seen, posture):
  """How far landmarks are from the joints that were drawn, the farthest, in heights of the person."""
  joints = mannequin.joints_of(posture)
  return max(np.hypot(*(seen.points[body.LANDMARKS.index(name), :2] - place)) for name, place in joints.items()
             ) / posture.height


def test_the_networks_are_those_of_the_wheel():
  assert not networks().others and networks().digests == {name: one.sha256 for name, one in NETWORKS.items()}


@pytest.mark.parametrize("changes", [
    {}, dict(x=180.0), dict(feet=470.0), dict(height=200.0), dict(left=150.0, right=90.0, bend=60.0),
    dict(left=30.0, right=60.0)])                             # the last one is the mirror image of the first
def test_landmarks_are_the_joints_of_a_drawn_person(changes):
  """Moved, scaled, mirrored, in other postures: within .08 of its height, a hand's width."""
  posture = STANDING._replace(**changes)
  seen, = look(drawn(posture))
  assert seen.flag > 0.9 and apart(seen, posture) < 0.08


def test_a_drawn_person_that_is_mirrored():
  """The whole picture: left becomes right."""
  image = mannequin.draw([STANDING])
  one, other = look(puppets.Picture(image))[0], look(puppets.Picture(image[:, ::-1].copy()))[0]
  assert other.region.x == pytest.approx(640 - one.region.x, abs=12)
  assert other.region.side == pytest.approx(one.region.side, rel=0.05)
  left, right = (body.LANDMARKS.index(f"{side}_wrist") for side in ("left", "right"))
  np.testing.assert_allclose(other.points[right, :2], (640 - one.points[left, 0], one.points[left, 1]), atol=15)


def test_the_pipeline_gives_what_direct_calls_give():
  """The same square through the pipeline and by hand: an interpreter of its own, pixels read off one by one."""
  from ai_edge_litert.interpreter import Interpreter

  from jaxskill.extract.pose.networks import read
  picture = drawn(STANDING, size=(320, 240))
  found = detection.detect(networks(), "pose_detection", picture, 0.5, signed=True)[0]
  region = body.square_of(found)
  seen, = look(picture)
  image, square = picture.image().astype(np.float64), np.empty((256, 256, 3), np.float32)
  assert region.side < 640 and seen.region == region
  factor = min(1.0, 256 / region.side)
  small = picture.image(max(1, round(320 * factor)), max(1, round(240 * factor))).astype(np.float64)
  scale = np.array([small.shape[1] / 320, small.shape[0] / 240])
  for row in range(256):
    for column in range(256):
      x, y = region.to_picture(np.array([(column + 0.5) / 256, (row + 0.5) / 256])) * scale - 0.5
      x, y = min(max(x, 0), small.shape[1] - 1), min(max(y, 0), small.shape[0] - 1)
      left, top = min(int(x), small.shape[1] - 2), min(int(y), small.shape[0] - 2)
      upper = small[top, left] * (left + 1 - x) + small[top, left + 1] * (x - left)
      lower = small[top + 1, left] * (left + 1 - x) + small[top + 1, left + 1] * (x - left)
      square[row, column] = (upper * (top + 1 - y) + lower * (y - top)) / 255
  del image
  interpreter = Interpreter(model_content=read(POSE, ["pose_landmark"])["pose_landmark"], num_threads=1)
  interpreter.allocate_tensors()
  interpreter.set_tensor(interpreter.get_input_details()[0]["index"], square[None])
  interpreter.invoke()
  details = sorted(interpreter.get_output_details(), key=lambda one: one["name"])
  outputs = [interpreter.get_tensor(one["index"])[0] for one in details]
  points, world, visibility = body.landmarks(outputs, region)
  np.testing.assert_allclose(seen.points, points[:33], atol=0.05)
  np.testing.assert_allclose(seen.world, world, atol=1e-3)
  np.testing.assert_allclose(seen.visibility, visibility, atol=1e-3)


def test_a_drawn_person_who_leaves():
  there, gone = drawn(STANDING), puppets.Picture(mannequin.draw([]))
  assert [one is not None for one in look(there, gone, gone)] == [True, False, False]


def test_two_drawn_persons():
  both = drawn(STANDING._replace(x=150), STANDING._replace(x=480))
  with pytest.raises(ValueError, match="shows 2 persons at 0.00 s"):
    look(both)
  seen = body.Follower(networks(), puppets.options(), ((0.0, 480, 280),)).look(both)
  assert apart(seen, STANDING._replace(x=480)) < 0.08


def test_a_smooth_picture_shows_no_hand_and_nobody():
  ramp = np.broadcast_to(np.linspace(0, 255, 320)[None, :, None], (240, 320, 3)).astype(np.uint8)
  assert look(puppets.Picture(ramp)) == [None]
  assert hands_of.Hands(networks(), puppets.options()).look(puppets.Picture(ramp)) == {}


def test_the_box_of_an_athlete():
  found, away = athletes.Athletes(POSE, "").largest("a", drawn(STANDING))
  joints = np.array(list(mannequin.joints_of(STANDING).values()))
  assert away == 0 and (found[:2] < joints.min(axis=0)).all() and (found[2:] > joints.max(axis=0)).all()
  assert found[3] - found[1] < 1.3 * STANDING.height
  assert athletes.Athletes(POSE, "").largest("a", puppets.Picture(mannequin.draw([]))) == (None, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """(folder, note, what was said) of two drawn performances, with overlays, in two processes."""
  folder, said = tmp_path_factory.mktemp("drawn"), []
  mannequin.write_videos(folder / "videos", 2, seconds=1.0)
  note = local.run(recipe(), folder / "videos", folder / "out", str(POSE), overlay=str(folder / "overlay"), processes=2,
                   say=said.append)
  return folder, note, said


def test_the_command(made):
  folder, note, said = made
  assert not note["failed"] and len(note["videos"]) == 2
  assert note["recipe"]["weights_sha256"]["pose_landmark"] == NETWORKS["pose_landmark"].sha256
  assert "Apache License, Version 2.0" in (folder / "out" / "NOTICE.txt").read_text()
  assert (folder / "out" / "SIMULATED.txt").is_file() and not any("RANDOM" in line for line in said)
  for video in note["videos"]:
    with np.load(folder / "out" / f"{video}.npz") as arrays:
      assert arrays["pose"].shape == (25, 132) and arrays["seen"].all()
      assert arrays["kinematics"].shape == (25, len(note["recipe"]["columns"]["kinematics"]))
    assert (folder / "overlay" / f"{video}.mp4").is_file()


def test_what_is_there_is_not_made_again(made):
  folder, note, _ = made
  video, said = next(iter(note["videos"])), []
  (folder / "overlay" / f"{video}.mp4").unlink()
  before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.npz")}
  local.run(recipe(), folder / "videos", folder / "out", str(POSE), overlay=str(folder / "overlay"), say=said.append)
  assert "1 of 2 videos are there already" in said and (folder / "overlay" / f"{video}.mp4").is_file()
  changed = [path.stem for path in before if path.stat().st_mtime_ns != before[path]]
  assert changed == [video]


def test_other_networks_are_refused(made, tmp_path):
  _, note, _ = made
  recipe_of = json.loads(json.dumps(note["recipe"]))
  recipes.kinds.of(recipe_of).check_weights(recipe_of, str(POSE))
  recipe_of["weights_sha256"]["pose_landmark"] = "0" * 64
  with pytest.raises(ValueError, match="its pose_landmark .* is another network than that of mediapipe-0.10.21"):
    recipes.kinds.of(recipe_of).check_weights(recipe_of, str(POSE))
  with pytest.raises(ValueError, match="--weights is not given"):
    recipes.kinds.of(recipe_of).check_weights(recipe_of, "")


KNOWN = dict(first=(0, 60, 75, 105, 120, 135, 180, 210), second=(45, 90, 150, 165, 195, 225, 240))


def followed(count, *chosen):
  """(what is seen in each of the first pictures of a film of two men, the follower)."""
  follower = body.Follower(networks(), puppets.options(smoothing=True), chosen)
  return [follower.look(picture) for picture in itertools.islice(decoding.pictures(FILMS / "chaplin.mp4"), count)], follower


def away_from_known(seen, man):
  """Pixels, the median, from landmarks of one of the men that others found where they saw him."""
  known, found = json.loads((FILMS / "chaplin_pose.json").read_text()), []
  for number in (number for number in KNOWN[man] if number < len(seen)):
    for name, (x, y, visible) in known[str(number)]["points"].items():
      if seen[number] and visible > 0.8:
        found.append(np.hypot(*(seen[number].points[body.LANDMARKS.index(name), :2] - (x, y))))
  return np.median(found)


@needs_films
@pytest.mark.parametrize("count", [140, pytest.param(None, marks=pytest.mark.slow)])
def test_a_man_is_followed_to_the_end_beside_another_one(count):
  """A real film. Another man runs in, hides the first one for a second, and stays beside him, larger than he is."""
  seen, follower = followed(count)
  there = np.array([one is not None for one in seen])
  assert there[:14].all() and not there[20:35].any() and there[50:].mean() > 0.97
  places = [one.points[[23, 24], 0].mean() for one in seen if one]
  assert max(places) < 215                                     # the other one is at 235 to 410 whenever both are seen
  assert away_from_known(seen, "first") < 8 and away_from_known(seen, "second") > 100
  (since, until), = follower.hidden
  assert 0.5 < since < 0.8 and 1.4 < until < 2.0 and not follower.again


@needs_films
@pytest.mark.parametrize("count", [155, pytest.param(None, marks=pytest.mark.slow)])
def test_the_man_who_is_chosen_is_followed_beside_another_one(count):
  """Chosen while the detector does not find him: he is waited for, and nobody else is taken."""
  seen, follower = followed(count, (1.8, 275, 200))
  there = np.array([one is not None for one in seen])
  assert not there[:45].any() and there[55:].mean() > 0.97
  assert min(one.points[[23, 24], 0].mean() for one in seen if one) > 280
  assert away_from_known(seen, "second") < 10 and away_from_known(seen, "first") > 100


@needs_films
def test_films_without_a_person(tmp_path):
  (tmp_path / "films").mkdir()
  (tmp_path / "films" / "test_picture.mkv").symlink_to(FILMS / "av1_video.mkv")
  note = local.run(recipe(), tmp_path / "films", tmp_path / "out", str(POSE), processes=1, say=lambda line: None)
  assert note["failed"] == dict(test_picture="no person found in any of its 125 frames.")


@needs_films
def test_nobody_is_found_before_the_worker_comes_near():
  """A real film that shows a far, dark hall for six seconds and then a worker."""
  follower = body.Follower(networks(), puppets.options(several="largest"))
  pictures = decoding.pictures_at(FILMS / "nasa_13013.mp4", np.arange(0, 7.5, 0.25))
  seen = [follower.look(picture) is not None for picture in pictures]
  assert not any(seen[:20]) and all(seen[-5:])


def test_the_square_is_the_one_that_was_cut():
  """`crops.cut` shows the network an upright person, whatever the turn of the picture."""
  image = np.rot90(mannequin.draw([STANDING])).copy()             # the person lies
  seen, = look(puppets.Picture(image))
  assert seen is not None and abs(abs(np.degrees(seen.region.turn)) - 90) < 15
  assert crops.cut(puppets.Picture(image), seen.region, 64).shape == (64, 64, 3)


def from_wheel(path, **files):
  """Writes a bundle: {name in it: name in the wheel}."""
  with zipfile.ZipFile(POSE) as wheel, zipfile.ZipFile(path, "w") as bundle:
    for name, source in files.items():
      place = next(one for one in wheel.namelist() if one.endswith(f"/{source}.tflite"))
      bundle.writestr(f"{name}.tflite", wheel.read(place))
  return path


def test_a_bundle_of_the_same_networks_and_of_others(tmp_path):
  body_names, hand_names = ("pose_detection", "pose_landmark"), ("palm_detection", "hand_landmark")
  same = Networks(from_wheel(tmp_path / "pose.task", pose_detector="pose_detection",
                             pose_landmarks_detector="pose_landmark_full"), body_names)
  assert not same.others and recipes.kinds.POSES.remarks(same) == []
  lite = Networks(from_wheel(tmp_path / "hand.task", hand_detector="palm_detection_lite",
                             hand_landmarks_detector="hand_landmark_full"), hand_names)
  assert lite.others == ["palm_detection"]
  assert "palm_detection of hand.task are not those of mediapipe 0.10.21" in recipes.kinds.POSES.remarks(lite)[0]
  wrong = from_wheel(tmp_path / "wrong.task", pose_detector="palm_detection_full",
                     pose_landmarks_detector="pose_landmark_full")
  with pytest.raises(ValueError, match=r"pose_detection takes and gives .*\(1, 192, 192, 3\).* it is another network"):
    Networks(wrong, body_names)


def test_action_net_takes_its_person_from_the_networks(tmp_path):
  """The static stream, `region=pose`: a square of the person, and of nobody nothing where frames are discarded."""
  frames = [mannequin.draw([STANDING] if k < 30 else [], (640, 480)) for k in range(50)]
  mannequin.write_film(tmp_path / "a.mp4", frames)
  config = small("action_net:static")
  config.streams.static.update(region="pose")
  config.streams.static.sampling.update(fps=5.0)
  with pytest.raises(ValueError, match="region=pose: give the networks of poses with --detector"):
    recipes.kinds.VIDEO.look(config, None, recipes.kinds.Given())
  given = recipes.kinds.Given(detector=str(POSE), person="300,270")
  persons, about = recipes.kinds.VIDEO.look(config, None, given)
  assert about["persons"]["sha256"]["pose_detection"] == NETWORKS["pose_detection"].sha256
  items, said, _ = taken(tmp_path / "a.mp4", config, persons)
  assert items["static"].shape == (10, 1, 32, 32, 3)              # those without a person take the nearest one
  sky = np.abs(items["static"].astype(int) - mannequin.SKY).max(axis=-1) < 30
  assert 0.2 < sky[0].mean() < 0.8 and any("no person found at their time" in line for line in said["warnings"])
  config.streams.static.person.missing = "discard"
  items, _, _ = taken(tmp_path / "a.mp4", config, recipes.kinds.VIDEO.look(config, None, given)[0])
  assert items["static"].shape == (6, 1, 32, 32, 3)
