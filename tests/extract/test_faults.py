"""What disks, names, signals and a second extraction do to an extraction: a fault of one video is its own."""

import json
import os
import resource
import shutil
import signal
import unicodedata

import numpy as np
import pytest

from jaxskill import files, pretrained
from jaxskill.data.user import extraction_note, features
from jaxskill.data.video import persons
from jaxskill.extract import decoders, extraction, feature_files, folder, kinds, local
from jaxskill.training import locks
from tests.extract import pictures, slow_decoding
from tests.extract.test_extraction import REPO, recipe

pytest.importorskip("av")
DECODERS = decoders.Decoders               # processes


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  return slow_decoding.film(tmp_path_factory.mktemp("film") / "film.mp4", 0, 2)


@pytest.fixture
def run(tmp_path, film, monkeypatch):
  """run(*names of videos) -> (note, what was said); the features are the pictures themselves."""
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND)
  monkeypatch.setattr(decoders, "Decoders", pictures.Decoders)
  config = pictures.config()
  (tmp_path / "videos").mkdir()

  def extracted(*videos, **options):
    for video in videos:
      (tmp_path / "videos" / video).parent.mkdir(exist_ok=True)
      shutil.copyfile(film, tmp_path / "videos" / video)
    said = []
    note = local.run(config, tmp_path / "videos", tmp_path / "out", "random:0", say=said.append,
                       **dict(processes=1) | options)
    return note, said
  return extracted


def test_a_fault_of_one_video_is_its_own(tmp_path, run, monkeypatch):
  videos, out = tmp_path / "videos", tmp_path / "out"
  (out / "folder.npy").mkdir(parents=True)
  (out / "file").touch()
  (videos / "link.mp4").symlink_to("nowhere.mp4")
  os.mkfifo(videos / "pipe.mp4")
  digest = pretrained.digest

  def closed(path):
    if path.stem == "closed":
      raise PermissionError(13, "Permission denied", str(path))
    return digest(path)
  monkeypatch.setattr(pretrained, "digest", closed)
  long, longer = "l" * 246, "m" * 252
  note, said = run("a.mp4", f"{long}.mp4", f"{longer}.ts", "folder.mp4", "file/b.mp4", "closed.mp4", "z.mp4")
  assert note["videos"].keys() == {"a", long, "z"}
  assert note["failed"].keys() == {longer, "folder", "file/b", "closed", "link"}
  assert note["left_out"] == {"pipe.mp4": "no plain file"}
  for video, why in {longer: "File name too long", "folder": "Is a directory: folder.npy", "file/b": "exists",
                     "closed": "Permission denied", "link": "leads nowhere"}.items():
    assert why in note["failed"][video] and "\n" not in note["failed"][video]
    assert any(line.startswith(f"failed: {video}: ") for line in said)
  assert {file.name for file in out.rglob("*") if file.is_file()} == {
      "file", "a.npy", "z.npy", f"{long}.npy", "extraction.json", folder.LOCK}
  assert note == json.loads((out / "extraction.json").read_text())


def test_the_command_goes_on_and_ends_with_1(tmp_path, run, capsys):
  run("a.mp4", "b.mp4")
  (tmp_path / "other" / "a.npy").mkdir(parents=True)
  with pytest.raises(SystemExit) as ended:
    local.main(["--config", str(REPO / "configs/features/action_net.py:static"), "--weights", "random:0", "--videos",
                  str(tmp_path / "videos"), "--out", str(tmp_path / "other"), "--config.streams.static.region=frame"])
  printed = capsys.readouterr()
  assert ended.value.code == 1 and "failed: a: its features cannot be written (Is a directory: a.npy)" in printed.out
  assert "Traceback" not in printed.err and np.load(tmp_path / "other" / "b.npy").ndim == 2


def test_names_of_all_kinds(tmp_path, run):
  """Undecodable bytes, dots and blanks at the end, letters that differ only in size, and accents in both forms."""
  odd = os.fsdecode(b"caf\xe9")
  nfd = unicodedata.normalize("NFD", "é")
  note, _ = run(f"{odd}.mp4", "dot..mp4", "blank .mp4", "Size.mp4", "size.mp4", f"{nfd}.mp4", f"{nfd}/{nfd}.mp4",
                "[x]*.mp4")
  wanted = {odd, "dot.", "blank", "Size", "size", "é", "é/é", "[x]*"}
  assert note["videos"].keys() == wanted and not note["failed"]
  for video in wanted:
    assert (tmp_path / "out" / f"{video}.npy").is_file()
  again, said = run()
  assert again == note and said[0] == "8 of 8 videos are there already"


