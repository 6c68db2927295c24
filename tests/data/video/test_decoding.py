"""Frames of real files, encoded here: every frame carries its number in its brightness."""

import fractions
import itertools
import struct

import numpy as np
import pytest

from jaxskill.data.video import decoding, timeline

av = pytest.importorskip("av")


def shade(number):
  """Distinct for some twenty successive frames, and far enough apart to survive compression."""
  return 20 + 10 * (number % 22)


def encode(path, times, *, codec="libx264", size=(64, 48), rate=1000, pixels="yuv420p", audio=False):
  """A video whose frame k is shown from times[k] on."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=rate)
    (stream.width, stream.height), stream.pix_fmt = size, pixels
    stream.codec_context.time_base = stream.time_base = milliseconds = fractions.Fraction(1, 1000)
    sound = container.add_stream("aac", rate=8000) if audio else None
    for number, time in enumerate(times):
      image = np.full((size[1], size[0], 3), shade(number), np.uint8)
      image[:, : size[0] // 4] = 0                # a dark bar on the left tells which way is up
      frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
      frame.pts, frame.time_base = round(time * 1000), milliseconds
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
    if sound:
      silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
      silence.rate = 8000
      container.mux(sound.encode(silence))
      container.mux(sound.encode())
  return path


def number_of(image):
  """Of the frame that a picture is."""
  height, width = image.shape[:2]
  level = image[height // 2, -width // 4].mean()
  return round((level - 20) / 10)


@pytest.mark.parametrize("name,options", [
    ("a.mp4", {}), ("b.mkv", {}), ("c.mp4", dict(audio=True)), ("d.mov", dict(size=(66, 50))),
    ("e.mkv", dict(pixels="yuv420p10le"))])
def test_constant_rate(tmp_path, name, options):
  path = encode(tmp_path / name, np.arange(20) / 10, **options)
  assert timeline.read_timeline(path).seconds == pytest.approx(2.0, abs=0.11)
  frames = list(decoding.decode(path))
  assert [number_of(frame.image) for frame in frames] == list(range(20))
  np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 10, atol=2e-3)
  assert frames[0].image.shape == (*options.get("size", (64, 48))[::-1], 3)
  wanted = [0, 0.05, 0.1, 0.99, 1.0, 1.0, 1.95]
  assert [number_of(image) for image in decoding.frames_at(path, wanted)] == [0, 0, 1, 9, 10, 10, 19]


@pytest.mark.parametrize("size", [(65, 49), (33, 64)])
def test_odd_sizes(tmp_path, size):
  """To the last column and line, also when scaled."""
  path = encode(tmp_path / "a.mkv", np.arange(3) / 10, codec="ffv1", pixels="yuv444p", size=size)
  image = list(decoding.decode(path))[2].image
  assert image.shape == (*size[::-1], 3) and abs(int(image[-1, -1, 0]) - shade(2)) < 3
  small = list(decoding.decode(path, decoding.scale_short_side(32)))[2].image
  assert min(small.shape[:2]) == 32 and abs(int(small[-1, -1, 0]) - shade(2)) < 3
  assert abs(int(decoding.resize(image, 17, 9)[-1, -1, 0]) - shade(2)) < 3


class Pipe:
  """Takes bytes that cannot be gone back to, so that no duration is written at the beginning."""

  def __init__(self, file):
    self.write = file.write


@pytest.mark.parametrize("form", ["matroska", "mpegts"])
def test_streams_without_duration(tmp_path, form):
  path = tmp_path / ("a.mkv" if form == "matroska" else "a.ts")
  with open(path, "wb") as file, av.open(Pipe(file), "w", format=form) as container:
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(20):
      image = np.full((48, 64, 3), shade(number), np.uint8)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
    container.mux(stream.encode())
  if form == "matroska":
    with av.open(str(path)) as container:
      assert container.duration is None and container.streams.video[0].duration is None
  assert timeline.read_timeline(path).seconds == pytest.approx(2.0, abs=0.11)
  assert [number_of(image) for image in decoding.frames_at(path, [0, 0.55, 1.95])] == [0, 5, 19]


def test_one_picture(tmp_path):
  path = encode(tmp_path / "a.mp4", [0.0])
  assert 0 < timeline.read_timeline(path).seconds < 0.2
  assert [number_of(image) for image in decoding.frames_at(path, [0, 0.01])] == [0, 0]


def test_pictures_are_converted_where_they_are_looked_at(tmp_path, monkeypatch):
  path, converted = encode(tmp_path / "a.mp4", np.arange(20) / 10), []
  original = decoding.Picture.image

  def image(self, *size):
    converted.append(self.number)
    return original(self, *size)
  monkeypatch.setattr(decoding.Picture, "image", image)
  assert [number_of(image) for image in decoding.frames_at(path, [0, 1.0])] == [0, 10] and converted == [0, 10]


def test_variable_rate_is_sampled_by_time(tmp_path):
  times = [0, 0.1, 0.2, 1.2, 1.25, 1.3, 2.3]
  path = encode(tmp_path / "a.mkv", times)
  assert [number_of(i) for i in decoding.frames_at(path, [0.15, 0.7, 1.19, 1.21, 1.27, 2.0, 2.4])] == [1, 2, 2, 3, 4, 5, 6]


def test_gif(tmp_path):
  path = tmp_path / "a.gif"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("gif", rate=10)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb8"
    for number in range(5):
      container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 50 * number, np.uint8), "rgb24")))
    container.mux(stream.encode())
  assert len(list(decoding.decode(path))) == 5 and timeline.read_timeline(path).seconds == pytest.approx(0.5, abs=0.11)


@pytest.mark.parametrize("matrix,side", [((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom"),
                                         ((1, 0, 0, 1), "left")])
def test_rotation_tag(tmp_path, matrix, side):
  """Phones write how the picture is to be turned; the bar on the left then lies elsewhere."""
  path = encode(tmp_path / "a.mp4", np.arange(5, 8) / 10, size=(96, 64))
  content = bytearray(path.read_bytes())
  place = content.index(b"tkhd") + 44             # (a, b, 0, c, d, 0, x, y, 1) in fixed point
  for number, entry in zip((0, 1, 3, 4), matrix):
    content[place + 4 * number: place + 4 * number + 4] = struct.pack(">i", entry * 65536)
  path.write_bytes(content)
  image = list(decoding.decode(path, decoding.scale_short_side(64)))[2].image
  assert image.shape == ((96, 64, 3) if side in ("top", "bottom") else (64, 96, 3))
  strips = dict(top=image[:8], bottom=image[-8:], left=image[:, :8], right=image[:, -8:])
  assert min(strips, key=lambda name: strips[name].mean()) == side


def circle(path, aspect, size=(96, 64), count=3, matrix=None):
  """A film whose pixels are not square, of a disc that is round where it is shown."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=10)
    (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(*aspect)
    ratio = aspect[0] / aspect[1]
    x, y = np.meshgrid((np.arange(size[0]) - size[0] / 2 + 0.5) * ratio, np.arange(size[1]) - size[1] / 2 + 0.5)
    inside = x**2 + y**2 < (0.3 * min(size[0] * ratio, size[1])) ** 2
    for number in range(count):
      image = np.repeat((230 * inside).astype(np.uint8)[..., None], 3, axis=2)
      frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
      frame.pts, frame.time_base = number, fractions.Fraction(1, 10)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return turn(path, matrix) if matrix else path


def turn(path, matrix):
  """Writes (a, b, c, d) into the display matrix of an mp4: (a, b, 0, c, d, 0, x, y, 1) in fixed point."""
  content = bytearray(path.read_bytes())
  place = content.index(b"tkhd") + 44
  for number, entry in zip((0, 1, 3, 4), matrix):
    content[place + 4 * number: place + 4 * number + 4] = struct.pack(">i", entry * 65536)
  path.write_bytes(content)
  return path


def roundness(image):
  """Width of the disc by its height."""
  inside = image[..., 0] > 110
  return inside.any(axis=0).sum() / inside.any(axis=1).sum()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
@pytest.mark.parametrize("aspect,width", [((64, 45), 137), ((8, 9), 85), ((2, 1), 192), ((1, 1), 96)])
def test_pixels_that_are_not_square(tmp_path, name, aspect, width):
  path = circle(tmp_path / name, aspect)
  picture = next(decoding.pictures(path))
  assert picture.size == (width, 64) and picture.image().shape == (64, width, 3)
  assert roundness(picture.image()) == pytest.approx(1, abs=0.06)
  image, = decoding.frames_at(path, [0.0], decoding.scale_short_side(48))          # as recipes and strips of key frames ask
  assert image.shape[0] == 48 and roundness(image) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1)])
