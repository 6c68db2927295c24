"""python -m jaxskill.benchmark: see `throughput`; with --suite see `suite.command`, with --start-up `first_step`."""

import sys

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  if "--start-up" in sys.argv[1:]:
    from jaxskill.benchmark.first_step import main
  elif "--suite" in sys.argv[1:]:
    from jaxskill.benchmark.suite.command import main
  else:
    from jaxskill.benchmark.throughput import main
  main()
