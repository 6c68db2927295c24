"""What can be downloaded from a page: numbers, and moments for players and for ELAN."""

import csv
from xml.etree import ElementTree

import pytest

from jaxskill.assess.page import downloads
from jaxskill.assess.page.texts import TEXTS
from tests.assess.page import samples
from tests.assess.page.reading import of_video

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_downloads_go_by_the_clock_of_players(tmp_path):
  """Which runs before the first picture where the sound begins earlier; answers count from that picture."""
  source = samples.other_film(tmp_path / "late.mp4", "mp4", "libx264", seconds=2.0, late=7)
  read = of_video(tmp_path / "page", samples.answer(), samples.material(source))
  assert read.of("video")[0]["src"] == "video.mp4" and TEXTS["proxy"] not in read.text       # played as it is
  assert read.data["players"][0]["offset"] == pytest.approx(0.7, abs=0.05)
  with av.open(str(source)) as file:
    assert next(file.decode(video=0)).time == pytest.approx(read.data["players"][0]["offset"], abs=0.002)
  texts = {name: (tmp_path / "page" / f"moments.{name}").read_text() for name in ("srt", "vtt", "eaf")}
  assert "00:00:02,700 --> 00:00:04,700" in texts["srt"] and "00:00:02.700 --> 00:00:04.700" in texts["vtt"]
  assert 'TIME_VALUE="2700"' in texts["eaf"]


def test_moments_that_begin_at_once_are_one_annotation():
  moments = [dict(side=0, words="places", text=text, **{"from": begins, "to": ends})
             for text, begins, ends in (("a", 0.0, 1.0), ("b", 0.0, 2.0), ("c", 0.0001, 1.5), ("d", 1.5, 2.5))]
  tree = ElementTree.fromstring(downloads.eaf(moments, ""))
  assert [one.text for one in tree.iter("ANNOTATION_VALUE")] == ["a; b; c", "d"]
  assert [int(slot.get("TIME_VALUE")) for slot in tree.iter("TIME_SLOT")] == [0, 1500, 1500, 2500]


def test_downloads_hold_curves_and_moments(tmp_path, film):
  folder, result = tmp_path / "page", samples.answer()
  read = of_video(folder, result, samples.material(film))
  linked = [one["href"] for one in read.of("a") if "download" in one]
  assert linked == ["assessment.json", "curves.csv", "moments.srt", "moments.vtt", "moments.eaf"]
  table = list(csv.DictReader((folder / "curves.csv").read_text(encoding="utf-8").splitlines()))
  values = [float(row["value"]) for row in table if row["name"] == "against"]
  assert values == pytest.approx(result["attention"]["against"]["values"])
  first = result["moments"][0]
  assert (folder / "moments.srt").read_text().startswith(
      f"1\n00:00:02,000 --> 00:00:04,000\n{first['words']}: {100 * first['share']:.0f} % of the attention\n\n2\n")
  assert (folder / "moments.vtt").read_text().startswith("WEBVTT\n\n00:00:02.000 --> 00:00:04.000\nmoments that speak")
  tree = ElementTree.parse(folder / "moments.eaf")
  assert tree.find("HEADER/MEDIA_DESCRIPTOR").get("MEDIA_URL") == "./video.mp4"
  slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in tree.iter("TIME_SLOT")}
  spans = [tuple(slots[one.get(f"TIME_SLOT_REF{side}")] for side in (1, 2)) for one in tree.iter("ALIGNABLE_ANNOTATION")]
  assert spans == [(1000 * one["start"], 1000 * one["end"]) for one in result["moments"]]


def test_moments_of_single_frames_last_a_second_within_the_video():
  moments = [dict(start=at, end=at, side=0, words="places", share=0.5) for at in (0.0, 7.9, 4.0, 4.4)]
  found = downloads.spans(dict(moments=moments, duration_s=8.0))
  assert [(one["from"], one["to"]) for one in found] == [(0.0, 1.0), (7.0, 8.0), (3.5, 4.5), (pytest.approx(3.9), 4.9)]
  tier, = ElementTree.fromstring(downloads.eaf(found, "")).iter("TIER")
  assert len(list(tier)) == 4                       # each ends where the next begins
