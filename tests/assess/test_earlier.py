"""What earlier answers show of videos: what goes, what stays and is told, made up without a run."""

import json
import types

from jaxskill import written
from jaxskill.assess import arguments, earlier

VIDEO = types.SimpleNamespace(name="a", digest="f" * 64)


def answered(folder, *shows, shown="everything", names=("a",), features=(VIDEO.digest,), noted=True):
  """Writes an answer about videos of these names and features, and files beside it that a record notes or does not."""
  folder.mkdir(parents=True)
  about = [dict(video=name) for name in names]
  content = dict(videos=about) if len(about) > 1 else about[0]
  name = earlier.COMPARISON if len(about) > 1 else earlier.ASSESSMENT
  (folder / name).write_text(json.dumps(content | dict(shown=shown, made_from=dict(features=features))))
  for show in shows:
    if noted:
      written.Record(folder).write_text(show, "of an earlier answer")
    else:
      (folder / show).write_text("of an earlier answer")
  return folder


def forget(tmp_path, failed=(), shown="nothing"):
  """Returns what `earlier.forget` does of one video, and what it says."""
  said = []
  faults = earlier.forget(tmp_path / "out", tmp_path / "run", [VIDEO], failed, shown, (), said.append)
  return faults, "\n".join(said)


def test_what_no_record_notes_stays_and_is_told(tmp_path):
  """Of answers before there were records; beside one whose files all went."""
  old = answered(tmp_path / "out" / "old", "report.html", "video.mp4", "frames.PNG", "curves.csv", noted=False)
  new = answered(tmp_path / "out" / "new", "report.html", "video.mp4")
  faults, said = forget(tmp_path)
  (what, why), = faults.items()
  assert what == f"earlier files in {old}" and str(new) in said and str(old) not in said
  assert all(str(old / name) in why for name in ("report.html", "video.mp4", "frames.PNG")) and "curves.csv" not in why
  assert not list(new.glob("*.[!j]*"))


def test_a_page_that_others_changed_is_told_once(tmp_path):
  folder = answered(tmp_path / "out" / "a", "report.html")
  (folder / "report.html").write_text("notes of a coach")
  faults, said = forget(tmp_path)
  assert list(faults) == [f"earlier files in {folder}"] and not said


def test_answers_from_other_features_of_a_video_are_found_by_its_name(tmp_path):
  """A person is corrected, and features are made again."""
  both = answered(tmp_path / "out" / "a_vs_b", "report.html", names=("a", "b"), features=("1" * 64, "2" * 64))
  others = answered(tmp_path / "out" / "c_vs_b", "report.html", names=("c", "b"), features=("3" * 64, "2" * 64))
  faults, said = forget(tmp_path)
  assert not faults and str(both) in said and not (both / "report.html").exists() and (others / "report.html").exists()


def test_answers_that_show_the_faces_of_others_show_more(tmp_path):
  """Made without the detector; with it, all faces that are found are blurred."""
  one, all_blurred = (arguments.Pages(blur_faces=True).shown(others) for others in (False, True))
  folders = [answered(tmp_path / "out" / f"{number}", "report.html", shown=shown)
             for number, shown in enumerate(("nothing", all_blurred, one, "everything"))]
  for shown, left in ((one, 3), (all_blurred, 2), ("nothing", 1)):
    forget(tmp_path, shown=shown)
    assert [(folder / "report.html").exists() for folder in folders] == [number < left for number in range(4)]


def test_pages_of_pairs_go_from_folders_below(tmp_path):
  """Where another command was told to write."""
  out = tmp_path / "out"
  for folder in (out, out / "monday"):
    (folder / "pairs").mkdir(parents=True)
    written.Record(folder).write_text("pairs.html", "a page of pairs")
    written.Record(folder / "pairs").write_text("0.mp4", "a film")
  faults, said = forget(tmp_path)
  assert not faults and {path.name for path in out.rglob("*")} == {"monday"}
  assert "removed pages of pairs" in said and said.endswith(f": {out / 'pairs.html'}, {out / 'monday' / 'pairs.html'}")


def test_pages_of_pairs_that_no_record_notes_are_told(tmp_path):
  """With their films; a folder of that name without a page is another's."""
  out = tmp_path / "out"
  (out / "pairs").mkdir(parents=True)
  (out / "pairs" / "0.mp4").write_text("a film")
  assert forget(tmp_path) == ({}, "")
  (out / "pairs.html").write_text("a page")
  faults, said = forget(tmp_path)
  assert not said
  (why,) = faults.values()
  assert str(out / "pairs.html") in why and str(out / "pairs" / "0.mp4") in why
