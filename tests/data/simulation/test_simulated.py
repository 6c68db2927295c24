"""Simulated performances: reproducible, true to their own truth, and hard in the way they claim to be."""

import types

import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxskill.data import load
from jaxskill.data.audit import audit, describe_audit
from jaxskill.data.simulation import scripts
from jaxskill.data.simulation.like_published import main, read_splits, skills_from_pairs, write_like
from jaxskill.data.simulation.performances import performances
from jaxskill.data.simulation.simulated import simulate
from tests.places import SHARED

ALL = dict(streams=("rgb", "static", "maps"), num_segments=50, width=16, static_rows=12, static_width=24, map_frames=10,
           map_size=14, map_width=16)
ANNOTATIONS = SHARED / "data" / "annotations"


@pytest.fixture(scope="module")
def data():
  return simulate(60, **ALL)


def ridge_spearman(features, data, ridge=0.01):
  """Ranks the videos held out of training by a ridge regression of the score on one vector for each video."""
  fold = data.folds[0]
  train = np.concatenate([fold.train_videos, fold.validation_videos])
  centered = features - features[train].mean(0)
  gram = centered[train] @ centered[train].T
  target = data.score[train] - data.score[train].mean()
  weights = np.linalg.solve(gram + ridge * np.trace(gram) / len(train) * np.eye(len(train)), target)
  test = fold.test_videos
  return spearmanr(centered[test] @ centered[train].T @ weights, data.truth["skill"][test])[0]


def pool(data, where):
  return np.stack([video[mask].mean(0) for video, mask in zip(data.streams["rgb"], where)])


def everywhere(data):
  return np.ones_like(data.truth["idle"])


def relevant(data):
  """Segments that betray skill; a middling performer who showed nothing is judged on the key moments."""
  where = data.truth["relevant_high"] | data.truth["relevant_low"]
  return np.where(where.any(1, keepdims=True), where, data.truth["critical"])


def test_shapes_and_kinds(data):
  assert data.simulated and "simulated" in data.name and data.videos[7] == "sim_0007"
  assert "SIMULATED" in describe_audit(audit(data))
  assert data.streams["rgb"].shape == (60, 50, 16) and data.streams["static"].shape == (60, 12, 24)
  assert data.streams["maps"].shape == (60, 10, 14, 14, 16)
  for stream in data.streams.values():
    assert stream.dtype == np.float32 and np.isfinite(stream).all() and stream.min() >= 0
    assert 0.2 < stream.mean() < 0.6
  for name in ("relevant_high", "relevant_low", "critical", "idle"):
    assert data.truth[name].shape == (60, 50) and data.truth[name].dtype == bool
  assert data.truth["posture_error"].shape == (60, 12) and data.truth["posture_error"].dtype == bool
  assert data.truth["place"].shape == data.truth["distractor"].shape == (60, 10, 2)
  assert all(len(array) == 60 for array in data.truth.values())


def test_seeded(data):
  again, other = simulate(60, **ALL), simulate(60, seed=1, **ALL)
  for name, stream in data.streams.items():
    np.testing.assert_array_equal(stream, again.streams[name])
    assert not np.allclose(stream, other.streams[name])
  np.testing.assert_array_equal(data.pairs, again.pairs)
  np.testing.assert_array_equal(data.folds[0].test_videos, again.folds[0].test_videos)
  assert not np.allclose(data.score, other.score)


def test_a_video_does_not_depend_on_what_else_is_asked_for(data):
  few = simulate(30, **{**ALL, "streams": ("rgb",)})
  np.testing.assert_array_equal(few.streams["rgb"], data.streams["rgb"][:30])
  np.testing.assert_array_equal(few.score, data.score[:30])
  for name, truth in few.truth.items():
    np.testing.assert_array_equal(truth, data.truth[name][:30])
  maps = simulate(3, **{**ALL, "streams": ("maps",)})
  np.testing.assert_array_equal(maps.streams["maps"], data.streams["maps"][:3])
  finer = simulate(30, **{**ALL, "num_segments": 150})         # the same performances, sampled three times as often
  np.testing.assert_allclose(finer.truth["progress"][:, 1::3], few.truth["progress"], atol=1e-6)
  np.testing.assert_allclose(finer.row_seconds["rgb"], few.row_seconds["rgb"] / 3, rtol=1e-6)


