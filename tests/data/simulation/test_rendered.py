"""Rendered performances: the files, their truth, and that nobody takes them for recordings."""

import csv
import json

import numpy as np
import pytest

from jaxskill.data.simulation import rendered, scene, scripts, simulated
from jaxskill.data.user import features
from jaxskill.data.video import decoding, timeline

pytest.importorskip("av")
SMALL = dict(seconds=8.0, size=(48, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  out = tmp_path_factory.mktemp("rendered") / "videos"
  rendered.main(["--out", str(out), "--videos", "8", "--seconds", "8", "--height", "48"])
  return out


def truths(folder):
  return {path.stem: json.loads(path.read_text()) for path in sorted((folder / "truth").iterdir())}


def test_files(folder):
  with open(folder / "scores.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  names = [f"sim0_{v:03d}" for v in range(8)]
  assert [row["video"] for row in rows] == names == list(truths(folder))
  assert sorted({row["split"] for row in rows}) == ["test", "train"]
  for row, truth in zip(rows, truths(folder).values()):
    assert float(row["score"]) == pytest.approx(truth["score"], abs=0.01)
    assert abs(truth["score"] - 100 * truth["skill"]) < 10
    length = timeline.read_timeline(folder / f"{row['video']}.mp4")
    assert length.seconds == pytest.approx(truth["seconds"], abs=0.01) and 4 <= length.seconds <= 8
  assert not list(folder.parent.glob(".*"))
  note = (folder / "SIMULATED.txt").read_text()
  assert "No person was filmed" in note and "--videos 8 --seconds 8" in note


def test_pictures_survive_the_file(folder):
  task = scripts.make_task(0, 6)
  skill = truths(folder)["sim0_002"]["skill"]
  share, script = scripts.draw_script(task, skill, 2, 2, 0, difficulty=0.5, seed=0)
  drawn = list(scene.draw(task, script, scene.make_plan(task, script, 8 * share, 10), 10, (48, 64), (0, 2)))
  read = [frame.image for frame in decoding.decode(folder / "sim0_002.mp4")]
  assert len(read) == len(drawn)
  apart = lambda a, b: np.abs(np.stack(a).astype(float) - np.stack(b)).mean()
  assert apart(read, drawn) < 6 and apart(drawn[1:], read[:-1]) > apart(read, drawn)


def test_truth_is_that_of_the_features(folder):
  """The films show what the features of the same seed show."""
  data = simulated.simulate(8, num_segments=4000, width=1, num_subjects=8, num_phases=6)
  for v, truth in enumerate(truths(folder).values()):
    assert truth["skill"] == pytest.approx(data.truth["skill"][v])
    seconds = (np.arange(4000) + 0.5) / 4000 * truth["seconds"]
    during = lambda intervals: sum(((seconds >= start) & (seconds < end) for start, end in intervals), 0 * seconds) > 0
    shows = lambda kind: during([(m["start"], m["end"]) for m in truth["moments"] if m[kind]])
    for name, shown in (("idle", during(truth["idle"])), ("relevant_high", shows("technique")),
                        ("relevant_low", shows("mistake"))):
      assert np.mean(shown != data.truth[name][v]) < 0.1, name        # up to half a frame at either end
    at = (np.array(truth["progress"]).size * (np.arange(4000) + 0.5) / 4000).astype(int)
    assert np.abs(np.array(truth["progress"])[at] - data.truth["progress"][v]).max() < 0.05


def test_same_seed_same_files(folder, tmp_path):
  rendered.write_videos(tmp_path / "again", 1, **SMALL)
  assert (tmp_path / "again" / "sim0_000.mp4").read_bytes() == (folder / "sim0_000.mp4").read_bytes()
  rendered.write_videos(tmp_path / "other", 1, seed=1, **SMALL)
  table = (tmp_path / "other" / "scores.csv").read_text()
  assert table.startswith("video,score,subject\nsim1_000,")          # one video is not split
  assert truths(tmp_path / "other")["sim1_000"]["moments"] != truths(folder)["sim0_000"]["moments"]


def test_words_of_the_truth(folder):
  moments = [moment for truth in truths(folder).values() for moment in truth["moments"]]
  assert {m["technique"] for m in moments} <= {"", *scene.TECHNIQUE}
  assert {m["mistake"] for m in moments} <= {"", *scene.MISTAKES}
  assert any(m["mistake"] for m in moments) and any(m["technique"] for m in moments)
  for moment in moments:
    assert moment["start"] < moment["end"]
    assert (moment["strength"] > 0) == bool(moment["technique"] or moment["mistake"])


def test_features_know_that_they_are_simulated(folder, tmp_path):
  (tmp_path / "scores.csv").write_text((folder / "scores.csv").read_text())
  for v in range(8):
    np.save(tmp_path / f"sim0_{v:03d}.npy", np.ones((3, 2), np.float32) * v)
  assert not features.load_features(tmp_path).simulated
  (tmp_path / "SIMULATED.txt").write_text((folder / "SIMULATED.txt").read_text())
  data = features.load_features(tmp_path)
  assert data.simulated and data.name.startswith("simulated ")


def test_refused(folder, tmp_path, capsys, monkeypatch):
  with pytest.raises(SystemExit):
    rendered.main(["--out", str(folder)])
  assert "is not empty, and simulated videos would mix with what is there" in capsys.readouterr().err
  for changes, message in ((dict(seconds=0.1), "seconds=0.1 at fps=10 is no video"),
                           (dict(size=(33, 64)), "must be two even numbers of at least 32"),
                           (dict(difficulty=2), "must lie in")):
    with pytest.raises(ValueError, match=message):
      rendered.write_videos(tmp_path / "out", 2, **changes)
  monkeypatch.setattr(scene, "draw", lambda *_: iter([np.zeros((2, 2, 3), np.uint8), 1 / 0]))
  with pytest.raises(ZeroDivisionError):
    rendered.write_videos(tmp_path / "out", 2)
  assert not list(tmp_path.iterdir())                               # nothing half-written
