"""What a suite may meet, as functions that take little time to import: each is called in a process of its own."""

import os
import resource
import time

import jax
import numpy as np


def quick(line, seconds):
  return [line | dict(rounds=[seconds], median_s=seconds, min_s=seconds, max_s=seconds, shares={}, limit="latency")]


def cache(line):
  """Where what is compiled is kept."""
  kept = dict(cache=jax.config.jax_compilation_cache_dir, fusions=jax.config.jax_persistent_cache_enable_xla_caches)
  return [found | kept for found in quick(line, 1.0)]


def slow(line):
  time.sleep(900)


def fails(line):
  raise ValueError("no such thing\nhere")


def pages(line):
  """How many pages are cleared for 100 MB of memory that has been in use before."""
  for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(25_000_000, np.float32)
    cleared = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
  return [found | dict(pages=cleared) for found in quick(line, 1.0)]


def ends(line):
  os._exit(3)
