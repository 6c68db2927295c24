"""What we wrote into a folder is ours; what a user put there, changed or still needs is neither replaced nor removed."""

import os

import pytest

from jaxskill import written


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


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', '{"files": {"a": 3}}', '{"files": {"../a": ["0"]}}'])
def test_of_a_record_that_cannot_be_read_every_file_is_the_users(tmp_path, content):
  (tmp_path / "in").mkdir()
  (tmp_path / "a").write_text("theirs")
  (tmp_path / "in" / written.NAME).write_text(content)
  assert written.Record(tmp_path / "in").remove("a", "../a") == [] and (tmp_path / "a").exists()
