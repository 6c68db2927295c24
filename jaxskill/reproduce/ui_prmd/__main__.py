"""python -m jaxskill.reproduce.ui_prmd: see `correctness`."""

from jaxskill.reproduce.ui_prmd.correctness import main

if __name__ == "__main__":
  main()
