"""Command lines as a user types them: in a process of their own, or where that is not the point in this one."""

import os

from tests.conftest import CACHE, QUICK_FLAGS

OTHERS = "JAX_", "XLA_", "SLURM_", "TPU_", "OMPI_", "MEGASCALE_", "JOB_COMPLETION_"      # of what surrounds the tests


def environment(without_torch, home, **more):
  """Variables of a process that trains alone on one CPU device, and compiles quickly."""
  kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
  return kept | dict(JAX_PLATFORMS="cpu", XLA_FLAGS=QUICK_FLAGS, PYTHONPATH=without_torch, HOME=str(home),
                     JAX_COMPILATION_CACHE_DIR=os.environ[CACHE]) | more


def run_here(main, capsys, monkeypatch, *words):
  """(exit code, stdout, stderr) of a command in this process, which has imported everything."""
  monkeypatch.setenv("JAX_NUM_PROCESSES", "1")             # alone, whatever surrounds the tests
  capsys.readouterr()
  code = 0
  try:
    main(list(map(str, words)))
  except SystemExit as end:
    code = end.code
  return code, *capsys.readouterr()
