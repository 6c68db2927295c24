"""Pages as text: what stands in them, that names of others stay text, what lies beside them, and how large they are."""

import base64
import hashlib
import json
import re
import types

import numpy as np
import pytest

from jaxskill import written
from jaxskill.assess import arguments, earlier, page, scoring
from jaxskill.assess.page import films, pairs
from jaxskill.assess.page.texts import TEXTS
from tests.assess.page import samples
from tests.assess.page.reading import Read, of_comparison, of_video

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_banners_and_the_sentence_stand_above_the_video(tmp_path, film):
  result = samples.answer(random_weights=True)
  read = of_video(tmp_path / "page", result, samples.material(film))
  places = [read.text.index(words) for words in ("RANDOM WEIGHTS", "SIMULATED", "UNLIKE THE TRAINING VIDEOS: it lasts",
                                                 "Above 70 % of the 30 training videos; rank score 0.75 ± 0.1",
                                                 TEXTS["moments"], TEXTS["no_device"])]
  assert places == sorted(places)
  read = of_video(tmp_path / "page", samples.answer(ranked=False, range=[0.5, 0.9]), samples.material(film))
  assert "score 0.75 ± 0.1 over 3 models, 90 % range 0.5 to 0.9" in read.text
  assert "90 % range: of a hundred new videos, 90 or more" in read.text
  read = of_video(tmp_path / "page", samples.answer(simulated=False, warnings=[]), samples.material(film))
  assert "SIMULATED" not in read.text and "UNLIKE" not in read.text


def test_moments_say_when_how_much_and_in_how_many_models(tmp_path, film):
  result = samples.answer()
  read = of_video(tmp_path / "page", result, samples.material(film))
  buttons = read.of("button", type="button")
  spans = [(float(one["data-from"]), float(one["data-to"])) for one in buttons if "data-from" in one]
  assert spans == [(one["start"], one["end"]) for one in result["moments"]]
  words = re.sub(r"\s+", " ", read.text)
  for one, found in zip(result["moments"], (2, 1)):
    assert f"{one['at']} {one['words']}: {100 * one['share']:.0f} % of the attention, in {found} of 3 models" in words
  assert f"{TEXTS['disputed']}: {result['moments'][1]['at']}" in words


@pytest.mark.parametrize("changed", [
    {}, dict(attention={}, moments=[]), dict(spread=None, models=[samples.answer()["models"][0]]),
    dict(zip(("segments", "moments"), samples.segments(8.0))),
    dict(references=[dict(video="r", score=80.0, models=2, seconds=[0.5, 1.5], segments=[], duration_s=2.0)],
         row_times=dict(start=[0.0, 4.0], end=[4.0, 8.0])),
    dict(distribution={"leaves": dict(places=[0.0, 1.0], probabilities=[0.25, 0.75])}, parts=dict(execution=3.0))])
def test_every_kind_of_answer_has_a_page(tmp_path, film, changed):
  read = of_video(tmp_path / "page", samples.answer(**changed), samples.material(film, maps=not changed))
  assert len(read.of("video")) == 1 and len(read.data["players"]) == 1
  for one in changed.get("segments", ()):
    assert f"{one['score']:.3g}, counts 25 %" in read.of("svg", **{"class": "segments"})[0]["aria-label"]
  if "distribution" in changed:
    assert [float(bar["height"]) for bar in read.of("rect") if "style" not in bar][-2:] == [pytest.approx(33.33), 100.0]


