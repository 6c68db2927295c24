"""Fewer rows a second: means stay what they were, and what is faster than the new rate does not come back slower."""

import dataclasses

import numpy as np
import pytest

from jaxskill.data import resample


@pytest.mark.parametrize("count,seconds,rate", [
    (90, 1 / 30, 5), (91, 1 / 30, 7), (1, 1 / 30, 5), (4, 0.04, 24.9), (1000, 0.01, 0.3)])
def test_mean_and_duration_stay(count, seconds, rate):
  rows = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
  new, step, times = resample.resample_rows(rows, seconds, rate)
  assert times is None and step == 1 / rate and new.dtype == np.float32 and new.shape[1:] == (3,)
  assert abs(len(new) * step - count * seconds) <= step / 2 + 1e-6 or len(new) == 1
  widths = np.full(len(new), step)
  widths[-1] = count * np.float32(seconds) - step * (len(new) - 1)                        # the last window takes the rest
  np.testing.assert_allclose(np.average(new, axis=0, weights=widths), rows.mean(axis=0), atol=1e-5)


def test_rows_are_means_of_whole_and_of_parts_of_rows():
  rows = np.arange(6, dtype=np.float32)[:, None]
  np.testing.assert_allclose(resample.resample_rows(rows, 0.5, 1)[0][:, 0], [0.5, 2.5, 4.5])
  np.testing.assert_allclose(resample.resample_rows(rows, 0.5, 1 / 1.25)[0][:, 0],
                             [(0 * 0.5 + 1 * 0.5 + 2 * 0.25) / 1.25, (2 * 0.25 + 3 * 0.5 + 4 * 0.5 + 5 * 0.5) / 1.75], rtol=1e-6)


def test_a_line_stays_a_line_and_a_constant_exactly_itself():
  line = np.linspace(0, 9, 300, dtype=np.float32)[:, None]
  new = resample.resample_rows(line, 1 / 30, 5)[0][:, 0]
  np.testing.assert_allclose(np.diff(new), np.diff(new)[0], rtol=1e-3)
  constant = np.full((300, 2), 0.1234567, np.float32)
  assert (resample.resample_rows(constant, 1 / 30, 7)[0] == constant[0]).all()


@pytest.mark.parametrize("hertz", [7.0, 9.0, 11.0, 14.0])
def test_what_is_too_fast_is_averaged_away(hertz):
  """Read off at 5 rows a second, a tone of 9 Hz would come back as one of 1 Hz, as strong as it was."""
  time = np.arange(600) / 30
  tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)[:, None]
  assert resample.resample_rows(tone, 1 / 30, 5)[0].std() < 0.25 * tone.std()


def test_times_that_are_known_rule():
  rows, times = np.arange(5, dtype=np.float32)[:, None], np.array([1.0, 1.1, 1.2, 3.0, 3.2], np.float32)
  new, step, when = resample.resample_rows(rows, 0.55, 1, times)
  np.testing.assert_allclose(when, [1, 2, 3])
  np.testing.assert_allclose(new[:, 0], [0.1 * 0 + 0.1 * 1 + 0.8 * 2, 2, (0.2 * 3 + 0.55 * 4) / 0.75], rtol=1e-5)


def test_a_gap_in_the_times_has_no_rows():
  """Nothing is seen from 1.0 to 3.15 s: a row lasts three steps there, and windows without any are left out."""
  times = np.concatenate([np.arange(10) * .1, 3.15 + np.arange(10) * .1])
  rows = np.repeat(np.array([1.0, 5.0], np.float32), 10)[:, None]
  new, step, when = resample.resample_rows(rows, .1, 2, times)
  assert step == .5
  np.testing.assert_allclose(when, [0, .5, 1, 3, 3.5], atol=1e-6)
  np.testing.assert_allclose(new[:, 0], [1, 1, 1, 5, 5], rtol=1e-6)         # nothing of the row before the gap in 3.0
  rows = np.arange(20, dtype=np.float32)[:, None]
  new, _, _ = resample.resample_rows(rows, .1, 2, times)
  assert new[3, 0] == pytest.approx((10 + 11 + 12 + .5 * 13) / 3.5, rel=1e-5)


@pytest.mark.parametrize("rate", [0, 1, 1.00001, 2, 30])
def test_no_row_is_invented(rate):
  rows = np.ones((4, 2), np.float32)
  assert resample.resample_rows(rows, 1.0, rate)[0] is rows


def test_frames_stay():
  frames = np.zeros((30, 4, 4, 3), np.uint8)
  assert resample.resample_rows(frames, 0.04, 1)[0] is frames


def test_data_set(make_dataset):
  data = make_dataset(videos=5, segments=30, row_seconds=dict(rgb=np.full(5, 0.11)), folds=(((0, 1, 2), (3, 4)),))
  new = resample.resample(data, 2.5)
  assert new.lengths["rgb"].tolist() == [max(1, round(length * 0.11 * 2.5)) for length in data.lengths["rgb"]]
  np.testing.assert_allclose(new.row_seconds["rgb"], 0.4)
  np.testing.assert_allclose(new.recorded_seconds["rgb"], 0.11)
  for video, length in enumerate(new.lengths["rgb"]):
    rows = data.streams["rgb"][video, : data.lengths["rgb"][video]]
    np.testing.assert_array_equal(new.streams["rgb"][video, :length], resample.resample_rows(rows, 0.11, 2.5)[0])
    assert not new.streams["rgb"][video, length:].any()
  assert new.folds[0].train_videos.tolist() == [0, 1, 2] and resample.resample(data, 0.0) is data


@pytest.mark.parametrize("rate,fault", [
    (-1.0, "rows_per_second=-1.0 must be a positive number"), (np.nan, "must be a positive number"),
    (np.inf, "must be a positive number"), (20.0, r"not below the rows a second of any stream \(rgb 10\)")])
def test_rate_that_cannot_be(make_dataset, rate, fault):
  with pytest.raises(ValueError, match=fault):
    resample.resample(make_dataset(row_seconds=dict(rgb=np.full(11, 0.1))), rate)


def test_simulation_is_not_resampled(make_dataset):
  data = dataclasses.replace(make_dataset(), truth=dict(skill=np.zeros(11)))
  with pytest.raises(ValueError, match="simulated.num_segments"):
    resample.resample(data, 0.5)
