"""Pages as text: what stands in them, that names of others stay text, what lies beside them, and how large they are."""

import base64
import contextlib
import csv
import hashlib
import html.parser
import json
import pathlib
import re
import shutil
import types
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import ndimage

from jaxskill import written
from jaxskill.assess import arguments, earlier, faces, new_videos, page, scoring
from jaxskill.assess.page import downloads, films, index, pairs, tracks
from jaxskill.assess.page.texts import TEXTS
from tests.assess.page import samples
from tests.data.video import test_decoding

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
QUIET = ("script", "style")


class Read(html.parser.HTMLParser):
  """The elements of a page: [(name, attributes)], its text without scripts, and its scripts and styles."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.text, self.raw, self._within = [], "", [], None
    self.source = path.read_text(encoding="utf-8")
    self.feed(self.source)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    self._within = self.elements[-1] if tag in QUIET else None

  def handle_endtag(self, tag):
    self._within = None

  def handle_data(self, data):
    if self._within:
      self.raw.append((self._within, data))
    else:
      self.text += data

  def of(self, tag, **attributes):
    return [found for name, found in self.elements
            if name == tag and all(found.get(key.replace("_", "-")) == value for key, value in attributes.items())]

  @property
  def data(self):
    return json.loads(next(text for (_, given), text in self.raw if given.get("type") == "application/json"))


@pytest.fixture
def film(tmp_path):
  return samples.film(tmp_path / "source.mp4", 2.0)


def of_video(folder, result, material, how="link"):
  folder.mkdir(exist_ok=True)
  return Read(page.of_video(written.Record(folder), result, material, how))


def of_comparison(folder, source, aligned=None, how="link", better="one", worse="other", **changed):
  folder.mkdir(exist_ok=True)
  found, moments = samples.segments(8.0)
  parts = dict(segments=found, moments=moments) if aligned else {}
  both = samples.answer(better, score=0.8, **parts), samples.answer(worse, score=0.4, **parts)
  return Read(page.of_comparison(written.Record(folder), samples.comparison(*both, aligned) | changed,
                                 [samples.material(source, maps=True)] * 2, how, "one is better", "50 % of the differences"))


def test_banners_and_the_sentence_stand_above_the_video(tmp_path, film):
  result = samples.answer(random_weights=True)
  read = of_video(tmp_path / "page", result, samples.material(film))
  places = [read.text.index(words) for words in ("RANDOM WEIGHTS", "SIMULATED", "UNLIKE THE TRAINING VIDEOS: it lasts",
                                                 "Above 70 % of the 30 training videos; rank score 0.75 ± 0.1",
                                                 TEXTS["moments"], TEXTS["no_device"])]
  assert places == sorted(places)
  read = of_video(tmp_path / "page", samples.answer(ranked=False, range=[0.5, 0.9]), samples.material(film))
  assert "score 0.75 ± 0.1 over 3 models, 90 % range 0.5 to 0.9" in read.text
  assert "90 % range: of a hundred new videos, 90 or more" in read.text
  read = of_video(tmp_path / "page", samples.answer(simulated=False, warnings=[]), samples.material(film))
  assert "SIMULATED" not in read.text and "UNLIKE" not in read.text


def test_moments_say_when_how_much_and_in_how_many_models(tmp_path, film):
  result = samples.answer()
  read = of_video(tmp_path / "page", result, samples.material(film))
  buttons = read.of("button", type="button")
  spans = [(float(one["data-from"]), float(one["data-to"])) for one in buttons if "data-from" in one]
  assert spans == [(one["start"], one["end"]) for one in result["moments"]]
  words = re.sub(r"\s+", " ", read.text)
  for one, found in zip(result["moments"], (2, 1)):
    assert f"{one['at']} {one['words']}: {100 * one['share']:.0f} % of the attention, in {found} of 3 models" in words
  assert f"{TEXTS['disputed']}: {result['moments'][1]['at']}" in words


@pytest.mark.parametrize("changed", [
    {}, dict(attention={}, moments=[]), dict(spread=None, models=[samples.answer()["models"][0]]),
    dict(zip(("segments", "moments"), samples.segments(8.0))),
    dict(references=[dict(video="r", score=80.0, models=2, seconds=[0.5, 1.5], segments=[], duration_s=2.0)],
         row_times=dict(start=[0.0, 4.0], end=[4.0, 8.0])),
    dict(distribution={"leaves": dict(places=[0.0, 1.0], probabilities=[0.25, 0.75])}, parts=dict(execution=3.0))])
def test_every_kind_of_answer_has_a_page(tmp_path, film, changed):
  read = of_video(tmp_path / "page", samples.answer(**changed), samples.material(film, maps=not changed))
  assert len(read.of("video")) == 1 and len(read.data["players"]) == 1
  for one in changed.get("segments", ()):
    assert f"{one['score']:.3g}, counts 25 %" in read.of("svg", **{"class": "segments"})[0]["aria-label"]
  if "distribution" in changed:
    assert [float(bar["height"]) for bar in read.of("rect") if "style" not in bar][-2:] == [pytest.approx(33.33), 100.0]


@pytest.mark.parametrize("make", ["video", "comparison", "index", "pairs"])
def test_hostile_names_stay_text(tmp_path, film, make):
  """Of videos, persons, references, runs and warnings; no element, attribute or script comes of them."""
  bad = samples.HOSTILE
  meanings = {name: dict(one, words=bad) for name, one in samples.MEANINGS.items()}       # heat maps bear them
  changed = dict(meanings=meanings, run=bad, trained_on=bad, system=bad, of=bad,
                 warnings=[bad, f"unlike the training videos: {bad}"],
                 references=[dict(video=bad, score=80.0, models=2, seconds=[0.5] * 16, segments=[], duration_s=2.0)])
  mild = lambda value: json.loads(json.dumps(value).replace(json.dumps(bad)[1:-1], "mild"))
  pages = []
  for turn, given in enumerate((changed, mild(changed))):
    name, folder = "mild" if turn else bad, tmp_path / f"page{turn}"
    if make == "comparison":
      pages.append(of_comparison(folder, film, better=name, worse=name))
    elif make == "pairs":                                                # its names stand in the data of the script
      folder.mkdir()
      answers = {f"{name}{number}": samples.answer(f"{name}{number}") for number in range(2)}
      pages.append(Read(pairs.write(folder, answers, dict.fromkeys(answers, film), 1, "link")[0]))
      assert {one["name"] for one in pages[-1].data["videos"]} == answers.keys()
    else:
      pages.append(of_video(folder, samples.answer(name, **given), samples.material(film, maps=True)))
    if make == "index":
      for number, date in enumerate(("2024-01-01", "2024-02-01", name)):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        page.of_video(written.Record(place), samples.answer(name, **given), samples.material(film), "none")
        (place / "assessment.json").write_text(json.dumps(samples.answer(name, **given) | dict(subject=name, date=date)))
      pages[-1] = Read(*page.of_folder(folder, "assessment.json", samples.answer(name, **given)))
  bad_page, mild_page = pages
  assert [name for name, _ in bad_page.elements] == [name for name, _ in mild_page.elements]
  assert [sorted(given) for _, given in bad_page.elements] == [sorted(given) for _, given in mild_page.elements]
  assert (bad in bad_page.text) != (make == "pairs") and "49" not in bad_page.text.replace("2049", "")
  code = lambda read: [text for (name, given), text in read.raw if "type" not in given]
  assert code(bad_page) == code(mild_page)
  assert "<" not in next(text for (_, given), text in bad_page.raw if given.get("type") == "application/json")


def test_screen_readers_meet_curves_and_names_and_no_chatter(tmp_path, film):
  """A slider hides what stands in it, so that it holds nothing; what changes with every picture is no live region."""
  parts, moments = samples.segments(8.0)
  read = of_video(tmp_path / "page", samples.answer(segments=parts, moments=moments), samples.material(film))
  within = re.search(r'<div [^>]*role="slider"[^>]*>(.*?)</div>', read.source, re.DOTALL)
  assert within[1] == "" and not read.of("output") and len(read.of("span", **{"class": "value"})) == 2
  path, _ = pairs.write(tmp_path, dict(a=samples.answer("a"), b=samples.answer("b")), dict(a=film, b=film), 1, "link")
  read = Read(path)
  names = [one["id"] for one in read.of("p") if one.get("class") == "name"]
  assert [one["aria-labelledby"] for one in read.of("video")] == names and len(set(names)) == 2


@pytest.mark.parametrize("make", [of_video, of_comparison])
def test_a_page_may_load_its_own_script_and_style_and_videos_alone(tmp_path, film, make):
  read = of_comparison(tmp_path / "page", film) if make is of_comparison else of_video(
      tmp_path / "page", samples.answer(), samples.material(film, maps=True))
  policy, = (one["content"] for one in read.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
  rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
  assert rules["default-src"] == "'none'" and rules["img-src"] == "data:" and "unsafe" not in policy
  code = [(name, text) for (name, given), text in read.raw if "type" not in given]
  assert [name for name, _ in code] == ["style", "script"]
  for (name, text), rule in zip(code, ("style-src", "script-src")):
    assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
  for name, given in read.elements:
    assert not [key for key in given if key == "style" or key.startswith("on")], name
    for key in ("src", "href"):
      assert re.match(r"data:|[\w.-]+$", given.get(key, "data:")), given


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


def test_texts_and_pages_of_the_user_stay(tmp_path, film):
  """Of one video, of a folder and of pairs; before anything is scored."""
  videos = [types.SimpleNamespace(name=name, file=film) for name in "ab"]
  folders = {name: tmp_path / name for name in "ab"}
  for name in ("index.html", "pairs.html", "pairs/0.mp4", "a/report.html", "b/curves.csv", "b/video.mp4"):
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("theirs")
    with pytest.raises(ValueError, match=f"{name} is there and was not written by jaxskill; it stays"):
      scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 3))
    scoring.check_pages(tmp_path, folders, videos, arguments.Pages())
    theirs.unlink()
  for _ in range(2):                                                    # what is ours is written anew
    of_video(tmp_path / "a", samples.answer(), samples.material(film))
    of_comparison(tmp_path / "a", film)
  scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 3))


def test_without_videos_nothing_of_an_earlier_page_shows_them(tmp_path, film):
  """Nor of the page of pairs; what is not ours stays."""
  videos = dict(a=samples.answer("a"), b=samples.answer("b"))
  pairs.write(tmp_path, videos, dict(a=film, b=film), 3, "copy")
  (tmp_path / "pairs" / "notes.txt").write_text("theirs")
  assert pairs.remove(tmp_path) == [] and not (tmp_path / pairs.NAME).exists()
  assert {path.name for path in (tmp_path / "pairs").iterdir()} == {"notes.txt"}
  pairs.write(tmp_path, videos, dict(a=film, b=film), 3, "link")
  film.unlink()
  assert films.place(film, written.Record(tmp_path / "pairs"), "0", "link") is None         # it has gone
  assert len(list((tmp_path / "pairs").glob("*.mp4"))) == 2
  left = pairs.remove(tmp_path)                                         # one name of the film stays
  assert len(left) == 1 and (tmp_path / "pairs" / left[0].rpartition("/")[2]).stat().st_nlink == 1
  assert "remove it yourself" in earlier.stay(left)


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


def test_skeletons_are_drawn_over_films_alone(tmp_path, film):
  """And only where the places of landmarks are known."""
  for number, (how, found) in enumerate((("link", samples.person(2.0)), ("link", None), ("none", samples.person(2.0)))):
    read = of_video(tmp_path / f"page{number}", samples.answer(), samples.material(film, maps=True, points=found), how)
    shown = number == 0
    assert bool(read.data["players"][0]["skeleton"]) == shown and len(read.of("input", **{"data-do": "skeleton"})) == shown
    assert [one["class"] for one in read.of("canvas")] == ["heat", "skeleton"][: 2 * (how == "link")][: 1 + shown]


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


def test_downloads_go_by_the_clock_of_players(tmp_path):
  """Which runs before the first picture where the sound begins earlier; answers count from that picture."""
  source = samples.other_film(tmp_path / "late.mp4", "mp4", "libx264", seconds=2.0, late=7)
  read = of_video(tmp_path / "page", samples.answer(), samples.material(source))
  assert read.of("video")[0]["src"] == "video.mp4" and TEXTS["proxy"] not in read.text       # played as it is
  assert read.data["players"][0]["offset"] == pytest.approx(0.7, abs=0.05)
  with av.open(str(source)) as file:
    assert next(file.decode(video=0)).time == pytest.approx(read.data["players"][0]["offset"], abs=0.002)
  texts = {name: (tmp_path / "page" / f"moments.{name}").read_text() for name in ("srt", "vtt", "eaf")}
  assert "00:00:02,700 --> 00:00:04,700" in texts["srt"] and "00:00:02.700 --> 00:00:04.700" in texts["vtt"]
  assert 'TIME_VALUE="2700"' in texts["eaf"]


def test_moments_that_begin_at_once_are_one_annotation():
  moments = [dict(side=0, words="places", text=text, **{"from": begins, "to": ends})
             for text, begins, ends in (("a", 0.0, 1.0), ("b", 0.0, 2.0), ("c", 0.0001, 1.5), ("d", 1.5, 2.5))]
  tree = ElementTree.fromstring(downloads.eaf(moments, ""))
  assert [one.text for one in tree.iter("ANNOTATION_VALUE")] == ["a; b; c", "d"]
  assert [int(slot.get("TIME_VALUE")) for slot in tree.iter("TIME_SLOT")] == [0, 1500, 1500, 2500]


def test_rows_of_uneven_length_stand_where_they_are(tmp_path, film):
  """On the axis of the curve against a reference, and where two players keep step."""
  uneven = dict(row_times=dict(start=[0.0, 6.0], end=[6.0, 8.0]))
  reference = dict(video="r", score=80.0, models=2, seconds=[1.0, 1.5], segments=[], duration_s=2.0)
  *_, ahead = tracks.curves(samples.answer(references=[reference], **uneven))
  assert ahead["start"] == [0.0, 6.0] and ahead["values"] == [0.5 - 3 / 8, 0.75 - 7 / 8]
  both = samples.answer("a", **uneven), samples.answer("b")
  path = page.of_comparison(written.Record(tmp_path), samples.comparison(*both, [1.0, 5.0]),
                            [samples.material(film)] * 2, "none", "a is better", "")
  assert Read(path).data["alignment"] == dict(better=[3.0, 7.0], other=[1.0, 5.0])


def test_small_values_and_gaps_of_curves_are_kept():
  values = [1e-7, 2.34567e-7, float("nan"), 3e-7]
  line = dict(start=[0.0, 2.0, 4.0, 6.0], end=[2.0, 4.0, 6.0, 8.0], values=values)
  drawn = tracks.curves(samples.answer(attention={}) | dict(curves={"small": line}))[-1]
  assert drawn["values"] == [1e-7, 2.346e-7, pytest.approx(np.nan, nan_ok=True), 3e-7] and drawn["high"] == 3e-7
  assert drawn["path"].count("M") == 2 and "nan" not in drawn["path"]
  assert len(tracks.thinned(*np.arange(2000.0).reshape(2, 1000), np.full(1000, np.nan))[2]) <= tracks.POINTS


def test_downloads_hold_curves_and_moments(tmp_path, film):
  folder, result = tmp_path / "page", samples.answer()
  read = of_video(folder, result, samples.material(film))
  linked = [one["href"] for one in read.of("a") if "download" in one]
  assert linked == ["assessment.json", "curves.csv", "moments.srt", "moments.vtt", "moments.eaf"]
  table = list(csv.DictReader((folder / "curves.csv").read_text(encoding="utf-8").splitlines()))
  values = [float(row["value"]) for row in table if row["name"] == "against"]
  assert values == pytest.approx(result["attention"]["against"]["values"])
  first = result["moments"][0]
  assert (folder / "moments.srt").read_text().startswith(
      f"1\n00:00:02,000 --> 00:00:04,000\n{first['words']}: {100 * first['share']:.0f} % of the attention\n\n2\n")
  assert (folder / "moments.vtt").read_text().startswith("WEBVTT\n\n00:00:02.000 --> 00:00:04.000\nmoments that speak")
  tree = ElementTree.parse(folder / "moments.eaf")
  assert tree.find("HEADER/MEDIA_DESCRIPTOR").get("MEDIA_URL") == "./video.mp4"
  slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in tree.iter("TIME_SLOT")}
  spans = [tuple(slots[one.get(f"TIME_SLOT_REF{side}")] for side in (1, 2)) for one in tree.iter("ALIGNABLE_ANNOTATION")]
  assert spans == [(1000 * one["start"], 1000 * one["end"]) for one in result["moments"]]


def test_moments_of_single_frames_last_a_second_within_the_video():
  moments = [dict(start=at, end=at, side=0, words="places", share=0.5) for at in (0.0, 7.9, 4.0, 4.4)]
  found = downloads.spans(dict(moments=moments, duration_s=8.0))
  assert [(one["from"], one["to"]) for one in found] == [(0.0, 1.0), (7.0, 8.0), (3.5, 4.5), (pytest.approx(3.9), 4.9)]
  tier, = ElementTree.fromstring(downloads.eaf(found, "")).iter("TIER")
  assert len(list(tier)) == 4                       # each ends where the next begins


def test_peaks_stay_where_curves_are_thinned():
  values = np.zeros(50_000)
  values[12_345], values[40_000] = 3.0, -2.0
  edges = np.arange(50_001.0)
  start, end, drawn = tracks.thinned(edges[:-1], edges[1:], values)
  assert len(drawn) <= tracks.POINTS and drawn.max() == 3.0 and drawn.min() == -2.0
  assert start[drawn.argmax()] == 12_345 and end[-1] == 50_000 and (start[1:] == end[:-1]).all()


def test_heat_maps_are_bytes_of_one_scale():
  maps = np.array([[[0.0, 0.5], [1.0, 0.25]], [[2.0, 0.0], [0.0, 0.0]]])
  one, = tracks.heat(dict(places=maps), dict(places=np.array([0.5, 1.5])), dict(meanings=samples.MEANINGS))
  assert list(base64.b64decode(one["values"])) == [0, 64, 128, 32, 255, 0, 0, 0] and one["seconds"] == [0.5, 1.5]


def test_half_an_hour_with_25_curves_is_small(tmp_path):
  result = samples.answer(duration=1800.0, rows=54_000, curves=23)
  maps = dict(places=np.random.default_rng(0).random((1800, 14, 14)))
  material = page.Material(tmp_path / "no film", [], maps, dict(places=np.arange(1800.0)))
  of_video(tmp_path / "page", result, material)
  assert (tmp_path / "page" / page.NAME).stat().st_size < 2e6


def test_half_an_hour_with_25_curves_and_a_skeleton_is_small(tmp_path, film):
  """1.4 MB, .83 of them the skeleton: 33 landmarks of 45,000 rows would be 9 MB."""
  result = samples.answer(duration=1800.0, rows=54_000, curves=23)
  person = samples.person(1800.0, fps=25)
  person.places[:] += np.random.default_rng(0).random(person.places.shape)
  read = of_video(tmp_path / "page", result, samples.material(film, points=person))
  size = (tmp_path / "page" / page.NAME).stat().st_size
  assert len(read.data["players"][0]["skeleton"]["rows"]) == pytest.approx(0.83e6, rel=0.01)
  assert 1.3e6 < size < 1.5e6


def test_two_videos_keep_step_by_their_alignment(tmp_path, film):
  aligned = [0.5 * at for at in range(16)]
  read = of_comparison(tmp_path / "page", film, aligned)
  assert [one["value"] for one in read.of("option") if one["value"] in TEXTS["sync_modes"]] == list(TEXTS["sync_modes"])
  steps = read.data["alignment"]
  assert steps["other"] == aligned and steps["better"][:2] == [0.25, 0.75] and len(read.data["players"]) == 2
  assert (tmp_path / "page" / "better.mp4").samefile(film) and (tmp_path / "page" / "other.mp4").samefile(film)
  assert "75 % probable that it is; of pairs like those that calibrated it" in read.text
  equal = of_comparison(tmp_path / "equal", film, equal=True)
  assert TEXTS["equal_scores"] in equal.text and "probable that it is" not in equal.text
  assert "+0.4, DISAGREES" in read.text and "one is better" in read.text
  read = of_comparison(tmp_path / "page", film)
  assert read.data["alignment"] is None and not [one for one in read.of("option") if one["value"] == "alignment"]


def test_a_folder_has_an_index(tmp_path, film):
  for number, (subject, date) in enumerate((("Ann", "2024-01-01"), ("Ben", "2024-01-02"), ("Ann", "2024-03-01"))):
    folder = tmp_path / f"all #{number}"
    result = samples.answer(f"v{number}", score=0.1 * number) | dict(subject=subject, date=date)
    result["moments"][1]["share"] = (0.2, 0.9, 0.5)[number]
    of_video(folder, result, samples.material(film), "none")
    (folder / "assessment.json").write_text(json.dumps(result))
  (tmp_path / "another").mkdir()
  (tmp_path / "another" / "assessment.json").write_text("{}")
  (tmp_path / "other").mkdir()                                          # of another run, and the last that was written
  other = result | dict(made_from=result["made_from"] | dict(params_sha256="0" * 64))
  of_video(tmp_path / "other", other, samples.material(film), "none")
  (tmp_path / "other" / "assessment.json").write_text(json.dumps(other))
  for name, changed in (("models", dict(made_from=result["made_from"] | dict(models=[0]))), ("theirs", {})):
    (tmp_path / name).mkdir()
    of_video(tmp_path / name, result | changed, samples.material(film), "none")
    (tmp_path / name / "assessment.json").write_text(json.dumps(result | changed))
  (tmp_path / "theirs" / "report.html").write_text("their own page")
  assert page.of_folder(tmp_path / "another", "assessment.json", result) == []          # no answer has a page
  read = Read(*page.of_folder(tmp_path, "assessment.json", result))
  assert [one["href"] for one in read.of("a")][:3] == [f"all%20%23{number}/report.html" for number in range(3)]
  assert [one["data-sort"] for one in read.of("button")] == ["text", "number", "number", "text", "text", "number"]
  assert "Ann over time" in read.text and "Ben over time" not in read.text and len(read.of("circle")) == 2
  worst = [one["href"] for one in read.of("a") if "#t=" in one["href"] and "class" not in one]
  assert [address[9] for address in worst] == ["1", "2", "0"]


def test_persons_and_dates_are_read_from_labels(tmp_path):
  """And are no part of what an answer is an answer to: another date is no other question."""
  (tmp_path / "labels.csv").write_text("video,category,subject,date\na,dive,Ann,2024-01-01\n")
  known, person = new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))
  assert known("a") == dict(category="dive") and person == dict(a=dict(subject="Ann", date="2024-01-01"))


def test_the_least_certain_pairs_come_first():
  """Those that are near each other and, alike near, those on which the models disagree."""
  scores = np.array([[0.0, 1.0, 5.0], [0.2, 1.1, 5.0], [0.1, 0.9, 5.0]])
  assert pairs.uncertain(*pairs.prior(scores), 9) == [(0, 1), (1, 2), (0, 2)]
  assert pairs.uncertain(*pairs.prior(scores[:1]), 2) == [(0, 1), (1, 2)]
  means, spreads = pairs.prior(np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.4, 2.6]]) + [[7.0], [0.0]])
  assert np.diff(means) == pytest.approx(np.diff([0, 1, 2.2, 2.8]) * 2 / np.std([0, 1, 2.2, 2.8]))
  assert spreads[0] < spreads[2] == spreads[3] and pairs.uncertain(means, spreads, 1) == [(2, 3)]
  means, spreads = pairs.prior(np.ones((2, 3)))                         # no difference and no spread
  assert (means == 0).all() and (spreads == pairs.SLOPE * pairs.LEAST).all()


def test_pairs_need_two_films(tmp_path, film):
  both = dict(a=samples.answer("a"), b=samples.answer("b"))
  with pytest.raises(ValueError, match="of 2 videos, 1 can be shown; give two video files"):
    pairs.write(tmp_path, both, dict(a=film, b=tmp_path / "b.npy"), 3, "link")
  path, failed = pairs.write(tmp_path, both, dict(a=film, b=film), 3, "link")
  assert not failed
  read = Read(path)
  assert read.data["count"] == 1 and {one["name"] for one in read.data["videos"]} == both.keys()
  assert all((tmp_path / one["file"]).samefile(film) for one in read.data["videos"])
  again, _ = pairs.write(tmp_path, both, dict(a=film, b=film), 9, "link")
  assert Read(again).data["key"] == read.data["key"]                     # so that its answers stay
  both["b"]["made_from"]["params_sha256"] = "0" * 64
  assert Read(pairs.write(tmp_path, both, dict(a=film, b=film), 3, "link")[0]).data["key"] != read.data["key"]


def test_pairs_of_many_videos_are_looked_for_once(tmp_path, monkeypatch, film):
  """Not anew for each film; and files are resolved once, not by each check."""
  count = 30
  videos = [types.SimpleNamespace(name=str(number), file=film) for number in range(count)]
  resolved, found = [], []
  resolve, uncertain = pathlib.Path.resolve, pairs.uncertain
  monkeypatch.setattr(pathlib.Path, "resolve", lambda path, *rest: resolved.append(path) or resolve(path, *rest))
  monkeypatch.setattr(pairs, "uncertain", lambda *given: found.append(1) or uncertain(*given))
  folders = {video.name: tmp_path / video.name for video in videos}
  scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 5))
  assert sum(path == film for path in resolved) == count
  answers = {video.name: samples.answer(video.name, score=number) for number, video in enumerate(videos)}
  pairs.write(tmp_path, answers, dict.fromkeys(answers, film), 5, "link")
  assert len(list((tmp_path / "pairs").glob("*.mp4"))) > 5 and len(found) == 2


def test_a_film_that_cannot_be_shown_costs_no_page_of_pairs(tmp_path, monkeypatch, film):
  """Others take its place, and only films of pairs are looked at and linked."""
  scores = dict(a=0.0, b=0.1, bad=0.15, c=0.5, far=9.0)
  answers = {name: samples.answer(name, score=score) for name, score in scores.items()}
  files = {name: shutil.copyfile(film, tmp_path / f"{name}.mp4") for name in scores}
  asked, read_timeline = [], films.timeline.read_timeline

  def read(path):
    asked.append(path.stem)
    if path.stem == "bad":
      raise av.error.UnknownError(1, "odd")                             # neither a ValueError nor an OSError
    return read_timeline(path)
  monkeypatch.setattr(films.timeline, "read_timeline", read)
  path, failed = pairs.write(tmp_path, answers, files, 1, "link")
  assert list(failed) == ["bad"] and "bad.mp4: FFmpeg cannot make the film of its page" in failed["bad"]
  assert sorted(one["name"] for one in Read(path).data["videos"]) == ["a", "b"] and "far" not in asked
  with pytest.raises(ValueError, match="of 2 videos, 1 can be shown; .* bad: .*FFmpeg cannot"):
    pairs.write(tmp_path, {name: answers[name] for name in ("b", "bad")}, files, 1, "link")


def test_persons_are_drawn_by_date(tmp_path):
  """Which is said as year, month and day; an answer of which no such date is known is left out."""
  row = lambda date, score: dict(subject="A", date=date, score=score, words="", video="", address="")
  person, = index.over_time([row("2024-01-11", 2.0), row("20240101", 1.0), row("15.01.2024", 0.0), row("2024-01-02", 3.0)])
  assert [point["x"] for point in person["points"]] == [14.0, 22.2, 96.0]
  for date in ("15.01.2024", "2024-02", "week 1"):
    (tmp_path / "labels.csv").write_text(f"video,date\na,2024-02-28\nb,{date}\n")
    with pytest.raises(ValueError, match=f"labels.csv, line 3: the date of 'b' is '{date}'; expected year, month and day"):
      new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))
  (tmp_path / "labels.csv").write_text("video,date\na,20240228\n")
  assert new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))[1] == dict(
      a=dict(date="2024-02-28"))
