"""Extraction as a pipeline: what a worker notes, an object store in place of a disk, and a worker that is killed."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from jaxskill import pretrained
from jaxskill.extract import beam, extraction, kinds, local, storage, worker
from tests.extract import pictures, slow_decoding
from tests.places import REPO

pytest.importorskip("av")
NO_BEAM = "Apache Beam is not installed: pip install 'jaxskill[beam]'"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  return slow_decoding.film(tmp_path_factory.mktemp("film") / "film.mp4", 0, 2)


@pytest.fixture
def decoded(monkeypatch):
  """Names of the videos that are decoded, as they are."""
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND)
  names, decode_one = [], extraction.decode_one

  def noted(path, video, *arguments):
    assert path.is_file()
    names.append(video)
    decode_one(path, video, *arguments)
  monkeypatch.setattr(extraction, "decode_one", noted)
  return names


def job(out):
  return worker.Job(pictures.config(), "random:0", kinds.Given(), dict(dtype="float32"), str(out))


@pytest.mark.parametrize("content", ["{", "[]", "5", "[" * 100_000, '{"about": {}}', '{"video": [1]}', '{"video": "b"}',
                                     '{"video": "b", "recipe": {}}', '{"video": "b", "recipe": {}, "about": 5}',
                                     '{"video": "b", "recipe": {}, "about": {}}', '{"video": "b", "recipe": {}, '
                                     '"failed": 1}', '{"video": "b", "recipe": {"a": 1}, "about": {"sha256": "2"}}'])
def test_damaged_notes_of_workers_do_not_count(tmp_path, content):
  (tmp_path / worker.PARTS).mkdir()
  for video, found in dict(a=dict(about=dict(sha256="1", rows=1)), c=dict(failed="why")).items():
    (tmp_path / worker.PARTS / f"{video}.json").write_text(json.dumps(dict(video=video, recipe={}, **found)))
  (tmp_path / worker.PARTS / "b.json").write_text(content)
  assert worker.gather_parts(str(tmp_path), {}) == (dict(a=dict(sha256="1", rows=1)), dict(c="why"))


def test_a_worker_says_what_failed(tmp_path, film, decoded):
  (tmp_path / "a.npy").mkdir()
  encode = pictures.encoders()
  found = worker.extract_one(("a", str(film), None), job(tmp_path), encode, None)
  assert found.keys() == {"failed"} and "Is a directory: a.npy" in found["failed"]
  about = worker.extract_one(("b", str(film), None), job(tmp_path), encode, None)["about"]
  assert about["rows"] == 2 == len(np.load(tmp_path / "b.npy")) and about["file"] == "film.mp4"
  gone = worker.extract_one(("c", str(tmp_path / "c.mp4"), None), job(tmp_path), encode, None)
  assert "cannot be read (No such file or directory)" in gone["failed"] and decoded == ["a", "b"]
  assert worker.gather_parts(str(tmp_path), job(tmp_path).recipe) == (
      dict(b=json.loads(json.dumps(about))), dict(a=found["failed"], c=gone["failed"]))


def test_a_bundle_that_is_given_out_again_makes_nothing_twice(tmp_path, film, decoded):
  copy = shutil.copyfile(film, tmp_path / "a.mp4")
  item, encode, out = ("a", str(copy), None), pictures.encoders(), tmp_path / "out"
  about = worker.extract_one(item, job(out), encode, None)["about"]
  written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
  assert worker.extract_one(item, job(out), encode, None)["about"] == about
  assert written == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} and len(written) == 2
  shutil.rmtree(out / worker.PARTS)
  assert worker.extract_one((*item[:2], about), job(out), encode, None)["about"] == about and decoded == ["a"]
  (out / "a.npy").unlink()
  worker.extract_one(item, job(out), encode, None)
  slow_decoding.film(copy, 1, 3)
  assert worker.extract_one((*item[:2], about), job(out), encode, None)["about"]["rows"] == 3
  assert decoded == ["a"] * 3 and len(np.load(out / "a.npy")) == 3


def test_workers_in_another_folder_find_the_files(tmp_path, film, monkeypatch):
  pytest.importorskip("apache_beam", reason=NO_BEAM)
  from jaxskill.extract import pipeline
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "weights.pt").touch()
  seen = []
  monkeypatch.setattr(pipeline, "run", lambda items, job, options: seen.append((items, job)))
  local.run(pictures.config(), str(film), "out", dict(static="weights.pt", rgb="random:0"), runner="beam",
            say=lambda _: None)
  (((_, address, _),), job_of_workers), = seen
  assert address == str(film) and job_of_workers.out == str(tmp_path / "out")
  assert job_of_workers.weights == dict(static=str(tmp_path / "weights.pt"), rgb="random:0")


def test_beam_is_named_where_it_is_missing(monkeypatch):
  monkeypatch.setattr(beam.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"needs Apache Beam, which is not installed: pip install 'jaxskill\[beam\]'"):
    beam.require()


def test_a_fault_of_one_video_is_its_own(tmp_path, film, decoded):
  """The notes of workers do not ask for long names; damaged ones and those of an older version are passed over."""
  pytest.importorskip("apache_beam", reason=NO_BEAM)
  out, long = tmp_path / "out", "l" * 251
  (out / "folder.npy").mkdir(parents=True)
  (out / worker.PARTS).mkdir()
  for name, content in (("damaged", "{"), ("old", '{"about": {}}')):
    (out / worker.PARTS / f"{name}.json").write_text(content)
  (tmp_path / "videos").mkdir()
  for name in ("a.mp4", f"{long}.ts", "folder.mp4"):
    shutil.copyfile(film, tmp_path / "videos" / name)
  (tmp_path / "videos" / "link.mp4").symlink_to("nowhere.mp4")
  note = local.run(pictures.config(), tmp_path / "videos", out, "random:0", runner="beam",
                   beam_options=pictures.IN_PROCESS, say=lambda _: None)
  assert note["videos"].keys() == {"a", long} and "Is a directory: folder.npy" in note["failed"]["folder"]
  assert "No such file" in note["failed"]["link"] and sorted(decoded) == ["a", "folder", long]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
  """(folder of the objects, run(**options) -> (note, what was said)) of videos and features in an object store."""
  pytest.importorskip("apache_beam", reason=NO_BEAM)
  from tests.extract import object_store
  monkeypatch.setenv(object_store.OBJECTS, str(tmp_path / "objects"))
  (tmp_path / "objects" / "videos" / "monday").mkdir(parents=True)

  def run(config=None, **options):
    said = []
    note = local.run(config or pictures.config(), "shelf://videos/", "shelf://out", "random:0", runner="beam",
                     beam_options=pictures.IN_PROCESS, say=said.append, **options)
    return note, said
  return tmp_path / "objects", run


def test_videos_and_features_in_an_object_store(shelf, film, decoded, tmp_path, monkeypatch):
  """Videos are on a disk while they are decoded, and only then; what is there is not made again."""
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
  (tmp_path / "scratch").mkdir()
  objects, run = shelf
  for name in ("a.mp4", "monday/b.mov", ".hidden.mp4", "notes.txt"):
    shutil.copyfile(film, objects / "videos" / name)
  (objects / "videos" / "SIMULATED.txt").write_text("drawn")
  note, said = run()
  assert list(note["videos"]) == ["a", "monday/b"] and sorted(decoded) == ["a", "monday/b"]
  assert note["left_out"] == dict.fromkeys(["SIMULATED.txt", "notes.txt"], storage.NO_ENDING)
  assert note == json.loads((objects / "out" / "extraction.json").read_text())
  assert note["videos"]["monday/b"]["file"] == "b.mov" and (objects / "out" / "SIMULATED.txt").read_text() == "drawn"
  np.testing.assert_array_equal(np.load(objects / "out" / "a.npy"), np.load(objects / "out" / "monday" / "b.npy"))
  assert not [path for path in (tmp_path / "scratch").rglob("*") if path.suffix in (".mp4", ".mov")]
  assert any(line.startswith("not locked: shelf://out") for line in said)
  (objects / "videos" / "a.mp4").rename(objects / "a.mp4")
  slow_decoding.film(objects / "videos" / "monday" / "b.mov", 1, 3)
  again, _ = run()
  assert decoded[2:] == ["monday/b"] and again["videos"]["a"] == note["videos"]["a"]
  one = "shelf://videos/monday/b.mov"
  assert storage.find_videos(one) == (dict(b=one), {})
  assert again["videos"]["monday/b"]["rows"] == 3 == len(np.load(objects / "out" / "monday" / "b.npy"))


def test_two_pipelines_into_one_object_store_lose_nothing(shelf, film, decoded):
  """The later one has not read what the other made; the next call has both."""
  objects, run = shelf
  shutil.copyfile(film, objects / "videos" / "a.mp4")
  note, _ = run()
  (objects / "out" / "extraction.json").write_text(json.dumps(note | dict(videos={})))
  (objects / "videos" / "a.mp4").rename(objects / "videos" / "b.mp4")
  assert list(run()[0]["videos"]) == ["a", "b"] == decoded


def test_what_is_refused_in_an_object_store(shelf, film, tmp_path):
  objects, run = shelf
  with pytest.raises(ValueError, match="shelf://videos: holds no video"):
    run()
  shutil.copyfile(film, objects / "videos" / "a.mp4")
  shutil.copyfile(film, objects / "videos" / "a.mkv")
  with pytest.raises(ValueError, match="shelf://videos: a.mkv and a.mp4 are two videos of one name"):
    run()
  (objects / "videos" / "a.mkv").unlink()
  with pytest.raises(ValueError, match="shelf://overlays: is written to a disk that all workers share"):
    run(overlay="shelf://overlays")
  with pytest.raises(ValueError, match="shelf://weights.pt: cannot be read .*No such file"):
    local.run(pictures.config(), "shelf://videos", "shelf://out", "shelf://weights.pt", runner="beam",
              beam_options=pictures.IN_PROCESS)
  with pytest.raises(ValueError, match="nowhere://videos"):
    local.run(pictures.config(), "nowhere://videos", str(tmp_path), "random:0", runner="beam",
              beam_options=pictures.IN_PROCESS)
  (objects / "out").mkdir()
  (objects / "out" / "a.npy").write_bytes(b"of others")
  with pytest.raises(ValueError, match="shelf://out/a.npy: is there already, and no extraction.json says"):
    run()
  (objects / "out" / "extraction.json").write_text("{")
  with pytest.raises(ValueError, match="shelf://out/extraction.json: is not what jaxskill.extract wrote"):
    run()


def test_weights_in_an_object_store(shelf, tmp_path, monkeypatch):
  """Each stream's file is fetched, under its own name, though several are called alike."""
  (objects, _), seen = shelf, {}
  for stream in ("rgb", "flow"):
    (objects / stream).mkdir()
    (objects / stream / "weights.pt").write_text(stream)
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND._replace(
      load=lambda config, weights: (seen.update(weights), pictures.load())[1]))
  weights = {stream: f"shelf://{stream}/weights.pt" for stream in ("rgb", "flow")} | dict(static="random:0")
  worker.Loaded(pictures.config(), weights, kinds.Given(), tmp_path)
  assert seen.pop("static") == "random:0"
  assert {stream: pathlib.Path(file).read_text() for stream, file in seen.items()} == dict(rgb="rgb", flow="flow")
  assert {pathlib.Path(file).name for file in seen.values()} == {"weights.pt"}


