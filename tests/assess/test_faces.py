"""Faces that are blurred: where they are by the rows of a person, what is unknown, and what is left of a picture."""

import hashlib
import types

import numpy as np
import pytest
from scipy import ndimage

from jaxskill.assess import faces
from jaxskill.data.video import decoding
from jaxskill.extract.pose import networks
from tests.assess.page import samples
from tests.extract.pose import puppets
from tests.places import POSE, SHARED

SIZE = (640, 480)
FILM = SHARED / "films" / "chaplin.mp4"


def noise(size=SIZE, seed=0):
  return np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)


def sharpness(image):
  """The variance of the Laplacian of a part of a picture."""
  return ndimage.laplace(image.astype(np.float64).mean(axis=-1)).var()


def test_the_face_of_a_picture_is_blurred_and_the_rest_is_as_it_was():
  person = samples.person(size=SIZE)
  image = noise()
  for scale in (1.0, 0.5):                                     # also of a smaller copy
    small = image[:: round(1 / scale), :: round(1 / scale)]
    hidden = faces.Faces(person).hidden(small, 4.0)
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    away = np.hypot(x - 320 * scale, y - 120 * scale)          # the head is in the middle at 4 s
    near, far = np.ptp(hidden[away < 20 * scale].astype(int)), away > 200 * scale
    assert near < 60 and (hidden[far] == small[far]).all()
    middle = tuple(slice(round((place - 20) * scale), round((place + 20) * scale)) for place in (120, 320))
    assert sharpness(hidden[middle]) < 0.01 * sharpness(small[middle])
  assert (image == noise()).all()                              # what was given stays


def test_a_fast_head_is_blurred_between_two_rows():
  person = samples.person(fps=10, size=SIZE, head=lambda at: (0.2 + 0.5 * (at * 10 % 2), 0.25))     # 320 pixels a row
  found = faces.Faces(person).at(0.05)
  assert [row.round().tolist()[:2] for row in found] == [[128, 120], [448, 120], [288, 120]]
  exact = faces.Faces(person).at(0.1)[0]
  assert exact[:2].tolist() == [448, 120] and exact[2] < found[1, 2]     # what is a while ago may be farther away


@pytest.mark.parametrize("time, known", [(1.9, True), (2.09, True), (2.15, False), (2.5, False), (2.75, False), (2.85, True),
                                         (8.05, True), (8.2, False)])
def test_pictures_in_a_gap_are_blurred_as_a_whole(time, known):
  """Nobody is seen from 2.0 to 2.9 s; the last row is at 7.9 s."""
  person = samples.person(size=SIZE, gap=range(20, 30))
  found = faces.Faces(person)
  image, hidden = noise(), found.hidden(noise(), time)
  assert (found.at(time) is not None) == known
  assert (hidden[-40:] == image[-40:]).all() == known
  if not known:
    assert sharpness(hidden) < 0.01 * sharpness(image)


def test_who_is_hardly_seen_gets_a_larger_circle():
  person = samples.person(size=SIZE)
  plain, = {row[2] for row in faces.circles(person).round(6).tolist()}
  half, = {row[2] for row in faces.circles(person._replace(visibility=person.visibility - 0.5)).round(6).tolist()}
  assert plain == pytest.approx(1.1 * faces.OF_TRUNK * 0.25 * 480) and half > 1.4 * plain
  head = person.places[:, faces.FACE]                          # one that is wide beside its trunk
  person.places[:, faces.FACE] += 4 * (head - head.mean(axis=1, keepdims=True))
  assert faces.circles(person)[0, 2] == pytest.approx(1.1 * faces.WIDE * 5 * 0.03 * 0.3 * 640)


def test_detected_faces_stay_blurred_for_a_while():
  other = faces.Faces(samples.person(size=SIZE), np.array([[4.0, 500.0, 400.0, 30.0]]))
  for time, hidden in ((3.4, False), (3.6, True), (4.4, True), (4.6, False)):
    found = other.hidden(noise(), time)
    assert (found[380:420, 480:520] == noise()[380:420, 480:520]).all() != hidden


