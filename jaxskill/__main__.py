"""The command `jaxskill COMMAND ...`: the same as `python -m jaxskill.COMMAND ...`, and `train` is `jaxskill.main`."""

from __future__ import annotations

import runpy
import sys

COMMANDS = dict(     # name: its module, and what it does
    train=("jaxskill.main", "trains the method of a config, or the rows of a table"),
    extract=("jaxskill.extract", "makes features of video files"),
    assess=("jaxskill.assess", "scores new videos with a finished run, and says what decided"),
    compare=("jaxskill.compare", "says which of two new videos is better"),
    reproduce=("jaxskill.reproduce", "makes tables, figures and claims of the papers"),
    export=("jaxskill.export", "writes a finished run for other software"),
    benchmark=("jaxskill.benchmark", "measures speed"),
)


def main() -> None:
  """Runs the command that the first word names, without importing another; raises SystemExit with its status."""
  command, *words = sys.argv[1:] or ["--help"]
  if command in ("-h", "--help"):
    listed = "".join(f"  {name:<10} {does}\n" for name, (_, does) in COMMANDS.items())
    print(f"usage: jaxskill COMMAND ...\n\n{listed}\njaxskill COMMAND --help tells the options of a command.")
    return
  if command not in COMMANDS:
    print(f"jaxskill: there is no command {command!r}; use one of {', '.join(COMMANDS)}.", file=sys.stderr)
    sys.exit(2)
  sys.argv[1:] = words
  runpy.run_module(COMMANDS[command][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
