"""Optical flow between two pictures: TV-L1, as the flow networks of action recognition were trained with.

Needs OpenCV's contributed modules (pip install 'jaxskill[flow]').

Reference: Zach, Pock and Bischof, A Duality Based Approach for Realtime TV-L1 Optical Flow, DAGM 2007.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

LIMIT = 20.0               # pixels: what is cut off, and becomes 1


def require() -> None:
  """Raises a `ValueError` where OpenCV or its contributed modules are missing."""
  found = importlib.util.find_spec("cv2") is not None
  if found:
    import cv2
  if not found or not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
    raise ValueError("TV-L1 optical flow needs OpenCV with its contributed modules, which "
                     f"{'this OpenCV lacks: uninstall it, then' if found else 'is not installed:'} pip install "
                     "'jaxskill[flow]'.")


def tv_l1(before: np.ndarray | None, after: np.ndarray | None) -> np.ndarray:
  """Computes the flow from one picture to the next, cut off at 20 pixels and scaled to [-1, 1].

  Args:
    before, after: `[H, W]` uint8, grey.

  Returns:
    `[H, W, 2]` float16: to the right, and down.
  """
  return (np.clip(_solver().calc(before, after, None), -LIMIT, LIMIT) / LIMIT).astype(np.float16)


@functools.cache
def _solver() -> Any:
  import cv2
  cv2.setNumThreads(1)     # processes already share the cores
  return cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]


def gray(image: np.ndarray) -> np.ndarray:
  """Returns `[H, W]` uint8 brightness of an RGB image."""
  import cv2
  return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