def test_other_performers_of_the_same_task():
  """Features of another seed are understood by a ranker trained on this one only if both share the task."""
  options = dict(num_segments=100, width=64, difficulty=0.1)
  data = simulate(100, **options)
  train = data.streams["rgb"].mean(1)
  weights = np.linalg.lstsq(train.T @ train + np.eye(64), train.T @ (data.score - data.score.mean()), rcond=None)[0]
  same, other = (simulate(100, seed=1, task_seed=task, **options) for task in (0, 1))
  rho = lambda d: spearmanr(d.streams["rgb"].mean(1) @ weights, d.truth["skill"])[0]
  assert rho(same) > 0.6 and rho(same) > rho(other) + 0.4


def test_truth_is_consistent():
  data = simulate(200, 400, 4)
  truth, skill = data.truth, data.truth["skill"]
  assert 0.05 < truth["relevant_high"].mean() < 0.15 and 0.05 < truth["relevant_low"].mean() < 0.15
  assert 0.15 < truth["idle"].mean() < 0.35
  assert skill[truth["relevant_high"].any(1)].min() > 0.4 and skill[truth["relevant_low"].any(1)].max() < 0.6
  assert not (truth["relevant_high"] & truth["relevant_low"]).any()
  assert not ((truth["relevant_high"] | truth["relevant_low"]) & ~truth["critical"]).any()
  assert not (truth["critical"] & truth["idle"]).any()
  assert spearmanr(truth["relevant_high"].mean(1) - truth["relevant_low"].mean(1), skill)[0] > 0.8

  steps = np.diff(truth["progress"], axis=1)
  assert truth["progress"].min() >= 0 and truth["progress"].max() <= 1 and steps.min() >= 0
  both_idle = truth["idle"][:, 1:] & truth["idle"][:, :-1]
  back_to_back = steps[both_idle] > 1e-6                       # two idle intervals may lie closer than one segment
  assert back_to_back.mean() < 0.01
  assert np.diff(truth["phase"], axis=1).min() >= 0
  assert set(np.unique(truth["phase"])) == set(range(8))
  assert np.std(truth["progress"][:, 200]) > 0.05              # performers' pace differs
  assert abs(spearmanr(skill, data.row_seconds["rgb"])[0]) < 0.2   # and says nothing about skill


def test_labels():
  data = simulate(200, 4, 4, routine_difficulties=(2.0, 3.0, 3.8), score_range=30.0)
  skill, execution = data.truth["skill"], data.score / data.difficulty * 3.8 / 30
  assert data.score.min() >= 0 and data.score.max() <= 30
  assert np.abs(execution - skill).max() < 0.1 and spearmanr(execution, skill)[0] > 0.99
  assert set(data.difficulty) == set(np.float32([2.0, 3.0, 3.8])) and len(set(data.category)) == 3
  assert len(set(data.subject)) == 25
  margins = execution[data.pairs[:, 0]] - execution[data.pairs[:, 1]]
  assert margins.min() > 0.05 - 1e-6
  assert len(data.pairs) + data.tied_pairs == 200 * 199 // 2 and data.tied_pairs > 0
  assert len(data.similar) == data.tied_pairs
  assert np.abs(execution[data.similar[:, 0]] - execution[data.similar[:, 1]]).max() < 0.05 + 1e-6
  levels = np.array([skill[data.subject == s].mean() for s in np.unique(data.subject)])
  within = np.mean([skill[data.subject == s].std() for s in np.unique(data.subject)])
  assert within < levels.std() + 0.05 and levels.std() > 0.15 and within > 0.05
  given = simulate(5, 4, 4, skills=[0, 0.25, 0.5, 0.75, 1])
  np.testing.assert_array_equal(given.truth["skill"], np.float32([0, 0.25, 0.5, 0.75, 1]))


def test_the_fold_splits_performers(data):
  fold = data.folds[0]
  assert fold.name == "simulated"
  sides = [(fold.train_videos, fold.train_pairs), (fold.test_videos, fold.test_pairs),
           (fold.validation_videos, fold.validation_pairs)]
  assert sorted(np.concatenate([videos for videos, _ in sides])) == list(range(60))
  people = [set(data.subject[videos]) for videos, _ in sides]
  assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
  for videos, pairs in sides:
    assert len(pairs) and np.isin(data.pairs[pairs], videos).all()
  leaks = audit(data)["folds"][0]
  assert leaks["test_pairs_with_one_training_video"] == leaks["test_pairs_of_two_training_videos"] == 0


