"""A lock on a store: who is refused, who takes over, what is said where a store cannot do that."""

import contextlib
import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxskill import stores
from jaxskill.training import leases, run_folder
from tests import strict

NAME = "bucket/run/.lock"
LEFT = "host elsewhere, pid 7, since 2026-11-28 10:00:00 +0000\nanother boot\n0123456789abcdef 5\n"


@pytest.fixture(autouse=True)
def quick(store, monkeypatch):
  del store
  monkeypatch.setattr(leases, "BEAT", 0.02)
  monkeypatch.setattr(leases, "AGE", 0.2)
  monkeypatch.setattr(leases, "_SETTLED", 0.02)


def hold(say=pytest.fail, **changed):
  return leases.hold(stores.place("strict://bucket/run/.lock"),
                     **dict(doing="training run", hint="give another --workdir", say=say) | changed)


def wait_for(condition):
  until = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < until
    time.sleep(0.005)


def test_a_living_one_is_not_taken_over_however_old_it_gets(monkeypatch):
  monkeypatch.setattr(leases, "AGE", 60.0)               # or a busy machine might not renew it in time
  with hold():
    first = strict.OBJECTS[NAME]
    assert first.decode().startswith(f"host {socket.gethostname()}, pid {os.getpid()}, since 2")
    wait_for(lambda: strict.OBJECTS[NAME] != first)                            # it is renewed
    said = []
    with pytest.raises(ValueError, match=re.escape(f"strict://bucket/run: another training run is at work there (host "
                                                   f"{socket.gethostname()}, pid {os.getpid()}, since 2")) as refused:
      with hold(said.append):
        pytest.fail("held twice")
    assert str(refused.value).endswith("; wait until it ends, or give another --workdir.")
    assert len(said) == 1 and "it is watched for 60 s to see whether its process lives" in said[0]
  assert NAME not in strict.OBJECTS
  with hold():
    pass


def test_what_is_not_renewed_is_taken_over_and_that_is_said():
  strict.OBJECTS[NAME] = LEFT.encode()
  said = []
  with hold(said.append):
    assert strict.OBJECTS[NAME].decode().startswith(f"host {socket.gethostname()}, pid {os.getpid()}, since 2")
  assert said[-1] == ("strict://bucket/run: the lock was left by a process that died (host elsewhere, pid 7, since "
                      "2026-11-28 10:00:00 +0000); it is taken over") and len(said) == 2


def test_a_dead_process_of_this_machine_is_known_without_watching(monkeypatch):
  monkeypatch.setattr(leases, "_watch", lambda *_: pytest.fail("watched"))
  with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
    child = process.pid
  strict.OBJECTS[NAME] = f"host {socket.gethostname()}, pid {child}, since x\n{leases._machine()}\nabc 1\n".encode()
  said = []
  with hold(said.append):
    pass
  assert len(said) == 1 and f"pid {child}, since x); it is taken over" in said[0]
  strict.OBJECTS[NAME] = f"host {socket.gethostname()}, pid {child}, since x\nother\nabc 1\n".encode()
  with pytest.raises(pytest.fail.Exception, match="watched"), hold(said.append):       # another container's pid
    pass


def test_what_is_let_go_while_it_is_watched_is_had(monkeypatch):
  strict.OBJECTS[NAME] = LEFT.encode()
  monkeypatch.setattr(leases, "AGE", 60.0)
  said = []
  going = threading.Timer(0.05, strict.OBJECTS.pop, (NAME,))
  going.start()
  with hold(said.append):
    assert len(said) == 1
  going.join()


@pytest.mark.parametrize("content", [b"", b"\xff\x00\n" * 99, b"null", b"host"])
def test_a_damaged_one_is_taken_over(content):
  strict.OBJECTS[NAME] = content
  with hold(lambda line: None):
    assert strict.OBJECTS[NAME].decode().startswith("host ")


def test_who_lost_it_is_told_and_leaves_it_alone():
  file = stores.place("strict://bucket/run/.lock")
  with hold():
    leases.check(file)
    strict.OBJECTS[NAME] = LEFT.encode()                         # as if this process had slept, and another came
    with pytest.raises(ValueError, match=r"^strict://bucket/run: another process has taken over this folder \(host "
                                         r"elsewhere, pid 7, .*\), .*; this one ends, the other goes on\.$"):
      leases.check(file)
    time.sleep(0.1)
  assert strict.OBJECTS[NAME] == LEFT.encode()


def test_a_store_that_cannot_is_said_in_a_line(monkeypatch):
  said = []

  def refuses(*_, **__):
    raise RuntimeError("A header you provided implies functionality that is not implemented")
  with monkeypatch.context() as patch:
    patch.setattr(strict.StrictStore, "pipe_file", refuses)
    with hold(said.append):
      leases.check(stores.place("strict://bucket/run/.lock"))
  with monkeypatch.context() as patch:                             # as one that does not know the condition
    patch.setattr(strict.StrictStore, "pipe_file", lambda _, path, value, mode: strict.OBJECTS.update({path: value}))
    with hold(said.append):
      assert not strict.OBJECTS
  monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "strict")
  with hold(said.append):
    leases.check(stores.place("strict://bucket/run/.lock"))
  begins = "not locked: strict://bucket/run lies where no file can be created only if there is none ("
  assert all(line.startswith(begins)
             and line.endswith("; start no second training run there") and "\n" not in line for line in said)
  assert len(said) == 3 and not strict.OBJECTS
  assert "not implemented" in said[0] and "it writes over what is there" in said[1] and "strict" in said[2]


def test_the_folder_of_a_run_is_locked_by_its_kind(tmp_path):
  for workdir, kind in ((tmp_path, "locks"), (stores.place("strict://bucket/run"), "leases")):
    held = run_folder.hold(workdir)
    assert isinstance(held, contextlib.AbstractContextManager) and kind in held.gen.gi_code.co_filename
    held.gen.close()
