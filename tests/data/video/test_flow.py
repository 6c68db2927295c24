"""TV-L1 flow: direction, unit, limits, and what is said without OpenCV."""

import sys
import types

import numpy as np
import pytest

from jaxskill.data.video import flow


def texture(size, seed=0):
  image = np.random.default_rng(seed).uniform(0, 255, size)
  for axis in (0, 1):
    image = sum(np.roll(image, k, axis) for k in range(-4, 5)) / 9
  return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


@pytest.mark.parametrize("right,down", [(3, 0), (0, -2), (-1, 4)])
def test_motion(right, down):
  pytest.importorskip("cv2.optflow")
  before = texture((64, 80))
  found = flow.tv_l1(before, np.roll(before, (down, right), (0, 1)))
  assert found.shape == (64, 80, 2) and found.dtype == np.float16
  np.testing.assert_allclose(np.median(found, axis=(0, 1)), [right / 20, down / 20], atol=0.01)
  assert not flow.tv_l1(before, before).any()


def test_limits(monkeypatch):
  given = np.array([[[25.0, -30.0], [10.0, 0.0]]], np.float32)
  monkeypatch.setattr(flow, "_solver", lambda: types.SimpleNamespace(calc=lambda *_: given))
  np.testing.assert_array_equal(flow.tv_l1(None, None), [[[1, -1], [0.5, 0]]])


def test_missing(monkeypatch):
  monkeypatch.setattr(flow.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"is not installed: pip install 'jaxskill\[flow\]'"):
    flow.require()
  monkeypatch.setattr(flow.importlib.util, "find_spec", lambda name: True)
  monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace())
  with pytest.raises(ValueError, match=r"this OpenCV lacks: uninstall it, then pip install 'jaxskill\[flow\]'"):
    flow.require()
