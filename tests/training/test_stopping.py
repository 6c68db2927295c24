"""Signals ask for a stop, once; a second one ends the process at once. Calls are as long as the speed allows."""

import signal
import subprocess
import sys
import time

import pytest

from jaxskill.training import stopping
from jaxskill.training.stopping import CallLength, Stopped, StopSignal
from tests.processes import running

ALL = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture(autouse=True)
def as_at_a_shell():
  """Handlers as a program finds them that was started at a shell, whatever started the tests."""
  before = {number: signal.signal(number, lambda *_: None) for number in ALL}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def raised(number, stop):
  signal.raise_signal(number)
  while not stop.number:            # until the listener has run
    time.sleep(0.001)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_a_request_and_leaves_the_handlers_as_they_were(number):
  before, wakeup = [signal.getsignal(n) for n in ALL], signal.set_wakeup_fd(-1)
  signal.set_wakeup_fd(wakeup)
  with pytest.raises(Stopped) as stopped:
    with StopSignal() as stop:
      assert stop.number == 0
      raised(number, stop)
      raise Stopped(stop.number)
  assert (stopped.value.code, stopped.value.number) == (128 + number, number)
  assert [signal.getsignal(n) for n in ALL] == before and signal.set_wakeup_fd(wakeup) == wakeup


def test_twice_at_once_is_one_request(monkeypatch):
  """As `timeout` sends its signal to the process and to its group, and a terminal that closes."""
  monkeypatch.setattr(stopping, "_ONE_REQUEST", 600.0)                 # however slow this machine is
  with pytest.raises(Stopped):
    with StopSignal() as stop:
      for _ in range(3):
        raised(signal.SIGTERM, stop)
      raise Stopped(stop.number)


def test_a_request_that_nobody_heeded_is_a_signal_again():
  came = []
  signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
  with StopSignal() as stop:
    raised(signal.SIGTERM, stop)
    assert not came
  assert came == [signal.SIGTERM]


def test_what_was_ignored_stays_ignored():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)               # nohup
  with StopSignal() as stop:
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and stop.number == 0


SECOND = """
import hashlib, signal, sys
from jaxskill.training import stopping
from jaxskill.training.stopping import StopSignal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
  signal.signal(number, signal.SIG_DFL)
with StopSignal() as stop:
  print("ready", flush=True)
  hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)         # minutes in compiled code
"""


def test_a_second_signal_ends_compiled_code_at_once():
  with running([sys.executable, "-c", SECOND], stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:
      time.sleep(0.6)                                        # longer than what counts as one request
      process.send_signal(signal.SIGINT)
    assert process.returncode == 130


def test_calls_start_short_and_follow_the_speed():
  length, steps = CallLength(2), []
  for _ in range(4):
    steps.append(length.steps(1000))
    length.took(steps[-1], 30.0 if len(steps) == 1 else 0.001 * steps[-1])     # the first compiles
  assert steps == [2, 2, 16, 128]
  length.took(128, 12.8)                                     # a tenth of a second each: twenty in two seconds
  assert length.steps(1000) == 20
  assert length.steps(7) == 8 and length.steps(1) == 2       # whole cycles
  length.took(20, 100.0)
  assert length.steps(1000) == 2                             # a cycle is the least
  length.took(2, 0.0)
  assert length.steps(1000) == 16