@pytest.mark.parametrize("make", ["video", "comparison", "index", "pairs"])
def test_hostile_names_stay_text(tmp_path, film, make):
  """Of videos, persons, references, runs and warnings; no element, attribute or script comes of them."""
  bad = samples.HOSTILE
  meanings = {name: dict(one, words=bad) for name, one in samples.MEANINGS.items()}       # heat maps bear them
  changed = dict(meanings=meanings, run=bad, trained_on=bad, system=bad, of=bad,
                 warnings=[bad, f"unlike the training videos: {bad}"],
                 references=[dict(video=bad, score=80.0, models=2, seconds=[0.5] * 16, segments=[], duration_s=2.0)])
  mild = lambda value: json.loads(json.dumps(value).replace(json.dumps(bad)[1:-1], "mild"))
  pages = []
  for turn, given in enumerate((changed, mild(changed))):
    name, folder = "mild" if turn else bad, tmp_path / f"page{turn}"
    if make == "comparison":
      pages.append(of_comparison(folder, film, better=name, worse=name))
    elif make == "pairs":                                                # its names stand in the data of the script
      folder.mkdir()
      answers = {f"{name}{number}": samples.answer(f"{name}{number}") for number in range(2)}
      pages.append(Read(pairs.write(folder, answers, dict.fromkeys(answers, film), 1, "link")[0]))
      assert {one["name"] for one in pages[-1].data["videos"]} == answers.keys()
    else:
      pages.append(of_video(folder, samples.answer(name, **given), samples.material(film, maps=True)))
    if make == "index":
      for number, date in enumerate(("2024-01-01", "2024-02-01", name)):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        page.of_video(written.Record(place), samples.answer(name, **given), samples.material(film), "none")
        (place / "assessment.json").write_text(json.dumps(samples.answer(name, **given) | dict(subject=name, date=date)))
      pages[-1] = Read(*page.of_folder(folder, "assessment.json", samples.answer(name, **given)))
  bad_page, mild_page = pages
  assert [name for name, _ in bad_page.elements] == [name for name, _ in mild_page.elements]
  assert [sorted(given) for _, given in bad_page.elements] == [sorted(given) for _, given in mild_page.elements]
  assert (bad in bad_page.text) != (make == "pairs") and "49" not in bad_page.text.replace("2049", "")
  code = lambda read: [text for (name, given), text in read.raw if "type" not in given]
  assert code(bad_page) == code(mild_page)
  assert "<" not in next(text for (_, given), text in bad_page.raw if given.get("type") == "application/json")


def test_screen_readers_meet_curves_and_names_and_no_chatter(tmp_path, film):
  """A slider hides what stands in it, so that it holds nothing; what changes with every picture is no live region."""
  parts, moments = samples.segments(8.0)
  read = of_video(tmp_path / "page", samples.answer(segments=parts, moments=moments), samples.material(film))
  within = re.search(r'<div [^>]*role="slider"[^>]*>(.*?)</div>', read.source, re.DOTALL)
  assert within[1] == "" and not read.of("output") and len(read.of("span", **{"class": "value"})) == 2
  path, _ = pairs.write(tmp_path, dict(a=samples.answer("a"), b=samples.answer("b")), dict(a=film, b=film), 1, "link")
  read = Read(path)
  names = [one["id"] for one in read.of("p") if one.get("class") == "name"]
  assert [one["aria-labelledby"] for one in read.of("video")] == names and len(set(names)) == 2


@pytest.mark.parametrize("make", [of_video, of_comparison])
def test_a_page_may_load_its_own_script_and_style_and_videos_alone(tmp_path, film, make):
  read = of_comparison(tmp_path / "page", film) if make is of_comparison else of_video(
      tmp_path / "page", samples.answer(), samples.material(film, maps=True))
  policy, = (one["content"] for one in read.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
  rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
  assert rules["default-src"] == "'none'" and rules["img-src"] == "data:" and "unsafe" not in policy
  code = [(name, text) for (name, given), text in read.raw if "type" not in given]
  assert [name for name, _ in code] == ["style", "script"]
  for (name, text), rule in zip(code, ("style-src", "script-src")):
    assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
  for name, given in read.elements:
    assert not [key for key in given if key == "style" or key.startswith("on")], name
    for key in ("src", "href"):
      assert re.match(r"data:|[\w.-]+$", given.get(key, "data:")), given


def test_texts_and_pages_of_the_user_stay(tmp_path, film):
  """Of one video, of a folder and of pairs; before anything is scored."""
  videos = [types.SimpleNamespace(name=name, file=film) for name in "ab"]
  folders = {name: tmp_path / name for name in "ab"}
  for name in ("index.html", "pairs.html", "pairs/0.mp4", "a/report.html", "b/curves.csv", "b/video.mp4"):
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("theirs")
    with pytest.raises(ValueError, match=f"{name} is there and was not written by jaxskill; it stays"):
      scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 3))
    scoring.check_pages(tmp_path, folders, videos, arguments.Pages())
    theirs.unlink()
  for _ in range(2):                                                    # what is ours is written anew
    of_video(tmp_path / "a", samples.answer(), samples.material(film))
    of_comparison(tmp_path / "a", film)
  scoring.check_pages(tmp_path, folders, videos, arguments.Pages(True, "link", 3))


