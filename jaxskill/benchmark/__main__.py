"""python -m jaxskill.benchmark: see `throughput`."""

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  from jaxskill.benchmark.throughput import main
  main()
