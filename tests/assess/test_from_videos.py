"""From video files to an answer: the networks, weights and boxes of the training videos, on the command line."""

import hashlib
import importlib.util
import json
import pathlib
import re
import shutil
import tempfile
import types

import numpy as np
import pytest

from jaxskill import assess, cli, compare, train
from jaxskill.assess import __main__ as command_line
from jaxskill.assess import new_videos
from jaxskill.data.video import persons
from jaxskill.extract import local, recipe_checks, recipes
from jaxskill.modules import i3d
from tests.conftest import small_config
from tests.places import REPO

pytestmark = pytest.mark.usefixtures("quick_answers")


RECIPE = [f"--config.streams.rgb.{name}={value}" for name, value in {
    "sampling.length": 9, "short_side": 32, "crop": 32, "batch": 2}.items()]


def test_boxes_follow_a_video_whose_files_are_called_otherwise(tmp_path, monkeypatch):
  """A name that leaves no room for an ending is shortened before extraction; its boxes go with it."""
  long, taken = "n" * 230, {}
  (tmp_path / long).write_bytes(b"a film")
  (tmp_path / "boxes.csv").write_text(f"video,time,x1,y1,x2,y2\n{long},0,1,2,3,4\nother,0,5,6,7,8\n")

  def extracted(config, videos, out, weights, *, say, boxes, detector, person):
    del config, out, weights, say, detector
    taken.update({path.stem: boxes.digest(path.stem) for path in pathlib.Path(videos).iterdir()})
    return dict(recipe={}, videos={}, failed=dict.fromkeys(taken, "stop here"))
  monkeypatch.setattr(recipes, "recipe_of", lambda *_: ({}, ""))
  monkeypatch.setattr(new_videos.local, "run", extracted)
  run, boxes = types.SimpleNamespace(about=dict(extraction=None)), new_videos.Extraction(boxes=tmp_path / "boxes.csv")
  _, failed, _ = new_videos._extracted(run, [tmp_path / long], boxes, tmp_path / "out", print)
  assert failed == {long: "stop here"}
  (place, digest), = taken.items()
  assert place != long and digest and digest == persons.Boxes(tmp_path / "boxes.csv").digest(long)


def test_weights_must_be_those_of_training(tmp_path):
  (tmp_path / "a.pt").write_bytes(b"a")
  recipe = dict(weights="rgb.pt", weights_sha256=hashlib.sha256(b"a").hexdigest())
  recipe_checks.check_weights(recipe, str(tmp_path / "a.pt"))
  (tmp_path / "b.pt").write_bytes(b"b")
  several = dict(weights=dict(rgb="rgb.pt", flow="random:0"), weights_sha256=dict(rgb=recipe["weights_sha256"], flow=""))
  recipe_checks.check_weights(several, dict(rgb=str(tmp_path / "a.pt"), flow="random:0"))
  random = dict(weights="random:0", weights_sha256="")
  for one, weights, message in (
      (recipe, "", "--weights is not given: the features of this run were made with rgb.pt"),
      (recipe, str(tmp_path / "b.pt"), r"b.pt is another file \(sha256 3e23e8160039.*\) than rgb.pt \(sha256 ca978112ca1b"),
      (recipe, str(tmp_path / "none.pt"), "cannot be read"), (recipe, "random:0", "were made with rgb.pt"),
      (random, "random:1", "were made with random:0"),
      (recipe, dict(rgb=str(tmp_path / "a.pt")), "--weights is not given: the features of this run were made"),
      (several, dict(rgb=str(tmp_path / "a.pt")), "--weights flow= is not"),
      (several, dict(rgb=str(tmp_path / "b.pt"), flow="random:0"), "b.pt is another file")):
    with pytest.raises(ValueError, match=message):
      recipe_checks.check_weights(one, weights)


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs PyAV")
def test_from_video_files_on_the_command_line(tmp_path, monkeypatch, capsys):
  """Files are rendered, extracted with random weights, trained on; then other files are assessed and compared.

  By a narrow network: the whole one is at work in test_own_video.py.
  """
  from tests.data.video.test_decoding import encode
  monkeypatch.setattr(i3d, "BLOCKS", dict.fromkeys(("mixed_3b", "mixed_4b", "mixed_5b"), (4, 4, 4, 4, 4, 4)))
  recorded, new = tmp_path / "recorded", tmp_path / "new"
  recorded.mkdir(), new.mkdir()
  for number in range(6):
    encode(recorded / f"v{number}.mp4", np.arange(24 + 2 * number) / 10, size=(48, 32))
  recipe, _ = cli.read_config(str(REPO / "configs" / "features" / "action_net.py:rgb"), RECIPE)
  local.run(recipe, recorded, tmp_path / "features", "random:0", say=lambda line: None)
  (tmp_path / "features" / "scores.csv").write_text("video,score,split\n" + "".join(
      f"v{n},{n},{'test' if n > 3 else 'train'}\n" for n in range(6)))
  train.run(small_config("pros_cons", "features", {
      "plots": False, "data.dir": str(tmp_path / "features"), "data.split": "given", "data.validation_share": 0.0,
      "train.epochs": 1}), tmp_path / "run")
  encode(new / "a.mp4", np.arange(31) / 10, size=(48, 32))
  shutil.copy(recorded / "v5.mp4", new / "b.mp4")
  encode(new / "short.mp4", np.arange(4) / 10, size=(48, 32))
  (new / "empty.mp4").touch()
  (new / "text.mp4").write_text("not a video")
  files = [new / name for name in ("a.mp4", "b.mp4", "short.mp4", "empty.mp4", "text.mp4", "gone.mp4")]

  def command(main, *files):
    with pytest.raises(SystemExit) as ended:
      main(["--workdir", str(tmp_path / "run"), *map(str, files), "--weights", "random:0"])
    return ended.value.code, *capsys.readouterr()
  capsys.readouterr()
  code, said, complaint = command(command_line.main, *files)
  assert code == 1, complaint
  for name, message in dict(short="shorter than a clip", empty="is empty", text="is not a video",
                            gone="there is no such").items():
    assert re.search(f"failed: {name}: .*{message}", said), said
  assert f"{tempfile.gettempdir()}/tmp" not in said        # no link that was read in place of a file
  out = tmp_path / "run" / "assessments"
  result = json.loads((out / "b" / "assessment.json").read_text())
  scores = json.loads((tmp_path / "run" / "results.json").read_text())["replicas"][0]["scores"]
  assert result["score"] == pytest.approx(scores["v5"], abs=1e-5) and result["random_weights"]
  assert "RANDOM weights" in said and (out / "a" / "attention.png").stat().st_size > 10000
  row = result["attention"]["high attention"]
  assert row["end"][0] == pytest.approx(1.8)             # nine frames at five a second
  code, said, complaint = command(compare.main, *files[:2])
  assert code == 0 and re.search("better than|score the same", said), said + complaint
  assert "Traceback" not in complaint
  with pytest.raises(ValueError, match="--weights random:1: the features of this run were made with random:0"):
    assess.run(tmp_path / "run", out=out, videos=files[:1], weights="random:1")
