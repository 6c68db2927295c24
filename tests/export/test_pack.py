"""A run as one file: the same answers, no training video and no name in it, and what is damaged is refused."""

import io
import json
import zipfile

import numpy as np
import pytest

from jaxskill import assess, export
from jaxskill.export import pack
from jaxskill.training import finished_run, packs
from tests.assess.own_videos import trained

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")

NUMBERS = ("score", "spread", "percentile", "range", "level", "unit", "attention", "curves", "segments", "moments", "parts",
           "training_videos", "tested", "warnings", "guarantee", "duration_s")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
  """packed(system) -> the pack of a run, written once."""
  folder = tmp_path_factory.mktemp("packs")

  def make(system):
    file = folder / f"{system}.jaxskill"
    return file if file.exists() else export.run(trained(system).workdir, file, say=print)[0]
  return make


@pytest.mark.parametrize("system", ["pros_cons", "core", "skilldiff"])
def test_a_pack_answers_as_the_run_bit_for_bit(tmp_path, system, packed):
  """A video that was trained on is known again, by its number; nothing is written into the pack, or beside it."""
  run, file = trained(system), packed(system)
  before, beside = file.read_bytes(), set(file.parent.iterdir())
  train, test = run.dataset.folds[0].train_videos[0], run.dataset.folds[0].test_videos[0]
  ask = dict(features=[run.save(train), run.save(test)], labels=run.labels, films="none", say=lambda line: None)
  there, failed = assess.run(run.workdir, out=tmp_path / "run", **ask)
  here, failed_here = assess.run(file, out=tmp_path / "pack", **ask)
  assert not failed and not failed_here and set(here) == set(there)
  known, place = run.dataset.videos[train], str(1 + list(run.dataset.folds[0].train_videos).index(train))
  for video, expected in there.items():
    told = json.loads(json.dumps({name: expected[name] for name in NUMBERS}).replace(f"'{known}'", f"'{place}'"))
    assert {name: here[video][name] for name in NUMBERS} == told
    assert [one["score"] for one in here[video]["models"]] == [one["score"] for one in expected["models"]]
    references = [[one["score"] for one in answer.get("references", [])] for answer in (here[video], expected)]
    assert references[0] == references[1]
  assert any(line.startswith(f"this is '{place}', which the run was trained on") for line in here[known]["warnings"])
  assert file.read_bytes() == before and set(file.parent.iterdir()) == beside


@pytest.mark.parametrize("system", ["core", "skilldiff"])
def test_no_video_and_no_name_is_in_it(system, packed):
  run = trained(system)
  with zipfile.ZipFile(packed(system)) as file:
    members = {name: file.read(name) for name in file.namelist()}
  everything = b"".join(members.values())
  assert {name.partition("_")[0] for name in members} == {"manifest.json", "config.json", "results.json", "training", "parameters"}
  for secret in (*run.dataset.videos, str(run.workdir)):
    assert secret.encode() not in everything and secret.encode("utf-32-le") not in everything, secret
  rows = {np.ascontiguousarray(run.dataset.streams["rgb"][v][0]).tobytes() for v in range(run.dataset.num_videos)}
  assert not any(row in everything for row in rows)
  with np.load(io.BytesIO(members["training_videos.npz"])) as arrays:
    assert set(arrays["videos"]) == {str(number) for number in range(1, 1 + len(arrays["videos"]))}
    assert set(arrays["bank/videos"].ravel()) <= {*arrays["videos"], pack.UNKNOWN}
    about = json.loads(arrays["about"].item())
    assert set(about["segments"]) <= set(arrays["videos"].tolist())
  assert {replica["fold"] for replica in about["replicas"]} == {"1"}


def test_folds_that_are_named_after_people_and_folders_have_no_names(tmp_path):
  run = finished_run.load(trained("core").workdir)
  about = run.about | dict(replicas=[one | dict(fold="Ann") for one in run.about["replicas"]],
                           extraction=dict(weights="/home/ann/rgb.pt", detector="C:\\ann\\persons.onnx", width=8))
  told = json.loads(pack.numbered(run._replace(about=about))["about"].item())
  told_rows = pack.without_names(dict(a=dict(by_fold=dict(Ann=1), better_is=dict(Ann=2), mean=0.5, undefined="in fold Ann")))
  assert told_rows == dict(a=dict(better_is={1: 2}, mean=0.5))
  protocol = pack._with_numbers(dict(folds=[dict(name="Ann", test=3)], all_folds=["Ann", "Bob"], draws=5), {"Ann": "1"})
  assert protocol == dict(folds=[dict(name="1", test=3)], all_folds=["1", pack.UNKNOWN], draws=5)
  assert "nn" not in json.dumps(told["replicas"]) and told["replicas"][0]["fold"] == "1"
  assert told["extraction"] == dict(weights="rgb.pt", detector="persons.onnx", width=8)
  assert pack.without_folders(dict(dir="ann/videos", rows=(1, "../b"))) == dict(dir="", rows=[1, "../b"])
  places = dict(init_from="runs/ann/a.pth", weights="~/ann/b.pt", place="gs://ann/c.pt", rate="^backbone/", loss=dict(weights={}))
  assert pack.without_folders(places) == places | dict(init_from="a.pth", weights="b.pt", place="c.pt")


