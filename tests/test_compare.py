"""Two videos of one's own against one another: who is better, how sure that is, and what decides."""

import json
import pathlib

import jax
import numpy as np
import pytest

from jaxskill import assess, compare, methods
from jaxskill.assess import comparison, pictures
from jaxskill.report import explain
from jaxskill.training import finished_run
from tests.assess.own_videos import SYSTEMS, trained

pytestmark = pytest.mark.usefixtures("quick_answers")


def ask(run, *videos, out, **options):
  files = [run.save(video) for video in videos]
  said = []
  result = compare.run(run.workdir, out=out, features=files, labels=run.labels, **options, say=said.append)
  return result, "\n".join(said)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_better_one_by_hand(tmp_path, system):
  run = trained(system)
  first, second = run.dataset.folds[0].test_videos[:2]
  result, said = ask(run, first, second, out=tmp_path, html=True)
  names = [run.dataset.videos[v] for v in (first, second)]
  scores = np.array([[replica["scores"][name] for name in names] for replica in run.results["replicas"]])    # [R, 2]
  better, worse = np.argsort(-scores.mean(axis=0))
  gap = scores[:, better] - scores[:, worse]
  assert (result["better"], result["worse"]) == (names[better], names[worse])
  assert result["difference"] == pytest.approx(gap.mean(), abs=1e-4)
  assert (result["probability"] is None) == ("no probability: " in said) and result["probability_means"] in said
  assert result["better"] in said and "SIMULATED" in said
  folder, = tmp_path.iterdir()
  assert folder.name == "_vs_".join(names) and (folder / "comparison.png").stat().st_size > 8000
  assert json.loads((folder / "comparison.json").read_text())["better"] == result["better"]
  page = (folder / "report.html").read_text(encoding="utf-8")
  assert f">{comparison.headline(result).rpartition(': ')[2]}</p>" in page and ("by the alignment of" in page) == (system == "skilldiff")
  assert bool(result["direct"]) == (system in ("core", "skilldiff"))
  attention = [line["values"] for one in result["videos"] for name, line in one["attention"].items()
               if name.endswith(" attention")]
  stands_out = any(np.max(values) >= explain.STANDS_OUT * np.mean(values) for values in attention)
  assert bool(result["moments"]) == (stands_out or system in ("skilldiff", "spatial_attention"))
  assert ("none stands out" in said) or bool(result["moments"]) or not attention
  turned, _ = ask(run, second, first, out=tmp_path)
  assert turned["better"] == result["better"] and turned["difference"] == pytest.approx(result["difference"], abs=1e-5)


def test_the_difference_among_those_of_training_pairs(tmp_path, blank_pictures):
  run = trained("pros_cons")
  fold = run.dataset.folds[0]
  ask_scores = np.load(run.workdir / "training_videos.npz")["score"]                       # [R, U]
  result, _ = ask(run, *fold.test_videos[:2], out=tmp_path)
  expected = []
  for index, replica in enumerate(run.results["replicas"]):
    gap = abs(replica["scores"][result["better"]] - replica["scores"][result["worse"]])
    apart = [abs(a - b) for i, a in enumerate(ask_scores[index]) for b in ask_scores[index][:i]]
    expected.append(100 * np.mean([other < gap for other in apart]))
  assert result["larger_than_training_pairs"] == pytest.approx(np.mean(expected), abs=0.5)
  scores = [one["parts"] for one in result["videos"]]
  assert result["parts"]["high"] == pytest.approx(scores[0]["high"] - scores[1]["high"])


def test_core_compares_directly(tmp_path, blank_pictures):
  """As the regression tree says it of the features, by hand."""
  run = trained("core")
  videos = run.dataset.folds[0].test_videos[:2]
  result, _ = ask(run, *videos, out=tmp_path)
  order = [run.dataset.videos.index(result[side]) for side in ("better", "worse")]
  loaded = finished_run.load(run.workdir)
  method, gaps = methods.build(loaded.config), []
  for index, replica in enumerate(run.results["replicas"]):
    variables = jax.tree.map(lambda x: x[index], jax.device_get(loaded.state.variables()))
    host = dict(rgb=run.dataset.streams["rgb"][order], lengths=dict(rgb=run.dataset.lengths["rgb"][order]))
    encoded = method.encode(variables, host, None, False)
    scores, hard = [replica["scores"][run.dataset.videos[v]] for v in order], run.dataset.difficulty[order]
    against = lambda video, other: float(method.assess(variables, encoded[video], dict(
        encodings=encoded[other][None], score=np.float32([scores[other] / hard[other]]), mask=np.ones(1, bool),
        own_difficulty=hard[video])).score) - scores[other]
    gaps.append((against(0, 1) - against(1, 0)) / 2)
  assert result["direct"]["difference"] == pytest.approx(np.mean(gaps), rel=1e-4, abs=1e-3)
  assert result["direct"]["agrees"] == (np.mean(gaps) > 0)


