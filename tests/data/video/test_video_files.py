"""Which files of a folder are videos: films in any ending and in none, and what is left out and why."""

import io
import os
import shutil
import types
import zipfile

import numpy as np
import pytest

from jaxskill import written
from jaxskill.assess import new_videos
from jaxskill.assess.page import films
from jaxskill.data.video import decoding, video_files
from tests.assess.page import samples
from tests.data.video.test_timeline import add_stream, av, fill, film, spoil

Image = pytest.importorskip("PIL.Image")
FILMS = [("CLIP.MTS", "mpegts", "libx264"), ("b.3gp", "3gp", "mpeg4"), ("noending", "mp4", "libx264"),
         ("take.1", "matroska", "libx264"),
         ("c.weird", "webm", "libvpx-vp9"), ("d.dat", "avi", "mjpeg"), ("e.M2TS", "mpegts", "mpeg2video"),
         ("f.mov", "mov", "libx264"),
         ("g.h264", "h264", "libx264"), ("h.flv", "flv", "flv"), ("i.txt", "matroska", "mpeg4"),
         ("k.gif", "gif", "gif"),
         ("l.y4m", "yuv4mpegpipe", "rawvideo"), ("raw", "mjpeg", "mjpeg"), ("m.Mp4", "mp4", "libx264"),
          ("n.vob", "vob", "mpeg2video")]


