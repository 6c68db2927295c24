"""What the streams of a recipe take of a video: plans, flow, persons, damaged files, processes that die."""


import numpy as np
import pytest

from jaxskill import cli
from jaxskill.data.video import decoding, persons
from jaxskill.extract import extraction, feature_files
from tests.data.video.test_decoding import av, circle, encode, number_of, roundness
from tests.data.video.test_timeline import film, spoil, streams_of
from tests.places import REPO


def recipe(name="action_net:rgb", **changes):
  """A recipe on small pictures; `changes` are of the sampling of all streams."""
  file, *options = name.split(":")
  config, _ = cli.read_config(":".join([str(REPO / "configs" / "features" / f"{file}.py"), *options]), [])
  for stream in config.streams.values():
    stream.update(crop=32, batch=2, **({"short_side": 32} if "short_side" in stream else {}))
    stream.sampling.update(changes)
  return config


def sampling(name, **changes):
  return next(iter(recipe(name, **changes).streams.values())).sampling


def taken(path, config, persons=None, name="a"):
  """({stream: items `[C, L, S, S, c]`}, what was said at the end, the kinds of all messages)."""
  rows, said, kinds = {}, None, []

  def send(kind, content):
    nonlocal said
    kinds.append(kind)
    if kind == "items":
      stream, first, items = content
      assert first == sum(map(len, rows.get(stream, ())))
      rows.setdefault(stream, []).append(items)
    elif kind == "planned":
      rows.clear()
    elif kind in ("done", "failed"):
      said = content
  extraction.decode_one(path, name, config, persons, send)
  return {stream: np.concatenate(items) for stream, items in rows.items()}, said, kinds


