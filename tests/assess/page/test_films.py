"""Films beside pages: linked, copied, made anew or blurred; those of a user stay."""

import contextlib
import hashlib
import types

import numpy as np
import pytest
from scipy import ndimage

from jaxskill import written
from jaxskill.assess import faces, page
from jaxskill.assess.page import films, pairs
from jaxskill.assess.page.texts import TEXTS
from tests.assess.page import samples
from tests.assess.page.reading import Read, of_video
from tests.data.video import test_decoding

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_a_video_is_linked_copied_or_left_out(tmp_path, film):
  folder = tmp_path / "page"
  of_video(folder, samples.answer(), samples.material(film))
  assert (folder / "video.mp4").samefile(film)
  of_video(folder, samples.answer(), samples.material(film), "copy")
  assert not (folder / "video.mp4").samefile(film) and (folder / "video.mp4").read_bytes() == film.read_bytes()
  read = of_video(folder, samples.answer(), samples.material(film, frames=False), "none")
  assert not (folder / "video.mp4").exists() and not read.of("video") and not read.of("img")
  assert TEXTS["no_video"] in read.text and len(read.of("div", role="slider")) == 1
  assert hashlib.sha256(film.read_bytes()).hexdigest() not in read.text


def test_the_film_of_another_ending_goes(tmp_path, film):
  """Of an earlier answer about a video of this name; else both would lie there."""
  record = written.Record(tmp_path)
  record.write_text("video.webm", "an earlier film")
  assert films.place(film, record, "video", "link").file == "video.mp4"
  assert {path.name for path in tmp_path.glob("video.*")} == {"video.mp4"}


def test_colors_that_browsers_do_not_show_make_a_proxy(tmp_path):
  source = samples.other_film(tmp_path / "deep.mp4", "mp4", "libx264", colors="yuv444p")
  assert films.place(source, written.Record(tmp_path), "video", "link").note == "proxy"


def test_pictures_of_a_film_whose_clock_begins_before_zero(tmp_path, monkeypatch, film):
  """A player begins at the container's first time, where that is negative."""
  stream = types.SimpleNamespace(codec_context=types.SimpleNamespace(
      name="h264", codec=types.SimpleNamespace(canonical_name="h264"), pix_fmt="yuv420p"), start_time=1, time_base=0.25)
  container = types.SimpleNamespace(format=types.SimpleNamespace(name="mov,mp4"), start_time=-500_000)
  monkeypatch.setattr(films.containers, "open_file", lambda path: contextlib.nullcontext(container))
  monkeypatch.setattr(films.containers, "video_stream", lambda *_: stream)
  assert films._played(film, 0) == (".mp4", 0.75)
  container.start_time = 500_000
  assert films._played(film, 0) == (".mp4", 0.25)


@pytest.mark.parametrize("how", ["link", "copy", "none"])
def test_films_of_the_user_stay(tmp_path, film, how):
  """One that would be its own copy, and others where a page's film would stand."""
  folder = tmp_path / "video"
  folder.mkdir()
  kept = film.rename(folder / "video.mp4")
  content = kept.read_bytes()
  other = samples.film(tmp_path / "ann.mp4", 1.0)
  for source, why in ((kept, "is itself a video that is asked for"), (other, "was not written by jaxskill")):
    if how == "none":
      of_video(folder, samples.answer(), samples.material(source, frames=False), how)
      page.check(folder, [source], how)
    else:
      for write in (lambda: of_video(folder, samples.answer(), samples.material(source), how),
                    lambda: page.check(folder, [source], how)):
        with pytest.raises(ValueError, match=f"video.mp4 .*{why}.*; .*another --out"):
          write()
    assert kept.read_bytes() == content and other.exists()
  kept.rename(folder / "video.webm")
  if how != "none":
    with pytest.raises(ValueError, match="video.webm is there"):
      of_video(folder, samples.answer(), samples.material(other), how)
  assert (folder / "video.webm").read_bytes() == content


@pytest.mark.parametrize("name, container, codec", [("film.avi", "avi", "mpeg4"), ("film.mpg", "mpeg", "mpeg1video")])
def test_formats_that_browsers_do_not_play_become_others_without_metadata(tmp_path, name, container, codec):
  fps = 25 if codec == "mpeg1video" else 10
  source = samples.other_film(tmp_path / name, container, codec, fps=fps)
  read = of_video(tmp_path / "page", samples.answer(), samples.material(source))
  assert TEXTS["proxy"] in read.text
  proxy = tmp_path / "page" / read.of("video")[0]["src"]
  with av.open(str(proxy)) as file:
    assert [stream.type for stream in file.streams] == ["video"]
    assert file.streams[0].codec_context.name in ("h264", "libvpx-vp9", "vp9") and "title" not in file.metadata
    times = [frame.time for frame in file.decode(video=0)]
  first, count, step = map(read.data["players"][0]["shown"].get, ("first", "count", "step"))
  assert count == len(times) == fps and first + step * np.arange(count) == pytest.approx(times, abs=0.002)
  assert b"patient" not in proxy.read_bytes()


def decoded(path):
  """{seconds: picture} of a film."""
  return {round(picture.time, 2): picture.image().astype(int) for picture in films.decoding.pictures(path)}


def sharpness(image):
  """The variance of the Laplacian of a part of a picture."""
  return ndimage.laplace(image.mean(axis=-1).astype(float)).var()