def test_turned_pixels_that_are_not_square(tmp_path, matrix):
  path = circle(tmp_path / "a.mp4", (64, 45), matrix=matrix)
  picture = next(decoding.pictures(path))
  assert picture.size == ((64, 137) if matrix[1] else (137, 64))
  assert roundness(picture.image()) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("matrix", [matrix for a, b in itertools.product((-1, 1), repeat=2)
                                    for matrix in ((a, 0, 0, b), (0, a, b, 0))])
def test_display_matrix(tmp_path, matrix):
  """Every turn, mirrored or not: the pixel (x, y) lies at (a x + c y, b x + d y)."""
  path, (a, b, c, d) = tmp_path / "a.mp4", matrix
  stored = np.zeros((64, 96, 3), np.uint8)
  stored[:32, :32] = 220                                       # the first corner of the stored picture
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "rgb24")))
    container.mux(stream.encode())
  image = next(decoding.pictures(turn(path, matrix))).image()
  assert image.shape == ((96, 64, 3) if b else (64, 96, 3))
  right, below = a + c < 0, b + d < 0                           # where the corner at the smallest x and y goes
  bright = np.argwhere(image[..., 0] > 110).mean(axis=0)
  assert (bright[1] > image.shape[1] / 2, bright[0] > image.shape[0] / 2) == (right, below)