def move(path, count, step=2, size=(64, 48), rate=10):
  """A texture that moves to the right by `step` pixels a frame."""
  rng = np.random.default_rng(0)
  coarse = np.kron(rng.integers(40, 216, (size[1] // 8, size[0] // 8)), np.ones((8, 8)))
  for axis in (0, 1):
    coarse = sum(np.roll(coarse, k, axis) for k in range(-3, 4)) / 7
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=rate, options={"crf": "10"})
    (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
    for number in range(count):
      image = np.repeat(np.roll(coarse, number * step, 1)[..., None], 3, 2).astype(np.uint8)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
    container.mux(stream.encode())
  return path


def test_stacks():
  times, every = extraction.plan(sampling("pros_cons"), 100.0)
  assert times.shape == (400, 16) and every == 0.25
  np.testing.assert_allclose(np.diff(times), 0.1)
  assert times[0, 0] == 0 and times[-1, -1] == pytest.approx(99.9) and (np.diff(times[:, 0]) > 0).all()
  short, _ = extraction.plan(sampling("pros_cons"), 1.7)      # fewer frames than stacks: they repeat
  assert short.shape == (400, 16) and len(np.unique(short[:, 0])) == 2


def test_snippets():
  times, every = extraction.plan(sampling("core"), 10.3)
  assert times.shape == (10, 16) and every == pytest.approx(1.03)
  np.testing.assert_allclose(times[:, 0], (np.array([0, 10, 20, 30, 40, 50, 60, 70, 80, 86]) + 0.5) / 10)
  assert times[-1, -1] < 10.3


def test_segments():
  times, every = extraction.plan(sampling("action_net"), 10.0)
  assert times.shape == (3, 16) and every == 3.2                   # 50 frames; two are left over
  np.testing.assert_allclose(times.ravel(), np.arange(48) / 5)
  times, every = extraction.plan(sampling("action_net:static"), 10.3)
  np.testing.assert_allclose(times, np.arange(10)[:, None])


def test_frames():
  times, every = extraction.plan(sampling("spatial_attention"), 100.0)
  assert times.shape == (50, 1) and every == 2.0
  np.testing.assert_allclose(times[:, 0], np.arange(1, 51) * 2.0, atol=2e-3)
  assert times[-1, 0] < 100.0


@pytest.mark.parametrize("name", ["pros_cons", "action_net"])
def test_shorter_than_a_clip(name):
  with pytest.raises(ValueError, match="lasts 1.00 s, which is shorter than a clip of 16 frames"):
    extraction.plan(sampling(name), 1.0)


def test_two_streams_of_one_pass(tmp_path, monkeypatch):
  """Each stream has its own pictures, and the file is decoded once."""
  path = encode(tmp_path / "a.mp4", np.arange(20) / 5, rate=1000)
  config, opened = recipe("action_net", length=9), []
  config.streams.static.update(region="centre")
  config.streams.static.sampling.update(length=1, fps=1.0)
  original = decoding.pictures
  monkeypatch.setattr(decoding, "pictures", lambda *arguments: opened.append(1) or original(*arguments))
  items, about, _ = taken(path, config)
  assert len(opened) == 1 and items["rgb"].shape == (2, 9, 32, 32, 3) and items["static"].shape == (4, 1, 32, 32, 3)
  assert [[number_of(image) for image in clip] for clip in items["rgb"]] == [list(range(9)), list(range(9, 18))]
  assert [number_of(image) for image in items["static"][:, 0]] == [0, 5, 10, 15]
  assert about["row_seconds"] == dict(rgb=1.8, static=1.0) and not about["warnings"]


def test_flow_of_clips(tmp_path):
  """Every flow leads from a frame to the next; the last one of the video stands in for that which would leave it."""
  pytest.importorskip("cv2.optflow")
  config = recipe("pros_cons:rgb,flow", clips=2, length=9)
  config.streams.flow.update(short_side=48, crop=32)
  items, about, kinds = taken(move(tmp_path / "a.mp4", 12), config)
  assert items["flow"].shape == (2, 9, 32, 32, 2) and items["flow"].dtype == np.float16
  np.testing.assert_allclose(np.median(items["flow"], axis=(2, 3)), np.tile([2 / 20, 0], (2, 9, 1)), atol=0.01)
  np.testing.assert_array_equal(items["flow"][1, -1], items["flow"][1, -2])
  assert (items["flow"][0, 0] != items["flow"][0, 1]).any() and kinds[-1] == "done" and not about["warnings"]


def test_stacks_of_flow_lead_up_to_their_frame(tmp_path):
  pytest.importorskip("cv2.optflow")
  config = recipe("spatial_attention", segments=2, per_segment=2, fps=10.0)
  config.streams.flow.update(stack=3, crop=64)
  config.streams.rgb.crop = 64
  path = move(tmp_path / "a.mp4", 20, size=(64, 64))
  items, about, _ = taken(path, config)
  assert items["rgb"].shape == (4, 1, 64, 64, 3) and items["flow"].shape == (4, 3, 64, 64, 2)
  np.testing.assert_allclose(np.median(items["flow"], axis=(2, 3)), np.tile([2 / 20, 0], (4, 3, 1)), atol=0.015)
  images = [picture.image() for picture in decoding.pictures(path)]
  np.testing.assert_array_equal(items["rgb"][:, 0], [images[i] for i in (4, 9, 14, 19)])
  np.testing.assert_allclose(about["times"]["flow"], [0.5, 1.0, 1.5, 2.0], atol=2e-3)
  from jaxskill.data.video import flow
  for k, begin in enumerate((16, 17, 18)):
    np.testing.assert_array_equal(items["flow"][-1, k], flow.tv_l1(*(flow.gray(images[i]) for i in (begin, begin + 1))))


class Found:
  """Persons at the pictures of some numbers, the left half; the picture itself elsewhere."""

  def __init__(self, *numbers):
    self.numbers = numbers

  def notes(self, name):
    return []

  def largest(self, name, picture):
    return (np.array([32.0, 0, 64, 48]), 0.0) if picture.number in self.numbers else (None, 0.0)


@pytest.mark.parametrize("numbers,shown", [((0, 1, 2, 3, 4, 5), [0, 1, 2, 3, 4, 5]), ((2,), [2] * 6),
                                           ((1, 4), [1, 1, 1, 4, 4, 4])])
def test_frames_without_a_person(tmp_path, numbers, shown):
  """They take the nearest one that has one."""
  path = encode(tmp_path / "a.mp4", [0, 1, 2, 3, 4, 5, 5.999])
  items, about, _ = taken(path, recipe("action_net:static"), Found(*numbers))
  assert [number_of(image) for image in items["static"][:, 0]] == shown
  lonely = 6 - len(numbers)
  warning = f"{lonely} of 6 frames have no person found at their time; that of the nearest time stands in"
  assert about["warnings"] == ([warning] if lonely else [])


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3, 4, 5), (2,), (1, 4)])
def test_frames_without_a_person_can_be_discarded(tmp_path, numbers):
  """As in the paper of ACTION-NET (Sec. 5.2): only frames with a person are left, and a row lasts their mean."""
  path = encode(tmp_path / "a.mp4", [0, 1, 2, 3, 4, 5, 5.999])
  config = recipe("action_net:static")
  config.streams.static.person.missing = "discard"
  items, about, kinds = taken(path, config, Found(*numbers))
  assert [number_of(image) for image in items["static"][:, 0]] == list(numbers)
  assert about["times"]["static"].tolist() == list(numbers) and kinds[-1] == "done"
  assert about["row_seconds"]["static"] == pytest.approx(6 / len(numbers))
  assert about["warnings"] == ([f"{6 - len(numbers)} of 6 frames have no person found at their time; they are discarded, "
                                "and the times of the others are known as a mean only"] if len(numbers) < 6 else [])
  features = feature_files.Features(config, dict(static=lambda images: images.mean(axis=(1, 2, 3))), tmp_path, "a")
  extraction.decode_one(path, "a", config, Found(*numbers), features.take)
  assert features.about["rows"] == len(numbers) == len(np.load(tmp_path / "a.npy"))


