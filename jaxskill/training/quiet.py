"""Keeps what libraries print beside the errors that they raise from standard error."""

from __future__ import annotations

import functools
import sys
from typing import Any

from absl import logging


def hush() -> None:
  """Silences Orbax and TensorStore, which print dozens of lines for every error that they raise as well."""
  logging.get_absl_logger().addFilter(_quiet)
  if getattr(sys.unraisablehook, "func", None) is not _late:
    sys.unraisablehook = functools.partial(_late, sys.unraisablehook)


def _quiet(record: Any) -> bool:
  """Lets Orbax warn but not chat: it logs through absl, dozens of lines a save; its errors it raises as well."""
  return record.levelno in (30, 50) or "/orbax/" not in record.pathname.replace("\\", "/")


def _late(hook: Any, unraisable: Any) -> None:
  """Passes an exception on, unless it is that TensorStore answered an event loop which an error had ended before."""
  if str(unraisable.exc_value) != "Event loop is closed":
    hook(unraisable)
