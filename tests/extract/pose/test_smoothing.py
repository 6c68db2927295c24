"""The one-euro filter, by time stamps."""

import numpy as np

from jaxskill.extract.pose.smoothing import OneEuro


def naive(values, times, cutoff, slope):
  """Step by step, as MediaPipe does: the speed is that of the values as they come."""
  out, speed = [values[0]], 0.0
  for value, last, before, time in zip(values[1:], values, times, times[1:]):
    step = time - before
    share = 1 / (1 + 1 / (2 * np.pi * 1.0 * step))
    speed = share * (value - last) / step + (1 - share) * speed
    share = 1 / (1 + 1 / (2 * np.pi * (cutoff + slope * abs(speed)) * step))
    out.append(share * value + (1 - share) * out[-1])
  return out


def test_step_by_step():
  rng = np.random.default_rng(0)
  values, times = rng.normal(size=20).cumsum(), rng.uniform(0.02, 0.1, 20).cumsum()
  smooth = OneEuro(0.5, 2.0)
  np.testing.assert_allclose([smooth(time, value) for time, value in zip(times, values)],
                             naive(values, times, 0.5, 2.0), rtol=1e-12)


def test_what_rests_is_smoothed_and_what_moves_is_followed():
  rng = np.random.default_rng(0)
  resting, moving = OneEuro(0.05, 80.0), OneEuro(0.05, 80.0)
  times = np.arange(100) / 25
  noise = 1e-4 * rng.normal(size=100)
  assert np.std([resting(t, n) for t, n in zip(times, noise)][20:]) < 0.5 * np.std(noise)
  assert abs([moving(t, t) for t in times][-1] - times[-1]) < 0.01


def test_begins_anew():
  smooth = OneEuro(0.05, 1.0)
  smooth(0.0, 0.0)
  assert smooth(0.04, 1.0) < 1
  smooth.forget()
  assert smooth(0.08, 1.0) == 1
