"""Plots of a run: names as text, one that fails costs nothing, no test side, one form of times, equal scales."""

import json
import types

import matplotlib.text
import numpy as np
import pytest

from jaxskill import methods
from jaxskill.report import plots, wording
from tests.report.test_wording import HOSTILE


def trained(make_dataset, tmp_path, **fields):
  """(what `plots.draw` reads of a trainer, history, Assessments) with curves of attention and leaves of a tree."""
  data = make_dataset(**fields)
  (tmp_path / "metrics.jsonl").write_text(json.dumps(dict(step=1, loss=[0.5])) + "\n")
  rng = np.random.default_rng(1)
  rows = data.streams["rgb"].shape[1]
  places = np.tile(np.array([-1.0, 1.0]), (1, data.num_videos, 1))
  assessments = methods.Assessment(
      score=data.score[None], attention={
          f"{name} attention": rng.uniform(size=(1, data.num_videos, 1, rows)) for name in ("high", "low")},
      distribution={"level 1": methods.Distribution(places, rng.uniform(size=(1, data.num_videos, 2)))})
  meanings = {"high attention": methods.Meaning("moments that speak for skill", 1),
              "distribution": methods.Meaning("lower on the left")}
  trainer = types.SimpleNamespace(
      dataset=data, replicas=[types.SimpleNamespace(fold=0, criterion="score", seed=0, row="")], metric="spearman",
      method=types.SimpleNamespace(stream_of=lambda name: "rgb", meanings=meanings, streams=("rgb",)))
  return trainer, [dict(step=1, replicas=[dict(test=0.5, validation=0.4)])], assessments


NAMES = ["training.png", "attention.png", "scores.png", "distribution.png"]


def test_names_are_text(make_dataset, tmp_path):
  trainer, history, assessments = trained(make_dataset, tmp_path, videos=len(HOSTILE), folds=[
      (range(8), range(8, len(HOSTILE)))])
  trainer.replicas[0].criterion = "score"
  for first in ("$\\frac{1}{$", "\x1b[31mred\x1b[0m\n"):
    videos = [first] * len(HOSTILE)
    object.__setattr__(trainer.dataset, "videos", tuple(videos))
    said = []
    paths = plots.draw(tmp_path, trainer, history, assessments, said.append)
    assert [path.name for path in paths] == NAMES and not said


def test_a_plot_that_fails_costs_nothing_else(make_dataset, tmp_path, monkeypatch):
  trainer, history, assessments = trained(make_dataset, tmp_path)

  def fails(*_):
    raise ValueError("no such picture")
  monkeypatch.setattr(plots, "_attention", fails)
  said = []
  paths = plots.draw(tmp_path, trainer, history, assessments, said.append)
  assert [path.name for path in paths] == [name for name in NAMES if name != "attention.png"]
  assert len(said) == 1 and "attention.png cannot be drawn (ValueError: no such picture)" in said[0]
  assert not plots.plt.get_fignums() and not list(tmp_path.glob("*.unfinished"))


def test_a_lost_log_costs_its_curves_alone(make_dataset, tmp_path):
  trainer, history, assessments = trained(make_dataset, tmp_path)
  (tmp_path / "metrics.jsonl").write_text("")
  trainer.metric, said = "accuracy", []
  paths = plots.draw(tmp_path, trainer, history, assessments, said.append)
  assert [path.name for path in paths] == [name for name in NAMES if name != "scores.png"] and not said


def test_without_a_test_side_training_videos_are_shown_and_called_so(make_dataset, tmp_path):
  trainer, history, assessments = trained(make_dataset, tmp_path, folds=[(range(11), [])])
  history[0]["replicas"][0]["test"] = float("nan")
  said = []
  paths = plots.draw(tmp_path, trainer, history, assessments, said.append)
  assert [path.name for path in paths] == [name for name in NAMES if name != "scores.png"] and not said
  figure = plots._attention(trainer, assessments)                         # pylint: disable=protected-access
  titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
  assert titles[0].startswith("best training video") and titles[1].startswith("worst training video")
  plots.plt.close(figure)


