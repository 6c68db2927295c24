"""Shards: each video in one, notes that nobody else writes, and one note at the end."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxskill import files
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.user import extraction_note
from jaxskill.extract import feature_files, folder, kinds, local, shards
from jaxskill.training import locks
from tests import cores
from tests.extract import pictures, slow_decoding
from tests.places import REPO

pytest.importorskip("av")
NAMES = [f"w{number}" for number in range(6)]


@pytest.fixture
def run(tmp_path, monkeypatch):
  """run(shard) -> (note, what was said); the features are the pictures themselves."""
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND)
  monkeypatch.setattr(local.decoders, "Decoders", pictures.Decoders)
  config = pictures.config()
  (tmp_path / "videos").mkdir()
  slow_decoding.film(tmp_path / "videos" / "w0.mp4", 0, 2)
  for name in NAMES[1:]:
    shutil.copyfile(tmp_path / "videos" / "w0.mp4", tmp_path / "videos" / f"{name}.mp4")

  def extracted(shard="", **options):
    said = []
    note = local.run(config, tmp_path / "videos", tmp_path / "out", "random:0", shard=shard, processes=1,
                     say=said.append, **options)
    return note, said
  return extracted


def test_each_video_is_in_one_shard():
  files = {f"monday/v{number}": number for number in range(100)}
  parts = [shards.Shard(number, 4).members(files) for number in range(4)]
  assert sorted(video for part in parts for video in part) == sorted(files) and min(map(len, parts)) > 10
  assert shards.Shard().members(files) == files
  assert list(shards.Shard(0, 2).members(dict.fromkeys(NAMES))) == ["w2", "w3", "w5"]      # on every machine, always
  more = files | {f"tuesday/v{number}": number for number in range(100)}
  assert all(part.items() <= shards.Shard(number, 4).members(more).items() for number, part in enumerate(parts))


@pytest.mark.parametrize("text", ["4/4", "0/0", "a/b", "1", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_shard(text):
  with pytest.raises(ValueError, match="expected I/N with I from 0 to N-1"):
    shards.read(text)


def noted(out, file="extraction.json"):
  return json.loads((out / file).read_text())


def test_shards_together_are_all(tmp_path, run):
  out = tmp_path / "out"
  note, said = run("0/2")
  assert set(note["videos"]) == {"w2", "w3", "w5"} and "3 of 6 videos are in this shard" in said
  assert noted(out) == note == noted(out, "extraction.0-of-2.json")
  assert extraction_note.read_extraction(out)["videos"].keys() == note["videos"].keys()
  last, _ = run("1/2")
  read = extraction_note.read_extraction(out)
  assert sorted(read["videos"]) == NAMES and read["recipe"]["random_weights"]
  assert noted(out)["videos"] == read["videos"] == note["videos"] | last["videos"]
  times = {path: path.stat().st_mtime_ns for path in out.glob("*.npy")}
  _, said = run("0/2")
  assert "3 of 3 videos are there already" in said and noted(out)["videos"] == read["videos"]
  note, said = run()
  assert "6 of 6 videos are there already" in said and sorted(note["videos"]) == NAMES
  assert times == {path: path.stat().st_mtime_ns for path in out.glob("*.npy")} and len(times) == 6
  assert [path.name for path in extraction_note.note_files(out)] == ["extraction.json"]
  assert noted(out)["videos"] == note["videos"] == read["videos"]


def test_any_later_call_brings_together_what_a_killed_shard_noted(tmp_path, run, monkeypatch):
  """Killed after its second video: another shard begins, and is killed before its first one."""
  out, save_note = tmp_path / "out", feature_files.save_note

  def killed(after):
    def save(folder, note, name="extraction.json"):
      save_note(folder, note, name)
      if len(note["videos"]) == after and name != "extraction.json":
        raise KeyboardInterrupt
    return save
  for shard, after in (("0/2", 2), ("1/2", 0)):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
      patch.setattr(feature_files, "save_note", killed(after))
      run(shard)
    assert len(extraction_note.read_extraction(out)["videos"]) == 2
  assert noted(out)["videos"] == {}                                 # as the first one began
  note, _ = run("1/2")
  assert len(noted(out)["videos"]) == 2 + len(note["videos"]) == 5
  run("0/2")
  assert sorted(noted(out)["videos"]) == NAMES


def test_a_shard_of_other_videos_keeps_what_it_noted_before(tmp_path, run):
  """And where nothing locks, so that another shard's older view of the whole takes the place of a newer one."""
  out = tmp_path / "out"
  before, _ = run("0/2")
  for name in before["videos"]:
    (tmp_path / "videos" / f"{name}.mp4").unlink()
  slow_decoding.film(tmp_path / "videos" / "w2000.mp4", 1, 2)
  note, _ = run("0/2")
  assert set(note["videos"]) == {*before["videos"], "w2000"}
  (out / "extraction.json").write_text(json.dumps(note | dict(videos={})))
  run("1/2")
  assert sorted(noted(out)["videos"]) == sorted([*NAMES, "w2000"])


