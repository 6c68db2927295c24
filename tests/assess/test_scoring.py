"""Videos of one's own against a finished run: what it says of them, from features and from files, what is refused."""

import json
import re
import shutil

import numpy as np
import pytest

from jaxskill import assess, compare
from jaxskill.assess import __main__ as command_line
from jaxskill.assess import page, pictures
from jaxskill.report import explain
from jaxskill.training import batches, checkpoints, finished_run, similarity
from tests.assess.own_videos import SYSTEMS, changed, trained

pytestmark = pytest.mark.usefixtures("quick_answers")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_test_video_gets_the_score_of_the_results(tmp_path, system):
  """And what explains it, in seconds, and pictures; whoever else is assessed with it."""
  run = trained(system)
  test = run.dataset.folds[0].test_videos[:2]
  results, failed = run.assess(*(run.save(v) for v in test), out=tmp_path, html=True)
  assert not failed and set(results) == {run.dataset.videos[v] for v in test}
  for video, result in results.items():
    expected = [replica["scores"][video] for replica in run.results["replicas"]]
    np.testing.assert_allclose([model["score"] for model in result["models"]], expected, rtol=1e-5, atol=1e-6)
    assert result["score"] == pytest.approx(np.mean(expected))
    assert result["spread"] == pytest.approx(np.std(expected, ddof=1), rel=1e-4)
    assert result["simulated"] and not any(warning.startswith("this is") for warning in result["warnings"])
    folder = tmp_path / video
    assert json.loads((folder / "assessment.json").read_text())["score"] == result["score"]
    assert result["pictures"] and all((folder / name).stat().st_size > 5000 for name in result["pictures"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f">{moment['at']}<" in page and 0 <= moment["models"] <= 2 for moment in result["moments"])
    assert f"{video}/report.html" in (tmp_path / "index.html").read_text(encoding="utf-8")
    for line in (result["attention"] | result["curves"]).values():
      assert len(line["start"]) == len(line["end"]) == len(line["values"]) and line["start"] < line["end"]
  alone, _ = run.assess(run.folder / f"{run.dataset.videos[test[-1]]}.npz", out=tmp_path / "alone")
  one = alone[run.dataset.videos[test[-1]]]
  np.testing.assert_allclose(one["score"], results[one["video"]]["score"], rtol=1e-5, atol=1e-6)
  what = {"pros_cons": "attention", "action_net": "attention", "core": "distribution", "skilldiff": "segments",
          "spatial_attention": "maps"}[system]
  assert one[what]


def test_files_of_the_user_stay_and_nothing_is_scored(tmp_path, blank_pictures):
  run = trained("pros_cons")
  files = [run.save(video) for video in run.dataset.folds[0].test_videos[:2]]
  (tmp_path / "index.html").write_text("theirs")
  with pytest.raises(ValueError, match="index.html is there and was not written by jaxskill; it stays"):
    run.assess(*files, out=tmp_path, html=True)
  assert {path.name for path in tmp_path.iterdir()} == {"index.html"}
  run.assess(*files, out=tmp_path)
  (tmp_path / "index.html").unlink()
  for _ in range(2):
    results, failed = run.assess(*files, out=tmp_path, html=True)       # what is ours is written anew
    assert not failed and all(result["pictures"] for result in results.values())


def test_pages_that_fail_cost_no_answer(tmp_path, monkeypatch, blank_pictures):
  """They are told, with status 1, and the index is of the run that was asked."""
  run = trained("pros_cons")
  files = [run.save(video) for video in run.dataset.folds[0].test_videos[:2]]
  said = []

  def fails(*_):
    raise ValueError("no page")
  monkeypatch.setattr(page, "of_video", fails)
  results, failed = assess.run(run.workdir, features=files, labels=run.labels, out=tmp_path, html=True, pairs_to_label=2,
                               say=said.append)
  assert len(results) == 2 and failed == {f"page of {name}": "no page" for name in results} | {
      "pairs.html": "--pairs-to-label: of 2 videos, 0 can be shown; give two video files."}
  assert not (tmp_path / "index.html").exists() and said[-1].startswith("wrote ") and "report.html" not in said[-1]
  monkeypatch.setattr(page, "of_comparison", fails)
  result = compare.run(run.workdir, features=files, labels=run.labels, out=tmp_path, html=True, say=said.append)
  assert result["failed"] == dict(page="cannot be written: no page")
  assert "failed: the page cannot be written: no page" in said and "better" in said[-3]


def test_segments_and_alignments_of_uneven_rows(tmp_path, blank_pictures):
  """They stand at the times of their rows, beyond a gap too, and the video lasts to the end of its last row."""
  run = trained("skilldiff")
  test = run.dataset.folds[0].test_videos[:2]
  category = run.dataset.category[test[0]]
  files, times = [], {}
  for name, video in zip("ab", test):
    rows = int(run.dataset.lengths["rgb"][video])
    times[name] = np.where(np.arange(rows) < rows // 2, 0, 50) + 2.0 * np.arange(rows)
    files.append(run.save(video, tmp_path, name, times=times[name]))
  ask = dict(features=files, category=category, out=tmp_path / "out", html=True, say=lambda line: None)
  results, failed = assess.run(run.workdir, **ask)
  assert not failed
  for name, one in results.items():
    edges = [*times[name], times[name][-1] + 2]
    assert one["row_times"] == dict(start=edges[:-1], end=edges[1:]) and one["duration_s"] == edges[-1]
    assert {part[side] for part in one["segments"] for side in ("start", "end")} <= set(edges)
    assert (one["segments"][0]["start"], one["segments"][-1]["end"]) == (0.0, edges[-1])
  found = compare.run(run.workdir, **ask)
  aligned, other = np.array(found["direct"]["alignment"]), times[found["worse"]]
  assert len(aligned) == len(times[found["better"]]) and (aligned > len(other) * 2).any() and aligned.max() <= other[-1] + 1


def test_the_percentile_is_by_hand(tmp_path, blank_pictures):
  run = trained("pros_cons")
  train_videos, video = run.dataset.folds[0].train_videos, run.dataset.folds[0].test_videos[0]
  training = [run.save(v) for v in train_videos]
  results, _ = run.assess(*training, run.save(video), out=tmp_path)
  model = lambda name, index: results[run.dataset.videos[name]]["models"][index]
  expected = []
  for index in range(2):
    below = sum(model(v, index)["score"] < model(video, index)["score"] for v in train_videos)
    expected.append(100 * below / len(train_videos))
    assert model(video, index)["percentile"] == pytest.approx(expected[-1])
  assert results[run.dataset.videos[video]]["percentile"] == pytest.approx(np.mean(expected))
  assert explain.percentile(2.0, [1.0, 2.0, 3.0, 2.0]) == 50.0 and explain.percentile(0.0, [1.0, 2.0]) == 0.0
  name = run.dataset.videos[train_videos[0]]
  assert any(warning.startswith(f"this is '{name}', which the run was trained on") for warning in results[name]["warnings"])


def test_a_training_video_is_not_compared_with_itself(tmp_path, blank_pictures):
  """Whatever it is called: the best one would otherwise be its own reference."""
  run = trained("skilldiff")
  fold, group = run.dataset.folds[0].train_videos, run.dataset.category
  same = fold[group[fold] == group[fold[0]]]
  best = same[np.argmax(run.dataset.score[same])]
  name = run.dataset.videos[best]
  path = run.save(best, tmp_path, name="renamed")
  results, _ = run.assess(path, out=tmp_path / "out", category=group[best])
  assert name not in [one["video"] for one in results["renamed"]["references"]]
  other = run.save(run.dataset.folds[0].test_videos[0], tmp_path, name="other")
  results, _ = run.assess(other, out=tmp_path / "out", category=group[best])
  references = results["other"]["references"]
  assert name in [one["video"] for one in references]
  count = min(5, len(same))
  ranked = {run.dataset.videos[v] for v in same[np.argsort(-run.dataset.score[same])][:count]}
  assert {one["video"] for one in references} == ranked and len(references[0]["seconds"]) == len(
      results["other"]["curves"]["timing offset"]["values"])


def test_a_video_beyond_the_band_is_refused(tmp_path):
  """Not aligned in a band that was widened in silence."""
  run = trained("skilldiff")
  rows = run.dataset.streams["rgb"][0, :6]
  path = run.save(0, tmp_path, name="long", rgb=np.concatenate([rows] * 4))
  results, failed = run.assess(path, out=tmp_path / "out", category=run.dataset.category[0])
  assert not results and re.search(r"has 24 rows and one that it is compared with \d+, farther apart than config.model.bandwidth=7 "
                                   "rows can align; widen the band", failed["long"])


def test_what_is_unlike_the_training_videos_is_said(tmp_path, blank_pictures):
  run = trained("pros_cons")
  test = run.dataset.folds[0].test_videos[0]
  rows = run.dataset.streams["rgb"][test, : run.dataset.lengths["rgb"][test]]
  files = [run.save(test, tmp_path, "as it is"), run.save(test, tmp_path, "shifted", rgb=rows + 10),
           run.save(test, tmp_path, "long", rgb=np.concatenate([rows] * 4))]
  results, _ = run.assess(*files, out=tmp_path / "out")
  unlike = {name: [w for w in result["warnings"] if w.startswith("unlike")] for name, result in results.items()}
  assert "its features 'rgb' lie" in unlike["shifted"][0] and not any("features" in w for w in unlike["as it is"])
  assert len(unlike["long"]) == 1 and "it lasts" in unlike["long"][0]


def test_distances_of_training_videos_leave_each_out():
  rng = np.random.default_rng(0)
  videos = [rng.normal(size=(n, 3)) + rng.normal(size=3) for n in (4, 6, 5)]
  known = similarity.of_training([batches.channel_sums(rows) for rows in videos])
  for number, rows in enumerate(videos):
    others = np.concatenate([other for i, other in enumerate(videos) if i != number])
    mean, scale = others.mean(axis=0), others.std(axis=0)
    expected = np.sqrt(np.mean(((rows.mean(axis=0) - mean) / scale) ** 2 + ((rows.std(axis=0) - scale) / scale) ** 2))
    assert known["distance"][number] == pytest.approx(expected)
  assert similarity.limit(np.arange(200.0)) == 198 and similarity.limit(np.arange(9.0)) == 8


def test_names_of_videos_are_text(tmp_path):
  """In the answers, their pictures, on the terminal and as folders; whatever one is called, the others are answered."""
  run = trained("pros_cons")
  test = run.dataset.folds[0].test_videos
  names = ["$\\frac{1}{$", "\x1b[31mred\x1b[0m", "two\nlines", "\u202egnp", "x" * 250, "..", "con", "[1]*?", "50 %_^"]
  for name in names:
    run.save(test[0], tmp_path, name)
  said, out = [], tmp_path / "deep" / "out"
  results, failed = assess.run(run.workdir, out=out, features=[tmp_path], say=said.append)
  assert not failed and set(results) == set(names)
  assert all(text.replace("\n", "").isprintable() for text in said) and "failed" not in "".join(said)
  answers = sorted(out.rglob("assessment.json"))
  assert {json.loads(path.read_text())["video"] for path in answers} == set(names)
  for path in answers:
    assert all((path.parent / name).stat().st_size > 5000 for name in json.loads(path.read_text())["pictures"])
  assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
  assert len({path.parent.name.casefold() for path in answers}) == len(names)


def test_a_picture_that_fails_costs_no_answer(tmp_path, monkeypatch):
  run = trained("pros_cons")
  files = [run.save(v) for v in run.dataset.folds[0].test_videos[:2]]
  draw = pictures.draw

  def fails_once(folder, video, *rest):
    if video.name == files[0].stem:
      raise RuntimeError("cannot draw\n\x1b[31m")
    return draw(folder, video, *rest)
  monkeypatch.setattr(pictures, "draw", fails_once)
  said = []
  results, failed = assess.run(run.workdir, out=tmp_path, features=files, say=said.append)
  assert set(results) == {path.stem for path in files} and results[files[1].stem]["pictures"]
  assert list(failed) == [f"pictures of {files[0].stem}"] and results[files[0].stem]["pictures"] == []
  answer = json.loads((tmp_path / files[0].stem / "assessment.json").read_text())
  assert answer["score"] == results[files[0].stem]["score"]
  line, = [text for text in said if text.startswith("failed: ")]
  assert line.isprintable() and "cannot draw" in line
  with pytest.raises(SystemExit, match="1"):
    command_line.main(["--workdir", str(run.workdir), "--features", *map(str, files), "--out", str(tmp_path)])


def test_the_first_line_says_what_must_be_known(tmp_path, blank_pictures):
  run = trained("pros_cons")
  longest = max(run.dataset.folds[0].test_videos, key=lambda video: run.dataset.lengths["rgb"][video])
  path, said = run.save(longest), []
  results, _ = assess.run(run.workdir, out=tmp_path / "out", features=[path], say=said.append)
  answer = next(text for text in said if text.startswith(path.stem)).splitlines()
  count = len(run.dataset.folds[0].train_videos)
  assert answer[0] == f"{path.stem}: SIMULATED DATA, ONLY {count} TRAINING VIDEOS, ONLY 2 MODELS"
  score = next(number for number, line in enumerate(answer) if "rank score" in line)
  warnings = [number for number, line in enumerate(answer) if line.startswith("  warning: ")]
  assert len(warnings) == len(results[path.stem]["warnings"]) and all(number < score for number in warnings)
  assert re.match(rf"  above \d+( to \d+)? of {count} training videos; rank score .* \(no unit\)", answer[score])
  words = {"moments that speak for skill", "moments that speak against skill"}
  assert {line.strip().partition(":")[0] for line in answer[score + 1:]} == words
  assert {one["words"] for one in results[path.stem]["moments"]} <= words


def test_a_run_without_a_test_side_says_so(tmp_path, blank_pictures):
  run = trained("pros_cons")
  copy = tmp_path / "run"
  shutil.copytree(run.workdir, copy)
  results = json.loads((copy / "results.json").read_text())
  path = run.save(run.dataset.folds[0].test_videos[0])
  for tested, words in ((False, "NOT TESTED: this model was trained on all videos"), (True, None), ("missing", None),
                        (None, "NOT TESTED as far as is known")):
    (copy / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != "tested"} | (
        {} if tested == "missing" else dict(tested=tested))))
    if tested is None:
      (copy / "results.json").unlink()
      changed(copy, lambda about: {k: v for k, v in about.items() if k != "tested"})
    said = []
    answers, _ = assess.run(copy, out=tmp_path / "out", features=[path], say=said.append)
    line = next(text for text in said if text.startswith(path.stem)).splitlines()[0]
    assert answers[path.stem]["tested"] == (None if tested is None else tested in (True, "missing"))
    assert (words in line) if words else ("NOT TESTED" not in line)