def test_scaling(tmp_path):
  path = encode(tmp_path / "a.mp4", np.arange(3) / 10, size=(96, 64))
  frame = list(decoding.decode(path, decoding.scale_short_side(32)))[2]
  assert frame.image.shape == (32, 48, 3)
  assert decoding.center_crop(frame.image, 32).shape == (32, 32, 3)
  assert frame.image[:, 0].mean() < 20 < frame.image[:, -8].mean()           # the bar is still on the left


def test_cut_short(tmp_path):
  path = encode(tmp_path / "a.mkv", np.arange(200) / 10, size=(64, 48))
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  frames = list(decoding.decode(path))
  assert 10 < len(frames) < 200
  shown = list(decoding.frames_at(path, np.arange(200) / 10))
  assert len(frames) <= len(shown) < len(frames) + 8
  read = timeline.read_timeline(path)
  assert read.announced == pytest.approx(20, abs=0.2) and read.seconds < 15


def test_damage_in_the_middle_is_passed_over(tmp_path):
  path = encode(tmp_path / "a.avi", np.arange(60) / 10, codec="mjpeg", pixels="yuvj420p", rate=10)
  whole, content = [frame.time for frame in decoding.decode(path)], bytearray(path.read_bytes())
  for middle in (0.4, 0.45, 0.5):
    place = int(len(content) * middle)
    content[place: place + 200] = bytes(200)
  path.write_bytes(content)
  faults = []
  times = [frame.time for frame in decoding.decode(path, faults=faults)]
  assert times[-1] > 5 and len(times) >= len(whole) - 8


@pytest.mark.parametrize("content,message", [
    (None, "there is no such file"), (b"", "is empty"), (b"a story, not a film " * 100, "is not a video")])
def test_no_video(tmp_path, content, message):
  path = tmp_path / "a.mp4"
  if content is not None:
    path.write_bytes(content)
  for read in (timeline.read_timeline, lambda p: list(decoding.decode(p))):
    with pytest.raises(decoding.VideoError, match=message):
      read(path)


def test_sound_alone(tmp_path):
  path = tmp_path / "a.mp4"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
  with pytest.raises(decoding.VideoError, match="holds audio but no pictures"):
    timeline.read_timeline(path)