def test_what_failed_in_a_later_note_is_not_there(tmp_path, run):
  """Though an older one, of a shard that others do not write to, still has it."""
  out, number = tmp_path / "out", next(k for k in range(3) if "w2" in shards.Shard(k, 3).members(dict.fromkeys(NAMES)))
  run("0/2")
  (tmp_path / "videos" / "w2.mp4").write_bytes(b"nothing")
  note, _ = run(f"{number}/3")
  assert list(note["failed"]) == ["w2"] == list(noted(out)["failed"]) and "w2" in noted(
      out, "extraction.0-of-2.json")["videos"]
  assert "w2" not in noted(out)["videos"] and "w2" not in extraction_note.read_extraction(out)["videos"]
  shutil.copyfile(tmp_path / "videos" / "w0.mp4", tmp_path / "videos" / "w2.mp4")
  run(f"{number}/3")
  assert "w2" in noted(out)["videos"] and not noted(out)["failed"]


def test_two_shards_at_once_and_never_beside_all(tmp_path, run):
  """Of two shards neither takes the other's lock, nor what the other has begun; all videos wait for both."""
  (tmp_path / "out").mkdir()
  begun = tmp_path / "out" / ".begun.unfinished"
  begun.touch()
  with locks.hold(tmp_path / "out" / folder.LOCK, "extraction", "", print, shared=True):
    run("1/2")
    assert begun.exists()
    with pytest.raises(ValueError, match="another extraction is at work there"):
      run()
  with locks.hold(tmp_path / "out" / ".extraction.0-of-2.lock", "extraction of this shard", "", print):
    with pytest.raises(ValueError, match="another extraction of this shard is at work there .*give another --shard"):
      run("0/2")
  with locks.hold(tmp_path / "out" / folder.LOCK, "extraction", "", print):
    with pytest.raises(ValueError, match="another extraction is at work there"):
      run("1/2")
  run()
  assert not begun.exists() and sorted(extraction_note.read_extraction(tmp_path / "out")["videos"]) == NAMES


def test_shards_of_another_recipe(tmp_path, run):
  run("0/2")
  file = tmp_path / "out" / "extraction.0-of-2.json"
  other = json.loads(file.read_text())
  other["recipe"]["dtype"] = "bfloat16"
  (tmp_path / "out" / "extraction.1-of-2.json").write_text(json.dumps(other))
  with pytest.raises(ValueError, match="extraction.*json: is of another recipe"):
    extraction_note.read_extraction(tmp_path / "out")


def test_two_extractions_with_one_folder_of_overlays(tmp_path):
  """The second one would remove what the first has begun there."""
  said = []
  with folder.alone(tmp_path, str(tmp_path / "overlay"), shards.Shard(), said.append):
    begun = tmp_path / "overlay" / ".begun.unfinished"
    begun.touch()
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="overlay: another extraction is at work there .* or give another --overlay"):
      with folder.alone(tmp_path / "other", str(tmp_path / "overlay"), shards.Shard(), said.append):
        pass
  assert begun.exists()
  with folder.alone(tmp_path, str(begun.parent), shards.Shard(), said.append):
    assert not begun.exists()
  begun = tmp_path / ".begun.unfinished"
  begun.touch()
  with folder.alone(tmp_path, str(tmp_path), shards.Shard(), said.append):             # one folder for both
    assert not begun.exists() and not said