def test_what_is_not_whole_is_no_object(shelf):
  with pytest.raises(KeyboardInterrupt):
    with storage.writing("shelf://out", "a.npy") as file:
      file.write(b"half")
      raise KeyboardInterrupt
  assert not storage.exists("shelf://out", "a.npy") and storage.read("shelf://out", "a.npy") is None
  storage.write("shelf://out", "a.npy", b"whole")
  assert storage.read("shelf://out", "a.npy") == b"whole" and storage.names("shelf://out") == {"a.npy"}


def test_hints_for_the_machines_of_workers(monkeypatch):
  """They are of the step that needs an accelerator, and not of those that hand out names."""
  apache_beam = pytest.importorskip("apache_beam", reason=NO_BEAM)
  from jaxskill.extract import pipeline
  made, ended = [], types.SimpleNamespace(wait_until_finish=lambda: None)
  monkeypatch.setattr(apache_beam.Pipeline, "run", lambda made_up: made.append(made_up.to_runner_api()) or ended)
  pipeline.run([("a", "a.mp4", None)], job("out"), ["--accelerator=type:nvidia-l4;count:1", "--min_ram=16GB"])
  hints = {key: value for environment in made[0].components.environments.values()
           for key, value in environment.resource_hints.items()}
  assert hints == {"beam:resources:accelerator:v1": b"type:nvidia-l4;count:1",
                   "beam:resources:min_ram_bytes:v1": b"16000000000"}
  plain = [one for one in made[0].components.environments.values() if not one.resource_hints]
  assert plain


