"""What other versions of the software wrote is read, or refused in one line that says what to do."""

import json
import shutil

import numpy as np
import pytest

from jaxskill import files
from jaxskill.assess import scoring
from jaxskill.data.user import extraction_note
from jaxskill.training import checkpoints, finished_run, orbax_files
from tests.assess.own_videos import changed, trained

pytestmark = pytest.mark.usefixtures("quick_training")

STATE = dict(weights=np.arange(3.0))
SOURCE = dict(features=["a"], params_sha256="0")


def with_format(content, number):
  """The content of a file in another format; None is from before formats were numbered."""
  return {name: value for name, value in content.items() if name != "format"} | (
      {} if number is None else dict(format=number))


def rewrite(path, number):
  path.write_text(json.dumps(with_format(json.loads(path.read_text()), number)))


def extraction(folder, number):
  path = folder / "extraction.json"
  path.write_text(json.dumps(with_format(dict(recipe=dict(a=1), videos={}), number)))
  return extraction_note.read_extraction(folder)["recipe"] == dict(a=1)


def answer(folder, number):
  """assessment.json and comparison.json: one that is there is replaced by an answer to the same."""
  path = folder / "assessment.json"
  path.write_text(json.dumps(with_format(dict(made_from=SOURCE), number)))
  scoring.check_free(path, SOURCE)
  return True


def checkpoint(folder, number):
  _written_as(folder, number)
  return checkpoints.read(folder, 5)["weights"].tolist() == [0, 1, 2]


def resumed(folder, number):
  _written_as(folder, number)
  with checkpoints.Checkpoints(folder) as store:
    try:
      return store.restore(STATE)[0] == 5
    finally:
      assert not (folder / "damaged").exists()


def _written_as(folder, number):
  with checkpoints.Checkpoints(folder) as store:
    store.save(5, STATE)
    store.wait()
    record = with_format(orbax_files.read_record(store._manager, 5, folder), number)
  file = next(path for path in (folder / "5" / "record").iterdir() if path.is_file() and path.name == "metadata")
  file.write_text(json.dumps(record | dict(check=orbax_files._check(record))))


def _run_copy(folder):
  shutil.copytree(trained("pros_cons").workdir, folder / "run")
  return folder / "run"


def results(folder, number):
  run = _run_copy(folder)
  rewrite(run / "results.json", number)
  return finished_run.load(run).about["tested"] is True


def training_videos(folder, number):
  run = _run_copy(folder)
  changed(run, lambda about: with_format(about, number))
  return finished_run.load(run).about["tested"] is True


READERS = {
    extraction: "extraction.json: .*extract the features again into a new folder",
    answer: "assessment.json: .*give another --out, or remove its folder: pages and pictures there may show the video",
    checkpoint: "5: .*train again in a fresh --workdir",
    resumed: "5: .*train again in a fresh --workdir",
    results: "results.json: .*start the training command again, which writes it",
    training_videos: "training_videos.npz: .*start the training command again, which writes it",
}
REFUSED_OLD = (answer, training_videos, checkpoint, resumed)
NEWEST = {extraction: 2, answer: 4, checkpoint: 2, resumed: 2, results: 3, training_videos: 1}


@pytest.mark.parametrize("reader", READERS)
def test_present(tmp_path, reader):
  assert reader(tmp_path, NEWEST[reader])


@pytest.mark.parametrize("reader", READERS)
def test_older(tmp_path, reader):
  if reader in REFUSED_OLD:
    with pytest.raises(files.OtherFormat, match=rf"{READERS[reader]}\.$") as refused:
      reader(tmp_path, None)
    assert f"was written by an older jaxskill (format 0; this one reads {NEWEST[reader]})" in str(refused.value)
  else:
    assert reader(tmp_path, None)


@pytest.mark.parametrize("reader", READERS)
def test_newer(tmp_path, reader):
  with pytest.raises(files.OtherFormat, match=rf"{READERS[reader]}\.$") as refused:
    reader(tmp_path, 99)
  assert "was written by a newer jaxskill (format 99; this one reads" in str(refused.value)
  assert "update jaxskill, or" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("number", ["1", 1.5, True, None, [1]])
def test_a_format_that_is_no_integer(tmp_path, number):
  with pytest.raises(ValueError, match="its format is .*, expected an integer"):
    files.check_format(tmp_path, dict(format=number), 1, "")


def test_what_is_written_carries_its_format(tmp_path):
  run = trained("pros_cons")
  assert json.loads((run.workdir / "results.json").read_text())["format"] == 3
  video = run.dataset.folds[0].test_videos[0]
  results, _ = run.assess(run.save(video, tmp_path, "a"), out=tmp_path / "out")
  assert results["a"]["format"] == json.loads((tmp_path / "out" / "a" / "assessment.json").read_text())["format"] == 4
