"""The benchmark of poses: on a short drawn film, with the trained networks."""

import json

import pytest

from jaxskill.benchmark import extraction as benchmark
from jaxskill.benchmark import poses
from jaxskill.data.simulation import mannequin
from jaxskill.extract.pose import networks
from tests.places import POSE

pytest.importorskip("av")


def ended(words, capsys):
  with pytest.raises(SystemExit) as stopped:
    benchmark.main(words)
  return stopped.value.code, capsys.readouterr().err


def test_without_networks_it_says_where_they_are(capsys):
  code, said = ended(["--cases", "pose"], capsys)
  assert code == 2 and networks.PIP in said
  assert "pose is measured alone" in ended(["--cases", "pose,i3d"], capsys)[1]


@pytest.mark.pose
def test_command_line(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(poses, "COPIES", 1)
  monkeypatch.setattr(poses.os, "cpu_count", lambda: 2)
  film = tmp_path / "film.mp4"
  mannequin.write_film(film, [mannequin.draw([mannequin.Posture(160, 220, 180)], (320, 240))] * 10)
  benchmark.main(["--cases", "pose", "--weights", str(POSE), "--video", str(film), "--rounds", "1",
                  "--json", str(tmp_path / "all.json")])
  results, said = json.loads((tmp_path / "all.json").read_text()), capsys.readouterr().out
  alone = results["alone"]
  assert (alone["frames"], alone["seen"], alone["asked"]) == (10, 10, 3)       # others are looked for every .2 s
  assert 0 < alone["detection"] < alone["landmarks"] < alone["seconds"]
  assert set(results["commands"]) == {"1", "2"} and results["commands"]["2"]["median"] > 0
  assert "10 frames of 320 x 240, a person in 10" in said and "the command, 2 processes" in said