def others(folder):
  """Files of every kind that is no film; returns {name: why}."""
  write = lambda name, content: (folder / name).write_bytes(content)
  write("notes.txt", "Übung, schön\n".encode("latin-1"))
  write("labels.csv", b"video,score\nclip,3\n")
  write("code.ts", b"export const answer: number = 42;\n" * 50)
  write("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nf.mov\n")
  write("utf16.log", "a line\n".encode("utf-16"))
  np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32))
  with zipfile.ZipFile(folder / "b.npz", "w") as archive:
    archive.writestr("rgb.npy", b"x" * 5000)
  for ending in ("png", "jpg", "bmp", "gif", "tiff", "webp"):
    Image.new("RGB", (32, 24), (200, 10, 10)).save(folder / f"picture.{ending}")
  write("noise", np.random.default_rng(1).integers(0, 256, 20_000, np.uint8).tobytes())
  write("empty", b"")
  write("photo", (folder / "picture.jpg").read_bytes())
  os.mkfifo(folder / "pipe.mp4")
  with av.open(str(folder / "sound.wav"), "w") as container:
    stream = container.add_stream("pcm_s16le", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
    frame.rate = 8000
    container.mux(stream.encode(frame))
  write("._f.mov", b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(200))
  write("._clip.mp4", b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(200))
  write(".DS_Store", b"\0\0\0\1Bud1" + bytes(500))
  kinds = {"text": ("notes.txt", "labels.csv", "code.ts", "list.m3u8", "utf16.log"),
           "array, archive or document": ("a.npy", "b.npz"), "no film that FFmpeg can read": ("noise",),
           "single picture": tuple(f"picture.{ending}" for ending in ("png", "jpg", "bmp", "gif", "tiff", "webp")) + (
               "photo",), "no plain file": ("pipe.mp4",),
           "empty file": ("empty",), "sound": ("sound.wav",)}
  return {name: why for why, names in kinds.items() for name in names}


def make(path, form, codec):
  pixels = dict(gif="rgb8").get(codec)
  with av.open(str(path), "w", format=form) as container:
    stream = add_stream(container, codec, (64, 48) if codec != "mpeg4" else (176, 144))
    if codec == "mpeg2video":
      stream.codec_context.framerate = 25
    if pixels:
      stream.pix_fmt = pixels
    fill(container, stream, 20)
  return path


def test_every_film_and_what_is_left_out(tmp_path):
  made = []
  for name, form, codec in FILMS:
    try:
      made.append(make(tmp_path / name, form, codec).name)
    except (ValueError, av.error.FFmpegError) as error:        # this PyAV cannot write it
      (tmp_path / name).unlink(missing_ok=True)
      print("not made:", name, error)
  assert len(made) >= 12
  expected = others(tmp_path)
  found, left_out = video_files.find_videos(tmp_path)
  assert {file.name for file in found.values()} == set(made) and left_out == expected
  names = {"CLIP.MTS": "CLIP", "noending": "noending", "take.1": "take.1", "c.weird": "c.weird", "d.dat": "d",
           "m.Mp4": "m"}
  for file, name in names.items():
    if file in made:
      assert found[name].name == file and video_files.find_video(tmp_path / name) == tmp_path / file
  for file in found.values():
    assert len(list(decoding.pictures(file))) >= 19, file
  lines = "\n".join(video_files.describe(left_out))
  assert all(name in lines for name in expected) and "left out, sound: sound.wav" in lines


def test_accents_are_composed_in_names(tmp_path):
  """Macs write letter and accent apart; labels seldom do."""
  film(tmp_path / "u\u0308bung.mp4", 20)
  film(tmp_path / "e\u0301t.weird", 20, form="mp4")
  assert list(video_files.find_videos(tmp_path)[0]) == ["\xe9t.weird", "\xfcbung"]
  for name in ("\xfcbung", "u\u0308bung", "\xe9t.weird"):
    assert video_files.find_video(tmp_path / name).is_file()


def test_three_films(tmp_path):
  film(tmp_path / "a.mp4", 20)
  film(tmp_path / "CLIP.MTS", 20, form="mpegts")
  film(tmp_path / "b.3gp", 20, form="mp4")
  assert list(video_files.find_videos(tmp_path)[0]) == ["CLIP", "a", "b"]


def test_damaged_films_are_reported_and_not_left_out(tmp_path):
  """A file whose ending says that it is a video is one; so is one of any name that lacks its index or its beginning."""
  (tmp_path / "empty.MTS").touch()
  (tmp_path / "page.mp4").write_text("<html>not found</html>")
  (tmp_path / "noise.mkv").write_bytes(os.urandom(5000))
  content = film(tmp_path / "whole.mp4", 20).read_bytes()
  (tmp_path / "unfinished").write_bytes(content[: content.index(b"moov") - 4])
  spoil(tmp_path / "whole.mp4", tmp_path / "c.mkv", range(12)).rename(tmp_path / "late")
  found, left_out = video_files.find_videos(tmp_path)
  assert set(found) == {"empty", "page", "noise", "whole", "unfinished", "late"} and not left_out


def test_links_to_folders_are_followed(tmp_path):
  """But not in a circle."""
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    film(tmp_path / name / "film.mp4", 20)
    (tmp_path / "videos").mkdir(exist_ok=True)
    (tmp_path / "videos" / name).symlink_to(tmp_path / name)
  (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
  (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
  (tmp_path / "videos" / "self").symlink_to(tmp_path / "videos")
  found, left_out = video_files.find_videos(tmp_path / "videos")
  assert list(found) == ["a/film", "a/to_b/film", "b/film", "b/to_a/film"] and not left_out


def test_many_files_are_summed_up():
  lines = video_files.describe({f"{number}.png": "single picture" for number in range(500)} | {"a.txt": "text"})
  assert len(lines) == 2 and lines[0].endswith(" and 492 more") and lines[1] == "left out, text: a.txt"


def test_folders_without_a_film(tmp_path):
  Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
  with pytest.raises(ValueError, match=r"holds no video .*: left out, single picture: a\.png\. Give a folder"):
    video_files.find_videos(tmp_path)


@pytest.mark.parametrize("content", ["noise", "floats", "pickle", "png", "words"])
def test_other_contents_are_no_films(tmp_path, content):
  """FFmpeg guesses raw streams from few bytes; none of these may be taken for a film."""
  draw = np.random.default_rng(0)
  for number in range(25):
    values = draw.normal(size=4000).astype(np.float32)
    memory = io.BytesIO()
    Image.fromarray(draw.integers(0, 255, (20, 20, 3), np.uint8)).save(memory, "png")
    data = dict(noise=draw.integers(0, 256, 8000, np.uint8).tobytes(), floats=values.tobytes(), png=memory.getvalue(),
                pickle=b"\x80\x04" + values.tobytes(), words=b"word " * 3000)[content]
    (tmp_path / f"file{number}{['', '.bin', '.dat', '.pt', '.txt'][number % 5]}").write_bytes(data)
  with pytest.raises(ValueError, match="holds no video"):
    video_files.find_videos(tmp_path)


def test_names_with_colons_and_percent_signs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("2024-01-01T10:00:00.mp4", "http:a.mp4", "50%d.mp4"):
    film(tmp_path / "whole", 20, form="mp4").rename(tmp_path / name)
    assert len(list(decoding.pictures(name))) == 20


def test_folders_given_to_assess(tmp_path, monkeypatch):
  """The same listing: odd endings are taken, what is left out is said, and a file that was named must be a film."""
  (tmp_path / "folder").mkdir()
  film(tmp_path / "folder" / "CLIP.MTS", 20, form="mpegts")
  (tmp_path / "folder" / "notes").write_text("words")
  (tmp_path / "code.ts").write_text("export const answer = 42;")

  def extract_run(config, links, out, weights, say, **persons):
    found, left_out = video_files.find_videos(links)
    return dict(recipe={}, videos={name: {} for name in found}, failed={}, left_out=left_out)
  monkeypatch.setattr(new_videos.local, "run", extract_run)
  recipe = types.SimpleNamespace(streams=dict(rgb=types.SimpleNamespace(keep="feature")))
  monkeypatch.setattr(new_videos.recipes, "recipe_of", lambda *_: (recipe, "random:0"))
  videos = [tmp_path / "folder", tmp_path / "code.ts"]
  run, said = types.SimpleNamespace(about=dict(extraction=None), workdir=tmp_path), []
  files, failed, _ = new_videos._extracted(run, videos, new_videos.Extraction(), tmp_path / "out", said.append)
  assert list(files) == ["CLIP"] and failed == {"code": "is no film that FFmpeg can read."}
  assert said == ["left out, text: notes"]


def test_films_of_our_own_pages_are_no_new_videos(tmp_path):
  """Answers may lie beside the films; in copies of their folders, too, and where the film itself has gone."""
  clip = samples.film(tmp_path / "a.mp4", 1.0)
  for place, how in (("answers/a", "link"), ("answers/b", "copy")):
    (tmp_path / place).mkdir(parents=True)
    films.place(clip, written.Record(tmp_path / place), "video", how)
  shutil.copyfile(clip, tmp_path / "answers" / "b" / ".0.unfinished")        # of a process that was killed
  shutil.copyfile(clip, tmp_path / "answers" / "b" / "mine.mp4")
  found, left_out = video_files.find_videos(tmp_path)
  assert set(found) == {"a", "answers/b/mine"}
  assert left_out == {f"answers/{name}/video.mp4": "of a page of an earlier answer" for name in "ab"}
  shutil.copytree(tmp_path / "answers" / "a", tmp_path / "answers" / "c")
  clip.unlink()
  found, left_out = video_files.find_videos(tmp_path)
  assert set(found) == {"answers/b/mine"} and len(left_out) == 3
  last = tmp_path / "answers" / "a" / "video.mp4"
  assert video_files.find_videos(last)[0] == {"video": last}            # who wants it says so
