"""Files are written whole or not at all, whatever fails, and leave nothing behind."""

import ast
import os
import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxskill import files
from jaxskill.data.published import prepared
from tests.places import REPO
from tests.processes import running

WRITERS = {
    "text": lambda path: files.write_text(path, "x" * 200_000),
    "json": lambda path: files.save_json(path, ["x" * 200_000]),
}


@pytest.fixture
def small_files():
  """No file may grow beyond 100 kB, as on a full disk; the system's own limit."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_what_was_there(tmp_path, small_files, writer):
  path = tmp_path / "there"
  path.write_text("before")
  with pytest.raises(OSError, match="File too large"):
    WRITERS[writer](path)
  assert path.read_text() == "before" and os.listdir(tmp_path) == ["there"]


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_signal_leaves_nothing_half_written(tmp_path):
  """No half film, and no folder of decoded pictures: neither the hidden one nor that of the system."""
  code = """
from jaxskill import cli
cli.listen()
import pathlib, sys, time
from jaxskill import files, written
out = pathlib.Path(sys.argv[1])
with files.passing_folder() as passing, files.passing_folder(out) as hidden, written.Record(out).writing("film") as film:
  for place in (passing / "frame", hidden / "picture", film):
    place.write_text("half")
  print(passing, flush=True)
  time.sleep(60)
"""
  with running([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
    passing = pathlib.Path(process.stdout.readline().strip())
    assert (passing / "frame").exists() and len(list(tmp_path.iterdir())) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
  assert not passing.exists() and not list(tmp_path.iterdir())


def test_prepared_arrays_on_a_full_disk(tmp_path, small_files):
  """An error, where writing into a mapped file would kill the process; what is whole stays."""
  records = [dict(rgb=np.full((rows, 3000), rows, np.float32)) for rows in (2, 9)]
  with pytest.raises(OSError, match="File too large"):
    prepared._write_arrays(tmp_path, "rgb", records)
  assert os.listdir(tmp_path) == ["rgb_lengths.npy"]


def test_prepared_arrays_are_padded_with_zeros(tmp_path):
  records = [dict(rgb=np.full((rows, 3), rows, np.float32)) for rows in (2, 4, 1)]
  prepared._write_arrays(tmp_path, "rgb", records)
  array = np.load(tmp_path / "rgb.npy", mmap_mode="r")
  expected = np.zeros((3, 4, 3), np.float32)
  for video, record in zip(expected, records):
    video[: len(record["rgb"])] = record["rgb"]
  np.testing.assert_array_equal(array, expected)
  np.testing.assert_array_equal(np.load(tmp_path / "rgb_lengths.npy"), [2, 4, 1])


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
  out = tmp_path / "deep" / "out"
  with pytest.raises(RuntimeError, match="stop"), files.writing_folder(out) as folder:
    (folder / "half").touch()
    assert not out.exists()
    raise RuntimeError("stop")
  assert not os.listdir(tmp_path / "deep")
  out.mkdir()
  with files.writing_folder(out) as folder:
    (folder / "whole").touch()
  assert os.listdir(tmp_path / "deep") == ["out"] and os.listdir(out) == ["whole"]
  assert out.stat().st_mode & 0o777 == (tmp_path / "deep").stat().st_mode & 0o777


@pytest.mark.parametrize("below,left", [(True, ["whole"]), (False, [".1.unfinished", "whole"])])
def test_what_a_killed_process_left_is_removed(tmp_path, below, left):
  (tmp_path / "deep").mkdir()
  for name in (".0.unfinished", "deep/.1.unfinished", "deep/whole"):
    (tmp_path / name).touch()
  (tmp_path / ".2.unfinished" / "deep").mkdir(parents=True)
  files.remove_unfinished(tmp_path, below=below)
  assert os.listdir(tmp_path) == ["deep"] and sorted(os.listdir(tmp_path / "deep")) == left


@pytest.mark.parametrize("lock", [".lock", ".extraction.lock"])
def test_what_another_command_writes_below_is_left_alone(tmp_path, lock):
  """A folder with a lock of its own, and what is below it; but not the folder that is cleared, whose lock is held."""
  (tmp_path / "other" / "deep").mkdir(parents=True)
  for name in (lock, f"other/{lock}", ".0.unfinished", "other/.1.unfinished", "other/deep/.2.unfinished"):
    (tmp_path / name).touch()
  files.remove_unfinished(tmp_path)
  assert sorted(path.name for path in tmp_path.rglob("*.unfinished")) == [".1.unfinished", ".2.unfinished"]
  files.remove_unfinished(tmp_path / "other")
  assert not list(tmp_path.rglob("*.unfinished"))


def test_only_files_py_puts_one_file_in_the_place_of_another():
  """`os.replace` and its like stand once: elsewhere a file would be written in a way of its own."""
  for path in sorted((REPO / "jaxskill").rglob("*.py")):
    if path.name != "files.py":
      calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
      found = [ast.unparse(node) for node in calls if ast.unparse(node) in ("os.replace", "os.rename", "os.link")]
      assert not found, path


def test_what_is_there_is_replaced(tmp_path):
  (tmp_path / "a").write_text("old")
  with files.writing(tmp_path / "a") as file:
    file.write(b"new")
    assert (tmp_path / "a").read_text() == "old"
  assert (tmp_path / "a").read_text() == "new" and len(list(tmp_path.iterdir())) == 1
