"""Which of two videos of one's own is better, by how much, and which moments decide.

  python -m jaxskill.compare --workdir RUN a.mp4 b.mp4 [--weights FILE] [--out DIR]
  python -m jaxskill.compare --workdir RUN --features a.npy b.npy

DIR gets `comparison.json` and `comparison.png`, by default in WORKDIR/comparisons.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jaxskill import cli
from jaxskill.assess import arguments


@arguments.takes(arguments.question)
def run(question: arguments.Question) -> dict:
  """Compares two videos of one's own with a finished run.

  Args:
    workdir: folder of the run.
    videos: the two video files, or a folder of them; or none, and `features` prepared in their place.
    out: folder that gets `<a>_vs_<b>/comparison.json` and its picture; by default `comparisons` in `workdir`.
    free_ends: whether the longer video shows more than the shorter one, before or after it: where the method aligns
      videos, a piece of the longer one is aligned when the two are compared with each other; their scores stay.
    say: called with each text for the user.
    The others are those of `jaxskill.assess.run`.

  Returns:
    The content of `comparison.json`: "better" and "worse", the names of the videos; "difference" of their scores, the
    mean over the models, in the unit of the labels or in rank score; "spread" of it, None of one model; "models" that
    answer, "agreeing" that find the better one better; "probability" that it is, None where nothing calibrates that,
    and what it rests on, "probability_means"; "larger_than_training_pairs", percent of the differences between training
    videos; "moments" that decide, in seconds; "direct", the two compared with each other, None where the method
    compares no videos; "videos", what `jaxskill.assess.run` says of each, the better one first; "pictures", none where
    it cannot be drawn; and more. Beside that "failed", {"picture" or what else is missing: why}.

  Raises:
    ValueError: unless there are two videos that can be read, for a run or models that are not there, or if an answer to
      something else would be overwritten.
  """
  from jaxskill.assess import comparison  # imports JAX, which a command does after it listens to signals
  return comparison.run(*question)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process, and ends with its exit status."""
  options = arguments.parser("python -m jaxskill.compare", __doc__).parse_args(argv)
  with cli.command():
    cli.use_compilation_cache()
    result = run(**arguments.keywords(options))
  sys.exit(1 if result["failed"] else 0)


if __name__ == "__main__":
  cli.listen()
  main()