def test_the_same_run_makes_the_same_bytes(tmp_path, packed):
  again, _ = export.run(trained("core").workdir, tmp_path / "again.jaxskill", say=print)
  assert again.read_bytes() == packed("core").read_bytes()
  with pytest.raises(ValueError, match="core.jaxskill: is a pack already; copy it"):
    export.run(packed("core"), tmp_path / "more.jaxskill")


def test_both_checkpoints_are_in_it_and_other_formats_are_made_of_it(tmp_path, packed):
  for checkpoint in ("last", "validation"):
    run = finished_run.load(packed("core"), checkpoint)
    assert run.checkpoint == finished_run.load(trained("core").workdir, checkpoint).checkpoint and run.tested
  pytest.importorskip("safetensors")
  file, _, card = export.run(packed("core"), tmp_path / "one.safetensors", model=0)
  of_run, _, card_of_run = export.run(trained("core").workdir, tmp_path / "other.safetensors", model=0)
  assert file.read_bytes() == of_run.read_bytes() and "baseline: duration only" in card.read_text()


def rewritten(source, target, change):
  """Writes a pack again, {name: content} changed, with the manifest of before."""
  with zipfile.ZipFile(source) as file:
    members = {name: file.read(name) for name in file.namelist()}
  with zipfile.ZipFile(target, "w") as file:
    for name, content in change(members).items():
      file.writestr(name, content)
  return target


def test_a_damaged_pack_is_refused_in_a_line(tmp_path, packed):
  source, target = packed("core"), tmp_path / "bad.jaxskill"
  content = source.read_bytes()
  at = content.index(b'"method"')                    # within config.json, whose check sum would tell too
  changed = {
      "File is not a zip file": b"no zip", "is not a zip|Bad|not a zip": content[: len(content) // 2],
      "config.json": content[:at] + b"X" + content[at + 1:]}
  for why, bad in changed.items():
    target.write_bytes(bad)
    with pytest.raises(ValueError, match=rf"bad.jaxskill: is no pack of a finished run, or is damaged \(.*({why})") as told:
      finished_run.load(target)
    assert "\n" not in str(told.value)
  other = lambda members: members | {"config.json": members["config.json"].replace(b"core", b"Core")}
  without = lambda members: {name: one for name, one in members.items() if name != "training_videos.npz"}
  for change, why in ((other, "config.json differs from its digest"), (without, "training_videos.npz"),
                      (lambda members: {"manifest.json": b"[]"}, "'list' object has no")):
    with pytest.raises(ValueError, match=rf"is damaged \(.*{why}"):
      finished_run.load(rewritten(source, target, change))
  newer = lambda members: members | {packs.MANIFEST: members[packs.MANIFEST].replace(b'"format": 1', b'"format": 2')}
  with pytest.raises(ValueError, match="was written by a newer jaxskill .*update jaxskill"):
    finished_run.load(rewritten(source, target, newer))
  with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr(packs.MANIFEST, "{}")
  with pytest.raises(ValueError, match="it is compressed, which a pack never is"):
    finished_run.load(target)


def test_what_is_wrong_within_is_told_of_the_file_that_was_given(tmp_path, packed):
  packs.write(tmp_path / "empty.jaxskill", {"config.json": b"{}"})
  with pytest.raises(ValueError, match="empty.jaxskill/config.json: cannot be read .it has no method"):
    finished_run.load(tmp_path / "empty.jaxskill")
  with zipfile.ZipFile(packed("core")) as file:
    members = {name: file.read(name) for name in file.namelist() if name != packs.MANIFEST}
  without = {name: pack._arrays(dict(step=np.ones(1))) for name in members if name.startswith("parameters")}
  packs.write(tmp_path / "other.jaxskill", members | without)
  with pytest.raises(ValueError, match="other.jaxskill/training_videos.npz: is of other parameters than the checkpoint"):
    finished_run.load(tmp_path / "other.jaxskill")


def test_a_member_leads_to_no_other_folder(tmp_path):
  """A name that is no plain one is not read, and so never written."""
  file, outside = tmp_path / "evil.jaxskill", "../outside.json"
  packs.write(file, {outside: b"{}"})
  with pytest.raises(ValueError, match="is damaged .*outside.json"):
    finished_run.load(file)
  assert not list(tmp_path.parent.glob("outside.json"))
