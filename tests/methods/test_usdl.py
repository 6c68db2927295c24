"""USDL and MUSDL against a float64 reference, and what is known of judges beforehand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import methods
from tests.places import REPO

SMALL = {"model.parts": 5, "model.hidden": 4, "model.deviation": 1.5, "data.standardize": False}


@pytest.fixture
def judged(make_dataset):
  """A data set of the scores of three judges, one of whom missed a video."""
  dataset = make_dataset()
  said = np.random.default_rng(0).uniform(2, 9, (dataset.num_videos, 3)).astype(np.float32)
  said[dataset.folds[0].train_videos[0], 1] = np.nan
  return dataclasses.replace(dataset, ratings=dict(scores=said), score=np.nansum(said, axis=1))


def test_judges_of_videos_held_out_are_not_known(load_config, judged):
  method = methods.build(load_config("usdl", "features,judges", SMALL))
  fold = judged.folds[0]
  found = method.prepare(judged, fold, "score")
  hidden = np.setdiff1d(np.arange(judged.num_videos), fold.train_videos)
  assert not found["known"][hidden].any() and not found["judges"][hidden].any()
  assert found["known"][fold.train_videos].sum() == 3 * len(fold.train_videos) - 1
  np.testing.assert_array_equal(found["high"], np.nanmax(judged.ratings["scores"][fold.train_videos], axis=0))
  with pytest.raises(ValueError, match="config.model.judges needs columns rater.NAME"):
    method.prepare(dataclasses.replace(judged, ratings={}), fold, "score")
  with pytest.raises(ValueError, match="what judges said of 'form' is not known"):
    method.prepare(dataclasses.replace(judged, criteria=dict(form=judged.score)), fold, "form")
  equal = np.full_like(judged.ratings["scores"], 5.0)
  with pytest.raises(ValueError, match="column of judge 1, or set config.model.judges=False"):
    method.prepare(dataclasses.replace(judged, ratings=dict(scores=equal)), fold, "score")
  silent = judged.ratings["scores"].copy()
  silent[fold.train_videos, 2] = np.nan
  with pytest.raises(ValueError, match="no two scores of training videos differ; of several judges leave out the column of judge 3"):
    method.prepare(dataclasses.replace(judged, ratings=dict(scores=silent)), fold, "score")


def test_loss_and_answer(load_config, judged):
  """Of one video: the divergence from every judge's Gaussian, and the mean of the likeliest parts."""
  method = methods.build(load_config("usdl", "features,judges", SMALL))
  constants = method.prepare(judged, judged.folds[0], "score")
  video = int(judged.folds[0].train_videos[0])
  log_p = np.log(np.random.default_rng(1).dirichlet(np.ones(5), 3))
  encoding = dict(log_p=jnp.asarray(log_p, jnp.float32), position=jnp.int32(video))
  variables = dict(constants=jax.tree.map(jnp.asarray, constants))
  loss, _ = method.phases[0].loss(variables, (encoding,), dict(score=jnp.asarray(judged.score[video])[None]))
  expected, likely = 0.0, []
  for judge, said in enumerate(judged.ratings["scores"][video].astype(float)):
    places = np.linspace(constants["low"][judge], constants["high"][judge], 5)
    likely.append(places[log_p[judge].argmax()])
    if np.isfinite(said):
      density = np.exp(-0.5 * ((places - said) / (1.5 * (places[1] - places[0]))) ** 2)
      target = density / density.sum()
      expected += np.sum(target * (np.log(target) - log_p[judge]))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  answer = method.assess(variables, encoding, None)
  np.testing.assert_allclose(answer.score, constants["worth"] * np.mean(likely), rtol=1e-5)
  assert list(answer.distribution) == ["judge 1", "judge 2", "judge 3"]


@pytest.mark.parametrize("method", ["usdl", "core"])
def test_maps_are_refused(load_config, make_dataset, method):
  dataset = make_dataset()
  maps = dataclasses.replace(dataset, streams=dict(rgb=np.zeros((11, 12, 2, 2, 3), np.float32)))
  check = methods.build(load_config(method)).check
  check(dataset, None)
  with pytest.raises(ValueError, match=r"stream 'rgb' holds \[2, 2, 3\] a row; this method reads features"):
    check(maps, None)
  with pytest.raises(ValueError, match="there is no stream 'rgb', only flow"):
    check(dataclasses.replace(dataset, streams=dict(flow=dataset.streams["rgb"]), lengths=dict(
        flow=dataset.lengths["rgb"])), None)


def test_the_worked_example_is_short():
  """One file of under 120 lines and one config of under 40, as jaxskill/methods/README.md promises."""
  for file, most in (("jaxskill/methods/usdl.py", 120), ("configs/usdl.py", 40)):
    assert len((REPO / file).read_text(encoding="utf-8").splitlines()) < most, file


@pytest.mark.parametrize("changes, message", [
    ({"model.parts": 1}, "parts and hidden"), ({"model.deviation": 0.0}, "deviation")])
def test_bad_options(load_config, changes, message):
  with pytest.raises(ValueError, match=message):
    methods.build(load_config("usdl", "features", SMALL | changes))
