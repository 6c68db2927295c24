"""What a suite may meet, as functions that take no time to import: each is called in a process of its own."""

import os
import time


def quick(line, seconds):
  return [line | dict(rounds=[seconds], median_s=seconds, min_s=seconds, max_s=seconds, shares={}, limit="latency")]


def slow(line):
  time.sleep(900)


def fails(line):
  raise ValueError("no such thing\nhere")


def ends(line):
  os._exit(3)
