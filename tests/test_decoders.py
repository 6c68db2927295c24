"""Processes that decode: what they may say, in which order, and what happens when they do not."""

import os
import signal

import numpy as np
import pytest

from jaxskill import decoders
from tests.data.test_video import encode
from tests.test_extraction import recipe


def test_a_decoder_that_dies_costs_one_video(tmp_path):
  files = {"long": str(encode(tmp_path / "long.mp4", np.arange(300) / 10)),
           "a": str(encode(tmp_path / "a.mp4", np.arange(40) / 10))}
  coming, seen = decoders.Decoders(files, recipe(length=9), None, 1, 60.0), {}
  for name, kind, content in coming:
    if not seen:
      next(iter(coming.decoders.values())).process.kill()
    seen.setdefault(name, []).append((kind, content))
  assert seen["long"][-1][0] == "failed" and "the decoder died" in seen["long"][-1][1]
  assert [kind for kind, _ in seen["a"]] == ["planned", "items", "done"]


def test_a_decoder_that_stands_still_is_replaced(tmp_path, monkeypatch):
  path = encode(tmp_path / "a.mp4", np.arange(40) / 10)
  monkeypatch.setattr(decoders, "STARTING", 1.0)
  coming = decoders.Decoders({"a": str(path)}, recipe(length=9), None, 1, patience=1.0)
  os.kill(next(iter(coming.decoders.values())).process.pid, signal.SIGSTOP)
  monkeypatch.setattr(decoders, "STARTING", 60.0)
  assert [kind for _, kind, _ in coming] == ["planned", "items", "done"]       # by the one that took its place


def _ends(connection, config, persons):
  connection.close()


def test_processes_that_do_not_start_are_not_started_for_ever(tmp_path, monkeypatch):
  monkeypatch.setattr(decoders, "_work", _ends)
  with pytest.raises(ValueError, match=r"the processes that decode videos do not start \(the decoder died\)"):
    list(decoders.Decoders({"a": str(tmp_path / "a.mp4")}, recipe(length=9), None, 1, 60.0))
