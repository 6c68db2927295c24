"""Names of videos: one spelling each, none leads out of its folder, and disks may spell them otherwise."""

import unicodedata

import pytest

from jaxskill.data.video.video_names import spellings, video_name


@pytest.mark.parametrize("text,name", [
    ("v0", "v0"), ("./v0", "v0"), ("a//b", "a/b"), ("a/./b", "a/b"), ("a/b/", "a/b"), (".//a", "a"), ("v.1", "v.1"),
        ("..v", "..v"),
    ("~", "~"), ("-rf", "-rf"), ("$x", "$x"), ("v\n2", "v\n2"), ("nai\u0308ve", "na\u00efve"), ("日本", "日本")])
def test_one_spelling(text, name):
  assert video_name(text, "scores.csv, line 2") == name == video_name(name, "")


@pytest.mark.parametrize("text,words", [
    ("../../x", "leads out of the folder"), ("a/../../b", "leads out of the folder"), ("a/..",
        "leads out of the folder"),
    ("..", "leads out of the folder"), ("/etc/passwd", "leads out of the folder"), ("//x", "leads out of the folder"),
    ("", "is no name"), (".", "is no name"), ("./", "is no name"), ("a\0b", "is no name"),
    ("v" * 300, "is longer than files can be called"), ("é" * 130, "is longer than files"), ("ab/" * 400 + "v",
        "is longer than")])
def test_names_that_are_refused(text, words):
  with pytest.raises(ValueError, match=f"scores.csv, line 2: .*{words}"):
    video_name(text, "scores.csv, line 2")


def test_spellings_of_the_disk(tmp_path):
  """A folder composed and a file in it decomposed, a kanji that composing replaces, and a folder of pictures."""
  decomposed = unicodedata.normalize("NFD", "é")
  (tmp_path / "é").mkdir()
  (tmp_path / "é" / f"{decomposed}.npy").touch()
  (tmp_path / "\ufa19.npy").touch()
  (tmp_path / f"{decomposed}.b").mkdir()
  assert spellings(tmp_path, "é/é") == [tmp_path / "é" / decomposed]
  assert spellings(tmp_path, video_name("\ufa19", "")) == [tmp_path / "\ufa19"]
  assert spellings(tmp_path, "é.b") == [tmp_path / f"{decomposed}.b"]
  assert spellings(tmp_path, "a/b") == [tmp_path / "a/b"] and spellings(tmp_path, "ü/b") == []


def test_a_folder_is_listed_once_for_many_names(tmp_path):
  (tmp_path / "é.npy").touch()
  listings = {}
  assert spellings(tmp_path, "é", listings) == [tmp_path / "é"]
  (tmp_path / "é.npy").unlink()
  assert spellings(tmp_path, "é", listings) == [tmp_path / "é"] and spellings(tmp_path, "é") == []