def test_names_that_are_one_for_the_disk(tmp_path, run, monkeypatch):
  nfd = unicodedata.normalize("NFD", "é")
  with pytest.raises(ValueError, match="are two videos of one name; rename one"):
    run("é.mp4", f"{nfd}.mkv")
  (tmp_path / "videos" / "é.mp4").unlink()
  monkeypatch.setattr(feature_files, "_ignores_case", lambda out: True)
  with pytest.raises(ValueError, match="'Size' and 'size' are one name there, where large and small letters are"):
    run("Size.mp4", "size.mp4")


@pytest.mark.parametrize("table,disk", [("NFC", "NFD"), ("NFD", "NFC")])
def test_labels_and_features_in_other_forms_match(tmp_path, table, disk):
  form = unicodedata.normalize
  for within, video in (("é", "ü"), ("é", "b "), ("é", "c"), ("é", "d")):
    place = tmp_path / form(disk, within)
    place.mkdir(exist_ok=True)
    np.save(place / f"{form(disk, video)}.npy", np.full((4, 3), ord(video[0]), np.float32))
  (tmp_path / "pairs.csv").write_text(form(table, "better,worse,split\né/ü,é/b ,train\né/c,é/d,test\n"))
  data = features.load_features(tmp_path)
  assert set(data.videos) == {"é/ü", "é/b", "é/c", "é/d"}
  (tmp_path / "boxes.csv").write_text(form(table, "video,time,x1,y1,x2,y2\né/ü,0,1,2,3,4\n"))
  assert persons.Boxes(tmp_path / "boxes.csv").digest("é/ü")


@pytest.mark.parametrize("content", [
    b"", b"null", b"[]", b"5", b'"a"', b"[" * 100_000, b"\xff", b"{", b'{"recipe": 1, "videos": {}}',
    b'{"recipe": {}, "videos": []}', b'{"recipe": {}, "videos": {"a": 5}}',
    b'{"recipe": {}, "videos": {"a": {"warnings": 5}}}', b'{"recipe": {}, "videos": {}, "failed": []}',
    b'{"recipe": {}, "videos": {}, "failed": {"a": 5}}',
    *(b'{"recipe": {}, "videos": {"a": {"row_seconds": %b}}}' % value
      for value in (b"NaN", b"0", b"-1", b"null", b'"1"', b"true", b'{"rgb": null}', b"1e400", b"[1]"))])
def test_a_damaged_note_is_not_overwritten(tmp_path, run, content):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "extraction.json").write_bytes(content)
  with pytest.raises(ValueError, match="extraction.json: is not what jaxskill.extract wrote .*; extract") as refused:
    run("a.mp4")
  assert "\n" not in str(refused.value) and (tmp_path / "out" / "extraction.json").read_bytes() == content
  with pytest.raises(ValueError, match="is not what jaxskill.extract wrote"):
    extraction_note.read_extraction(tmp_path / "out")


def test_features_of_an_older_way_of_reading_are_made_again(tmp_path, run):
  note, _ = run("a.mp4", "b.mp4", "gone.mp4")
  (tmp_path / "videos" / "gone.mp4").unlink()
  old = json.loads((tmp_path / "out" / "extraction.json").read_text())
  for video in ("a", "gone"):
    del old["videos"][video]["reading"]
  (tmp_path / "out" / "extraction.json").write_text(json.dumps(old))
  np.save(tmp_path / "out" / "a.npy", np.zeros((1, 1), np.float32))
  again, said = run()
  assert again["videos"] == note["videos"] | dict(gone=old["videos"]["gone"])
  assert np.load(tmp_path / "out" / "a.npy").shape == np.load(tmp_path / "out" / "b.npy").shape
  assert said[0] == "1 of 2 videos are there already" and "1 videos, such as a, are of an older version" in said[1]
  assert said[2].startswith("warning: the features of 1 videos in") and "such as gone" in said[2]


def test_a_note_that_is_a_folder(tmp_path, run):
  (tmp_path / "out" / "extraction.json").mkdir(parents=True)
  with pytest.raises(ValueError, match="is not what jaxskill.extract wrote .*Is a directory"):
    run("a.mp4")


