"""python -m jaxskill.extract: see `local`."""

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  from jaxskill.extract.local import main
  main()
