"""Logs are read whatever a kill, a full disk or a wrong byte did to them."""

import math

import numpy as np
import pytest

from jaxskill.training import log_lines
from jaxskill.training.runlog import Log

LINES = [b'{"step": %d, "steps_per_second": 1.0, "loss": [1.0, null]}\n' % step for step in (2, 4, 6)]
GOOD = b"".join(LINES)
DAMAGE = {               # what is in the file -> steps of the lines that count
    "nothing": (None, []), "empty": (b"", []), "whole": (GOOD, [2, 4, 6]), "cut short": (GOOD[:-20], [2, 4]),
    "no newline at its end": (GOOD[:-1], [2, 4, 6]), "zeros behind": (GOOD + bytes(4096), [2, 4, 6]), "zeros": (bytes(4096), []),
    "no UTF-8": (GOOD + b"\xff\xfe\x00", [2, 4, 6]), "a byte flipped in a key": (GOOD.replace(b"loss", b"lors", 1), [4, 6]),
    "a byte flipped": (b"\xc3" + GOOD[1:], [4, 6]), "a number": (GOOD + b"5\n", [2, 4, 6]), "null": (b"null\n" + GOOD, [2, 4, 6]),
    "a list": (GOOD + b"[1]\n", [2, 4, 6]), "no step": (GOOD + b'{"loss": [1, 2]}\n', [2, 4, 6]),
    "a step in words": (LINES[0].replace(b"2,", b'"2",') + LINES[1], [4]), "step true": (LINES[0].replace(b"2,", b"true,"), []),
    "two lines joined": (GOOD.replace(b"}\n{", b"}{", 1), [6]), "a line twice": (LINES[0] + GOOD, [2, 4, 6]),
    "out of order": (LINES[1] + LINES[0] + LINES[2], [4, 6]), "brackets": (b"[" * 100_000 + b"\n" + GOOD, [2, 4, 6]),
    "a value in words": (GOOD + LINES[2].replace(b"6,", b"8,").replace(b"[1.0, null]", b'"1"'), [2, 4, 6]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_metrics(tmp_path, name):
  content, steps = DAMAGE[name]
  if content is not None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
  entries = log_lines.read_metrics(tmp_path)
  assert [entry["step"] for entry in entries] == steps
  assert all(entry["loss"][0] == 1 and math.isnan(entry["loss"][1]) for entry in entries)


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_goes_on_with_damaged_logs(tmp_path, name, damage):
  content, _ = DAMAGE[damage]
  if content is not None:
    (tmp_path / name).write_bytes(content)
  with Log(tmp_path, 4, True) as log:
    assert log.history == []
  entries, damaged = log_lines.read_lines(tmp_path / name)
  assert not damaged and all(entry["step"] <= 4 for entry in entries)


def test_a_log_that_is_removed_meanwhile_is_named(tmp_path):
  with Log(tmp_path, 0, True) as log:
    log.metrics(2, dict(loss=np.ones(1)), 1.0)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"removed while the run writes it: .*metrics\.jsonl"):
      log.metrics(4, dict(loss=np.ones(1)), 1.0)


def test_a_log_that_is_a_folder_is_named(tmp_path):
  (tmp_path / "metrics.jsonl").mkdir()
  with pytest.raises(ValueError, match=r"metrics\.jsonl cannot be read .*; remove it, a log is written anew"):
    Log(tmp_path, 4, True)
