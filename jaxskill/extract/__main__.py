"""python -m jaxskill.extract: see `local`, and with --check-sync `sync`."""

import sys

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  if any(word.partition("=")[0] == "--check-sync" for word in sys.argv[1:]):
    from jaxskill.extract.sync import main
  else:
    from jaxskill.extract.local import main
  main()
