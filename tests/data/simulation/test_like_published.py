"""Simulated features in the layouts of scored data sets: they load, say what they are, and follow the scores."""

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest

from jaxskill.data.published import official
from jaxskill.data.simulation import like_published
from jaxskill.data.simulation.like_published import main, write_like
from tests.places import REPO, SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
TINY = dict(num_segments=6, width=5, static_rows=3, static_width=4)
published = pytest.mark.skipif(not (ANNOTATIONS / "JIGSAWS").is_dir(),
                               reason=f"the published labels are not below {ANNOTATIONS} (set JAXSKILL_SHARED)")


@pytest.fixture
def dives(tmp_path):
  folder = tmp_path / "dives"
  folder.mkdir()
  lines = [f"a,{i},train,10{i % 2}B,{5 * i * (2 + i % 2)},{2 + i % 2}" for i in range(1, 6)]
  lines += [f"b,{i},test,101B,{i},3" for i in (1, 2)]
  (folder / "finediving.csv").write_text("event,sample,split,action_type,score,difficulty\n" + "\n".join(lines) + "\n")
  return folder


@pytest.fixture
def gymnasts(tmp_path):
  folder = tmp_path / "gymnasts"
  folder.mkdir()
  for side, numbers in (("train", (1, 2, 3)), ("test", (4, 5))):
    (folder / f"{side}.txt").write_text("Video_Name Difficulty\n" + "".join(
        f"{kind}_{i} {15 - i} {i} 15 0 90\n" for kind in ("Ball", "Hoop") for i in numbers))
  return folder


def test_scores_by_difficulty(dives, tmp_path):
  agreement = write_like(dives, tmp_path / "out", **TINY, seed=3, command="as it was")
  data = official.load_official("finediving", tmp_path / "out")
  assert data.simulated and data.name == "simulated features for finediving" and not data.missing
  assert data.streams["rgb"].shape == (7, 6, 5) and (tmp_path / "out" / "features" / "a" / "1.npy").is_file()
  labels = official.read_task("finediving", tmp_path / "out", "").labels
  skills = like_published._skills_from_scores("finediving", labels)
  np.testing.assert_allclose(skills, data.score / data.difficulty / 30, rtol=1e-6)
  assert 0.5 < agreement["finediving"] < 1   # scores are not ordered as scores by difficulty are
  note = (tmp_path / "out" / "SIMULATED.txt").read_text()
  for words in ("Nothing in features/ was recorded", "the scores in finediving.csv", "command: as it was", "seed: 3"):
    assert words in note


def test_two_streams_follow_execution(gymnasts, tmp_path):
  agreement = write_like(gymnasts, tmp_path / "out", **TINY)
  assert list(agreement) == ["ball", "hoop"] and all(np.isnan(share) for share in agreement.values())   # equal totals
  data = official.load_official("rhythmic_gymnastics", tmp_path / "out", "hoop")
  assert data.streams["rgb"].shape == (5, 6, 5) and data.streams["static"].shape == (5, 3, 4)
  labels = official.read_task("rhythmic_gymnastics", tmp_path / "out", "hoop").labels
  assert like_published._skills_from_scores("rhythmic_gymnastics", labels).tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
  assert "Nothing in dynamic_feat/, static_feat/ was recorded" in (tmp_path / "out" / "SIMULATED.txt").read_text()
  # one task alone has the same features, and the other task's videos are missing
  write_like(gymnasts, tmp_path / "one", tasks=["hoop"], **TINY)
  alone = official.load_official("rhythmic_gymnastics", tmp_path / "one", "hoop")
  for stream in ("rgb", "static"):
    np.testing.assert_array_equal(alone.streams[stream], data.streams[stream])
  with pytest.raises(ValueError, match="none of the 5 videos of ball"):
    official.load_official("rhythmic_gymnastics", tmp_path / "one", "ball")


