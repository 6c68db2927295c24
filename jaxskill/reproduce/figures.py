"""What figures of papers are drawn with: one way of saving them, as PNG and as PDF."""

from __future__ import annotations

import pathlib

import matplotlib.pyplot as plt
import matplotlib.text
from matplotlib.figure import Figure

from jaxskill import files
from jaxskill.report import drawing


def save(figure: Figure, path: pathlib.Path) -> list[pathlib.Path]:
  """Writes a figure as `path`.png and `path`.pdf, whole or not at all; closes it and returns the paths."""
  written = []
  try:
    for artist in figure.findobj(matplotlib.text.Text):
      drawing.as_text(artist)
    for form in ("png", "pdf"):
      written.append(path.with_name(f"{path.name}.{form}"))
      with files.writing(written[-1]) as file:
        figure.savefig(file, dpi=150, format=form, metadata={"CreationDate": None} if form == "pdf" else None)
  finally:
    plt.close(figure)
  return written