def test_difficulty_matters():
  easy, hard = ([ridge_spearman(pool(d, everywhere(d)), d) for d in (
      simulate(120, 200, 64, difficulty=difficulty, seed=seed) for seed in range(3))] for difficulty in (0.1, 0.9))
  assert np.mean(easy) > 0.8 and np.mean(easy) > np.mean(hard) + 0.25


def test_where_you_look_matters():
  """At the default difficulty; the key moments alone, which say nothing about skill, already help."""
  runs = [simulate(200, 100, 64, seed=seed) for seed in range(4)]
  mean, key, oracle = (np.mean([ridge_spearman(pool(d, where(d)), d) for d in runs])
                       for where in (everywhere, lambda d: d.truth["critical"], relevant))
  assert oracle > mean + 0.15 and oracle > 0.65
  assert key > mean + 0.2 and key > 0.75
  assert mean > 0.3                                            # looking everywhere is poor, not hopeless


def test_static_frames_show_posture_errors():
  data = simulate(100, 1, 4, streams=("static",), static_rows=40, static_width=64, difficulty=0.1)
  errors = data.truth["posture_error"]
  assert spearmanr(errors.mean(1), data.truth["skill"])[0] < -0.7
  assert 0.1 < errors.mean() < 0.4
  assert ridge_spearman(data.streams["static"].mean(1), data) > 0.5


def test_maps_show_skill_at_the_place_of_the_action():
  data = simulate(100, 1, 4, streams=("maps",), map_width=32, difficulty=0.3)
  place, distractor = data.truth["place"], data.truth["distractor"]
  assert min(place.min(), distractor.min()) >= 0 and max(place.max(), distractor.max()) <= 1
  assert np.linalg.norm(place - distractor, axis=-1).min() > 0.39
  assert np.abs(np.diff(place, axis=1)).max() > 0.02           # both move
  cell = lambda at: np.clip((at * 14).astype(int), 0, 13)
  look = lambda at: data.streams["maps"][np.arange(100)[:, None], np.arange(25), cell(at)[..., 0], cell(at)[..., 1]]
  assert look(distractor).mean() > 1.3 * look(place).mean() > 1.3 * data.streams["maps"].mean()
  at_place, elsewhere = (ridge_spearman(look(at).mean(1), data) for at in (place, distractor))
  assert at_place > elsewhere + 0.2


@pytest.mark.parametrize("rows", [1, 8])
def test_short_videos(rows):
  data = simulate(30, rows, 8, streams=("rgb", "static", "maps"), static_rows=1, static_width=8, map_frames=1,
                  map_size=2, map_width=4)
  assert data.streams["rgb"].shape == (30, rows, 8) and data.truth["idle"].shape == (30, rows)
  assert simulate(1, 1, 1, test_share=0, validation_share=0, num_phases=1).num_videos == 1


def test_lengths_that_differ():
  data = simulate(30, vary_length=True, **{**ALL, "map_size": 3})
  for name, stream in data.streams.items():
    lengths = data.lengths[name]
    assert len(set(lengths)) > 2 and lengths.min() >= stream.shape[1] // 2 and lengths.max() <= stream.shape[1]
    np.testing.assert_allclose(data.row_seconds[name], 400 / stream.shape[1], rtol=0.1)
    padding = np.arange(stream.shape[1]) >= lengths[:, None]
    assert padding.any() and not stream[padding].any()
    if name == "rgb":
      assert not any(data.truth[t][padding].any() for t in ("idle", "relevant_high", "relevant_low", "critical"))
    if name == "static":
      assert not data.truth["posture_error"][padding].any()