def test_a_shard_whose_machine_died_goes_on_on_another(tmp_path, monkeypatch):
  """A scheduler starts it there; nobody is left who could remove its lock."""
  with folder.alone(tmp_path, "", shards.Shard(0, 2), print):
    shutil.copytree(tmp_path, tmp_path / "copy")                                # as it is when the machine dies
  monkeypatch.setattr(locks.socket, "gethostname", lambda: "another")
  monkeypatch.setattr(locks, "BOOT", tmp_path / "nowhere")
  with folder.alone(tmp_path / "copy", "", shards.Shard(0, 2), pytest.fail):
    pass


def test_a_folder_of_overlays_within_the_out_of_another_extraction(tmp_path):
  """What is written there is not the other one's to remove, whether it begins before or after."""
  begun = tmp_path / "out" / "overlays" / "deep" / ".begun.unfinished"
  with folder.alone(_made(tmp_path / "features"), str(tmp_path / "out" / "overlays"), shards.Shard(), print):
    _made(begun.parent)
    begun.touch()
    with folder.alone(tmp_path / "out", "", shards.Shard(), print):
      assert begun.exists()
  with folder.alone(tmp_path / "out", str(tmp_path / "out" / "overlays"), shards.Shard(), print):      # now its own
    assert not begun.exists()


def _made(folder):
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def test_a_note_that_is_removed_while_notes_are_read(tmp_path, monkeypatch):
  """After its name was seen, before it was looked at."""
  for name in ("extraction.1-of-2.json", "extraction.2-of-2.json"):
    (tmp_path / name).write_text("{}")
  is_file = pathlib.Path.is_file

  def looked(path):
    there = is_file(path)
    if path.name == "extraction.1-of-2.json":
      path.unlink()
    return there
  monkeypatch.setattr(pathlib.Path, "is_file", looked)
  assert [file.name for file in extraction_note.note_files(tmp_path)] == ["extraction.2-of-2.json"]


def test_the_note_of_simulated_videos_is_never_half_there(tmp_path, monkeypatch):
  """Shards write it at the same time, and others read."""
  (tmp_path / "out").mkdir()
  (tmp_path / SIMULATED_NOTE).write_text("drawn")
  (tmp_path / "out" / SIMULATED_NOTE).write_text("of another shard")
  with monkeypatch.context() as patch:
    patch.setattr(files.os, "replace", lambda *_: None)                          # the process dies before that
    local._put_beside(dict(a=tmp_path / "a.mp4"), tmp_path / "out", "")
  assert (tmp_path / "out" / SIMULATED_NOTE).read_text() == "of another shard"
  local._put_beside(dict(a=tmp_path / "a.mp4"), tmp_path / "out", "")
  assert (tmp_path / "out" / SIMULATED_NOTE).read_text() == "drawn"


def note_of(**recipe):
  return json.dumps(dict(recipe=dict(dtype="float32", random_weights=False) | recipe, videos=dict(a={})))


@pytest.mark.parametrize("one,other,alike", [
    (dict(weights="a.whl", weights_sha256=dict(pose="1")), dict(weights="folder", weights_sha256=dict(pose="1")), True),
    (dict(weights="a.whl", weights_sha256=dict(pose="1")), dict(weights="a.whl", weights_sha256=dict(pose="2")), False),
    (dict(weights="a.pth", weights_sha256="1"), dict(weights="b.pth", weights_sha256="1"), True),
    (dict(weights="random:0", weights_sha256=""), dict(weights="random:1", weights_sha256=""), False),
    (dict(weights=dict(rgb="a", flow="random:0"), weights_sha256=dict(rgb="1", flow="")),
     dict(weights=dict(rgb="b", flow="random:0"), weights_sha256=dict(rgb="1", flow="")), True),
    (dict(weights=dict(rgb="a", flow="random:0"), weights_sha256=dict(rgb="1", flow="")),
     dict(weights=dict(rgb="a", flow="random:1"), weights_sha256=dict(rgb="1", flow="")), False),
    (dict(persons=dict(detector="a", sha256="1")), dict(persons=dict(detector="b", sha256="1")), True),
    (dict(persons=dict(detector="a", sha256="1")), dict(persons=dict(detector="a", sha256="2")), False),
    (dict(persons=dict(detector="a", sha256="1")), dict(persons="a table of boxes"), False)])