def test_models_can_be_chosen(tmp_path, blank_pictures):
  run = trained("pros_cons")
  path = run.save(run.dataset.folds[0].test_videos[0])
  results, _ = run.assess(path, out=tmp_path, seed=1)
  result = results[path.stem]
  assert result["score"] == pytest.approx(run.results["replicas"][1]["scores"][path.stem], abs=1e-6)
  assert result["spread"] is None and result["of"] == "one model (folds simulated; seeds 1)"
  with pytest.raises(ValueError, match="--seed=5: no model of the run is of this seed; there are 0, 1"):
    run.assess(path, out=tmp_path, seed=5)


def test_an_answer_is_replaced_by_the_same_alone(tmp_path, blank_pictures):
  run = trained("pros_cons")
  first, second = run.dataset.folds[0].test_videos[:2]
  run.assess(run.save(first, tmp_path, "a"), out=tmp_path / "out")
  before = (tmp_path / "out" / "a" / "assessment.json").read_text()
  run.assess(tmp_path / "a.npz", out=tmp_path / "out")
  assert (tmp_path / "out" / "a" / "assessment.json").read_text() == before
  run.save(second, tmp_path, "a")
  with pytest.raises(ValueError, match="assessment.json is there and answers for another video"):
    run.assess(tmp_path / "a.npz", out=tmp_path / "out")
  assert (tmp_path / "out" / "a" / "assessment.json").read_text() == before