@pytest.mark.parametrize("options,message", [
    (dict(num_videos=0), "num_videos=0"), (dict(num_segments=0), "num_segments=0"), (dict(width=0), "width=0"),
    (dict(num_phases=0), "num_phases=0"), (dict(max_seconds=0), "max_seconds=0"),
    (dict(difficulty=1.5), "difficulty=1.5"), (dict(difficulty=float("nan")), "difficulty=nan"),
    (dict(streams=()), "streams"), (dict(streams="rgb"), "streams"), (dict(streams=("flow",)), "flow"),
    (dict(seed=-1), "negative"), (dict(task_seed=-1), "negative"),
    (dict(test_share=0.7, validation_share=0.3), "sum below 1"), (dict(test_share=-0.1), "negative"),
    (dict(num_videos=1), "do not split"), (dict(num_videos=9, num_subjects=1), "do not split"),
    (dict(tie_margin=-0.1), "tie_margin=-0.1"), (dict(score_range=0), "score_range=0"),
    (dict(skills=[0.5]), "each of the 4"), (dict(skills=[0, 0, 0, 2.0]), r"\[0, 1\]"),
    (dict(routine_difficulties=()), "routine_difficulties"), (dict(routine_difficulties=(0.0,)), "positive")])
def test_errors(options, message):
  with pytest.raises(ValueError, match=message):
    simulate(**{**dict(num_videos=4, num_segments=2, width=2), **options})


def test_given_skills_follow_the_order_they_are_given_in():
  first, second = performances([0.1, 0.9], num_segments=40, width=4)
  assert first.truth["relevant_low"].any() and not first.truth["relevant_high"].any()
  assert second.truth["relevant_high"].any() and not second.truth["relevant_low"].any()
  with pytest.raises(ValueError, match="keys"):
    performances([0.1, 0.9], keys=[1])


@pytest.fixture
def like(tmp_path):
  """The layouts of BEST (tying) and of EPIC-Skills (surgery, ids with sub-folders)."""
  tying, surgery = (tmp_path / "like" / "splits" / task for task in ("tying", "surgery"))
  tying.mkdir(parents=True)
  surgery.mkdir()
  (tying / "train.txt").write_text("a b\nb c\na c\n")
  (tying / "train_vid_list.txt").write_text("a\nb\nc\n")
  (tying / "test.txt").write_text("d e\n")
  (tying / "test_vid_list.txt").write_text("d\ne\nlonely\n")
  for split in range(1, 5):
    (surgery / f"train_split{split}.txt").write_text("Knot/K_E004 Knot/K_B001\nKnot/K_B001 Knot/K_C002\n")
    (surgery / f"test_split{split}.txt").write_text("Knot/K_E004 Knot/K_C002\n")
  return tmp_path / "like"


def test_command(like, tmp_path, capsys):
  out = tmp_path / "out"
  main(["--like", str(like), "--out", str(out), "--segments", "6", "--width", "5", "--seed", "3"])
  assert "tying: simulated; hidden skills order 100.00%" in capsys.readouterr().out
  files = sorted(str(f.relative_to(out / "features")) for f in (out / "features").rglob("*.npz"))
  assert files == sorted(f"{v}_rgb.npz" for v in ("a", "b", "c", "d", "e", "lonely", "Knot/K_E004", "Knot/K_B001",
                                                  "Knot/K_C002"))
  with np.load(out / "features" / "Knot" / "K_B001_rgb.npz") as file:
    assert file.files == ["arr_0"] and file["arr_0"].shape == (6, 5) and file["arr_0"].dtype == np.float32
  copied, official = ({str(f.relative_to(root)): f.read_text() for f in root.rglob("*.txt")}
                      for root in (out / "splits", like / "splits"))
  assert copied == official
  note = (out / "SIMULATED.txt").read_text()
  assert "Nothing in features/ was recorded" in note and "seed: 3" in note and "--segments 6" in note

  with pytest.raises(FileExistsError, match="not empty"):
    write_like(like, out)
  with pytest.raises(SystemExit):
    main(["--like", str(like), "--out", str(out)])
  # one task alone, asked for by the splits folder itself, gets the same features
  write_like(like / "splits", tmp_path / "one", tasks=["surgery"], num_segments=6, width=5, seed=3)
  assert [f.name for f in (tmp_path / "one" / "splits").iterdir()] == ["surgery"]
  first, second = (np.load(root / "features" / "Knot" / "K_B001_rgb.npz")["arr_0"] for root in (out, tmp_path / "one"))
  np.testing.assert_array_equal(first, second)


