"""Pickles of strangers: genuine ones are read to the bit; none crashes, runs a program or takes memory for nothing."""

import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

from jaxskill.data.published import safe_pickle
from tests.places import REPO, SHARED

ANNOTATIONS = SHARED / "data" / "annotations"


def load(tmp_path, data):
  (tmp_path / "a.pkl").write_bytes(data)
  return safe_pickle.load(tmp_path / "a.pkl")


GENUINE = [
    np.arange(3.0), np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4).T,
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2), np.arange(3, dtype=">i4"), np.array(["a", "bcé"]),
        np.array([b"a", b"bc"]),
    np.array([True, False]), np.array(5.0), np.zeros((0, 3)), np.array([]), np.arange(2000.0), np.float32(2),
        np.int64(-1),
    np.bool_(True), np.str_("xé"), np.float16(0.5), np.uint8(7)]


@pytest.mark.parametrize("protocol", range(6))
def test_genuine_arrays_are_read(tmp_path, protocol):
  content = dict(enumerate(GENUINE)) | {(1, 2): [{1}, frozenset({2}), b"", b"abc", 10 ** 40, 1.5, None, True, "é"]}
  found = load(tmp_path, pickle.dumps(content, protocol))
  for i, value in enumerate(GENUINE):
    np.testing.assert_array_equal(found[i], value)
    assert found[i].dtype.newbyteorder("=") == value.dtype.newbyteorder("=") and found[i].shape == value.shape
  assert found[1, 2] == content[1, 2]


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_every_numpy_and_python_2_call_the_same_things(tmp_path, module):
  data = pickle.dumps(dict(a=np.arange(3.0), b=np.int64(4)), 2).replace(b"numpy._core", module.encode())
  found = load(tmp_path, data)
  assert found["a"].tolist() == [0, 1, 2] and found["b"] == 4
  text = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n" \
         b"(S'u1'\nI0\nI1\ntR(I3\n" \
         b"S'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\xff\\x01'\ntb."      # Python 2, protocol 0
  assert load(tmp_path, text).tolist() == [255, 1]


@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason=f"there are no label sets in {ANNOTATIONS}")
def test_the_published_pickles_are_read():
  files = sorted(ANNOTATIONS.rglob("*.pkl"))
  assert files
  for file in files:
    with open(file, "rb") as opened:
      wanted = pickle.load(opened, encoding="latin1")
    assert repr(safe_pickle.load(file)).replace("_Array", "array").replace(" ", "").replace("\n", "") == repr(
        wanted).replace(" ", "").replace("\n", "")


made = lambda *ops: b"\x80\x02" + b"".join(ops) + b"."
named = lambda module, name: b"c" + module.encode() + b"\n" + name.encode() + b"\n"
text = lambda s: b"X" + struct.pack("<I", len(s.encode())) + s.encode()
raw = lambda b: b"B" + struct.pack("<I", len(b)) + b
whole = lambda i: b"J" + struct.pack("<i", i) if -2 ** 31 <= i < 2 ** 31 else b"\x8a" + bytes([len(
    pickle.encode_long(i))]) + pickle.encode_long(i)
group = lambda *x: b"(" + b"".join(x) + b"t"
dtype = lambda s: named("numpy", "dtype") + group(text(s), whole(0), whole(1)) + b"R"
ndarray, scalar = named("numpy", "ndarray"), named("numpy.core.multiarray", "scalar")
rebuilt = named("numpy.core.multiarray", "_reconstruct") + group(ndarray, group(whole(0)), raw(b"b")) + b"R"
buffer = named("numpy.core.numeric", "_frombuffer")
state = lambda shape, kind, content: group(whole(1), group(*map(whole, shape)), kind, b"\x89", content) + b"b"


def fields(size, of):
  about = group(whole(3), text("|"), b"N", group(*map(text, of)), b"}(" + b"".join(
      text(k) + group(d, whole(o)) for k, (d, o) in of.items()) + b"u", whole(size), whole(1), whole(0))
  return dtype(f"V{size}") + about + b"b"


POINTERS, BEYOND = fields(8, {"a": (dtype("O8"), 0)}), fields(8, {"a": (dtype("i8"), 1 << 30)})
renamed = dtype("u1") + group(whole(3), text("|"), b"N", group(text("a")), b"}" + text("a") + group(dtype("i8"),
    whole(1 << 30))
                              + b"s", whole(1), whole(1), whole(0)) + b"b"
HOSTILE = {
    "ndarray of pointers": (made(ndarray, group(group(whole(4)), text("O"), raw(b"A" * 32)), b"R"),
        "an array that it makes itself"),
    "negative offset": (made(ndarray, group(group(whole(4)), text("u1"), raw(b"A" * 8), whole(-10 ** 5)), b"R"),
        "makes itself"),
    "ndarray by NEWOBJ": (made(ndarray, group(group(whole(4)), text("O"), raw(b"A" * 32)), b"\x81"), "readable pickle"),
    "buffer of pointers": (made(buffer, group(raw(b"A" * 32), dtype("O8"), group(whole(4)), text("C")), b"R"),
        "dtype 'O8'"),
    "buffer, field beyond": (made(buffer, group(raw(b"A" * 32), BEYOND, group(whole(4)), text("C")), b"R"),
        "dtype 'V8'"),
    "buffer, fields by state": (made(buffer, group(raw(b"A"), renamed, group(whole(1)), text("C")), b"R"),
        "have fields"),
    "scalar of pointers": (made(scalar, group(POINTERS, raw(b"A" * 8)), b"R"), "dtype 'V8'"),
    "scalar, other size": (made(scalar, group(dtype("f8"), raw(b"A" * 7)), b"R"), r"from 7 bytes"),
    "state of pointers": (made(rebuilt, state([4], dtype("O8"), raw(b"A" * 32))), "dtype 'O8'"),
    "state, list too short": (made(rebuilt, state([4], dtype("O8"), b"]")), "dtype 'O8'"),
    "state, list for numbers": (made(rebuilt, state([4], dtype("f8"), b"]")), "an array of Python objects"),
    "state beyond the bytes": (made(rebuilt, state([2 ** 40 - 1], dtype("u1"), raw(b"A" * 32))), "from 32 bytes"),
    "state of 2^70": (made(rebuilt, state([0, 2 ** 70], dtype("u1"), raw(b""))), "an array of shape"),
    "negative shape": (made(rebuilt, state([-1], dtype("u1"), raw(b"A"))), "an array of shape"),
    "shape of truth": (made(rebuilt, group(whole(1), group(b"\x88"), dtype("u1"), b"\x89", raw(b"A")) + b"b"),
        "an array of shape"),
    "filled twice": (made(rebuilt, state([1], dtype("u1"), raw(b"A")), state([1], dtype("u1"), raw(b"A"))),
        "readable pickle"),
    "no letters": (made(scalar, group(dtype("U1"), raw(b"\xff" * 4)), b"R"), "that are no text"),
    "no truth": (made(scalar, group(dtype("b1"), raw(b"\x07")), b"R"), "no truth values"),
    "dtype of code": (made(dtype("i8,O")), "dtype 'i8,O'"),
    "its names changed": (made(named("numpy", "dtype"), b"N}" + text("a") + b"K\x01s\x86b"), "to change what it calls"),
    "getattr by name": (b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93.",
        "wants numpy.ndarray.__class__"),
    "system": (made(named("os", "system"), group(text("touch PWNED")), b"R"), "wants os.system"),
    "INST": (b"(S'touch PWNED'\nios\nsystem\n.", "wants os.system"),
    "4 GB to remember": (b"\x80\x02K\x01r" + struct.pack("<I", 2 ** 31) + b".", "a place 2147483648"),
    "tuples as a key": (b"\x80\x02})" + b"\x85" * 200000 + b"Ns.", "more than 100 deep"),
    "tuples from memory": (b"\x80\x02})q\x01" + b"0h\x01\x85q\x01" * 50000 + b"h\x01Ns.", "more than 100 deep"),
    "the same bytes": (made(raw(b"A" * 5000), b"q\x01", b"]q\x02(",
        (buffer + group(b"h\x01", dtype("u1"), group(whole(5000)),
                                                                                  text("C")) + b"R") * 99, b"e"),
                                                                                      "again and again"),
    "the same set": (made(b"](", b"K\x01K\x02" * 500, b"e", b"q\x01", (named("builtins", "set") + b"h\x01\x85R") * 99),
        "again and again"),
    "a long number": (b"\x80\x02\x8b" + struct.pack("<i", 3000) + b"\x7f" * 3000 + b".", "more than 600 digits"),
    "2^62 letters": (b"\x80\x04\x8d" + struct.pack("<Q", 2 ** 62) + b".", "readable pickle"),
    "cut short": (pickle.dumps([1, 2, 3])[:-1], "no readable pickle"),
    "no pickle": (b"\xff\xfe hello", "no readable pickle"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  data, message = HOSTILE[name]
  with pytest.raises(ValueError, match=f"a.pkl: .*{message}") as refused:
    load(tmp_path, data)
  assert "\n" not in str(refused.value) and not (tmp_path / "PWNED").exists()


def test_a_pickle_in_a_process_of_its_own(tmp_path):
  """What is refused as an exception would otherwise have been a segmentation fault, with no test left to say so."""
  code = ("import pathlib, sys; from jaxskill.data.published import safe_pickle\n"
          "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
          "  try: str(safe_pickle.load(path))\n"
          "  except ValueError: pass\n"
          "print('alive')")
  for number, (data, _) in enumerate(HOSTILE.values()):
    (tmp_path / f"{number}.pkl").write_bytes(data)
  done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path,
                        env=os.environ | dict(PYTHONPATH=str(REPO)))
  assert done.stdout == "alive\n", done.stderr[-2000:]
