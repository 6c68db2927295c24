"""Scores videos of one's own with a finished run, and says what decided.

  python -m jaxskill.assess --workdir RUN video.mp4 [...] [--weights FILE] [--out DIR]
  python -m jaxskill.assess --workdir RUN --features MY_FEATURES

The videos become features as the run's own features were made, with the same weights. For each of them DIR/<video>/
gets `assessment.json` and pictures; one that cannot be read is listed with the reason, and the others go on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jaxskill import assess, cli
from jaxskill.assess import arguments


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process, and ends with its exit status."""
  options = arguments.parser("python -m jaxskill.assess", __doc__).parse_args(argv)
  with cli.command():
    cli.use_compilation_cache()
    _, failed = assess.run(**arguments.keywords(options))
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  cli.listen()
  main()
