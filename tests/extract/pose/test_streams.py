"""Rows of poses: their times, gaps, what must be said of a video, and what such a recipe may say."""

import fractions

import numpy as np
import pytest

from jaxskill import cli
from jaxskill.data import kinematics, stream_files
from jaxskill.extract import extraction, feature_files, kinds, local
from jaxskill.extract.pose import choice, hands, networks, points, streams
from jaxskill.extract.pose import overlay as overlays
from tests.extract.pose import puppets
from tests.places import REPO

av = pytest.importorskip("av")
PUPPET = (160, 150, 160, 90)


def recipe(options="", *overrides):
  file = str(REPO / "configs" / "features" / "pose.py")
  return cli.read_config(f"{file}:{options}" if options else file, list(overrides))[0]


def film(path, pictures, rate=25):
  """Writes pictures (`puppets.Picture`) as a film."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264rgb", rate=rate, options={"crf": "5"})
    stream.width, stream.height = pictures[0].size
    stream.pix_fmt = "rgb24"
    for picture in pictures:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.image(), "rgb24")))
    container.mux(stream.encode())
  return path


def moving(count, gap=(), **options):
  return [puppets.picture(*([] if k in gap else [(160 + k, 150, 160 + k, 90)]), **options) for k in range(count)]


def extracted(path, tmp_path, config=None, said="", overlay=""):
  """(arrays of the file, what is noted) or why it failed."""
  config = config or recipe()
  watching = streams.Watching(puppets.Networks(), choice.Choice(said), overlay)
  features = feature_files.Features(config, kinds.of(config).encoders(config, None, None), tmp_path / "out", "a")
  extraction.decode_one(path, "a", config, watching, features.take)
  if features.failed:
    return features.failed
  with np.load(tmp_path / "out" / "a.npz") as file:
    return dict(file), features.about


def test_rows_times_and_gaps(tmp_path):
  path = film(tmp_path / "a.mp4", moving(40, gap=range(20, 32)))
  arrays, about = extracted(path, tmp_path)
  assert {name: values.shape[0] for name, values in arrays.items() if name != "picture_size"} == dict.fromkeys(
      ("pose", "kinematics", "times", "seen", "picture_points"), 40)
  assert about["rows"] == dict(pose=40, kinematics=40) and about["row_seconds"]["pose"] == pytest.approx(0.04)
  np.testing.assert_allclose(arrays["times"], np.arange(40) / 25, atol=1e-3)
  np.testing.assert_array_equal(arrays["seen"], [k not in range(20, 32) for k in range(40)])
  assert not arrays["pose"][20:32].any() and not arrays["kinematics"][20:32].any()
  assert arrays["pose"][:20].any(axis=1).all()
  assert about["warnings"] == ["nobody is seen in 30% of its 40 frames, first from 0.80 to 1.24 s; these rows are left out"]
  read, lengths, _ = stream_files.read_streams({"a": tmp_path / "out" / "a.npz"})
  read, lengths, times, between = stream_files.take_times(read, lengths)
  assert lengths["pose"] == 28 and between["kinematics"] == pytest.approx(0.04, abs=1e-3)
  assert np.diff(times["pose"][0]).max() == pytest.approx(13 / 25, abs=1e-3)


@pytest.mark.parametrize("streams_of", ["pose,kinematics", "kinematics", "hands,pose"])
def test_places_in_the_picture_lie_beside_the_rows(tmp_path, monkeypatch, streams_of):
  """In pixels of it, whatever the streams; zeros where nobody is seen."""
  monkeypatch.setattr(hands.Hands, "look", lambda self, picture: {})
  path = film(tmp_path / "a.mp4", moving(12, gap=(6,)))
  extracted(path, tmp_path, recipe(streams_of))
  found = points.read(tmp_path / "out" / "a.npz")
  assert found.size == (320, 240) and found.seen.tolist() == [k != 6 for k in range(12)]
  nose, hips = found.places[found.seen][:, 0], found.places[found.seen][:, streams.JOINTS["left_hip"]]
  moved = np.flatnonzero(found.seen)
  np.testing.assert_allclose(nose, np.stack([160 + moved, np.full(11, 90)], axis=1), atol=1)
  np.testing.assert_allclose(hips, np.stack([160 + moved, np.full(11, 150)], axis=1), atol=1)
  assert not found.places[6].any() and (found.visibility[found.seen] > 0.9).all()
  read, _, _ = stream_files.read_streams({"a": tmp_path / "out" / "a.npz"})
  assert read.keys() == {*streams_of.split(","), "times"}


def test_hands_alone_have_no_places_of_a_body(tmp_path, monkeypatch):
  hand = hands.Hand(np.ones((21, 3)), 0.9, 0.9, None)
  monkeypatch.setattr(hands.Hands, "look", lambda self, picture: dict(right=hand))
  arrays, _ = extracted(film(tmp_path / "a.mp4", moving(3)), tmp_path, recipe("hands"))
  assert arrays.keys() == {"hands", "times", "seen"} and points.read(tmp_path / "out" / "a.npz") is None


def test_kinematics_are_those_of_the_pose(tmp_path):
  arrays, _ = extracted(film(tmp_path / "a.mp4", moving(30, gap=(10, 11))), tmp_path)
  points = arrays["pose"].reshape(-1, 33, 4)[:, :, :3]
  expected, names = kinematics.columns(points, arrays["seen"], arrays["times"].astype(float), streams.JOINTS)
  np.testing.assert_allclose(arrays["kinematics"], expected, rtol=1e-3, atol=1e-3)
  assert streams.columns(recipe())["kinematics"] == list(names)
  assert len(streams.columns(recipe())["pose"]) == 132 and len(streams.columns(recipe("hands"))["hands"]) == 128


@pytest.mark.parametrize("rate,every,slow", [(25, 0.04, False), (30, 1 / 30, False), (50, 0.04, False), (60, 1 / 30, False),
                                             (12, 1 / 12, True), (240, 1 / 24, False)])
def test_every_first_or_second_picture(rate, every, slow):
  times, step = streams.moments(10.0, rate, 25.0)
  assert step == pytest.approx(every) and len(times) == round(10 / every)
  np.testing.assert_allclose(times * rate % 1, 0.5, atol=1e-6)           # in the middle of a picture
  config = recipe()
  made = streams.make(config, "a", 10.0, rate, streams.Watching(puppets.Networks(), choice.Choice()))
  for stream in made.values():
    stream._mask, stream._shown = [True] * 3, [0, 1, 2]
  said = [line for stream in made.values() for line in stream.warnings("")]
  assert [("fewer than the 25 of the recipe" in line) for line in said] == [True] * slow


def test_a_picture_that_stays_is_one_row(tmp_path):
  """A film of 25 pictures a second by its header, of which some are missing."""
  with av.open(str(tmp_path / "a.mkv"), "w") as container:
    stream = container.add_stream("ffv1", rate=25)
    stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv444p"
    stream.codec_context.time_base = fractions.Fraction(1, 25)
    for place in (0, 1, 2, 3, 8, 9, 10, 11):
      frame = av.VideoFrame.from_ndarray(puppets.picture((160 + place, 150, 160 + place, 90)).image(), "rgb24")
      frame = frame.reformat(format="yuv444p")
      frame.pts, frame.time_base = place, fractions.Fraction(1, 25)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  arrays, _ = extracted(tmp_path / "a.mkv", tmp_path)
  assert (np.diff(arrays["times"]) > 0.03).all() and arrays["times"][4] == pytest.approx(8 / 25, abs=2e-3)


@pytest.mark.parametrize("pictures,said,message", [
    (moving(10, gap=range(10)), "", "no person found in any of its 10 frames"),
    (moving(10), "20,20", "nobody found at the chosen point 20,20 in any of its 10 frames; a person is at 160,150 at 0"),
    (moving(10), "500,20", "the chosen point 500,20 lies outside the picture of 320 x 240"),
    (moving(1), "", "holds 1 picture and at least 2 are needed"),
    ([puppets.picture(size=(2, 2))] * 5, "", "is 2 x 2 pixels, too small to see a person"),
    ([puppets.picture(PUPPET, (40, 150, 40, 90))] * 5, "", "shows 2 persons at 0.00 s")])
def test_videos_that_give_nothing(tmp_path, pictures, said, message):
  found = extracted(film(tmp_path / "a.mp4", pictures), tmp_path, said=said)
  assert isinstance(found, str) and message in found


def test_a_vertical_video_and_an_overlay(tmp_path):
  pictures = [puppets.picture((60 + k, 150, 60 + k, 90), size=(120, 240)) for k in range(10)]
  arrays, _ = extracted(film(tmp_path / "a.mp4", pictures), tmp_path, overlay=str(tmp_path / "overlay"))
  assert arrays["seen"].all()
  with av.open(str(tmp_path / "overlay" / "a.mp4")) as container:
    images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
  assert len(images) == 10 and images[0].shape == (240, 120, 3)
  assert images[0][100:140, 55:66].min(axis=2).max() > 100              # a line from the hips to the top
  assert not list(tmp_path.rglob("*.unfinished"))


def test_overlays_do_not_lie_among_the_videos(tmp_path):
  path = film(tmp_path / "a.mp4", moving(2))
  for videos, overlay in ((tmp_path, tmp_path), (tmp_path, tmp_path / "below"), (path, tmp_path)):
    with pytest.raises(ValueError, match="lies within the folder of the videos"):
      local.run(recipe(), videos, tmp_path / "out", "no wheel", overlay=overlay)


def test_overlays_take_the_place_of_no_other_file(tmp_path):
  """Of a film of the user, nor of one that is looked at, by whatever way; but of an older overlay."""
  (tmp_path / "films").mkdir()
  (tmp_path / "films" / "a.mp4").symlink_to(film(tmp_path / "a.mp4", moving(2)))
  films = dict(a=tmp_path / "films" / "a.mp4")
  for folder in (tmp_path / "mine", tmp_path):
    folder.mkdir(exist_ok=True)
    film(folder / "a.mp4", moving(2))
    with pytest.raises(ValueError, match="a.mp4 is there already and was not made here"):
      local.run(recipe(), tmp_path / "films", tmp_path / "out", "no wheel", overlay=folder)
  extracted(films["a"], tmp_path, overlay=str(tmp_path / "overlay"))
  overlays.check(str(tmp_path / "overlay"), str(tmp_path / "films"), films)
  (tmp_path / "looked_at").mkdir()
  (tmp_path / "looked_at" / "a.mp4").symlink_to(tmp_path / "overlay" / "a.mp4")
  with pytest.raises(ValueError, match="was not made here"):
    overlays.check(str(tmp_path / "overlay"), str(tmp_path / "looked_at"), dict(a=tmp_path / "looked_at" / "a.mp4"))


def test_a_table_of_persons_with_names_that_are_no_videos(tmp_path, monkeypatch):
  """Of all videos, not only of those of a shard."""
  (tmp_path / "films").mkdir()
  for name in ("a", "b"):
    film(tmp_path / "films" / f"{name}.mp4", [puppets.picture()] * 2)
  (tmp_path / "persons.csv").write_text("video,x,y\na,160,150\nb,160,150\nb.mp4,160,150\n")
  about = dict(weights="", weights_sha256={}, random_weights=False)
  monkeypatch.setattr(kinds, "POSES", kinds.POSES._replace(load=lambda *_: (puppets.Networks(), about), remarks=lambda _: []))
  said = []
  local.run(recipe(), tmp_path / "films", tmp_path / "out", "", person=tmp_path / "persons.csv", shard="1/2", processes=1,
            say=said.append)
  assert [line for line in said if "--person" in line] == [
      "--person: 1 of 3 names of the table are no videos here, such as 'b.mp4'; names are without the ending of the file"]


def test_hands_in_a_row():
  points = np.zeros((21, 3))
  points[0] = (200, 60, 24)
  hand = hands.Hand(points, 0.9, 0.1, None)
  row = streams.hands_row(dict(left=hand), (320, 240)).reshape(2, 64)
  np.testing.assert_allclose(row[0, :3], ((200 - 160) / 240, (60 - 120) / 240, 0.1), rtol=1e-6)
  assert row[0, 63] == np.float32(0.9) and not row[1].any()


def test_two_hands_of_one_side():
  one, other = (hands.Hand(None, 0.9, right, None) for right in (0.8, 0.6))
  assert hands.by_side([one, other]) == dict(left=other, right=one)
  assert hands.by_side([one]) == dict(right=one) and hands.by_side([]) == {}


def test_the_square_of_a_hand():
  """Straight fingers up: centered above the palm, twice as wide; turned with the hand."""
  points = np.zeros((21, 3))
  points[:, :2] = [(0, 0), (2, -1), (3, -2), (4, -3), (5, -4)] + [(3 - 2 * k, -5 - j) for k in range(4) for j in range(4)]
  square = hands.square_of_points(points)
  assert abs(square.turn) < 0.2 and square.side == pytest.approx(2 * 7, rel=0.2) and square.y < -3
  turned = points.copy()
  turned[:, 0], turned[:, 1] = -points[:, 1], points[:, 0]                # by a quarter, clockwise
  other = hands.square_of_points(turned)
  assert other.turn - square.turn == pytest.approx(np.pi / 2)
  np.testing.assert_allclose((other.x, other.y, other.side), (-square.y, square.x, square.side), atol=1e-9)


@pytest.mark.parametrize("overrides,message", [
    (["--config.fps=0.0"], "config.fps=0.0 must be"), (["--config.person.flag=1.5"], "flag=1.5 must lie between"),
    (["--config.person.several=all"], "several='all' is unknown; use one of error, largest"),
    (["--config.person.hold=-1.0"], "hold=-1.0"), (["--config.streams.pose.gaps=2.0"], "gaps=2.0 must be a share"),
    (["--config.streams.kinematics.window=0.0"], "window=0.0 must be seconds")])
def test_options_that_cannot_be(overrides, message):
  config = recipe("", *overrides)
  with pytest.raises(ValueError, match=message):
    kinds.of(config).check(config)


def test_streams_that_are_unknown():
  with pytest.raises(ValueError, match="stream 'feet' is unknown; use some of pose, kinematics, hands"):
    recipe("feet")


@pytest.mark.parametrize("weights,message", [
    ("", "--weights is not given"), ("random:0", "poses need trained networks"), ({"pose": "a", "hands": "b"}, "give it once")])
def test_without_networks_the_error_is_the_line_that_gets_them(weights, message):
  line = ("pip download --no-deps --python-version 3.12 --only-binary=:all: --platform manylinux_2_28_x86_64 "
          "mediapipe==0.10.21 -d weights")
  with pytest.raises(ValueError, match=message) as raised:
    kinds.of(recipe()).load(recipe(), weights)
  assert isinstance(weights, dict) or line in str(raised.value)
  assert networks.PIP == line


@pytest.mark.parametrize("given,message", [
    (dict(boxes="a.csv"), "--boxes: recipes of poses find persons themselves"), (dict(detector="a"), "--detector: rec")])
def test_what_poses_do_not_take(given, message):
  with pytest.raises(ValueError, match=message):
    kinds.POSES.look(recipe(), None, kinds.Given(**given))
  with pytest.raises(ValueError, match="--person: this recipe follows hands only"):
    kinds.POSES.look(recipe("hands"), None, kinds.Given(person="1,2"))