def test_an_answer_of_the_version_before_is_not_renewed(tmp_path, blank_pictures):
  """What it wrote beside it is in no record: it says so, and what to do."""
  run = trained("pros_cons")
  file = run.save(run.dataset.folds[0].test_videos[0], tmp_path, "a")
  run.assess(file, out=tmp_path / "out")
  path = tmp_path / "out" / "a" / "assessment.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | dict(format=3)))
  for films in ("link", "none"):
    with pytest.raises(ValueError, match=r"older jaxskill \(format 3; this one reads 4\); give another --out, or remove "
                       "its folder: pages and pictures there may show the video"):
      run.assess(file, out=tmp_path / "out", films=films)


def test_files_that_cannot_be_assessed_cost_themselves(tmp_path):
  run = trained("action_net")
  test = run.dataset.folds[0].test_videos[0]
  arrays = {name: values[test, : run.dataset.lengths[name][test]] for name, values in run.dataset.streams.items()}
  run.save(test, tmp_path, "good")
  run.save(test, tmp_path, "wide", static=np.ones((9, 5), np.float32))
  run.save(test, tmp_path, "short", rgb=arrays["rgb"][:3])
  run.save(test, tmp_path, "broken", rgb=np.full_like(arrays["rgb"], np.nan))
  np.savez(tmp_path / "lacking.npz", rgb=arrays["rgb"], other=arrays["rgb"])
  np.save(tmp_path / "single.npy", arrays["rgb"])
  (tmp_path / "none.npz").write_bytes(b"no numbers")
  results, failed = run.assess(tmp_path, out=tmp_path / "out")
  assert set(results) == {"good"}
  for name, message in dict(wide="a row of stream 'static' is of shape [5], those that the run was trained on of [6]",
                            short="fewer than config.model.windows.rgb=5", broken="NaN or infinite",
                            lacking="there is no stream 'static', only rgb, other", none="cannot be read",
                            single="there is no stream 'rgb', only the only array").items():
    assert message in failed[name], failed[name]


