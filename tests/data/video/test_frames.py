"""Frames of files and of folders of pictures: the right ones, decoded once, and what cannot be is named."""

import csv
import errno
import json
import pickle
import shutil

import numpy as np
import pytest

from jaxskill import data
from jaxskill.data.dataset import VideoFiles
from jaxskill.data.published.official import load_official
from jaxskill.data.user.features import load_features
from jaxskill.data.video import frames, timeline
from jaxskill.data.video.frames import Sampling, Source, find, prepare
from tests.data.video.test_decoding import circle, encode, number_of, roundness
from tests.data.video.test_timeline import film, spoil

Image = pytest.importorskip("PIL.Image")
SMALL = Sampling(count=20, size=(48, 36))


def pictures(folder, count, size=(64, 48), first=0):
  """A folder of pictures whose red says which they are, and whose left half is black."""
  folder.mkdir(parents=True, exist_ok=True)
  for number in range(count):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:, size[0] // 2:] = (first + number, 0, 200)
    Image.fromarray(image).save(folder / f"img_{number + 1:05d}.png")
  return folder


def numbers(stream):
  """Which pictures a video `[N, H, W, 3]` of `pictures` is made of."""
  return stream[:, 5, -5, 0].tolist()


def one(source, cache, sampling=SMALL):
  ready, failed = prepare({"v": source}, cache, sampling)
  assert not failed
  return np.load(ready["v"].file), ready["v"].row_seconds


def test_files_are_sampled_by_time(tmp_path):
  """Frames come twice as fast in the second half; each row shows what is seen in the middle of its time."""
  shown = np.array([*np.arange(10) / 10, *(1 + np.arange(11) / 20)])
  path = encode(tmp_path / "v.mp4", shown)
  rows, seconds = one(Source(path), tmp_path / "cache")
  assert rows.shape == (20, 36, 48, 3) and rows.dtype == np.uint8
  assert seconds == pytest.approx(timeline.read_timeline(path).seconds / 20) == pytest.approx(1.55 / 20, rel=0.1)
  expected = np.searchsorted(shown, (np.arange(20) + 0.5) * seconds, side="right") - 1
  assert [number_of(image) for image in rows] == expected.tolist() and len(set(expected)) > 15


def test_folders_of_pictures(tmp_path):
  """As many as are wanted: each once; more: spread; with a last one: those before it, and a margin."""
  rows, seconds = one(Source(pictures(tmp_path / "a", 20)), tmp_path / "cache")
  assert numbers(rows) == list(range(20)) and seconds == 1 / 25
  rows, seconds = one(Source(pictures(tmp_path / "b", 40)), tmp_path / "cache", SMALL._replace(rate=10.0))
  assert numbers(rows) == list(range(1, 40, 2)) and seconds == pytest.approx(0.2)
  event = pictures(tmp_path / "event", 60)
  rows, seconds = one(Source(event, last=50), tmp_path / "cache", SMALL._replace(margin=3))
  assert numbers(rows) == list(range(27, 53)) and seconds == 1 / 25
  rows, _ = one(Source(event, last=59), tmp_path / "other", SMALL._replace(margin=3))
  assert numbers(rows)[-4:] == [58, 59, 59, 59]                            # nothing is filmed after the end


@pytest.mark.parametrize("names", [
    [f"{n}.png" for n in range(1, 31)], [f"frame{n}.png" for n in range(30)],
    [f"frame_{n:02d}.PNG" for n in range(95, 125)],
    [f"{n}{'.PNG' if n % 2 else '.png'}" for n in range(30)],
    [f"take{n // 10}_{n % 10 * 7}.png" for n in range(85, 115)],
    [f"{'IMG' if n % 3 else 'img'}_{n}.png" for n in range(30)], [f"2024-1-{n}.png" for n in range(5, 35)],
    [f"{'0' * (n % 4)}{n}.png" for n in range(30)], [f"a{n}b{30 - n}.png" for n in range(30)],
    [f"clip (1) - {n}.png" for n in range(30)], [f"{n}.5x.png" for n in range(90, 120)]])