def test_maps_beside_features_of_pairs(tmp_path):
  """Those of every video, which leave its features as they are."""
  splits = tmp_path / "splits" / "drawing"
  splits.mkdir(parents=True)
  for side, pair in itertools.product(("train", "test"), range(1, 5)):
    (splits / f"{side}_split{pair}.txt").write_text("Hand/a Hand/b\nSonic/c Sonic/d\n")
  write_like(tmp_path, tmp_path / "plain", **TINY)
  write_like(tmp_path, tmp_path / "out", map_frames=3, map_size=4, map_width=2, **TINY)
  plain, data = (official.load_official("epic_skills", tmp_path / name, "drawing") for name in ("plain", "out"))
  assert set(plain.streams) == {"rgb"} and data.streams["maps"].shape == (4, 3, 4, 4, 2) and data.simulated
  np.testing.assert_array_equal(data.streams["rgb"], plain.streams["rgb"])
  assert "Nothing in features/, maps/ was recorded" in (tmp_path / "out" / "SIMULATED.txt").read_text()


def test_features_show_the_skill(tmp_path):
  """Good and bad suturing differ along the directions of technique and mistakes."""
  (tmp_path / "label.pkl").write_bytes(pickle.dumps(
      {f"Suturing_{'BCDEFGHI'[i // 5]}00{i % 5 + 1}": [5 if i % 2 else 1] * 6 for i in range(40)}))
  (tmp_path / "splits.pkl").write_bytes(pickle.dumps({t: [] for t in ("Suturing", "Knot_Tying", "Needle_Passing")}))
  write_like(tmp_path, tmp_path / "out", num_segments=40, width=64, difficulty=0.0)
  data = official.load_official("jigsaws", tmp_path / "out", "suturing", split="louo")
  means = data.streams["rgb"].mean(1)
  difference = means[data.score == 30].mean(0) - means[data.score == 6].mean(0)
  projected = means @ difference
  assert projected[data.score == 30].min() > projected[data.score == 6].max()


def test_refused(dives, gymnasts, tmp_path):
  both = tmp_path / "both"
  both.mkdir()
  for file in (*dives.iterdir(), *gymnasts.iterdir()):
    (both / file.name).write_bytes(file.read_bytes())
  with pytest.raises(ValueError, match="holds the labels of finediving and rhythmic_gymnastics; say which with --name"):
    write_like(both, tmp_path / "out", **TINY)
  assert list(write_like(both, tmp_path / "named", name="finediving", **TINY)) == ["finediving"]
  with pytest.raises(ValueError, match="name='diving' is unknown"):
    write_like(both, tmp_path / "out", name="diving")
  with pytest.raises(ValueError, match="no label.pkl here"):
    write_like(both, tmp_path / "out", name="jigsaws")
  with pytest.raises(ValueError, match="no task 'rope'; there are ball, hoop"):
    write_like(gymnasts, tmp_path / "out", tasks=["rope"])
  with pytest.raises(FileExistsError, match="features is not empty"):
    write_like(dives, tmp_path / "named", **TINY)
  with pytest.raises(FileExistsError, match="do not go beside the annotations"):
    write_like(dives, dives, **TINY)
  (dives / "finediving.csv").write_text("event,sample,split,action_type,score,difficulty\n../..,1,train,1,1,1\n")
  with pytest.raises(ValueError, match="the video name '../../1' leads out of the folder"):
    write_like(dives, tmp_path / "out", **TINY)
  (dives / "finediving.csv").write_text("event,sample\n")   # a damaged table is not the same as none
  with pytest.raises(ValueError, match="finediving.csv: column 'split' is not in the first line"):
    write_like(dives, tmp_path / "out", **TINY)
  assert not (tmp_path / "out").exists()


@published
def test_command_on_published_labels(tmp_path, capsys):
  main(["--like", str(ANNOTATIONS / "JIGSAWS"), "--out", str(tmp_path), "--segments", "4", "--width", "3"])
  assert "suturing: simulated; hidden skills order 100.00% of the pairs" in capsys.readouterr().out
  data = official.load_official("jigsaws", tmp_path, "all")
  assert data.num_videos == 103 and data.simulated and len(data.folds) == 12
  assert "--segments 4 --width 3" in (tmp_path / "SIMULATED.txt").read_text()


def test_command_runs_as_a_module(gymnasts, tmp_path):
  command = ["-m", "jaxskill.data.simulation", "--like", gymnasts, "--out", tmp_path / "out", "--task", "ball",
             "--width", "3", "--static-rows", "2", "--static-width", "3"]
  subprocess.run([sys.executable, "-W", "error::RuntimeWarning", *command], check=True, cwd=REPO)
  data = official.load_official("rhythmic_gymnastics", tmp_path / "out", "ball")
  assert data.streams["rgb"].shape == (5, 28, 3) and data.streams["static"].shape == (5, 2, 3)
