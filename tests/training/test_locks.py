"""One process at a time in a folder: who is refused, who takes over, what a file system without locks says."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from jaxskill.training import locks
from tests.processes import running

HOLDS = """
import sys, time
from jaxskill.training import locks
with locks.hold(sys.argv[1], "extraction", "give another --out", print):
  print("held", flush=True)
  time.sleep(600)
"""


def hold(file, say=pytest.fail, **changed):
  return locks.hold(file, **dict(doing="extraction", hint="give another --out", say=say) | changed)


@pytest.fixture
def other(tmp_path):
  """Another process that holds the lock."""
  with running([sys.executable, "-c", HOLDS, tmp_path / ".lock"], stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == "held\n"
    yield process


def test_the_second_is_refused_with_who_and_since_when(tmp_path, other):
  with pytest.raises(ValueError, match=re.escape(f"{tmp_path}: another extraction is at work there (host "
                                                 f"{socket.gethostname()}, pid {other.pid}, since 2")) as refused:
    with hold(tmp_path / ".lock"):
      pytest.fail("held twice")
  assert str(refused.value).endswith("; wait until it ends, or give another --out.") and "\n" not in str(refused.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_dead_process_left_is_taken_over(tmp_path, other, number):
  os.kill(other.pid, number)
  other.wait()
  assert f"pid {other.pid}, " in (tmp_path / ".lock").read_text()
  with hold(tmp_path / ".lock"):
    assert f"pid {os.getpid()}, " in (tmp_path / ".lock").read_text()


def test_let_go_at_the_end_and_after_a_fault(tmp_path):
  with pytest.raises(KeyError):
    with hold(tmp_path / ".lock"):
      with pytest.raises(ValueError, match=f"pid {os.getpid()}, "):        # twice in one process
        with hold(tmp_path / ".lock"):
          pytest.fail("held twice")
      raise KeyError
  assert (tmp_path / ".lock").read_text() == ""
  with hold(tmp_path / ".lock"):
    pass


def test_what_another_machine_left_is_not_taken_over(tmp_path, monkeypatch):
  file = tmp_path / ".lock"
  content = "host elsewhere, pid 7, since 2026-11-28 10:00:00 +0000\nanother boot\n"
  file.write_text(content)
  with pytest.raises(ValueError, match=re.escape(f"or was killed ({content.splitlines()[0]}); if it does not run any "
                                                 f"more, remove {file}.")):
    with hold(file):
      pytest.fail("taken over")
  assert file.read_text() == content
  (tmp_path / "boot").write_text("another boot\n")                       # another container of this machine
  monkeypatch.setattr(locks, "BOOT", tmp_path / "boot")
  with hold(file):
    assert f"pid {os.getpid()}, " in file.read_text()


@pytest.mark.parametrize("content", [b"\xff\x00\n" * 999, b"null", b"[" * 100_000, b"host"])
def test_a_damaged_file_is_taken_over(tmp_path, content):
  (tmp_path / ".lock").write_bytes(content)
  with hold(tmp_path / ".lock"):
    assert f"pid {os.getpid()}, " in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_cannot_lock(tmp_path, monkeypatch, number):
  def flock(*_):
    raise OSError(number, os.strerror(number))
  monkeypatch.setattr(fcntl, "flock", flock)
  said = []
  with hold(tmp_path / ".lock", said.append):
    pass
  assert said == [f"not locked: {tmp_path} lies where files cannot be locked ({os.strerror(number)}); start no second "
                  "extraction there"]


def test_a_full_disk_still_locks(tmp_path, monkeypatch):
  def pwrite(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
  monkeypatch.setattr(os, "pwrite", pwrite)
  with hold(tmp_path / ".lock"):
    with pytest.raises(ValueError, match="it does not say who"):
      with hold(tmp_path / ".lock"):
        pytest.fail("held twice")


def test_a_place_that_is_none(tmp_path):
  with pytest.raises(OSError, match="Is a directory|No such file"):
    with hold(tmp_path):
      pytest.fail("held a folder")
