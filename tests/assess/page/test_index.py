"""The index of a folder of answers, and persons over time."""

import json

import pytest

from jaxskill.assess import new_videos, page
from jaxskill.assess.page import index
from tests.assess.page import samples
from tests.assess.page.reading import Read, of_video

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_a_folder_has_an_index(tmp_path, film):
  for number, (subject, date) in enumerate((("Ann", "2024-01-01"), ("Ben", "2024-01-02"), ("Ann", "2024-03-01"))):
    folder = tmp_path / f"all #{number}"
    result = samples.answer(f"v{number}", score=0.1 * number) | dict(subject=subject, date=date)
    result["moments"][1]["share"] = (0.2, 0.9, 0.5)[number]
    of_video(folder, result, samples.material(film), "none")
    (folder / "assessment.json").write_text(json.dumps(result))
  (tmp_path / "another").mkdir()
  (tmp_path / "another" / "assessment.json").write_text("{}")
  (tmp_path / "other").mkdir()                                          # of another run, and the last that was written
  other = result | dict(made_from=result["made_from"] | dict(params_sha256="0" * 64))
  of_video(tmp_path / "other", other, samples.material(film), "none")
  (tmp_path / "other" / "assessment.json").write_text(json.dumps(other))
  for name, changed in (("models", dict(made_from=result["made_from"] | dict(models=[0]))), ("theirs", {})):
    (tmp_path / name).mkdir()
    of_video(tmp_path / name, result | changed, samples.material(film), "none")
    (tmp_path / name / "assessment.json").write_text(json.dumps(result | changed))
  (tmp_path / "theirs" / "report.html").write_text("their own page")
  assert page.of_folder(tmp_path / "another", "assessment.json", result) == []          # no answer has a page
  read = Read(*page.of_folder(tmp_path, "assessment.json", result))
  assert [one["href"] for one in read.of("a")][:3] == [f"all%20%23{number}/report.html" for number in range(3)]
  assert [one["data-sort"] for one in read.of("button")] == ["text", "number", "number", "text", "text", "number"]
  assert "Ann over time" in read.text and "Ben over time" not in read.text and len(read.of("circle")) == 2
  worst = [one["href"] for one in read.of("a") if "#t=" in one["href"] and "class" not in one]
  assert [address[9] for address in worst] == ["1", "2", "0"]


def test_persons_and_dates_are_read_from_labels(tmp_path):
  """And are no part of what an answer is an answer to: another date is no other question."""
  (tmp_path / "labels.csv").write_text("video,category,subject,date\na,dive,Ann,2024-01-01\n")
  known, person = new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))
  assert known("a") == dict(category="dive") and person == dict(a=dict(subject="Ann", date="2024-01-01"))


def test_persons_are_drawn_by_date(tmp_path):
  """Which is said as year, month and day; an answer of which no such date is known is left out."""
  row = lambda date, score: dict(subject="A", date=date, score=score, words="", video="", address="")
  person, = index.over_time([row("2024-01-11", 2.0), row("20240101", 1.0), row("15.01.2024", 0.0), row("2024-01-02", 3.0)])
  assert [point["x"] for point in person["points"]] == [14.0, 22.2, 96.0]
  for date in ("15.01.2024", "2024-02", "week 1"):
    (tmp_path / "labels.csv").write_text(f"video,date\na,2024-02-28\nb,{date}\n")
    with pytest.raises(ValueError, match=f"labels.csv, line 3: the date of 'b' is '{date}'; expected year, month and day"):
      new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))
  (tmp_path / "labels.csv").write_text("video,date\na,20240228\n")
  assert new_videos._said(new_videos.Known(labels=str(tmp_path / "labels.csv")))[1] == dict(
      a=dict(date="2024-02-28"))