def test_groups_of_comparison_must_be_said(tmp_path, blank_pictures):
  run = trained("core")
  video = run.dataset.folds[0].test_videos[0]
  bare = lambda **options: assess.run(run.workdir, out=tmp_path, features=[run.save(video)], **options,
                                      say=lambda line: None)
  name = run.dataset.videos[video]
  assert "the run compares videos of one difficulty only: say which with --difficulty" in bare()[1][name]
  assert "there is no training video of difficulty 9.9" in bare(difficulty=9.9)[1][name]
  results, failed = bare(category=run.dataset.category[video], difficulty=run.dataset.difficulty[video])
  assert not failed
  expected = [v for v in run.dataset.folds[0].train_videos if run.dataset.category[v] == run.dataset.category[video]]
  used = {one["video"] for one in results[run.dataset.videos[video]]["references"]}
  assert used == {run.dataset.videos[v] for v in expected}


def test_folders_that_are_no_finished_run(tmp_path):
  run = trained("pros_cons")
  refused = lambda folder, message: pytest.raises(ValueError, match=message)
  with refused(tmp_path, "is not the folder of a run, it has no config.json"):
    finished_run.load(tmp_path)
  copy = tmp_path / "copy"
  shutil.copytree(run.workdir, copy)
  (copy / finished_run.FILE).unlink()
  with refused(copy, r"this run is not finished \(its last checkpoint is of step \d+\); start the command that trained it"):
    finished_run.load(copy)
  with refused(tmp_path, "It holds runs: copy"):
    finished_run.load(tmp_path)
  shutil.copy(trained("core").workdir / finished_run.FILE, copy)
  with refused(copy, "checkpoint of step|other parameters"):
    finished_run.load(copy)
  (copy / finished_run.FILE).write_bytes(b"")
  with refused(copy, "cannot be read"):
    finished_run.load(copy)
  with refused(copy, "give video files, or --features"):
    assess.run(run.workdir, out=tmp_path / "out")
  (tmp_path / "file").touch()
  with refused(copy, "cannot be written"):
    assess.run(run.workdir, out=tmp_path / "file", features=[tmp_path])
  with refused(copy, "how the features of this run .* were made is not known: give --extractor"):
    assess.run(run.workdir, out=tmp_path / "out", videos=[__file__])
  with refused(copy, "two videos of one name"):
    assess.run(run.workdir, out=tmp_path / "out", videos=["a/x.mp4", "b/x.mkv"])


