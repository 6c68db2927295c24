"""Extraction of poses: frames a second with decoding, what the detector costs, one process and several.

  python -m jaxskill.benchmark.extraction --cases pose --weights WHEEL [--video FILE]

Without --video a drawn person moves for ten seconds, 1280 x 720 at 25 frames a second; every frame is looked at. The
shares are of one process that does nothing else; rates of processes are those of the whole command with the start of
the processes, of as many copies of the film as there are processes, two each.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxskill import cli
from jaxskill.data.simulation import mannequin
from jaxskill.data.video import decoding
from jaxskill.extract import kinds, local
from jaxskill.extract.pose import body

SIZE, SECONDS = (1280, 720), 10.0
RECIPE = "configs/features/pose.py"
COPIES = 2                    # films of each process


def run(weights: str, video: str = "", processes: Sequence[int] = (), rounds: int = 3,
        say: Callable[[str], Any] = print) -> dict[str, Any]:
  """Returns all numbers, ready for JSON.

  Args:
    weights: the networks, see `jaxskill.extract.run`.
    video: a film, or "" for a drawn person.
    processes: how many at once; () is one, and as many as there are cores.
    rounds: of which the medians are taken.
    say: called with each line for the user.

  Raises:
    ValueError: without networks, PyAV or a film.
  """
  decoding.require_av()
  config, _ = cli.read_config(cli.find_config(RECIPE), ["--config.person.several=largest"])
  networks, _ = kinds.of(config).load(config, weights)
  with tempfile.TemporaryDirectory(prefix="jaxskill_benchmark_") as folder:
    film = pathlib.Path(video or pathlib.Path(folder) / "drawn.mp4")
    if not video:
      say("drawing a film")
      mannequin.write_film(film, mannequin.exercise(1.0, np.random.default_rng(0), SECONDS, size=SIZE))
    say("one process, by parts")
    alone = [_alone(film, networks, config) for _ in range(rounds)]
    commands = {}
    for count in processes or sorted({1, os.cpu_count() or 1}):
      say(f"the command, {count} process{'es' * (count > 1)}")
      taken = [_command(film, weights, config, count, pathlib.Path(folder) / f"{count}_{n}") for n in range(rounds)]
      commands[count] = _ranged(taken)
  fields = {name: float(np.median([one[name] for one in alone])) for name in alone[0]}
  return dict(video=film.name, rounds=rounds, alone=fields, commands=commands, cpus=os.cpu_count(),
              load_average=os.getloadavg()[0], command=sys.argv)


def _ranged(values: Any) -> Any:
  return dict(median=float(np.median(values)), min=float(min(values)), max=float(max(values)))


def _alone(film: Any, networks: Any, config: ConfigDict) -> Any:
  """Looks at every frame of a film once; returns seconds of each part."""
  follower, seen = body.Follower(networks, config.person), 0
  start, used = time.perf_counter(), time.process_time()
  for picture in decoding.pictures(film):
    seen += follower.look(picture) is not None
  return dict(frames=follower.looked, seen=seen, asked=follower.asked, width=picture.size[0], height=picture.size[1],
              seconds=time.perf_counter() - start, processor_seconds=time.process_time() - used, **follower.seconds)


def _command(film: Any, weights: Any, config: ConfigDict, count: int, folder: pathlib.Path) -> Any:
  """Returns frames a second of the command, on some copies of a film."""
  (folder / "films").mkdir(parents=True)
  for number in range(COPIES * count):
    (folder / "films" / f"{number}{film.suffix}").symlink_to(film.resolve())
  start = time.perf_counter()
  note = local.run(config, folder / "films", folder / "out", weights, processes=count, say=lambda line: None)
  seconds = time.perf_counter() - start
  if note["failed"]:
    raise ValueError(f"{film}: {next(iter(note['failed'].values()))}")
  rows = sum(about["rows"]["pose"] for about in note["videos"].values())
  shutil.rmtree(folder)
  return rows / seconds


def describe(results: dict[str, Any]) -> str:
  """Returns the results as text."""
  alone = results["alone"]
  frames, rest = alone["frames"], alone["seconds"] - alone["detection"] - alone["landmarks"]
  lines = [f"{results['video']}: {frames:.0f} frames of {alone['width']:.0f} x {alone['height']:.0f}, a person in "
           f"{alone['seen']:.0f}; {results['cpus']} CPU cores, load average {results['load_average']:.1f} at the end",
           f"one process: {frames / alone['seconds']:.1f} frames/s, {1e3 * alone['seconds'] / frames:.1f} ms a frame "
           f"({1e3 * alone['processor_seconds'] / frames:.1f} ms of processors)",
           f"  landmarks: {1e3 * alone['landmarks'] / frames:.1f} ms a frame, "
           f"{alone['landmarks'] / alone['seconds']:.0%}",
           f"  detector: asked in {alone['asked']:.0f} frames, {alone['detection'] / alone['seconds']:.1%}",
           f"  decoding: {1e3 * rest / frames:.1f} ms a frame, {rest / alone['seconds']:.0%}"]
  for count, rate in results["commands"].items():
    lines.append(f"the command, {count} process{'es' * (count > 1)}: {rate['median']:.1f} frames/s "
                 f"({rate['min']:.1f} to {rate['max']:.1f}), {COPIES * count} films, with the start of the processes")
  return "\n".join([*lines, f"Medians of {results['rounds']} rounds."])