@pytest.mark.parametrize("metric", ["accuracy", "spearman"])
def test_curves_of_two_videos_have_one_scale_and_plain_words(make_dataset, tmp_path, metric):
  trainer, _, assessments = trained(make_dataset, tmp_path)
  trainer.metric = metric
  figure = plots._attention(trainer, assessments)                         # pylint: disable=protected-access
  above, below = figure.axes
  assert above.get_xlim() == below.get_xlim() and above.get_ylim() == below.get_ylim()
  assert below.get_xlabel() == "time [m:ss.s]"
  figure.canvas.draw()
  assert all(label.get_text().count(":") == 1 for label in below.get_xticklabels())
  words = [text.get_text() for text in above.get_legend().get_texts()]
  assert words == ["moments that speak for skill (high attention)", "low attention"]
  assert ("rank score" in above.get_title() and "no unit" in above.get_title()) == (metric == "accuracy")
  said = " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text)).replace("\n", " ")
  assert wording.LEGENDS["attention"].split(" Shaded")[0] in said
  plots.plt.close(figure)


def test_every_plot_changes_with_its_data(make_dataset, tmp_path):
  trainer, history, assessments = trained(make_dataset, tmp_path)
  contents = lambda: [path.read_bytes() for path in plots.draw(tmp_path, trainer, history, assessments, print)]
  before = contents()
  assert contents() == before
  history[0]["replicas"][0]["test"] = 0.6
  level = assessments.distribution["level 1"]
  assessments = methods.Assessment(
      score=assessments.score * 1.5, attention={name: x ** 2 for name, x in assessments.attention.items()},
      distribution={"level 1": level._replace(probabilities=level.probabilities ** 2)})
  assert all(new != old for new, old in zip(contents(), before))


def test_curves_of_attention_are_those_of_the_two_videos(make_dataset, tmp_path):
  """The numbers themselves, in multiples of an even share, and not axes with titles alone."""
  trainer, _, assessments = trained(make_dataset, tmp_path)
  test, data = trainer.dataset.folds[0].test_videos, trainer.dataset
  figure = plots._attention(trainer, assessments)                         # pylint: disable=protected-access
  for axis, video in zip(figure.axes, (test[data.score[test].argmax()], test[data.score[test].argmin()]), strict=True):
    real = data.lengths["rgb"][video]
    curves = [line.get_ydata() for line in axis.lines if len(line.get_ydata()) == real and line.get_linestyle() == "-"]
    for curve, values in zip(curves, assessments.attention.values(), strict=True):
      weights = values[0, video, 0, :real]
      np.testing.assert_allclose(curve, weights * real / weights.sum(), rtol=1e-6)
  plots.plt.close(figure)


@pytest.mark.parametrize("losses", [[0.9], [0.9, 0.5], [0.9, 1e-4]])
def test_losses_are_seen_and_their_numbers_are_plain(tmp_path, losses):
  lines = [json.dumps(dict(step=n, accuracy=[0.5], loss=[x])) for n, x in enumerate(losses)]
  (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
  trainer = types.SimpleNamespace(metric="accuracy", dataset=types.SimpleNamespace(simulated=False))
  history = [dict(step=n, replicas=[dict(test=0.5, validation=0.5)]) for n, _ in enumerate(losses)]
  figure = plots._curves(tmp_path, history, trainer)                      # pylint: disable=protected-access
  left = figure.axes[0]
  figure.canvas.draw()
  labels = [label.get_text() for label in left.get_yticklabels()]
  assert len(labels) > 1 and all(float(label) > 0 for label in labels if label)
  assert (left.lines[0].get_marker() == "o") == (len(losses) == 1)
  plots.plt.close(figure)