def checked(path, size=(320, 240), seconds=2.0):
  """Writes a film of small squares, with sound and a name, that is hard to code."""
  squares = np.kron(np.random.default_rng(0).integers(0, 2, (size[1] // 8, size[0] // 8)), np.ones((8, 8)))
  image = np.repeat((60 + 120 * squares[..., None]).astype(np.uint8), 3, axis=2)
  return samples.other_film(path, "mp4", "libx264", seconds, shown=[image] * round(10 * seconds), size=size)


@pytest.mark.parametrize("others", [False, True])
def test_blurred_films_are_made_anew_and_hide_the_face_alone(tmp_path, others):
  """In every decoded picture; whole ones where nobody is seen. No sound, no name, and no link or copy of the original."""
  source, person = checked(tmp_path / "film.mp4"), samples.person(2.0, size=(320, 240), gap=range(12, 20))
  hidden = faces.Faces(person, np.array([[0.45, 40.0, 200.0, 15.0]]) if others else None)
  folder, before = tmp_path / "page", decoded(source)
  of_video(folder, samples.answer(), samples.material(source))           # an earlier page, with a link
  assert (folder / "video.mp4").samefile(source)
  read = of_video(folder, samples.answer(), samples.material(source, faces=hidden), "link")
  made = folder / read.of("video")[0]["src"]
  assert not made.samefile(source) and made.read_bytes() != source.read_bytes() and source.stat().st_nlink == 1
  assert b"patient" not in made.read_bytes()
  with av.open(str(made)) as file:
    assert [stream.type for stream in file.streams] == ["video"] and "title" not in file.metadata
  after = decoded(made)
  assert after.keys() == before.keys() and len(after) == 20
  for at, image in after.items():
    x, y = (round(320 * (0.25 + 0.5 * at / 8)), 60)
    face = np.s_[y - 12: y + 12, x - 12: x + 12]
    assert sharpness(image[face]) < 0.05 * sharpness(before[at][face]), at
    assert np.abs(image[face] - before[at][face]).mean() > 30
    rest, other = np.s_[160:, 200:], np.s_[190:210, 30:50]
    if at < 1.31:                                                       # the last row that shows somebody is at 1.1 s
      assert np.abs(image[rest] - before[at][rest]).mean() < 6, at
      assert (sharpness(image[other]) < 0.05 * sharpness(before[at][other])) == (others and at < 0.95), at
    else:
      assert sharpness(image[rest]) < 0.05 * sharpness(before[at][rest]), at
  assert read.text.count(TEXTS["blurred" if others else "blurred_one"]) == 2          # below the film and in the foot


def test_faces_are_blurred_where_they_are_in_turned_and_smaller_copies(tmp_path):
  """A phone held upright, of 800 pixels across: the copy is 720 wide."""
  source = test_decoding.turn(checked(tmp_path / "film.mp4", (1000, 800), 0.3), (0, 1, -1, 0))
  hidden = faces.Faces(samples.person(0.3, size=(800, 1000)))
  placed = films.place(source, written.Record(tmp_path), "video", "copy", hidden)
  before = {at: films.decoding.resize(image.astype(np.uint8), 720, 900).astype(int) for at, image in decoded(source).items()}
  after = decoded(tmp_path / placed.file)
  for at, image in after.items():
    assert image.shape == (900, 720, 3)
    face, rest = np.s_[225 - 30: 225 + 30, 180 - 30: 180 + 30], np.s_[600:, 300:]
    assert sharpness(image[face]) < 0.05 * sharpness(before[at][face])
    assert np.abs(image[rest] - before[at][rest]).mean() < 6


def test_pairs_to_label_and_comparisons_are_blurred(tmp_path):
  source = checked(tmp_path / "film.mp4", seconds=0.5)
  hidden, after = faces.Faces(samples.person(0.5, size=(320, 240))), []
  answers = dict(a=samples.answer("a"), b=samples.answer("b"))
  path, failed = pairs.write(tmp_path, answers, dict.fromkeys(answers, source), 1, "link", dict.fromkeys(answers, hidden))
  assert not failed and TEXTS["blurred_one"] in Read(path).text
  after += [tmp_path / one["file"] for one in Read(path).data["videos"]]
  (tmp_path / "both").mkdir()
  page.of_comparison(written.Record(tmp_path / "both"), samples.comparison(*answers.values()),
                     [samples.material(source, faces=hidden)] * 2, "copy", "a is better", "")
  after += [tmp_path / "both" / f"{name}.mp4" for name in page.BOTH]
  for film, face in ((film, np.s_[48:72, 70:94]) for film in after):
    for at, image in decoded(film).items():
      assert sharpness(image[face]) < 0.05 * sharpness(decoded(source)[at][face])


@pytest.mark.parametrize("made", ["copy", "proxy"])
def test_a_film_that_breaks_off_leaves_the_one_before(tmp_path, monkeypatch, film, made):
  source = film if made == "copy" else samples.other_film(tmp_path / "film.avi", "avi", "mpeg4")
  record = written.Record(tmp_path / "page")
  record.folder.mkdir()
  placed = films.place(source, record, "video", "copy")
  before = (record.folder / placed.file).read_bytes()

  def half(_, target):
    target.write_bytes(before[:100])
    raise OSError("the disk is full")

  def some(path, **options):
    yield from list(pictures(path, **options))[:3]
    raise OSError("the disk is full")
  pictures = films.decoding.pictures
  monkeypatch.setattr(films.shutil, "copyfile", half)
  monkeypatch.setattr(films.decoding, "pictures", some)
  with pytest.raises(OSError, match="the disk is full"):
    films.place(source, record, "video", "copy")
  assert (record.folder / placed.file).read_bytes() == before
  assert {path.name for path in record.folder.iterdir()} == {written.NAME, placed.file}


def test_times_of_pictures_are_kept_where_they_are_uneven(tmp_path, film):
  placed = films.place(film, written.Record(tmp_path), "video", "link")
  assert placed.shown == dict(first=0.0, count=20, step=pytest.approx(0.1))
  for times in ([0.0, 0.1, 0.5], [0.5], []):
    assert films._regular(np.array(times)) == dict(times=times)
