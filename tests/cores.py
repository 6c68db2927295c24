"""The cores that tests and what they start run on.

Threads of small programs cost more than they bring: a worker that keeps to one core takes less processor time.
"""

import contextlib
import os

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()      # that may be used; () where nobody says


def take_one(index):
  """Keeps this thread, and what it starts from now on, on one of the cores, where the machine lets it."""
  _keep_to({sorted(ALL)[index % len(ALL)]} if ALL else ())


@contextlib.contextmanager
def every_one():
  """What is started within may use all of them: a browser, processes that work side by side."""
  before = os.sched_getaffinity(0) if ALL else ()
  _keep_to(ALL)
  try:
    yield
  finally:
    _keep_to(before)


def _keep_to(cores):
  if cores:
    with contextlib.suppress(OSError):
      os.sched_setaffinity(0, cores)