def test_command_errors(like, tmp_path):
  with pytest.raises(ValueError, match="no splits"):
    write_like(tmp_path / "nowhere", tmp_path / "out")
  with pytest.raises(ValueError, match="no task 'knitting'"):
    write_like(like, tmp_path / "out", tasks=["knitting"])
  with pytest.raises(FileExistsError, match="give a new folder"):
    write_like(like, like)
  tying = like / "splits" / "tying" / "train.txt"
  tying.write_text("a b\nKnot/K_E004 b\n")
  with pytest.raises(ValueError, match="one file"):
    write_like(like, tmp_path / "out")
  for line in ("a b c", "a", "../a b"):
    tying.write_text(f"a b\n{line}\n")
    with pytest.raises(ValueError, match="train.txt, line 2"):
      write_like(like, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_skills_from_pairs_with_a_cycle():
  pairs = [(0, 1), (1, 2), (2, 0)] + [(better, worse) for better in range(3) for worse in range(3, 8)] + [(5, 4)]
  skills = skills_from_pairs(pairs, 9)
  assert len(set(skills)) == 9 and 0 < skills.min() < skills.max() < 1
  assert skills[:3].min() > skills[3:8].max() and skills[5] > skills[4]


def test_skills_agree_with_real_pairs():
  tasks = sorted(folder for name in ("BEST", "EPIC-Skills") for folder in (ANNOTATIONS / name / "splits").glob("*")
                 if folder.is_dir())
  if not tasks:
    pytest.skip("no annotations of BEST or EPIC-Skills; set JAXSKILL_SHARED to the folder that holds data/annotations")
  for folder in tasks:
    videos, pairs = read_splits(folder)
    skills = skills_from_pairs(pairs, len(videos))
    assert np.mean(skills[pairs[:, 0]] > skills[pairs[:, 1]]) > 0.99, folder.name


def test_streams_are_sampled_from_one_script():
  """Static frames and maps see the same idle intervals as the segments do."""
  task = scripts.make_task(0, 8)
  script = scripts.make_script(task, 0.2, np.random.default_rng(0), np.zeros(11), 1.0)
  coarse, fine = (scripts.sample_script(task, script, rows) for rows in (20, 60))
  for name in ("idle", "critical", "relevant_low", "posture_error", "phase"):
    np.testing.assert_array_equal(coarse[name], fine[name][1::3])


def test_ranges_and_criteria():
  """A score lies within what its routine allows, and execution knows no routine."""
  data = simulate(40, num_segments=4, width=4, routine_difficulties=(1.0, 2.0), score_range=50.0, rater_noise=0.0)
  np.testing.assert_allclose(data.score_range, np.stack([np.zeros(40), 25 * data.difficulty], 1))
  np.testing.assert_allclose(data.criteria["execution"], 50 * data.truth["skill"], rtol=1e-5)
  np.testing.assert_array_equal(data.criteria["total"], data.score)
  np.testing.assert_allclose(data.score / data.difficulty * 2, data.criteria["execution"], rtol=1e-5)


def test_raters_compare_a_share_of_the_pairs():
  whole, part = simulate(40, 4, 3), simulate(40, 4, 3, pair_share=0.3)
  code = lambda data: set(map(tuple, data.pairs.tolist()))
  assert code(part) < code(whole) and 0.2 < len(part.pairs) / len(whole.pairs) < 0.4
  assert part.tied_pairs == whole.tied_pairs > len(part.similar) > 0
  np.testing.assert_array_equal(part.pairs, simulate(40, 4, 3, pair_share=0.3).pairs)
  for share in (0, 1.1):
    with pytest.raises(ValueError, match=f"pair_share={share} must be above 0 and at most 1"):
      simulate(10, 4, 3, pair_share=share)


def test_pairs_are_made_where_the_config_wants_them():
  options = dict(name="simulated", simulated=dict(num_videos=12, num_subjects=12, num_segments=4, width=3))
  with_pairs = load(types.SimpleNamespace(**options, make_pairs=True))
  scores_alone = load(types.SimpleNamespace(**options, make_pairs=False))
  assert len(with_pairs.pairs) and scores_alone.pairs.shape == (0, 2) and scores_alone.tied_pairs == 0
  for fold, other in zip(with_pairs.folds, scores_alone.folds):
    assert fold.train_videos.tolist() == other.train_videos.tolist() and len(fold.train_pairs)
    assert not len(other.train_pairs) + len(other.test_pairs) + len(other.validation_pairs)
  everything = load(types.SimpleNamespace(**options, make_pairs=False, split="all"))
  assert len(everything.folds[0].train_videos) == 12 and not len(everything.folds[0].train_pairs)
