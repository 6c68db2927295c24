"""What we wrote into a folder is ours; what a user put there, changed or still needs is neither replaced nor removed."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from jaxskill import files, written
from tests import cores
from tests.places import REPO


def test_what_is_ours_is_replaced_and_removed_and_nothing_else(tmp_path):
  (tmp_path / "theirs.csv").write_text("theirs")
  record = written.Record(tmp_path)
  record.write_text("ours.csv", "one")
  record.write_text("changed.csv", "one")
  (tmp_path / "changed.csv").write_text("notes of a coach")
  record = written.Record(tmp_path)                                     # of the next command
  record.write_text("ours.csv", "two")
  assert (tmp_path / "ours.csv").read_text() == "two"
  for name, why in (("theirs.csv", "was not written by jaxskill"), ("changed.csv", "was changed since")):
    with pytest.raises(ValueError, match=f"{name} is there and {why}.*it stays: give another --out"):
      record.write_text(name, "two")
  assert record.remove("ours.csv", "theirs.csv", "changed.csv", "nowhere") == [str(tmp_path / "changed.csv")]
  assert sorted(path.name for path in tmp_path.iterdir()) == [written.NAME, "changed.csv", "theirs.csv"]
  (tmp_path / "changed.csv").unlink()
  assert not record.remove("changed.csv") and not (tmp_path / written.NAME).exists()


def test_the_last_name_of_a_film_stays(tmp_path):
  (tmp_path / "film").write_text("film")
  record = written.Record(tmp_path)
  record.write_text("b", "film")                                        # a copy at first
  for name in ("a", "b"):
    with record.writing(name, link=True) as path:
      os.link(tmp_path / "film", path)
  with record.writing("a", link=True) as path:                          # once more, of the same file
    os.link(tmp_path / "film", path)
  (tmp_path / "film").unlink()                                          # its owner takes "a" for a copy
  assert written.Record(tmp_path).remove("a", "b") == [str(tmp_path / "b")] and (tmp_path / "b").read_text() == "film"
  assert sorted(path.name for path in tmp_path.iterdir()) == [written.NAME, "b"]


def test_what_breaks_off_leaves_what_was_there(tmp_path):
  record = written.Record(tmp_path)
  record.write_text("film", "old")
  with pytest.raises(KeyboardInterrupt), record.writing("film") as path:
    path.write_text("half")
    raise KeyboardInterrupt
  assert (tmp_path / "film").read_text() == "old" and len(list(tmp_path.iterdir())) == 2
  assert written.Record(tmp_path).is_ours("film")


def test_a_copied_folder_is_ours_and_its_only_films_stay(tmp_path):
  """A copy of a link is the only name of its film: it gives way to the same film, and neither to another nor to none."""
  (tmp_path / "film").write_text("film")
  (tmp_path / "page").mkdir()
  with written.Record(tmp_path / "page").writing("video", link=True) as path:
    os.link(tmp_path / "film", path)
  shutil.copytree(tmp_path / "page", tmp_path / "copy")
  record = written.Record(tmp_path / "copy")
  record.check("video")
  assert record.is_ours("video") and record.remove_old() == [str(tmp_path / "copy" / "video")]
  with pytest.raises(ValueError, match="video is there and is the last name of another film; it stays"):
    record.write_text("video", "another film")
  assert (tmp_path / "copy" / "video").read_text() == "film"
  record.write_text("video", "film")                                    # now it is a copy of ours
  assert written.Record(tmp_path / "copy").remove("video") == []
  assert [path.name for path in (tmp_path / "copy").iterdir()] == []


def test_a_link_of_the_users_is_not_ours(tmp_path):
  record = written.Record(tmp_path)
  record.write_text("a", "one")
  (tmp_path / "a").rename(tmp_path / "b")
  (tmp_path / "a").symlink_to("b")                                      # the same content, by another way
  assert not record.is_ours("a")
  with pytest.raises(ValueError, match="a is there and was changed"):
    record.write_text("a", "two")
  assert record.remove("a") == [str(tmp_path / "a")] and (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_process_may_be_killed_beside_the_replacement(tmp_path, monkeypatch, killed):
  """Whichever of both files is in place then is ours."""
  record, replace = written.Record(tmp_path), os.replace
  record.write_text("a", "old")

  def stops(source, target):
    if pathlib.Path(target).name != "a":
      return replace(source, target)
    if killed == "after":
      replace(source, target)
    raise KeyboardInterrupt
  monkeypatch.setattr(files.os, "replace", stops)
  with pytest.raises(KeyboardInterrupt):
    record.write_text("a", "new")
  monkeypatch.undo()
  assert (tmp_path / "a").read_text() == dict(before="old", after="new")[killed]
  assert written.Record(tmp_path).is_ours("a") and written.Record(tmp_path).remove("a") == []


def test_two_commands_write_into_one_folder(tmp_path):
  """None forgets what the other has written meanwhile, and each waits while the other notes."""
  one, other = written.Record(tmp_path), written.Record(tmp_path)
  one.write_text("a", "one")
  other.write_text("b", "other")
  with one.writing("both") as path:
    path.write_text("one")
    other.write_text("both", "other")
  assert [one.is_ours(name) and other.is_ours(name) for name in ("a", "b", "both")] == [True] * 3
  code = ("import pathlib, sys\nfrom jaxskill import written\nfor turn in range(30):\n"
          "  written.Record(pathlib.Path(sys.argv[1])).write_text(f'{sys.argv[2]}{turn}', sys.argv[2])\n"
          "  written.Record(pathlib.Path(sys.argv[1])).write_text('shared', f'{sys.argv[2]}{turn}')\n")
  with cores.every_one():
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name], cwd=REPO) for name in "xy"]
  assert [process.wait(120) for process in running] == [0, 0]
  record = written.Record(tmp_path)
  assert all(record.is_ours(path.name) for path in tmp_path.glob("[!.]*")) and len(list(tmp_path.iterdir())) == 65


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', '{"format": 9, "files": {}}', '{"format": 1, "files": 3}',
                                     '{"format": 1, "files": {"a": 3}}', '{"format": 1, "files": {"../a": ["0"]}}'])
def test_a_record_that_cannot_be_read_is_told_and_stays(tmp_path, content):
  folder, record = tmp_path / "in", written.Record(tmp_path / "in")
  folder.mkdir()
  (folder / "a").write_text("theirs")
  (folder / written.NAME).write_text(content)
  for ask in (lambda: record.check("a"), lambda: record.remove("a", "../a"), record.remove_old,
              lambda: record.write_text("b", "ours")):
    with pytest.raises(ValueError, match=r"\.jaxskill\.json: (cannot be read|was written by)"):
      ask()
  assert (folder / written.NAME).read_text() == content and len(list(folder.iterdir())) == 2


def test_what_killed_processes_left_goes_with_the_rest(tmp_path):
  record = written.Record(tmp_path)
  record.write_text("a", "ours")
  (tmp_path / ".1.unfinished").write_text("half a film")
  (tmp_path / ".2.unfinished").mkdir()
  (tmp_path / ".2.unfinished" / "attention.png").write_text("a picture")
  assert record.remove_old() == [] and {path.name for path in tmp_path.iterdir()} == {"a", written.NAME}
  assert written.Record(tmp_path).remove_old() == [] and not list(tmp_path.iterdir())


def test_files_that_no_record_notes_are_told_by_their_endings(tmp_path):
  record = written.Record(tmp_path)
  record.write_text("new.html", "ours")
  for name in ("theirs.html", "THEIRS.MP4", "theirs.txt"):
    (tmp_path / name).write_text("theirs")
  (tmp_path / "a folder.html").mkdir()
  assert record.remove_old(".html", ".mp4") == [str(tmp_path / name) for name in ("THEIRS.MP4", "theirs.html")]
  assert record.remove_old() == []
