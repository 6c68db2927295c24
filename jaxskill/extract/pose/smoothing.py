"""The one-euro filter: what rests is smoothed much, what moves little.

Reference: Casiez, Roussel and Vogel, 1 euro filter, CHI 2012, Algorithm 1. As in MediaPipe's published filter the speed
is measured from the value before as it came; the paper measures it from the smoothed one.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class OneEuro:
  """Smooths an array of values as they come, by their times."""

  def __init__(self, cutoff: float, slope: float, speed_cutoff: float = 1.0) -> None:
    """
    Args:
      cutoff: Hz, of what rests.
      slope: Hz that the cutoff rises with each unit a second.
      speed_cutoff: Hz, of the speed itself.
    """
    self._cutoff, self._slope, self._speed_cutoff = cutoff, slope, speed_cutoff
    self.forget()

  def forget(self) -> None:
    """Begins anew: the next values are taken as they are."""
    self._time: Any = None
    self._value: Any = None                # smoothed
    self._raw: Any = None
    self._speed: Any = 0.0

  def __call__(self, time: float, value: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """Returns smoothed values.

    Args:
      time: seconds, after those before.
      value: an array, always of the same shape.
      unit: in which speeds are measured, e.g. the size of a body in pixels.
    """
    if self._value is None or time <= self._time:
      self._time, self._value, self._raw = time, value, value
      return value
    step = time - self._time
    share = _share(self._speed_cutoff, step)
    self._speed = share * (value - self._raw) / (step * unit) + (1 - share) * self._speed
    share = _share(self._cutoff + self._slope * np.abs(self._speed), step)
    self._time, self._value, self._raw = time, share * value + (1 - share) * self._value, value
    return self._value


def _share(cutoff: Any, step: Any) -> Any:
  """Returns the weight of a new value in exponential smoothing with a cutoff in Hz and `step` seconds."""
  rate = 2 * np.pi * cutoff * step
  return rate / (rate + 1)
