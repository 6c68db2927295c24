"""What the figures of CoRe are drawn from, against the answers of the trained models themselves."""

import functools

import numpy as np
import pytest
from scipy import stats

from jaxskill import data, train
from jaxskill.data import exemplars
from jaxskill.data.simulation import rendered
from jaxskill.modules import regression_tree
from jaxskill.reproduce import figures_core, runs, stills
from jaxskill.training.parallel import Parallel
from tests.conftest import small_config


@pytest.fixture
def finished(quick_compile):
  """A job of two seeds and few steps, as `runs.answers` returns it; the same for all tests, which only read it."""
  del quick_compile
  return _finished()


@functools.cache
def _finished():
  config = small_config("core", "tiny", {"seeds": (0, 1), "model.exemplars.count": 1, "train.epochs": 2})
  trainer = train.Trainer(config, data.load(config.data), Parallel(1))
  while int(trainer.state.step) < trainer.total:
    trainer.advance()
  return runs.Finished(trainer, trainer.assess(everything=True), (0, 1), {})


def test_a_pair_is_what_the_model_says_of_one_exemplar(finished):
  """Where a video has one exemplar, its answer is that of the pair: every level, and the score in the unit learnt."""
  trainer, experiment = finished.trainer, finished.trainer.experiment
  encodings, (chosen, there) = trainer.all_videos.encodings(trainer.state), experiment.exemplars()
  for replica in finished.replicas:
    video = int(np.flatnonzero(there[:, replica, 0])[3])
    exemplar, target = chosen[video, replica, 0], experiment.target()[:, replica]
    levels, regression, difference = figures_core.answer(
        finished, replica, encodings[video, replica], encodings[exemplar, replica], target[exemplar])
    said = finished.assessments
    for number, level in enumerate(levels, start=1):
      np.testing.assert_allclose(level, said.distribution[f"level {number}"].probabilities[replica, video], atol=1e-6)
    unit = experiment.dataset.difficulty[video]
    assert said.score[replica, video] == pytest.approx((difference + target[exemplar]) * unit, rel=1e-5)
    low, high = experiment.prepared[replica]["labels"]["bounds"][np.argmax(levels[-1])]
    assert difference == pytest.approx(low + regression[np.argmax(levels[-1])] * (high - low), rel=1e-4, abs=1e-4)


def test_groups_are_counted_as_training_assigns_them(finished):
  """Equal counts in the groups of Eq. 5, not in equal parts of the range; the outermost hold what is beyond them."""
  differences = exemplars.differences(np.random.default_rng(0).normal(size=60), np.zeros(60))
  bounds = regression_tree.group_borders(differences, 8)
  edges = np.linspace(-1, 1, 9)
  equal, counted = (figures_core.shares(differences, limits)
                    for limits in (np.stack([edges[:-1], edges[1:]], axis=1), bounds))
  np.testing.assert_allclose(counted, 1 / 8, atol=0.002)
  assert equal[0] == pytest.approx(np.mean(differences <= edges[1])) and equal.sum() == pytest.approx(1)
  assert set(figures_core.groups({"row": finished}, None)) == {"groups"}


def test_answers_are_drawn(finished, monkeypatch):
  """Of the test videos, by the first replica and by all of them."""
  monkeypatch.setattr(stills, "SIZE", (30, 40))
  monkeypatch.setattr(stills, "FPS", 1)
  row, test = {"row": finished}, finished.trainer.dataset.folds[0].test_videos
  true, said = finished.trainer.dataset.score[test], finished.assessments.score[:, test]
  axes = figures_core.scatter(row, None)["scatter"].axes[0]
  assert axes.get_title() == f"row: Spearman {stats.spearmanr(said[0], true).statistic:.3f}"
  np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([true, said[0]], axis=1))
  steps, = figures_core.cumulative(row, None)["cumulative"].axes[0].get_lines()
  assert steps.get_label() == "row, 2 models" and steps.get_ydata()[-1] == 100
  np.testing.assert_allclose(steps.get_xdata()[1:-1], np.sort(np.abs(said - true).ravel()), rtol=1e-5)
  assert set(figures_core.pairs(row, None)) == {"pair_of_large_difference", "pair_of_small_difference"}


def test_simulated_performances_are_drawn(finished):
  """The same picture whenever it is asked for; other moments and other videos look different."""
  experiment = finished.trainer.experiment
  times = stills.even_times(experiment, 2, 3)
  assert times[0] * 2 == pytest.approx(times[1] - times[0]) and times[-1] < stills.duration(experiment, 2)
  shown = stills.at(experiment, 2, times, None)
  assert [picture.shape for picture in shown] == 3 * [(*stills.SIZE, 3)]
  np.testing.assert_array_equal(stills.at(experiment, 2, times[1:2], None)[0], shown[1])
  assert np.abs(shown[0].astype(int) - shown[2]).max() > 30
  assert np.abs(shown[0].astype(int) - stills.at(experiment, 3, times[:1], None)[0]).max() > 30


def test_frames_come_from_video_files_by_name(finished, tmp_path):
  experiment = finished.trainer.experiment
  folder = tmp_path / "videos"
  names = rendered.write_videos(folder, 1, seconds=4, fps=5, size=(32, 40))
  (folder / f"{names[0]}.mp4").rename(folder / f"{experiment.dataset.videos[0]}.mp4")
  first, = stills.at(experiment, 0, np.array([0.5]), folder)
  assert first.shape == (120, 150, 3)
  assert stills.at(experiment, 1, np.array([0.5]), folder) == []              # there is no such file