def test_digests_count_and_names_do_not(tmp_path, one, other, alike):
  """Of two shards, and of an extraction that goes on: a wheel here, on the next machine the folder unpacked from it."""
  (tmp_path / "extraction.1-of-2.json").write_text(note_of(**one))
  goes_on = json.loads(note_of(**other))["recipe"]
  if alike:
    assert list(feature_files.known(tmp_path, goes_on)) == ["a"]
  else:
    with pytest.raises(ValueError, match="of another recipe or other weights"):
      feature_files.known(tmp_path, goes_on)
  (tmp_path / "extraction.2-of-2.json").write_text(note_of(**other))
  if alike:
    assert list(extraction_note.read_extraction(tmp_path)["videos"]) == ["a"]
  else:
    with pytest.raises(ValueError, match="2-of-2.json: is of another recipe"):
      extraction_note.read_extraction(tmp_path)


def test_the_latest_note_counts(tmp_path, run):
  """A video that was made again in shards of another number."""
  run("0/2")
  about = extraction_note.read_extraction(tmp_path / "out")["videos"]["w2"]
  slow_decoding.film(tmp_path / "videos" / "w2.mp4", 1, 3)
  number = next(k for k in range(3) if "w2" in shards.Shard(k, 3).members(dict.fromkeys(NAMES)))
  run(f"{number}/3")
  again = extraction_note.read_extraction(tmp_path / "out")["videos"]["w2"]
  assert again["sha256"] != about["sha256"] and again["rows"] == len(np.load(tmp_path / "out" / "w2.npy")) == 3


def test_beam_shares_out_itself(run, monkeypatch):
  monkeypatch.setattr(local.beam, "require", lambda: None)
  with pytest.raises(ValueError, match="--shard: Beam shares the videos out itself"):
    run("1/2", runner="beam")


@pytest.mark.parametrize("locked", [True, False])
def test_notes_that_are_brought_together_at_once(tmp_path, monkeypatch, locked):
  """The second has its note ready when the first has read all; where nothing locks, its note still says it."""
  has_read, is_done = threading.Event(), threading.Event()

  def read_slowly(out):
    found = extraction_note.read_extraction(out)
    if not has_read.is_set():
      has_read.set()
      is_done.wait(0.5)
    return found

  def shard(number):
    note = dict(format=extraction_note.FORMAT, recipe={}, videos={f"v{number}": {}}, failed={}, left_out={})
    if number:
      assert has_read.wait(60)
    feature_files.save_note(tmp_path, note, shards.Shard(number, 2).note)
    folder.merge_notes(tmp_path, note)
    if number:
      is_done.set()
  monkeypatch.setattr(folder, "read_extraction", read_slowly)
  if not locked:
    monkeypatch.setattr(files, "fcntl", None)
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    list(threads.map(shard, range(2)))
  assert sorted(noted(tmp_path)["videos"]) == ["v0", "v1"][:1 + locked]
  assert sorted(extraction_note.read_extraction(tmp_path)["videos"]) == ["v0", "v1"]


def test_two_processes_into_one_folder_one_of_them_killed(tmp_path, run):
  """What the killed one noted is made again by nobody."""
  out = tmp_path / "out"

  def process(*shard):
    command = [sys.executable, "-m", "tests.extract.pictures", tmp_path / "videos", out, *shard]
    return subprocess.Popen(command, cwd=REPO, start_new_session=True)
  with cores.every_one():
    one, other = process("0/2", "hang"), process("1/2")
  try:
    while not (out / "extraction.0-of-2.json").exists() or not noted(out, "extraction.0-of-2.json")["videos"]:
      assert one.poll() is None
      time.sleep(0.01)
    os.killpg(one.pid, signal.SIGKILL)
    assert other.wait(300) == 0 and one.wait(60) == -signal.SIGKILL
  finally:
    for started in (one, other):
      if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
  kept = extraction_note.read_extraction(out)["videos"]
  assert {"w0", "w1", "w4"} < kept.keys() and len(kept) == 4 and noted(out)["videos"].keys() >= {"w0", "w1", "w4"}
  times = {video: (out / f"{video}.npy").stat().st_mtime_ns for video in kept}
  run("0/2")
  assert sorted(noted(out)["videos"]) == NAMES
  assert times == {video: (out / f"{video}.npy").stat().st_mtime_ns for video in kept}