def test_pictures_are_read_by_number(tmp_path, names):
  """In the order of the numbers in their names, however they are written; without Macs' files beside them."""
  made = sorted(pictures(tmp_path / "made", 30).iterdir())
  folder = tmp_path / "v"
  folder.mkdir()
  for place in np.random.default_rng(0).permutation(30):
    made[place].rename(folder / names[place])
  (folder / f"._{names[0]}").write_bytes(b"\0\5\x16\7")
  rows, _ = one(Source(folder), tmp_path / "cache", SMALL._replace(count=30))
  assert numbers(rows) == list(range(30))


def test_another_order_is_decoded_again(tmp_path):
  """What was decoded in the order of the letters is not taken for what is read by number."""
  folder = tmp_path / "v"
  pictures(folder, 20)
  for place, path in enumerate(sorted(folder.iterdir())):
    path.rename(folder / f"{place}.png")
  by_letter = frames.by_number
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(frames, "by_number", lambda path: path.name)
    assert numbers(one(Source(folder), tmp_path / "cache")[0])[:3] == [0, 1, 10]
  assert frames.by_number is by_letter and numbers(one(Source(folder), tmp_path / "cache")[0]) == list(range(20))


def test_frames_of_odd_files(tmp_path, caplog):
  """What is said of joined and damaged files reaches the user; pixels are made square."""
  joined = tmp_path / "joined.MTS"
  joined.write_bytes(film(tmp_path / "a.ts", 20).read_bytes() + film(tmp_path / "b.ts", 20, first=20).read_bytes())
  rows, seconds = one(find([tmp_path / "joined"]), tmp_path / "cache")
  assert [number_of(image) for image in rows] == [n % 22 for n in range(1, 40, 2)]
  assert seconds == pytest.approx(0.2, abs=1e-3)
  assert "joined.MTS: its time stamps jump 1 time" in caplog.text
  spoil(film(tmp_path / "whole.mp4", 60, gop=10, bframes=0), tmp_path / "late.mp4", range(10))
  rows, seconds = one(Source(tmp_path / "late.mp4"), tmp_path / "cache", SMALL._replace(count=60))
  assert [number_of(image) for image in rows] == [*[10] * 10, *(n % 22 for n in range(10, 60))]
  assert seconds == pytest.approx(0.1)
  assert "late.mp4: damaged: the first 1.00 s cannot be decoded" in caplog.text
  oblong = Source(circle(tmp_path / "oblong.mp4", (64, 45), count=20))
  rows, _ = one(oblong, tmp_path / "cache", SMALL._replace(fit="cover"))
  assert roundness(rows[0]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("fit,dark", [("stretch", 24), ("cover", 24)])
def test_sizes(tmp_path, fit, dark):
  rows, _ = one(Source(pictures(tmp_path / "tall", 16, size=(50, 100))), tmp_path / "cache", SMALL._replace(fit=fit))
  assert rows.shape[1:] == (36, 48, 3) and (rows[0, 18, :, 2] < 100).sum() == pytest.approx(dark, abs=1)
  path = encode(tmp_path / "tall.mp4", np.arange(30) / 10, size=(48, 96))
  rows, _ = one(Source(path), tmp_path / "other", SMALL._replace(fit=fit))
  bar = (rows[5, 18, :, 0] < 12).sum()                     # of a quarter
  assert rows.shape == (20, 36, 48, 3) and bar == pytest.approx(12, abs=2)


def test_nothing_is_decoded_twice(tmp_path, monkeypatch):
  decoded, decode = [], frames._decode

  def noted(source, *more):
    decoded.append(source.path.name)
    return decode(source, *more)
  monkeypatch.setattr(frames, "_decode", noted)
  sources = {name: Source(pictures(tmp_path / name, 16)) for name in ("a", "b", "c")}
  cache = tmp_path / "cache"
  folder = cache / "20x36x48_stretch"
  assert list(prepare(sources, cache, SMALL)[0]) == ["a", "b", "c"] and sorted(decoded) == ["a", "b", "c"]
  first = np.load(folder / "a.npy")
  decoded.clear()
  prepare(sources, cache, SMALL)
  assert not decoded
  (folder / "b.npy").unlink()                              # a run that was killed
  (folder / "b.unfinished").write_bytes(b"half")
  pictures(tmp_path / "c", 16, first=100)                  # another video under the same name
  ready, _ = prepare(sources | {"d": Source(pictures(tmp_path / "d", 17))}, cache, SMALL)
  assert sorted(decoded) == ["b", "c", "d"] and numbers(np.load(ready["c"].file))[0] == 100
  np.testing.assert_array_equal(np.load(folder / "a.npy"), first)
  assert set(json.loads((folder / "index.json").read_text())) == {"a", "b", "c", "d"}
  decoded.clear()
  (folder / "index.json").write_text("{")                  # damaged: made again
  prepare(sources, cache, SMALL)
  assert sorted(decoded) == ["a", "b", "c"] and not list(folder.glob("index.unfinished"))


def test_bad_videos_cost_themselves_alone(tmp_path, caplog):
  (tmp_path / "empty.mp4").touch()
  (tmp_path / "text.mp4").write_text("no video")
  encode(tmp_path / "short.mp4", np.arange(4) / 10)
  whole = encode(tmp_path / "cut.mkv", np.arange(150) / 10).read_bytes()
  (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
  broken = pictures(tmp_path / "broken", 16)
  (broken / "img_00007.png").write_bytes(b"no picture")
  few = pictures(tmp_path / "few", 3)
  names = ("empty.mp4", "text.mp4", "short.mp4", "cut.mkv")
  sources = {name: Source(tmp_path / name) for name in names} | dict(
      broken=Source(broken), few=Source(few), event=Source(few, last=30), well=Source(pictures(tmp_path / "well", 16)))
  ready, failed = prepare(sources, tmp_path / "cache", SMALL)
  assert list(ready) == ["cut.mkv", "well"] and "damaged" in caplog.text
  for name, message in (("empty.mp4", "is empty"), ("text.mp4", "is not a video"),
                        ("short.mp4", "different frames; expected at least the 16"),
                        ("broken", "img_00007.png: cannot be read as a picture"), ("few", "holds 3 pictures; expected"),
                        ("event", "ends with picture 30, but there are 3")):
    assert message in failed[name] and str(tmp_path) in failed[name]
  assert sorted(path.name for path in (tmp_path / "cache").rglob("*.npy")) == ["cut.mkv.npy", "well.npy"]


def test_what_cannot_be_written(tmp_path, monkeypatch):
  source = {"v": Source(pictures(tmp_path / "v", 16))}
  monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
  with pytest.raises(ValueError, match=r"the frames of 1 videos take 0\.0 GB, but 0\.0 GB are free; set config"):
    prepare(source, tmp_path / "cache", SMALL)
  assert not list((tmp_path / "cache").rglob("*.npy"))
  (tmp_path / "file").touch()
  with pytest.raises(ValueError, match="cannot be written"):
    prepare(source, tmp_path / "file", SMALL)


@pytest.mark.parametrize("content", ["[]", "5", "[" * 100_000, '{"v": 5}', '{"v": {}}', '{"v": null, "w": []}'])
def test_a_damaged_index_is_made_again(tmp_path, content):
  source = {"v": Source(pictures(tmp_path / "v", 16))}
  ready, _ = prepare(source, tmp_path / "cache", SMALL)
  index = ready["v"].file.with_name("index.json")
  whole = index.read_text()
  index.write_text(content)
  assert prepare(source, tmp_path / "cache", SMALL)[0] == ready and index.read_text() == whole


def test_a_fault_of_one_video_is_its_own(tmp_path):
  sources = {name: Source(pictures(tmp_path / name, 16)) for name in ("folder", "n" * 252, "well")}
  folder = tmp_path / "cache" / "20x36x48_stretch"
  (folder / "folder.npy").mkdir(parents=True)
  (folder / ".0.unfinished").touch()                       # of a run that was killed
  ready, failed = prepare(sources, tmp_path / "cache", SMALL)
  assert list(ready) == ["well"] and list(failed) == ["folder", "n" * 252]
  assert "Is a directory" in failed["folder"] and "File name too long" in failed["n" * 252]
  assert {file.name for file in folder.iterdir()} == {"folder.npy", "well.npy", "index.json"}


def test_a_full_disk(tmp_path, monkeypatch):
  def full(file, *more, **options):
    del more, options
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")
  monkeypatch.setattr(frames.np, "save", full)
  with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\); make room, or set config"):
    prepare({name: Source(pictures(tmp_path / name, 16)) for name in "ab"}, tmp_path / "cache", SMALL)
  assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("fields,message", [
    (dict(fit="pad"), r"config\.data\.frames\.fit='pad' is unknown; use one of stretch, cover"),
    (dict(count=15), "count=15 must be at least 16"), (dict(size=(48, 16)), r"size=\(48, 16\) at least 32"),
    (dict(margin=-1), "margin=-1 at least 0"), (dict(rate=0.0), "rate=0.0 positive")])
def test_samplings_that_cannot_be(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    prepare({}, tmp_path, SMALL._replace(**fields))


def test_where_a_video_lies(tmp_path):
  encode(tmp_path / "a.mp4", np.arange(3) / 10)
  pictures(tmp_path / "sub" / "b", 2)
  (tmp_path / "none").mkdir()
  assert find([tmp_path / "none", tmp_path / "a"]) == Source(tmp_path / "a.mp4") == find([tmp_path / "a.mp4"])
  assert find([tmp_path / "sub" / "b"], 7) == Source(tmp_path / "sub" / "b", 7)
  assert find([tmp_path / "sub"]) is None and find([tmp_path / "c"]) is None


def test_files_read_like_an_array(tmp_path):
  array = np.random.default_rng(0).integers(0, 255, (4, 3, 2, 2, 3), np.uint8)
  for number, video in enumerate(array):
    np.save(tmp_path / f"{number}.npy", video)
  stream = VideoFiles(tmp_path / f"{number}.npy" for number in range(4))
  assert (stream.shape, stream.dtype, stream.ndim, len(stream)) == (array.shape, array.dtype, 5, 4)
  for index in (2, -1, (1, 2), (0, slice(1, 3)), [3, 0], slice(1, None), np.array([2, 2]), array[:, 0, 0, 0, 0] > 99):
    np.testing.assert_array_equal(stream[index], array[index])
  np.testing.assert_array_equal(np.asarray(stream), array)
  np.testing.assert_array_equal(list(stream), array)
  assert isinstance(stream[0], np.memmap)
  with pytest.raises(TypeError, match="take one video after the other"):
    stream[1:, 0]                                          # pylint: disable=pointless-statement


# Data sets


@pytest.fixture
def films(tmp_path):
  """Five videos of one's own, files and folders, and their scores."""
  with open(tmp_path / "scores.csv", "w", newline="", encoding="utf-8") as file:
    rows = csv.writer(file)
    rows.writerow(("video", "score", "split"))
    for number in range(5):
      rows.writerow((f"day/v{number}", number, "train" if number < 3 else "test"))
  for number in range(3):
    pictures(tmp_path / "day" / f"v{number}", 16, first=20 * number)
  encode_at = lambda number: encode(tmp_path / "day" / f"v{number}.mp4", np.arange(20 + number) / 10)
  for number in (3, 4):
    encode_at(number)
  return tmp_path


def test_own_videos(films):
  options = dict(name="frames", dir=str(films), frames=SMALL._asdict(), make_pairs=False)
  dataset = data.load(type("Config", (), options))
  assert dataset.videos == tuple(f"day/v{n}" for n in range(5)) and not dataset.missing
  stream = dataset.streams["frames"]
  assert stream.shape == (5, 20, 36, 48, 3) and (dataset.lengths["frames"] == 20).all()
  assert [video[0, 5, -5, 0] for video in stream[:3]] == [0, 20, 40]
  np.testing.assert_allclose(dataset.row_seconds["frames"], [16 / 25 / 20] * 3 + [
      timeline.read_timeline(films / "day" / f"v{n}.mp4").seconds / 20 for n in (3, 4)], rtol=1e-5)
  assert (films / "prepared" / "frames").is_dir()
  elsewhere = load_features(films, sampling=SMALL, prepared_dir=films / "there", make_pairs=False)
  assert (films / "there" / "frames").is_dir() and (elsewhere.streams["frames"][3] == stream[3]).all()


def test_own_videos_that_are_not_there(films, caplog):
  shutil.rmtree(films / "day" / "v1")
  (films / "day" / "v4.mp4").write_bytes(b"none")
  load = lambda **options: load_features(films, sampling=SMALL, make_pairs=False, **options)
  with pytest.raises(ValueError, match=r"2 of 5 videos cannot be used: .*v1: there is no such video, nor a folder of"):
    load()
  assert "v4.mp4: is not a video" in caplog.text
  dataset = load(allow_missing=True)
  assert dataset.missing == ("day/v1", "day/v4") and dataset.num_videos == 3
  for name in ("v0", "v2"):
    shutil.rmtree(films / "day" / name)
  (films / "day" / "v3.mp4").unlink()
  with pytest.raises(ValueError, match="5 of 5 videos cannot be used"):
    load(allow_missing=True)


@pytest.fixture
def dives(tmp_path):
  """MTL-AQA in little: two events, of which one lies as the frames of the whole, the other as a dive each."""
  keys = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
  note = lambda last: dict(final_score=60.0, difficulty=3.0, dive_number="107B", end_frame=last)
  content = {key: note(last) for key, last in zip(keys, (30, 55, 9, 9, 9))}
  for name, kept in (("final_annotations_dict_with_dive_number", content), ("train_split_0", keys[:3]),
                     ("test_split_0", keys[3:])):
    (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(kept))
  pictures(tmp_path / "new" / "new_total_frames_256s" / "01", 60)
  pictures(tmp_path / "frames" / "02_001", 26, first=100)
  encode(tmp_path / "frames" / "02_002.mp4", np.arange(30) / 10)
  return tmp_path


def test_mtl_aqa(dives, caplog):
  """The frames before the last one of a dive, as published; a dive of its own is spread over the rows."""
  sampling = SMALL._replace(margin=3)
  dataset = load_official("mtl_aqa", dives, sampling=sampling)
  assert dataset.videos == ("01_001", "01_002", "02_001", "02_002") and dataset.missing == ("02_003",)
  stream = dataset.streams["frames"]
  assert numbers(stream[0]) == list(range(7, 33)) and numbers(stream[1]) == list(range(32, 58))
  assert numbers(stream[2]) == list(range(100, 126))
  assert [len(fold.test_videos) for fold in dataset.folds] == [1]
  (dives / "frames" / "02_002.mp4").write_bytes(b"none")
  assert load_official("mtl_aqa", dives, sampling=sampling, split="competition").missing == ("02_002", "02_003")
  assert "02_002.mp4: is not a video" in caplog.text
  assert load_official("mtl_aqa", dives, sampling=sampling, split="competition").num_videos == 3


def test_aqa7_as_published(tmp_path):
  io = pytest.importorskip("scipy.io")
  for word, samples in (("train", (1, 2)), ("test", (3,))):
    io.savemat(tmp_path / f"split_4_{word}_list.mat",
                {f"consolidated_{word}_list": np.float64([(n, s, 5000 if n == 1 else 1500) for n in (1, 2)
                                                          for s in samples])})
  for sample in (1, 2, 3):
    pictures(tmp_path / "diving-out" / f"{sample:03d}", 20, first=sample)
  dataset = load_official("aqa7", tmp_path, "diving", sampling=SMALL)
  assert dataset.videos == ("diving/001", "diving/002", "diving/003") and not dataset.missing
  assert [numbers(video)[0] for video in dataset.streams["frames"]] == [1, 2, 3]
  with pytest.raises(ValueError, match=r"none of the 3 videos of gym_vault is on disk and can be decoded: expected"):
    load_official("aqa7", tmp_path, "gym_vault", sampling=SMALL)
  with pytest.raises(ValueError, match="frames of best are not decoded"):
    load_official("best", tmp_path, "tie_tie", sampling=SMALL)