def test_without_videos_nothing_of_an_earlier_page_shows_them(tmp_path, film):
  """Nor of the page of pairs; what is not ours stays."""
  videos = dict(a=samples.answer("a"), b=samples.answer("b"))
  pairs.write(tmp_path, videos, dict(a=film, b=film), 3, "copy")
  (tmp_path / "pairs" / "notes.txt").write_text("theirs")
  assert pairs.remove(tmp_path) == [] and not (tmp_path / pairs.NAME).exists()
  assert {path.name for path in (tmp_path / "pairs").iterdir()} == {"notes.txt"}
  pairs.write(tmp_path, videos, dict(a=film, b=film), 3, "link")
  film.unlink()
  assert films.place(film, written.Record(tmp_path / "pairs"), "0", "link") is None         # it has gone
  assert len(list((tmp_path / "pairs").glob("*.mp4"))) == 2
  left = pairs.remove(tmp_path)                                         # one name of the film stays
  assert len(left) == 1 and (tmp_path / "pairs" / left[0].rpartition("/")[2]).stat().st_nlink == 1
  assert "remove it yourself" in earlier.stay(left)


def test_skeletons_are_drawn_over_films_alone(tmp_path, film):
  """And only where the places of landmarks are known."""
  for number, (how, found) in enumerate((("link", samples.person(2.0)), ("link", None), ("none", samples.person(2.0)))):
    read = of_video(tmp_path / f"page{number}", samples.answer(), samples.material(film, maps=True, points=found), how)
    shown = number == 0
    assert bool(read.data["players"][0]["skeleton"]) == shown and len(read.of("input", **{"data-do": "skeleton"})) == shown
    assert [one["class"] for one in read.of("canvas")] == ["heat", "skeleton"][: 2 * (how == "link")][: 1 + shown]


def test_half_an_hour_with_25_curves_heat_maps_and_a_skeleton_is_small(tmp_path, film, monkeypatch):
  """1.4 MB without the maps, .83 of them the skeleton: 33 landmarks of 45,000 rows would be 9 MB."""
  monkeypatch.setattr(page.downloads, "curves_csv", lambda result: "")         # 87 MB beside the page
  result = samples.answer(duration=1800.0, rows=54_000, curves=23)
  person = samples.person(1800.0, fps=25)
  person.places[:] += np.random.default_rng(0).random(person.places.shape)
  maps = dict(places=np.random.default_rng(0).random((1800, 14, 14)))
  material = page.Material(film, [], maps, dict(places=np.arange(1800.0)), points=person)
  player = of_video(tmp_path / "page", result, material).data["players"][0]
  size = (tmp_path / "page" / page.NAME).stat().st_size
  skeleton, shown = len(player["skeleton"]["rows"]), sum(len(one["values"]) for one in player["maps"])
  assert skeleton == pytest.approx(0.83e6, rel=0.01)
  assert shown > 1e5 and size - skeleton < 2e6
  assert 1.3e6 < size - shown < 1.5e6


def test_two_videos_keep_step_by_their_alignment(tmp_path, film):
  aligned = [0.5 * at for at in range(16)]
  read = of_comparison(tmp_path / "page", film, aligned)
  assert [one["value"] for one in read.of("option") if one["value"] in TEXTS["sync_modes"]] == list(TEXTS["sync_modes"])
  steps = read.data["alignment"]
  assert steps["other"] == aligned and steps["better"][:2] == [0.25, 0.75] and len(read.data["players"]) == 2
  assert (tmp_path / "page" / "better.mp4").samefile(film) and (tmp_path / "page" / "other.mp4").samefile(film)
  assert "75 % probable that it is; of pairs like those that calibrated it" in read.text
  equal = of_comparison(tmp_path / "equal", film, equal=True)
  assert TEXTS["equal_scores"] in equal.text and "probable that it is" not in equal.text
  assert "+0.4, DISAGREES" in read.text and "one is better" in read.text
  read = of_comparison(tmp_path / "page", film)
  assert read.data["alignment"] is None and not [one for one in read.of("option") if one["value"] == "alignment"]