def test_two_at_once(tmp_path, run):
  """The second is refused and changes nothing; the note knows what the first did."""
  note, _ = run("a.mp4")
  with locks.hold(tmp_path / "out" / folder.LOCK, "extraction", "give another --out", pytest.fail):
    with pytest.raises(ValueError, match=rf"out: another extraction is at work there \(host .*, pid {os.getpid()}, s"):
      run("b.mp4")
    assert json.loads((tmp_path / "out" / "extraction.json").read_text()) == note
  assert run()[0]["videos"].keys() == {"a", "b"}


@pytest.mark.parametrize("place,kept", [(1, set()), (2, set()), (4, {"a"}), (5, {"a"})])
def test_a_full_disk(tmp_path, run, monkeypatch, place, kept):
  """One line, what is done is kept, nothing is half written; the same command goes on."""
  opened = []

  def full(path, mode):
    opened.append(path)               # the note; features and the note of each video
    return open("/dev/full", "wb") if len(opened) == place else open(path, mode)
  with monkeypatch.context() as patch:
    patch.setattr(files, "open", full, raising=False)
    with pytest.raises(ValueError, match="No space left on device.; make room, or give another --out") as refused:
      run("a.mp4", "b.mp4", "c.mp4")
  assert "\n" not in str(refused.value) and not list((tmp_path / "out").rglob("*.unfinished"))
  if place > 1:
    assert json.loads((tmp_path / "out" / "extraction.json").read_text())["videos"].keys() == kept
  note, said = run()
  assert (said[0] == "1 of 3 videos are there already") == bool(kept) and note["videos"].keys() == {"a", "b", "c"}


def test_a_disk_that_fills_in_the_middle_of_a_file_says_why(tmp_path):
  """NumPy's own way into a file says how many bytes were written, not why no more."""
  encode = dict(static=lambda items: items.reshape(len(items), -1))
  config = recipe("action_net:static")
  writer = feature_files.Features(config, encode, tmp_path, "a")
  writer.take("planned", dict(static=(1, 1)))
  writer.take("items", ("static", 0, np.zeros((1, 1, 99_999), np.float32)))
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
  try:
    writer.take("done", dict(row_seconds=dict(static=1.0), warnings=[], times=dict(static=np.zeros(1))))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert "(File too large: a.npy)" in writer.failed and not list(tmp_path.iterdir())


class _Stop(BaseException):
  """As a command raises it for a signal."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal(tmp_path, run, monkeypatch, number):
  """What is done is kept, the decoders end, the lock is let go; the same command goes on."""
  monkeypatch.setattr(decoders, "Decoders", DECODERS)
  save_note, said = feature_files.save_note, []

  def stop(*_):
    raise _Stop
  before = signal.signal(number, stop)

  def save(out, note, name):
    save_note(out, note, name)
    if len(note["videos"]) == 2:
      os.kill(os.getpid(), number)
  try:
    with monkeypatch.context() as patch, pytest.raises(_Stop):
      patch.setattr(feature_files, "save_note", save)
      run("a.mp4", "b.mp4", "c.mp4")
  finally:
    signal.signal(number, before)
  assert not local.decoders.multiprocessing.active_children()
  note, said = run()
  assert said[0] == "2 of 3 videos are there already" and note["videos"].keys() == {"a", "b", "c"}


def test_what_a_killed_one_left_is_removed(tmp_path, run):
  (tmp_path / "out" / "deep").mkdir(parents=True)
  (tmp_path / "out" / "deep" / ".0123.unfinished").write_bytes(b"half")
  run("a.mp4")
  assert not list((tmp_path / "out").rglob("*.unfinished"))


@pytest.mark.parametrize("options", [dict(processes=-1), dict(patience=0.0), dict(patience=float("nan"))])
def test_numbers_that_cannot_be(run, options):
  with pytest.raises(ValueError, match=r"--processes -?\d must be at least 0 and --patience .* above 0"):
    run("a.mp4", **options)


def test_decoders_do_not_hear_ctrl_c(tmp_path, capfd):
  """^C reaches all processes of a terminal: a decoder that heard it would print where it was, and lose its video."""
  film = slow_decoding.film(tmp_path / "film.mp4", 0, 8)
  coming, kinds = decoders.Decoders({"a": film}, recipe("action_net:rgb"), None, 1, 60.0), []
  (decoder,) = coming.decoders.values()
  os.kill(decoder.process.pid, signal.SIGINT)                # while it starts
  for _, kind, _ in coming:
    kinds.append(kind)
    if kind not in extraction.ENDS:
      os.kill(decoder.process.pid, signal.SIGINT)            # while it decodes
  assert kinds[-1] == "done" and len(kinds) > 2
  assert "Traceback" not in capfd.readouterr().err
