"""Tables, figures and claims of the papers, one command each.

  python -m jaxskill.reproduce --list
  python -m jaxskill.reproduce --table core-table-3 --simulated
  python -m jaxskill.reproduce --table core-table-1 --data DATA          features of your own in DATA/AQA-7
  python -m jaxskill.reproduce --table core-table-1 --like LABELS        simulated features for the real ids and labels
  python -m jaxskill.reproduce --claims core

What was trained is kept below --workdir: the same command goes on where it was stopped, and another table takes the
runs that both need. Exit status 1: a data set that is there could not be used; the table of the others says which.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from jaxskill import cli

BUDGET = 0.5       # config.data.device_budget of every config
FILES = 5000       # that are looked at before anything is said


def begin(data: str | None) -> None:
  """Does for a folder, which is a data set or holds some, what `main.begin` does for the data set of a config."""
  from jaxskill import host
  if data:
    # Folders below it by themselves, too: links are not followed, and one may come after thousands of small files.
    folders, most = [data, *map(str, pathlib.Path(data).glob("*/"))], BUDGET * host.host_bytes()
    if any(host.hold_more([folder], most, max(1, FILES // len(folders))) for folder in folders):
      cli.keep_memory()
  cli.listen()


def main(argv: Sequence[str] | None = None, begin: Callable[[str | None], None] = lambda data: None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake.

  Args:
    begin: called with the folder of the data sets, before anything is imported that starts threads.
  """
  parser = argparse.ArgumentParser(prog="python -m jaxskill.reproduce", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument("--list", action="store_true", help="print the index: paper, table or figure, command, time, data")
  what.add_argument("--table", action="append", metavar="NAME", help="a table or figure of the index; repeatable")
  what.add_argument("--claims", nargs="?", const="", metavar="SYSTEM",
                    help="what the paper of a system, or all, claim, on simulated performances")
  data = parser.add_mutually_exclusive_group()
  data.add_argument("--data", type=cli.path, metavar="DIR", help="folder of the data sets with features of your own")
  data.add_argument("--like", type=cli.path, metavar="DIR",
                    help="folder of published labels, for whose ids features are simulated")
  data.add_argument("--simulated", action="store_true", help="simulated performances; the default")
  parser.add_argument("--seeds", type=int, metavar="N", help="of every row; those of its config if not given")
  parser.add_argument("--official", action="store_true", help="as the published code does, not as the paper says")
  parser.add_argument("--tiny", action="store_true", help="networks and trainings of seconds, to see that all works")
  parser.add_argument("--weights", default="", metavar="FILE",
                      help="that networks on frames begin with, as --config.model.weights of a run")
  parser.add_argument("--videos", type=cli.path, metavar="DIR", help="video files by id, whose frames figures show")
  parser.add_argument("--workdir", type=cli.path, default="runs/reproduce", help="where all is written (%(default)s)")
  options = parser.parse_args(argv)
  with cli.command():
    begin(options.data)
    from jaxskill.reproduce import commands
    if options.list:
      cli.say(commands.listing())
      return
    if options.seeds is not None and options.seeds < 1:
      raise ValueError(f"--seeds={options.seeds} is no number of seeds; give 1 or more.")
    cli.use_compilation_cache()
    from jaxskill import stores
    from jaxskill.reproduce import runs
    kind = "recorded" if options.data else "like" if options.like else runs.SIMULATED
    folder = pathlib.Path(options.data or options.like) if options.data or options.like else None
    name = kind + "_tiny" * options.tiny + (f"_{options.seeds}_seeds" if options.seeds else "")
    source = runs.Source(kind, folder, stores.place(options.workdir) / name, options.seeds,
                         ("official",) if options.official else (), options.tiny, options.weights)
    if options.claims is not None:
      commands.claims(options.claims, source)
      return
    videos = options.videos and pathlib.Path(options.videos)
    lacking = [commands.reproduce(name, source, videos) for name in options.table]
  if any(lacking):
    sys.exit(1)


if __name__ == "__main__":
  cli.listen(thread=False)
  main(begin=begin)
