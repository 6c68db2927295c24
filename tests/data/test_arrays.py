"""NumPy files of strangers: what is announced is compared with the file and the limit before anything is read."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxskill.data.arrays import read_arrays

GOOD = np.arange(15, dtype=np.float32).reshape(3, 5)


def header(shape, dtype="'<f4'", body=b"", version=1, fortran=False):
  head = f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
  head = (head + " " * (-(11 + len(head)) % 64) + "\n").encode()
  return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(head)) + head + body


def saved(function, *arrays, **named):
  out = io.BytesIO()
  function(out, *arrays, **named)
  return out.getvalue()


def packed(*members, how=zipfile.ZIP_STORED):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", how) as file:
    for name, data in members:
      file.writestr(name, data)
  return out.getvalue()


def refusal(tmp_path, name, data, **options):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ValueError) as refused:
    read_arrays(tmp_path / name, **options)
  assert str(refused.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(refused.value)
  return str(refused.value)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "u1", "i8", "U3", "?"])
def test_arrays_are_read(tmp_path, dtype):
  for array in (GOOD.astype(dtype), np.asfortranarray(GOOD.astype(dtype)), GOOD.astype(dtype)[0],
      GOOD.astype(dtype)[:0]):
    np.save(tmp_path / "v.npy", array)
    np.savez(tmp_path / "v.npz", a=array, b=GOOD)
    np.savez_compressed(tmp_path / "w.npz", a=array, b=GOOD)
    for found in (read_arrays(tmp_path / "v.npy")[""],
        *(read_arrays(tmp_path / name)["a"] for name in ("v.npz", "w.npz"))):
      np.testing.assert_array_equal(found, array)
      assert found.dtype == array.dtype


@pytest.mark.parametrize("shape,dtype,body,words", [
    ("(1000000000, 1000)", "'<f4'", b"x" * 64,
        "announces float32 of shape (1000000000, 1000), beyond the 1,073,741,824 bytes"),
    (f"({2 ** 70}, 1)", "'<f4'", b"", "beyond the 1,073,741,824 bytes that config.data.max_bytes leaves it"),
    (f"(0, {2 ** 70})", "'<f4'", b"", "beyond the 1,073,741,824 bytes"),
    ("(True, 5)", "'<f4'", b"\0" * 20, "announces the shape (True, 5); expected whole numbers"),
    ("(-1, 5)", "'<f4'", b"\0" * 20, "announces the shape (-1, 5)"),
    (str((1,) * 33), "'<f4'", b"\0" * 4, "announces the shape (1, 1"),
    ("(1.0, 2.0)", "'<f4'", b"", "the header of it is damaged"),
    ("'ab'", "'<f4'", b"", "the header of it is damaged"),
    ("(3,)", "__import__('os')", b"", "the header of it is damaged"),
    ("(" * 5000 + ")" * 5000, "'<f4'", b"", "the header of it is damaged"),
    ("(3, 5)", "'<q9'", b"", "the header of it is damaged"),
    ("(3, 3)", "'|O'", pickle.dumps([1] * 9), "holds Python objects, which are refused"),
    ("(3,)", "[('a','|O')]", pickle.dumps([1] * 3), "holds Python objects, which are refused"),
    ("(3, 5)", "'<f4'", b"\0" * 59,
        "announces float32 of shape (3, 5), 60 bytes, but holds 59; the file is damaged or cut"),
    ("(3, 5)", "'<f4'", b"\0" * 61, "60 bytes, but holds 61"),
])
def test_headers_that_are_refused(tmp_path, shape, dtype, body, words):
  data = header(shape, dtype, body)
  assert words in refusal(tmp_path, "v.npy", data)
  for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    assert words.replace(" it ", " the array 'rgb' ") in refusal(tmp_path, "v.npz", packed(("rgb.npy", data), how=how))


def encrypted():
  data = bytearray(packed(("rgb.npy", saved(np.save, GOOD))))
  data[6] |= 1
  data[data.rindex(b"PK\1\2") + 8] |= 1
  return bytes(data)


@pytest.mark.parametrize("data,words", [
    (encrypted(), "the array 'rgb' is encrypted"),
    (packed(("rgb.npy", saved(np.save, GOOD)), ("readme.txt", b"hello")), "holds 'readme.txt', which is no array"),
    (packed(("rgb.npy", b"")), "cannot be read"),
    (packed(("rgb.npy", b"<html>")), "cannot be read"),
    (packed(("rgb.npy", saved(np.savez, a=GOOD))), "cannot be read"),
    (packed(), "holds no array"),
    (packed(("rgb.npy", saved(np.save, GOOD)), how=zipfile.ZIP_BZIP2), "is packed in a way that NumPy does not write"),
    (packed(*((f"a{i}.npy", b"") for i in range(20000))), "holds 20000 arrays; expected a few streams of one video"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "is a pointer of Git LFS, not the file itself; fetch"),
    (b"<html>404</html>", "is a web page, not the file itself"),
    (pickle.dumps({"a": 1}), "is not a NumPy file"),
    (b"", "the file is damaged"),
    (header("(3, 5)", body=b"\0" * 60, version=9), "is of version 9.0 of NumPy's format"),
])
def test_files_that_are_refused(tmp_path, data, words):
  assert words in refusal(tmp_path, "v.npz", data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_given_twice_is_refused(tmp_path):
  good = saved(np.save, GOOD)
  assert "the array 'rgb' more than once" in refusal(tmp_path, "v.npz", packed(("rgb.npy", good), ("rgb.npy", good)))


def test_a_small_file_that_unpacks_to_much_is_refused_unread(tmp_path):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
    for name in ("rgb", "flow"):
      with file.open(f"{name}.npy", "w") as member:
        member.write(header("(24, 1048576)"))
        for _ in range(24):
          member.write(bytes(1 << 22))
  tracemalloc.start()
  assert "the array 'flow' announces float32 of shape (24, 1048576), beyond the" in refusal(
      tmp_path, "v.npz", out.getvalue(), max_bytes=2 ** 27)
  assert tracemalloc.get_traced_memory()[1] < 2 ** 23
  tracemalloc.stop()


def test_a_header_that_unpacks_to_much_is_refused_unread(tmp_path):
  long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 64 << 20) + b" " * (64 << 20)
  data = packed(("rgb.npy", long), how=zipfile.ZIP_DEFLATED)
  tracemalloc.start()
  try:
    assert "the header of the array 'rgb' is damaged" in refusal(tmp_path, "v.npz", data)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
  finally:
    tracemalloc.stop()


def test_the_limit_is_an_option(tmp_path):
  np.save(tmp_path / "v.npy", GOOD)
  assert "config.data.max_bytes" in refusal(tmp_path, "v.npy", (tmp_path / "v.npy").read_bytes(), max_bytes=59)
  assert read_arrays(tmp_path / "v.npy", max_bytes=60)


def test_every_byte_is_read_or_refused(tmp_path):
  """Whatever byte of an archive is wrong: the right arrays, or a refusal that names the file."""
  whole = bytearray(saved(np.savez_compressed, rgb=GOOD, static=GOOD[:, :2]))
  for place in range(len(whole)):
    damaged = whole.copy()
    damaged[place] ^= 0x41
    (tmp_path / "v.npz").write_bytes(damaged)
    try:
      found = read_arrays(tmp_path / "v.npz")
    except ValueError as error:
      assert str(error).startswith(str(tmp_path / "v.npz"))
    else:
      np.testing.assert_array_equal(list(found.values())[0], GOOD)