def test_skilldiff_compares_what_shows_the_same(tmp_path, blank_pictures):
  run = trained("skilldiff")
  result, said = ask(run, *run.dataset.folds[0].test_videos[:2], out=tmp_path)
  better, worse = result["videos"]
  aligned = np.array(result["direct"]["alignment"])
  assert len(aligned) == len(better["curves"]["timing offset"]["values"])
  assert ((aligned > 0) & (aligned < worse["duration_s"])).all()
  ends, scores = ([segment[key] for segment in worse["segments"]] for key in ("end", "score"))
  for moment in result["moments"]:
    matching = next(segment for segment in better["segments"] if segment["start"] == moment["start"])
    start = np.array(better["curves"]["timing offset"]["start"])
    seen = aligned[(start >= matching["start"] - 1e-6) & (start < matching["end"] - 1e-6)]
    other = np.mean([next(score for end, score in zip(ends, scores) if at < end) for at in seen])
    assert moment["difference"] == pytest.approx(matching["score"] - other) and moment["other_start"] == seen.min()
  weights = [abs(one["difference"]) * one["importance"] for one in result["moments"]]
  assert weights == sorted(weights, reverse=True) and "against" in said


def test_a_piece_of_the_longer_video_is_aligned(tmp_path, blank_pictures):
  """A clip begins later and ends earlier than the video that it was cut from; the run has a band, too narrow for it."""
  run = trained("skilldiff")
  video = run.dataset.folds[0].test_videos[0]
  rows = run.dataset.lengths["rgb"][video]
  first, last = rows // 3, rows // 3 + rows // 2
  clip = run.save(video, tmp_path, "clip", rgb=run.dataset.streams["rgb"][video, first:last])
  ask_again = lambda **options: compare.run(
      run.workdir, features=[run.save(video), clip], labels=run.labels, category=run.dataset.category[video],
      difficulty=run.dataset.difficulty[video], say=lambda line: None, **options)
  result = ask_again(out=tmp_path / "free", free_ends=True)
  direct = result["direct"]
  assert direct["how"].endswith("a piece of the longer one aligned")
  second, middles = run.dataset.row_seconds["rgb"][video], np.arange(last - first) + 0.5
  if result["better"] == "clip":
    true, found = (middles + first) * second, np.array(direct["alignment"])
  else:
    true, found = middles * second, np.array(direct["alignment"])[first:last]
    assert len(direct["alignment"]) == rows
  assert np.abs(found - true).max() < 0.5 * second
  with pytest.raises(ValueError, match="answers for another video"):
    ask_again(out=tmp_path / "free")


@pytest.mark.parametrize("ask_it, system, message", [
    (compare.run, "core", "--free-ends: the method of this run aligns no videos in time"),
    (assess.run, "skilldiff", "--free-ends is of jaxskill.compare")])
def test_free_ends_are_of_methods_that_align_two_videos(ask_it, system, message):
  with pytest.raises(ValueError, match=message):
    ask_it(trained(system).workdir, features=["a.npy", "b.npy"], free_ends=True, say=lambda line: None)


