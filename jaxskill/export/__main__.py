"""Writes a finished run as other software reads it, with a model card beside it.

  python -m jaxskill.export --workdir RUN --format stablehlo      one model: features in, score and attention out
  python -m jaxskill.export --workdir RUN --format onnx
  python -m jaxskill.export --workdir RUN --format safetensors    its parameters
  python -m jaxskill.export --workdir RUN --pack                  one file of the run, which jaxskill.assess takes
  python -m jaxskill.export --workdir RUN --out FILE.pth          the networks, as the published code saves them

Of several models (folds, seeds) --model NUMBER says which; a pack holds all. It runs on the CPU; what it writes runs on
accelerators too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from jaxskill import cli


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  from jaxskill import export  # imports JAX, which a command does after it listens to signals
  parser = argparse.ArgumentParser(prog="python -m jaxskill.export", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", required=True, type=cli.path, help="folder of a finished run, or its pack")
  parser.add_argument("--out", default="", type=cli.path, help="file to write; its ending says the format")
  parser.add_argument("--format", default="", choices=export.ENDINGS, help="where --out does not say it")
  parser.add_argument("--pack", action="store_const", const="pack", dest="format", help="the same as --format pack")
  parser.add_argument("--model", type=int, help="its number in results.json, from 0 on, where there are several")
  options = parser.parse_args(argv)
  with cli.command():
    written = export.run(options.workdir, options.out, options.format, options.model)
    cli.say("wrote " + "\n      ".join(map(cli.plain, written)))


if __name__ == "__main__":
  os.environ.setdefault("JAX_PLATFORMS", "cpu")      # what is written is the same, and no accelerator waits for it
  cli.listen()
  main()
