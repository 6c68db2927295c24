"""python -m jaxskill.assess: see `scoring`."""

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  from jaxskill.assess.scoring import main
  main()
