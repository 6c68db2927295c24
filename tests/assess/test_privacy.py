"""What answers show where nothing of a video, or no face, may be shown: films, pages, pictures, of earlier ones too."""

import json

import numpy as np
import pytest

from jaxskill import assess, compare, written
from jaxskill.assess import faces, page, pictures, scoring
from jaxskill.training import finished_run
from tests.assess.own_videos import trained
from tests.assess.page import samples

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")


def test_without_videos_nothing_shows_them(tmp_path):
  """Nor what an earlier command wrote; what others changed since is told. No folder of the user's is named."""
  run = trained("pros_cons")
  file = run.save(run.dataset.folds[0].test_videos[0], frames=np.full((2, 8, 8, 3), 99, np.uint8))
  name = file.stem
  listed = lambda: {path.name for path in (tmp_path / name).glob("[!.]*")}
  results, _ = run.assess(file, out=tmp_path, html=True)
  assert "data:image/jpeg" in (tmp_path / name / "report.html").read_text() and results[name]["file"] == str(file)
  results, failed = run.assess(file, out=tmp_path, html=True, films="none")
  assert not failed and "data:image/jpeg" not in (tmp_path / name / "report.html").read_text()
  assert (results[name]["file"], results[name]["run"]) == (file.name, run.workdir.name)
  assert str(tmp_path) not in (tmp_path / name / "assessment.json").read_text()
  run.assess(file, out=tmp_path, html=True)
  run.assess(file, out=tmp_path, films="none")
  assert listed() == {"assessment.json", "attention.png"}
  run.assess(file, out=tmp_path, html=True)
  (tmp_path / name / "report.html").write_text("notes of a coach")
  _, failed = run.assess(file, out=tmp_path, films="none")
  assert list(failed) == [f"earlier files of {name}"] and "report.html" in failed[f"earlier files of {name}"]
  assert listed() == {"assessment.json", "attention.png", "report.html"}
  (tmp_path / name / "report.html").rename(tmp_path / name / "video.mp4")          # which nothing notes
  _, failed = run.assess(file, out=tmp_path, films="none")
  assert list(failed) == [f"earlier files of {name}"] and "video.mp4" in failed[f"earlier files of {name}"]


def test_without_videos_nothing_of_other_answers_shows_them(tmp_path):
  """Comparisons, under another name, and of a video that cannot be read any more; answers about others keep theirs."""
  run = trained("pros_cons")
  test, frames = run.dataset.folds[0].test_videos[:3], np.full((2, 8, 8, 3), 99, np.uint8)
  a, b, c = (run.save(video, tmp_path, name, frames=frames) for video, name in zip(test, "abc"))
  ask = dict(labels=run.labels, out=tmp_path / "out", say=lambda line: None)
  shown = lambda: {page.parent.name for page in (tmp_path / "out").rglob("*") if page.suffix in (".html", ".png")}
  for pair in ((a, b), (b, c)):
    compare.run(run.workdir, features=pair, **ask, html=True)
  assess.run(run.workdir, features=[a, b, c], **ask, html=True)
  renamed = a.rename(tmp_path / "d.npz")
  record = written.Record(tmp_path / "out")
  record.write_text("pairs.html", "a page of pairs")
  compared, = (path.name for path in (tmp_path / "out").iterdir() if set(path.name.split("_vs_")) == set("ab"))
  other, = (path.name for path in (tmp_path / "out").iterdir() if set(path.name.split("_vs_")) == set("bc"))
  assert shown() == {"out", "a", "b", "c", compared, other}
  _, failed = assess.run(run.workdir, features=[renamed], **ask, films="none")
  assert not failed and shown() == {"out", "b", "c", "d", other} and not (tmp_path / "out" / "pairs.html").exists()
  c.write_bytes(b"broken")
  _, failed = assess.run(run.workdir, features=[c], **ask, films="none")
  assert list(failed) == ["c"] and shown() == {"out", "b", "d"}
  assert (tmp_path / "out" / other / "comparison.json").exists()
  assess.run(run.workdir, features=[renamed], **ask, films="none", html=True)
  compare.run(run.workdir, features=[renamed, b], **ask, films="none")
  assert not (tmp_path / "out" / "b" / "report.html").exists()
  assert (tmp_path / "out" / "d" / "report.html").exists()              # it shows nothing of it


