"""Other processes that a test starts."""

import contextlib
import os
import subprocess

from tests.places import REPO


@contextlib.contextmanager
def running(command, **options):
  """Yields a process, and ends it with the test, also where that fails: else it would be waited for."""
  with subprocess.Popen(command, **dict(cwd=REPO) | options) as process:
    try:
      yield process
    finally:
      process.kill()


def has_glibc():
  """Returns whether the C library is that whose memory `cli.keep_memory` tunes."""
  try:
    return os.confstr("CS_GNU_LIBC_VERSION").startswith("glibc")
  except (AttributeError, ValueError, OSError):
    return False