def test_workers_with_other_weights_say_so(tmp_path, monkeypatch):
  """Where every worker has its own disk, a path may mean another file."""
  pytest.importorskip("apache_beam", reason=NO_BEAM)
  from jaxskill.extract import pipeline
  monkeypatch.setattr(kinds, "VIDEO", pictures.KIND)
  other = job(tmp_path)._replace(recipe=dict(weights_sha256="1"))
  with pytest.raises(ValueError, match="on this worker they are other files"):
    pipeline.Extract(other).setup()


@pytest.mark.slow
def test_two_hundred_videos_and_a_worker_that_is_killed(shelf, tmp_path, monkeypatch):
  """Beam's DirectRunner waits for ever for such a worker, so its command is ended; the same command does the rest."""
  from tests.extract import object_store
  (objects, _), workers = shelf, tmp_path / "workers"
  names, parts = [f"v{number:03}" for number in range(200)], objects / "out" / worker.PARTS
  for number, name in enumerate(names):
    slow_decoding.film(objects / "videos" / f"{name}.mp4", number, 1, size=(32, 32), rate=8)
  for folder, variable in ((workers, object_store.WORKERS), (tmp_path / "scratch", "TMPDIR")):
    folder.mkdir()
    monkeypatch.setenv(variable, str(folder))
  monkeypatch.setenv(object_store.NAP, "0.02")
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]))
  with open(tmp_path / "log", "wb") as log:
    first = subprocess.Popen([sys.executable, "-c", "from tests.extract.object_store import main; main()"], cwd=REPO,
                             stderr=log, start_new_session=True)
  try:
    while len(list(parts.glob("*.json"))) < 30:
      assert first.poll() is None, (tmp_path / "log").read_text()
      time.sleep(0.01)
    os.kill(next(int(file.name) for file in workers.iterdir() if int(file.name) != first.pid), signal.SIGKILL)
    while b"Worker subprocess exited" not in (tmp_path / "log").read_bytes():
      assert first.poll() is None, (tmp_path / "log").read_text()
      time.sleep(0.01)
  finally:
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
  kept = {json.loads(part.read_text())["video"] for part in parts.glob("*.json")}
  before = done_by(workers)
  assert 30 <= len(kept) < 200
  monkeypatch.setattr(kinds, "VIDEO", object_store.KIND)
  note = object_store.main()
  assert list(note["videos"]) == names and not note["failed"]
  rows = {name: np.load(objects / "out" / f"{name}.npy").tobytes() for name in names}
  assert len(set(rows.values())) == 200 == len(list((objects / "out").glob("*.npy"))) == len(list(parts.glob("*.json")))
  for name in names:
    assert note["videos"][name]["sha256"] == pretrained.digest(objects / "videos" / f"{name}.mp4")
  after = [line for line in done_by(workers)[len(before):] if line != "load"]
  assert sorted({*before, *after} - {"load"}) == names and not kept & set(after) and len(after) == len(set(after))


def done_by(workers):
  """What the workers have done, in the order of the processes; each loads the networks once."""
  processes = sorted(workers.iterdir(), key=lambda file: file.stat().st_mtime_ns)
  lines = [file.read_text().splitlines() for file in processes]
  assert all(one.count("load") == 1 for one in lines)
  return [line.split()[0] for one in lines for line in one]