def test_faces_are_blurred_in_all_that_is_written(tmp_path):
  """Films, pictures, key frames and pairs; what an earlier command showed goes, and a video without places fails."""
  pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
  run, notes, given = trained("pros_cons"), {}, []
  for video in run.dataset.folds[0].test_videos[:3]:
    name, rows = run.dataset.videos[video], int(run.dataset.lengths["rgb"][video])
    film = samples.film(tmp_path / f"{name}.mp4", rows / 10, size=(120, 160))
    person = samples.person(rows / 10, size=(160, 120)) if len(given) < 2 else None
    given.append(run.save(video, tmp_path, **samples.beside(person) if person else {}))
    notes[name] = dict(row_seconds=0.1, file=str(film))
  (tmp_path / "extraction.json").write_text(json.dumps(dict(format=2, recipe={}, videos=notes)))
  ask = dict(features=given, labels=run.labels, out=tmp_path / "out", html=True, pairs_to_label=1)
  assess.run(run.workdir, **ask, say=lambda line: None)
  names, asked, said = list(notes), [], []
  stale = tmp_path / "out" / names[0] / "frames.png"
  with written.Record(stale.parent).writing(stale.name) as path:
    path.write_bytes(b"of an earlier answer")
  hidden = faces.Faces.hidden
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(faces.Faces, "hidden", lambda self, image, time: asked.append(image.shape) or hidden(self, image, time))
    results, failed = assess.run(run.workdir, **ask, blur_faces=True, say=said.append)
  assert list(failed) == names[2:] and "--blur-faces: nothing says where its face is" in failed[names[2]]
  assert list(results) == names[:2] and any("give --weights" in line for line in said) and not stale.exists()
  pictures_of = sum(run.dataset.lengths["rgb"][video] for video in run.dataset.folds[0].test_videos[:2])
  heights = [height for height, *_ in asked]
  assert heights.count(120) == 2 * pictures_of and heights.count(pictures.HEIGHT) == len(asked) - 2 * pictures_of > 8
  for name in names[:2]:
    assert (tmp_path / f"{name}.mp4").stat().st_nlink == 1               # no link to it is left
    assert page.TEXTS["blurred_one"] in (tmp_path / "out" / name / page.NAME).read_text()
    assert results[name]["file"] == f"{name}.mp4" and str(tmp_path) not in (tmp_path / "out" / name / scoring.NAME).read_text()
  result = compare.run(run.workdir, **ask | dict(features=given[:2], pairs_to_label=0), blur_faces=True, say=said.append)
  assert not result["failed"] and (tmp_path / f"{names[0]}.mp4").stat().st_nlink == 1
  compared = tmp_path / "out" / f"{names[0]}_vs_{names[1]}"
  assert (result["shown"], (compared / page.NAME).exists()) == ("one blurred face", True)
  source = []
  with pytest.MonkeyPatch.context() as patch:                           # with --weights, others are looked for
    patch.setattr(scoring.networks, "Networks", lambda path, names: source.append((path, names)))
    patch.setattr(faces, "of_video", lambda film, features, digest, detector: faces.Faces(
        scoring.points.read(features), np.zeros((0, 4))))
    assess.run(run.workdir, **ask | dict(features=given[:1], pairs_to_label=0), blur_faces=True, weights="wheel",
               say=said.append)
    assert not (compared / page.NAME).exists()                          # it shows the faces of others
    for weights in ("wheel", dict(pose="wheel")):
      result = compare.run(run.workdir, **ask | dict(features=given[:2], pairs_to_label=0), blur_faces=True, weights=weights,
                           say=said.append)
  assert source == 3 * [("wheel", ("pose_detection",))] and not result["failed"]
  paged, = (path.read_text() for path in (tmp_path / "out").glob("*_vs_*/report.html"))
  assert page.TEXTS["blurred"] in paged and page.TEXTS["blurred_one"] not in paged
  with pytest.raises(ValueError, match="nothing says where its face is"):
    compare.run(run.workdir, **ask | dict(features=given[1:], pairs_to_label=0), blur_faces=True, say=said.append)


@pytest.mark.parametrize("ask, count, made", [(assess.run, 1, "of_video"), (compare.run, 2, "of_comparison")])
def test_a_command_that_is_stopped_shows_nothing_of_earlier_answers(tmp_path, monkeypatch, ask, count, made):
  """While it makes the page: the answer says by then that it shows nothing."""
  run = trained("pros_cons")
  given = dict(features=[run.save(video) for video in run.dataset.folds[0].test_videos[:count]], labels=run.labels,
               out=tmp_path, html=True, say=lambda line: None)
  ask(run.workdir, **given)
  before, = tmp_path.glob(f"*/{page.NAME}")

  def stopped(*_):
    raise KeyboardInterrupt
  monkeypatch.setattr(page, made, stopped)
  with pytest.raises(KeyboardInterrupt):
    ask(run.workdir, **given, films="none")
  told, = before.parent.glob("[!.]*.json")
  assert json.loads(told.read_text())["shown"] == "nothing" and not before.exists()


@pytest.mark.parametrize("ask", [assess.run, compare.run])
def test_frames_with_faces_that_nothing_blurs_are_not_kept(tmp_path, monkeypatch, ask):
  """Of a run on frames: it is refused before a picture is decoded."""
  pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
  run = trained("pros_cons")
  loaded = finished_run.load(run.workdir)
  frames = dict(extraction=dict(frames=dict(count=16, size=(32, 32))))
  monkeypatch.setattr(finished_run, "load", lambda *_: loaded._replace(about=loaded.about | frames))
  film = samples.film(tmp_path / "film.mp4", 2.0)
  with pytest.raises(ValueError, match="--blur-faces: this run is on frames.*give --videos none"):
    ask(run.workdir, [film], out=tmp_path / "out", blur_faces=True, say=lambda line: None)
  assert not list((tmp_path / "out").rglob("*.npy"))
