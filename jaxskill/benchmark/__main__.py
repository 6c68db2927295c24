"""python -m jaxskill.benchmark: see `throughput`; with --start-up see `first_step`."""

import sys

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  if "--start-up" in sys.argv[1:]:
    from jaxskill.benchmark.first_step import main
  else:
    from jaxskill.benchmark.throughput import main
  main()
