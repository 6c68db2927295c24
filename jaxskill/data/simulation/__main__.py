"""python -m jaxskill.data.simulation: see `like_published`."""

from jaxskill import cli

if __name__ == "__main__":
  cli.listen()                            # before what takes long to import
  from jaxskill.data.simulation.like_published import main
  main()
