"""The cores that tests and what they start run on.

Threads of small programs cost more than they bring: a worker that keeps to one core takes an eighth less processor time.
"""

import contextlib
import os

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()        # of the machine; () where it does not say


def take_one(index):
  """Keeps this process, and what it starts, on one of the cores, where the machine can."""
  if ALL:
    os.sched_setaffinity(0, {sorted(ALL)[index % len(ALL)]})


@contextlib.contextmanager
def every_one():
  """What is started within runs on all of them: a browser, processes that work side by side."""
  before = os.sched_getaffinity(0) if ALL else ()
  if ALL:
    os.sched_setaffinity(0, ALL)
  try:
    yield
  finally:
    if ALL:
      os.sched_setaffinity(0, before)