def test_boxes_of_another_time_are_no_person_where_these_are_discarded(tmp_path):
  path = encode(tmp_path / "a.mp4", [0, 1, 2, 3, 3.999])
  (tmp_path / "boxes.csv").write_text("video,time,x1,y1,x2,y2\na,1,0,0,32,48\na,2.1,0,0,32,48\n")
  config = recipe("action_net:static")
  config.streams.static.person.missing = "discard"
  items, about, _ = taken(path, config, persons.Boxes(tmp_path / "boxes.csv"))
  assert [number_of(image) for image in items["static"][:, 0]] == [1, 2] and about["row_seconds"]["static"] == 2.0
  assert about["warnings"][0].startswith("2 of 4 frames have no person found at their time; they are discarded")


@pytest.mark.parametrize("missing", ["nearest", "discard"])
def test_no_person_at_all(tmp_path, missing):
  path = encode(tmp_path / "a.mp4", [0, 1, 2, 3, 3.999])
  config = recipe("action_net:static")
  config.streams.static.person.missing = missing
  _, said, kinds = taken(path, config, Found())
  assert kinds[-1] == "failed" and said == "no person found in any of its 4 frames."


@pytest.mark.parametrize("name,times,message", [
    ("core", [0.0], "holds 1 picture and at least 16 are needed"),
    ("core", np.arange(6) / 5, "holds 5 pictures and at least 16 are needed"),
    ("spatial_attention:rgb", [0.0], "holds 1 picture and at least 2 are needed"),
    ("action_net", [0.0], "shorter than a clip of 16 frames at 5 a second")])
def test_too_few_pictures(tmp_path, name, times, message):
  _, said, kinds = taken(encode(tmp_path / "a.mp4", times), recipe(name))
  assert kinds[-1] == "failed" and message in said


def test_pictures_that_repeat_are_said(tmp_path):
  path = encode(tmp_path / "a.mp4", [*np.arange(8) / 2, 3.999])
  items, about, _ = taken(path, recipe(length=9))
  assert items["rgb"].shape[0] == 2
  assert about["warnings"] == ["18 pictures are wanted but only 7 different ones are there; they repeat"]


def test_damaged_file(tmp_path):
  """The index announces what cannot be decoded: what is there is planned for anew."""
  path = encode(tmp_path / "a.mp4", np.arange(80) / 10)
  content = bytearray(path.read_bytes())
  start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
  place = start + (end - start) * 6 // 10
  content[place: end] = bytes(end - place)
  path.write_bytes(content)
  items, about, kinds = taken(path, recipe(length=9))
  assert kinds.count("planned") == 2 and kinds[-1] == "done" and 1 <= len(items["rgb"]) <= 3
  assert about["warnings"][0].startswith("damaged: of 7.90 s only the first ")
  content[start: end] = bytes(end - start)
  path.write_bytes(content)
  assert taken(path, recipe(length=9))[2][-1] == "failed"


@pytest.mark.parametrize("aspect", [(64, 45), (8, 9)])
def test_pixels_are_square_in_every_region(tmp_path, aspect):
  """A disc stays round where the middle is cut out; boxes of persons are in the pixels that a player shows."""
  path = circle(tmp_path / "a.mp4", aspect, count=20)
  rows, said, _ = taken(path, recipe("core"))
  assert not [warning for warning in said["warnings"] if "damaged" in warning]
  assert roundness(next(iter(rows.values()))[0, 0]) == pytest.approx(1, abs=0.12)
  config = recipe("action_net:static", fps=2.0)
  wide = round(96 * aspect[0] / aspect[1])
  (tmp_path / "boxes.csv").write_text(f"video,time,x1,y1,x2,y2\na,0,{wide / 2 - 24},8,{wide / 2 + 24},56\n")
  rows, said, _ = taken(path, config, persons.Boxes(tmp_path / "boxes.csv"))
  assert roundness(next(iter(rows.values()))[0, 0]) == pytest.approx(1, abs=0.12)


def test_odd_files_are_taken_whole_and_told(tmp_path):
  """Joined parts, several streams and an undecodable beginning, from the file to what the note says."""
  joined = tmp_path / "joined.ts"
  joined.write_bytes(film(tmp_path / "a.ts", 20).read_bytes() + film(tmp_path / "b.ts", 20, first=20).read_bytes())
  rows, said, _ = taken(joined, recipe("core"))
  first, last = (number_of(next(iter(rows.values()))[place]) for place in ((0, 0), (-1, -1)))
  assert (first, last) == (0, 39 % 22) and "2 parts joined to one film of 4.00 s" in said["warnings"][0]
  _, said, _ = taken(streams_of(tmp_path / "a.mp4", [((96, 64), 1), ((64, 48), 20)]), recipe("core"))
  assert "taken is stream 1 (64 x 48)" in said["warnings"][0]
  late = spoil(film(tmp_path / "whole.mp4", 60, gop=10, bframes=0), tmp_path / "late.mp4", range(10))
  rows, said, kinds = taken(late, recipe("core"))
  assert kinds.count("planned") == 1 and "the first 1.00 s cannot be decoded" in said["warnings"][0]
  assert number_of(next(iter(rows.values()))[0, 0]) == 10