def test_a_checkpoint_read_without_a_template(tmp_path):
  run = trained("pros_cons")
  step = run.results["steps"]
  leaves = checkpoints.read(run.workdir / "checkpoints", step)
  assert int(leaves["step"]) == step and any(name.startswith("params/ranking") for name in leaves)
  with pytest.raises(ValueError, match="has no checkpoint of step 999"):
    checkpoints.read(run.workdir / "checkpoints", 999)
  shutil.copytree(run.workdir / "checkpoints", tmp_path / "checkpoints")
  for path in (tmp_path / "checkpoints" / str(step)).rglob("*"):
    if path.is_file() and "d/" in path.as_posix() and path.stat().st_size > 500:
      path.write_bytes(path.read_bytes()[:-40] + bytes(40))
  with pytest.raises(ValueError, match="is damaged"):
    checkpoints.read(tmp_path / "checkpoints", step)


def test_training_videos_without_a_score_do_not_count(tmp_path, blank_pictures):
  """One that is alone of its category is compared with nothing, and has none."""
  run = trained("core")
  loaded = finished_run.load(run.workdir)
  known = np.isfinite(loaded.arrays["score"]) & loaded.arrays["trained"]
  test = run.dataset.folds[0].test_videos[0]
  results, _ = run.assess(run.save(test), out=tmp_path)
  result = results[run.dataset.videos[test]]
  for index, model in enumerate(result["models"]):
    others = loaded.arrays["score"][index][known[index]]
    assert model["percentile"] == pytest.approx(100 * np.mean(others < model["score"]))
  assert result["training_videos"] == known.sum(axis=1).min() < len(run.dataset.folds[0].train_videos)