def test_without_videos_nothing_shows_them(tmp_path, blank_pictures):
  """Nor what an earlier command wrote; no folder of the user's is named."""
  run = trained("pros_cons")
  pictures_of = np.full((2, 8, 8, 3), 99, np.uint8)
  given = [run.save(video, tmp_path, frames=pictures_of) for video in run.dataset.folds[0].test_videos[:2]]
  ask_again = lambda **options: compare.run(run.workdir, features=given, labels=run.labels, out=tmp_path / "out",
                                            **options, say=lambda line: None)
  assert ask_again(html=True)["videos"][0]["file"].startswith(str(tmp_path))
  folder, = (tmp_path / "out").iterdir()
  assert "data:image/jpeg" in (folder / "report.html").read_text()
  result = ask_again(html=True, films="none")
  assert "data:image/jpeg" not in (folder / "report.html").read_text() and result["failed"] == {}
  assert {one["file"] for one in result["videos"]} == {path.name for path in given}
  assert str(tmp_path) not in (folder / "comparison.json").read_text()
  ask_again(films="none")
  assert {path.name for path in folder.glob("[!.]*")} == {"comparison.json", "comparison.png"}


def test_one_model_knows_no_certainty(tmp_path, blank_pictures):
  run = trained("pros_cons")
  result, said = ask(run, *run.dataset.folds[0].test_videos[:2], out=tmp_path, seed=0)
  assert result["spread"] is None and "one model, so nothing is known" in said


def test_a_video_and_its_copy_score_the_same(tmp_path, blank_pictures):
  run = trained("pros_cons")
  test = run.dataset.folds[0].test_videos[0]
  files = [run.save(test, tmp_path, name) for name in "ab"]
  said = []
  result = compare.run(run.workdir, out=tmp_path / "out", features=files, say=said.append)
  assert result["equal"] and result["difference"] == 0 and result["probability"] in (None, 0.5)
  assert "probable that it is" not in "".join(said)
  assert "  neither is more likely to be the better one; " in comparison.describe(result | dict(probability=0.5))


def test_the_first_line_says_what_must_be_known(tmp_path, blank_pictures):
  run = trained("pros_cons")
  result, said = ask(run, *run.dataset.folds[0].test_videos[:2], out=tmp_path)
  count = len(run.dataset.folds[0].train_videos)
  first = said.splitlines()[0]
  assert first.startswith(f"SIMULATED DATA, ONLY {count} TRAINING VIDEOS, ONLY 2 MODELS: {result['better']} is better ")
  assert "in rank score, no unit" in first and f"{result['agreeing']} of 2 models agree" in first
  assert result["cautions"] == ["SIMULATED DATA", f"ONLY {count} TRAINING VIDEOS", "ONLY 2 MODELS"]
  assert f"of the {count * (count - 1) // 2} differences between the {count} training videos" in said


@pytest.mark.parametrize("models,agreeing,words", [
    (3, 2, "a is better than b (by 1 in score); 2 of 3 models agree"),
    (4, 2, "a may be better than b (by 1 in score); only 2 of 4 models agree"),
    (1, 1, "a is better than b (by 1 in score); one model, so nothing is known of its certainty")])
def test_the_headline_is_as_sure_as_the_models(monkeypatch, models, agreeing, words):
  monkeypatch.setattr(comparison.wording, "cautions", lambda *_: [])
  assert comparison.headline(dict(better="a", worse="b", equal=False, models=models, agreeing=agreeing, spread=None,
                               difference=1.0, ranked=False, videos=[])) == words


def test_names_of_videos_are_text(tmp_path):
  run = trained("pros_cons")
  first, second = run.dataset.folds[0].test_videos[:2]
  names = ["$\\frac{1}{$\n\x1b[31m", "y" * 250]
  files = [run.save(video, tmp_path, name) for video, name in zip((first, second), names)]
  said = []
  result = compare.run(run.workdir, out=tmp_path / "out", features=files, say=said.append)
  folder, = (tmp_path / "out").iterdir()
  assert {result["better"], result["worse"]} == set(names) and "\x1b" not in "".join(said)
  assert len(folder.name.encode()) <= 255 and (folder / "comparison.png").stat().st_size > 8000


def test_a_picture_that_fails_costs_no_answer(tmp_path, monkeypatch):
  run = trained("pros_cons")

  def fails(*_):
    raise RuntimeError("cannot draw")
  monkeypatch.setattr(pictures, "draw_comparison", fails)
  result, said = ask(run, *run.dataset.folds[0].test_videos[:2], out=tmp_path)
  folder, = tmp_path.iterdir()
  assert json.loads((folder / "comparison.json").read_text())["better"] == result["better"]
  assert result["pictures"] == [] and "the picture cannot be drawn (RuntimeError: cannot draw)" in said


