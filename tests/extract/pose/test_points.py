"""Where landmarks are in the picture: what is read of a file, and what does not fit."""

import zipfile

import numpy as np
import pytest

from jaxskill.data import stream_files
from jaxskill.extract.pose import points
from tests.assess.page import samples


def test_what_was_written_is_read_and_is_no_stream(tmp_path):
  person = samples.person(1.0, gap=(3,))
  path = samples.save(tmp_path / "a.npz", person)
  found = points.read(path)
  np.testing.assert_allclose(found.places, person.places, rtol=1e-6)
  assert found.size == person.size and (found.seen == person.seen).all() and found.times == pytest.approx(person.times)
  streams, _, _ = stream_files.read_streams({"a": path})
  assert streams.keys() == {"rgb", "times"} and streams["rgb"].shape == (1, 9, 4)


def test_features_without_places_have_none(tmp_path):
  np.savez(tmp_path / "a.npz", pose=np.zeros((4, 132)), times=np.arange(4.0), seen=np.ones(4, bool))
  np.save(tmp_path / "a.npy", np.zeros((4, 132)))
  assert points.read(tmp_path / "a.npz") is None and points.read(tmp_path / "a.npy") is None


def test_features_without_places_are_not_read(tmp_path):
  """The names tell, of an array that announces 1 GiB and more; nor are files read that are no `.npz` but by name."""
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w") as packed, packed.open("maps.npy", "w") as file:
    np.lib.format.write_array_header_1_0(file, dict(shape=(2 ** 18 + 1, 1024), fortran_order=False, descr="<f4"))
  assert points.read(path) is None
  path.write_bytes(b"no archive")
  assert points.read(path) is None


@pytest.mark.parametrize("changed", [
    dict(picture_points=np.zeros((9, 33, 3))), dict(picture_points=np.full((10, 33, 3), np.nan)), dict(seen=np.ones(9, bool)),
    dict(picture_size=np.array([0, 48])), dict(picture_size=np.array(48)), dict(times=np.arange(10.0)[::-1])])
def test_places_that_do_not_fit(tmp_path, changed):
  path = samples.save(tmp_path / "a.npz", samples.person(1.0))
  with np.load(path) as arrays:
    np.savez(path, **dict(arrays) | changed)
  with pytest.raises(ValueError, match="do not fit each other; extract the features again"):
    points.read(path)