def test_every_picture_is_asked_for_faces(tmp_path, monkeypatch):
  """By the boxes of the detector of bodies, but that of the person who is followed."""
  film = samples.film(tmp_path / "a.mp4", 1.0)
  times = iter(np.arange(10) / 10)
  person = samples.person(1.0, size=(128, 96))                         # of a film of 64 x 48 pixels
  body_of = lambda x: np.array([(x, 28.8), (0, 0), (x, 16.8), (0, 0)])   # hips and shoulders
  found = types.SimpleNamespace(box=np.array([10.0, 20.0, 20.0, 30.0]), points=body_of(40.0))
  followed = types.SimpleNamespace(box=found.box, points=body_of(18.0))
  monkeypatch.setattr(faces.detection, "detect", lambda _, name, picture, least, signed: (
      [followed] + [found] * (next(times) == pytest.approx(picture.time, abs=0.01)) * (picture.time > 0.45)))
  rows = faces.detect(film, puppets.Networks(), person)
  assert rows[:, 0] == pytest.approx(np.arange(5, 10) / 10, abs=0.01)
  assert rows[0, 1:].tolist() == [30.0, 50.0, 20 * faces.OF_BOX]
  nobody = person._replace(seen=np.zeros(10, bool))
  times = iter(np.arange(10) / 10)
  assert len(faces.detect(film, puppets.Networks(), nobody)) == 15      # then it is not known who is whom


@pytest.mark.parametrize("side, kept", [(15.0, 0), (30.0, 10)])
def test_who_stands_in_front_is_blurred(tmp_path, monkeypatch, side, kept):
  """Somebody at the shoulders of the person who is followed, but twice as large, is another one."""
  person = samples.person(1.0, size=(128, 96), head=lambda at: (0.25, 0.25))      # of a film of 64 x 48 pixels
  found = types.SimpleNamespace(box=np.array([16 - side / 2, 14 - side / 2, 16 + side / 2, 14 + side / 2]),
                                points=np.array([(16, 28.8), (0, 0), (16, 16.8), (0, 0)]))
  monkeypatch.setattr(faces.detection, "detect", lambda *args, **options: [found])
  rows = faces.detect(samples.film(tmp_path / "a.mp4", 1.0), puppets.Networks(), person)
  assert len(rows) == kept and all(row[1:].tolist() == [32, 28, faces.OF_BOX * 2 * side] for row in rows)


def test_videos_without_places_have_no_faces(tmp_path):
  """Features of another recipe, or of an earlier version, and those of another film; the message says what to do."""
  path, film = tmp_path / "a.npz", samples.film(tmp_path / "b.mp4", 0.4)
  np.savez(path, pose=np.zeros((4, 132)), times=np.arange(4) / 10, seen=np.ones(4, bool))
  with pytest.raises(ValueError, match=f"nothing says where its face is. .* remove {path} .*give --videos none"):
    faces.of_video(film, path, "", None)
  samples.save(path, samples.person(0.4))
  assert not faces.of_video(path, path, "0" * 64, None).others          # there is no film
  with pytest.raises(ValueError, match="b.mp4 is not the film that its features were made from"):
    faces.of_video(film, path, "0" * 64, None)
  faces.of_video(film, path, hashlib.sha256(film.read_bytes()).hexdigest(), None)


@pytest.mark.pose
@pytest.mark.skipif(not FILM.is_file(), reason=f"no real film {FILM}")
def test_the_detector_hides_the_other_man_of_a_real_film(tmp_path, monkeypatch):
  """Of the two men who stand apart at 5 s one is followed; the other one's head is at 160, 65."""
  head, (wide, high) = np.array([381.0, 62.0]), (640, 360)
  person = samples.person(1.0, size=(wide, high), head=lambda at: head / (wide, high), side=0.06)
  shown = list(decoding.pictures_at(FILM, np.arange(5.0, 5.4, 0.04)))
  monkeypatch.setattr(faces.decoding, "pictures", lambda film: shown)
  found = faces.Faces(person._replace(times=person.times + 4.5), faces.detect(
      FILM, networks.Networks(POSE, ("pose_detection",)), person._replace(times=person.times + 4.5)))
  image = shown[0].image()
  hidden, other, legs = found.hidden(image, 5.0), np.s_[45:90, 135:185], np.s_[250:330, 130:215]
  assert sharpness(hidden[other]) < 0.05 * sharpness(image[other]) and (hidden[legs] == image[legs]).all()
