"""Videos are read into memory that is at hand: from arrays, from mapped files and from files of videos alike."""

import os

import ml_dtypes
import numpy as np
import pytest

from jaxskill import stores
from jaxskill.data import reading
from jaxskill.data.dataset import VideoFiles
from jaxskill.training import run_folder

FEATURES = np.random.default_rng(0).standard_normal((6, 5, 4), np.float32)
IDS = np.array([4, 0, 5])


@pytest.fixture
def path(tmp_path):
  np.save(tmp_path / "rgb.npy", FEATURES)
  return tmp_path / "rgb.npy"


def video_files(folder):
  for number, video in enumerate(FEATURES):
    np.save(folder / f"{number}.npy", video)
  return VideoFiles(folder / f"{number}.npy" for number in range(len(FEATURES)))


def read(stream, dtype=np.float32):
  out = np.full((4, *stream.shape[1:]), 7, dtype)
  reading.Videos(stream).read(IDS, out)
  assert (out[3] == 7).all()
  return out[:3]


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("block", [7, 2 ** 18])
@pytest.mark.parametrize("kind", ["memory", "mapped", "part", "columns", "files"])
def test_every_stream_reads_as_its_array(path, tmp_path, monkeypatch, dtype, block, kind):
  monkeypatch.setattr(reading, "_BLOCK", block)
  mapped = np.load(path, mmap_mode="r")
  stream = dict(memory=lambda: FEATURES, mapped=lambda: mapped, part=lambda: np.asarray(mapped[:, 1:4]).view(),
                columns=lambda: mapped[..., 1:3], files=lambda: video_files(tmp_path))[kind]()
  np.testing.assert_array_equal(read(stream, dtype), np.asarray(stream)[IDS].astype(dtype))


def test_mapped_files_are_not_read_through_the_mapping(path):
  """Copies on writing tell the two apart: what was written into the mapping alone is not in the file."""
  stream = np.load(path, mmap_mode="r")
  assert reading._mapping(stream[2:]) is stream and reading._mapping(np.load(path, mmap_mode="c")) is None
  assert reading._mapping(FEATURES) is None


def test_files_that_shrink_vanish_or_change_are_named(path, tmp_path):
  stream = reading.Videos(np.load(path, mmap_mode="r"))
  out, size, files = np.empty((3, 5, 4), np.float32), path.stat().st_size, reading.Videos(video_files(tmp_path))
  os.truncate(path, size - 400)
  with pytest.raises(OSError, match=r"was changed while it is read; start again.*rgb\.npy"):
    stream.read(IDS, out)
  path.unlink()
  with pytest.raises(FileNotFoundError, match="rgb"):
    stream.read(IDS, out)
  (tmp_path / "5.npy").unlink()
  with pytest.raises(FileNotFoundError, match=r"5\.npy"):
    files.read(IDS, out)
  np.save(tmp_path / "5.npy", FEATURES[5, :4])
  with pytest.raises(OSError, match=r"was changed while it is read.*5\.npy") as raised, \
       run_folder.saying_what_to_do(stores.place(tmp_path / "run")):
    files.read(IDS, out)
  assert raised.value.filename == str(tmp_path / "5.npy")              # not the run's folder is at fault
  os.truncate(tmp_path / "5.npy", 150)
  with pytest.raises(OSError, match=r"5\.npy"):
    files.read(IDS, out)


def test_a_file_that_ends_while_it_is_read(path, monkeypatch):
  """Between the look at its size and the last byte."""
  stream = reading.Videos(np.load(path, mmap_mode="r"))
  monkeypatch.setattr(reading, "_state", lambda _: stream._known)
  os.truncate(path, path.stat().st_size - 400)
  out = np.empty((3, 5, 4), np.float32)
  with pytest.raises(OSError, match=r"ends too early: it was cut short.*rgb\.npy"):
    stream.read(IDS, out)
