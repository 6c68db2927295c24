"""Who is followed: a point, or a table of points."""

import pytest

from jaxskill.extract.pose.choice import Choice


def table(tmp_path, text):
  file = tmp_path / "persons.csv"
  file.write_text(text)
  return str(file)


def test_a_point_of_all_videos_or_a_table(tmp_path):
  assert Choice("").of("a") == () and Choice("320,180.5").of("any") == ((0.0, 320.0, 180.5),)
  choice = Choice(table(tmp_path, "video,x,y,time\na,10,20,2\na,30,40,0.5\nsub/b,5,6,0\n"))
  assert choice.of("a") == ((0.5, 30, 40), (2, 10, 20)) and choice.of("c") == ()
  assert Choice(table(tmp_path, "video,x,y\na,10,20\n")).of("a") == ((0.0, 10, 20),)
  digests = [choice.digest(video) for video in ("a", "sub/b", "c")]
  assert len(set(digests)) == 3 and digests[2] == ""
  assert choice.renamed({"a": "other", "d": "e"}).of("other") == ((0.5, 30, 40), (2, 10, 20)) and not choice.of("a")


def test_names_that_are_no_videos(tmp_path):
  choice = Choice(table(tmp_path, "video,x,y\na.mp4,10,20\na,10,20\nb,10,20\n"))
  assert choice.strangers({"a": 1, "b": 2, "c": 3}) == (
      "--person: 1 of 3 names of the table are no videos here, such as 'a.mp4'; names are without the ending of the file")
  assert choice.renamed({"a.mp4": "c"}).strangers(["a", "b", "c"]) == "" == Choice("320,180").strangers(["a"])


@pytest.mark.parametrize("text,message", [
    ("video,x\na,1\n", "column 'y' is not in the first line"), ("video,x,y\na,1,left\n", "line 2"),
    ("video,x,y\na,.5,.5\n", "line 2: x=0.5, y=0.5 look like shares"), ("video,x,y\na,-5,5\n", "line 2.*pixels of at"),
    ("video,x,y,time\na,5,5,-1\n", "time=-1"), ("video,x,y\na,5,5\na,6,6\n", "two points at one time")])
def test_faults_of_a_table(tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    Choice(table(tmp_path, text))


@pytest.mark.parametrize("said,message", [
    ("left,right", "expected x,y in pixels"), ("nowhere.csv", "there is no such table"), ("0.5,0.5", "look like shares")])
def test_what_is_no_point(said, message):
  with pytest.raises(ValueError, match=message):
    Choice(said)