@pytest.mark.parametrize("drawn", [True, False])
def test_the_command_line(tmp_path, monkeypatch, capsys, drawn, blank_pictures):
  """Status 1 where the answer is there and its picture is not."""
  run = trained("pros_cons")
  files = [run.save(video) for video in run.dataset.folds[0].test_videos[:2]]
  if not drawn:
    monkeypatch.setattr(pictures, "draw_comparison", lambda *_: 1 / 0)
  with pytest.raises(SystemExit) as ended:
    compare.main(["--workdir", str(run.workdir), "--features", *map(str, files), "--out", str(tmp_path)])
  assert ended.value.code == (0 if drawn else 1)
  said = capsys.readouterr().out
  assert "better than" in said and ("failed: the picture" in said) != drawn
  folder, = tmp_path.iterdir()
  assert {path.name for path in folder.glob("[!.]*")} == {"comparison.json"} | ({"comparison.png"} if drawn else set())


def test_what_decides_between_two_is_what_is_shown():
  moments = [dict(start=2.0, end=4.0, other_start=5.0, other_end=6.0, difference=1.0),
             dict(start=0.0, end=2.0, other_start=0.0, other_end=1.0, difference=-0.5)]
  videos = [dict(duration_s=9.0, moments=[]), dict(duration_s=8.0, moments=[])]
  first, second = comparison.keys(dict(moments=moments, videos=videos))
  assert [key["at"] for key in first] == [1.0, 3.0] and [list(key["sides"]) for key in first] == [[-1], [1]]
  assert [key["at"] for key in second] == [0.5, 5.5] and [list(key["sides"]) for key in second] == [[1], [-1]]


def test_parts_are_compared_by_the_times_of_uneven_rows():
  part = lambda start, end, score: dict(start=start, end=end, score=score, importance=0.5)
  better = dict(segments=[part(0.0, 5.0, 0.5), part(5.0, 9.0, 0.9)], duration_s=9.0, row_times=dict(start=[0.0, 1.0, 5.0, 6.0]))
  worse = dict(segments=[part(0.0, 4.0, 0.1), part(4.0, 8.0, 0.7)])
  found = comparison.decided([better, worse], dict(alignment=[0.0, 1.0, 5.0, 7.0]))
  assert [(one["other_start"], one["other_end"]) for one in sorted(found, key=lambda one: one["start"])] == [(0.0, 1.0), (5.0, 7.0)]


def test_rows_that_are_aligned_one_to_one_stand_at_their_middles():
  """The last row too, and rows of known times beyond a gap."""
  video = finished_run.NewVideo("v", pathlib.Path("v"), dict(rgb=np.zeros((6, 1))), dict(rgb=10.0), {}, None, {}, [])
  middles = np.arange(6) + 0.5
  np.testing.assert_allclose(comparison.at_places(middles, video, "rgb"), [5, 15, 25, 35, 45, 55])
  video.row_times["rgb"] = np.array([0.0, 10, 20, 70, 80, 90])
  np.testing.assert_allclose(comparison.at_places(middles, video, "rgb"), [5, 15, 45, 75, 85, 95])
  np.testing.assert_allclose(comparison.at_places(np.array([0.0, 6.0]), video, "rgb"), [0, 100])


def test_refused(tmp_path, blank_pictures):
  run = trained("pros_cons")
  test = run.dataset.folds[0].test_videos
  with pytest.raises(ValueError, match="two videos are compared, but .* is 1; give two"):
    ask(run, test[0], out=tmp_path)
  with pytest.raises(ValueError, match="is 3; give two"):
    ask(run, *test[:3], out=tmp_path)
  np.savez(tmp_path / "bad.npz", rgb=np.ones((3, 4), np.float32))
  with pytest.raises(ValueError, match="bad: a row of stream 'rgb' is of shape"):
    compare.run(run.workdir, out=tmp_path, features=[run.save(test[0]), tmp_path / "bad.npz"], say=print)
  ask(run, *test[:2], out=tmp_path)
  with pytest.raises(ValueError, match="comparison.json is there and answers for another"):
    ask(run, *test[:2], out=tmp_path, seed=0)
