"""Everything that is measured of speed and memory, in a given time, on whatever it runs on: one command.

  python -m jaxskill.benchmark --suite [--minutes 10] [--out FOLDER] [--against OLD.json] [--only WORDS]

Measures the training steps of all systems, both types of operands, soft-DTW in all its forms, extraction, start-up,
features that are streamed, several devices and the rest of what the single benchmarks time, in this order, until
the time is over; compilation counts. What does not fit is listed as not run, what takes too long is stopped, what
fails says why. Into the folder it writes suite.json, suite.md and suite.png, anew after each entry, so that a run that
is cut off leaves what it has. Each line says what limits it.

Where the kernels of soft-DTW were timed at all sizes, the verdict is kept beside the compiled programs, and
implementation="auto" of soft-DTW follows it on this kind of device.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxskill import cli, files, measured
from jaxskill.benchmark.suite import entries, measures, report
from jaxskill.benchmark.suite.watched import START_S, Process, Stopped
from jaxskill.benchmark.throughput import ENVIRONMENT

_SHARE, _TIMES = 0.1, 3.0       # of the whole time, or times its estimate: what an entry may take before it is stopped
_MACHINE_S = 8.0                # that the machine's own limits take, about, with the start of a process
_LEAST_S = 2.0                  # in less nothing is begun


class Suite:
  """Runs entries until a deadline and writes what they found.

  Attributes:
    results: all numbers, ready for JSON.
  """

  def __init__(self, out: pathlib.Path, results: dict[str, Any], deadline: float, say: Callable[[str], None],
               cache: str | None = None) -> None:
    """Args: deadline: on `time.monotonic`'s clock; cache: a folder for what several entries compile."""
    self.results = results
    self._out, self._deadline, self._say, self._cache, self._begun = out, deadline, say, cache, time.monotonic()
    self._shared: Process | None = None
    self._ending = threading.RLock()
    self._slower: list[float] = []           # seconds that entries took beside their rounds, over their estimates

  @property
  def left(self) -> float:
    """Returns the seconds that are left."""
    return self._deadline - time.monotonic()

  def ask(self, limit: float, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Returns what a function answers in the process that all entries share which have none of their own.

    Raises:
      Stopped: if there is no answer; the next call has a new process.
    """
    process = self._shared or self._begin()
    try:
      return process.ask(limit, function, *arguments)
    except Stopped:
      self.end()
      raise

  def _begin(self, devices: int = 1, keeps: bool = False) -> Process:
    """Begins the process that entries share, and returns it; a signal waits until it is there, and ends it."""
    with self._ending:
      self._shared = Process(devices, keeps, self._cache)
      return self._shared

  def end(self, for_good: bool = False) -> None:
    """Ends the process that entries share, which gives its device and its memory back.

    Args:
      for_good: as after a signal: another thread that comes here, because of the end of its process, goes no further.
    """
    self._ending.acquire()  # pylint: disable=consider-using-with
    try:
      if self._shared:
        self._shared.end()
      self._shared = None
    finally:
      if not for_good:
        self._ending.release()

  def limits(self, tiny: bool) -> dict[str, Any]:
    """Returns what `measures.machine` finds; how long that takes says how slow this machine is.

    Raises:
      Stopped: if there is no answer.
    """
    begun = time.monotonic()
    found = self.ask(max(1.0, min(self.left, START_S)), measures.machine, tiny)[0]
    self._slower.append((time.monotonic() - begun) / _MACHINE_S)
    return found

  def run(self, planned: Sequence[entries.Entry]) -> None:
    """Runs entries in their order, those that fit; writes after each."""
    group = ""
    for entry in planned:
      if why := entry.refusal or self._no_time(entry):
        self.results["not_run"].append(dict(name=entry.name, group=entry.group, why=why))
        self._say(f"{entry.name}: not run: {why}")
      else:
        begun, before = time.monotonic(), len(self.results["lines"])
        self._measure(entry)
        if len(self.results["lines"]) > before:
          self._slower.append(max(0.1, (time.monotonic() - begun - entry.rounds_s) / entry.seconds))
        self.write(picture=entry.group != group)
        group = entry.group
    self.end()
    self.write(picture=True)

  def _no_time(self, entry: entries.Entry) -> str:
    """Returns why an entry does not fit into the time that is left, "" if it does."""
    needed = self._needed(entry)
    if needed <= self.left and self.left >= _LEAST_S:
      return ""
    return f"no time left: about {needed:.0f} s needed, {max(0.0, self.left):.0f} s left"

  def _needed(self, entry: entries.Entry) -> float:
    """Returns the seconds that an entry takes, about, on a machine so slow."""
    return entry.seconds * float(np.median(self._slower or [1.0])) + entry.rounds_s

  def _measure(self, entry: entries.Entry) -> None:
    """Adds the lines of an entry, or why there are none."""
    needed = self._needed(entry)
    limit = min(self.left, max(_SHARE * 60 * self.results["minutes"], needed, min(_TIMES * needed, self.left / 2)))
    known = dict(name=entry.name, group=entry.group, beside=entry.beside)
    self._say(f"{entry.name} ...")
    if entry.fresh:
      self.end()                             # or both would hold memory of one device
      self._begin(entry.devices, entry.keeps)
    try:
      found = self.ask(limit, entry.function, known, *entry.arguments)
    except Stopped as error:
      self.results["not_run"].append(dict(name=entry.name, group=entry.group, why=str(error)))
      self._say(f"  {error}")
      return
    if entry.fresh:
      self.end()
    self.results["lines"] += found
    for line in found:
      self._say(f"  {line['name']}: {report.duration(line['median_s'])}, limited by {line['limit']}")

  def write(self, picture: bool) -> None:
    """Writes JSON and Markdown, and the picture if so told, each in the place of the one before."""
    self.results.update(took_s=time.monotonic() - self._begun)
    self.results["load_average"][1] = os.getloadavg()[0]
    files.save_json(self._out / "suite.json", self.results)
    files.write_text(self._out / "suite.md", report.markdown(self.results))
    if picture:
      report.draw(self._out / "suite.png", self.results)


def verdict(lines: Sequence[dict[str, Any]], sizes: Sequence[str]) -> float | None:
  """Returns how many times as fast as the scan the kernel of soft-DTW is at least; None if a size was not timed.

  Args:
    lines: of the suite; sizes: names of the entries of soft-DTW.
  """
  taken = {line["name"]: line["median_s"] for line in lines}
  try:
    return min(taken[f"{size}, scan"] / taken[f"{size}, pallas"] for size in sizes)
  except (KeyError, ValueError):
    return None


def run(out: pathlib.Path, minutes: float = 10.0, against: str = "", only: str = "", shape: str = "paper",
        say: Callable[[str], None] = print) -> dict[str, Any]:
  """Runs the suite; the options are those of the command line.

  Returns:
    All numbers, as they are written.

  Raises:
    ValueError: for an option that is none, or a machine that cannot be measured.
  """
  begun, old = time.monotonic(), report.read(pathlib.Path(against)) if against else None
  out = files.open_folder(out)
  # Empty at first: what is timed is compiled once, and so by no cache. What draws the first state is met again.
  cache = tempfile.TemporaryDirectory(prefix="jaxskill_suite_", ignore_cleanup_errors=True)
  suite = Suite(out, {}, begun + 60 * minutes, say, cache.name)

  def stop() -> None:
    with cache:                              # which goes after it
      suite.end(for_good=True)
  with cli.at_end(stop), cache:              # what a process of its own has started hears no Ctrl-C
    try:
      say("the machine's own limits ...")
      machine = suite.limits(shape == "tiny")
      planned = suite.ask(max(1.0, min(suite.left, START_S)), entries.plan, machine, shape)
      chosen = [entry for entry in planned if re.search(only, f"{entry.group}: {entry.name}")]
      if not chosen:
        raise ValueError(f"--only={only} names nothing of the suite; its groups: {', '.join(entries.GROUPS)}.")
      suite.results |= dict(
          kind=report.KIND, format=report.FORMAT, machine=machine, shape=shape, minutes=minutes, lines=[], not_run=[],
          load_average=[os.getloadavg()[0]] * 2, command=sys.argv,
          environment={k: v for k, v in sorted(os.environ.items()) if ENVIRONMENT.match(k)})
      suite.run(chosen)
    except Stopped as error:
      raise ValueError(f"this machine cannot be measured: {error}.") from error
    finally:
      suite.end()
  sizes = [entry.name for entry in planned if entry.group == "soft-DTW" and not entry.refusal]
  ratio = verdict(suite.results["lines"], sizes)
  if ratio is not None and shape != "tiny":
    measured.keep(measured.SOFT_DTW, machine["device"], ratio)
    suite.results["verdict"] = (f"The kernel of soft-DTW is {ratio:.2g} times as fast as the scan or more at all "
                                f"sizes: \"auto\" takes {measured.form(ratio)} on this kind of device from now on.")
  if old:
    suite.results["against"] = report.compare(pathlib.Path(against), old, suite.results)
  suite.write(picture=False)
  return suite.results


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with status 2 after a mistake."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--suite", action="store_true", required=True, help="this command; without it, the benchmark of one system")
  add("--minutes", type=float, default=10.0, help="that all of it may take; default 10")
  add("--out", type=cli.path, default="suite", help="folder for suite.json, suite.md and suite.png; default suite")
  add("--against", type=cli.path, default="", help="suite.json of an earlier one, to compare with")
  add("--only", default="", help="regular expression on 'group: name' of what to measure; groups: "
      + ", ".join(entries.GROUPS))
  add("--shape", choices=("paper", "tiny"), default="paper", help="sizes; tiny: to see that all works")
  options = parser.parse_args(argv)
  with cli.command():
    if not options.minutes > 0:
      raise ValueError(f"--minutes={options.minutes:g} must be above 0.")
    try:
      re.compile(options.only)
    except re.error as error:
      raise ValueError(f"--only={options.only}: {error}; give a regular expression.") from error
    cli.use_compilation_cache()                    # where the verdict is kept; nothing is compiled in this process
    results = run(pathlib.Path(options.out), options.minutes, options.against, options.only, options.shape,
                  lambda text: print(text, file=sys.stderr, flush=True))
    print(report.markdown(results))
    print(f"wrote {options.out}/suite.json, suite.md and suite.png")
