"""What has been measured of a kind of device, kept beside the compiled programs, for choices that follow from it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import platform
from typing import TYPE_CHECKING

from jaxskill import files

if TYPE_CHECKING:
  import jax

CPUS = pathlib.Path("/proc/cpuinfo")          # of Linux
FASTER = 1.2                    # another form is taken where it is so many times as fast: a step does more than that
OPERANDS = "operands.json"      # how many times as fast products of bfloat16 are as those of float32
SOFT_DTW = "soft_dtw.json"      # how many times as fast soft-DTW's kernel is as its scan, at every size that was timed


def kind(device: jax.Device) -> str:
  """Returns in words what a measured speed holds for: JAX calls every processor "cpu", and kinds may share a home."""
  import jax  # seconds, which not all that read files should wait
  if device.platform != "cpu":
    return f"{device.device_kind}, jax {jax.__version__}"
  try:
    lines = CPUS.read_text(encoding="utf-8").splitlines()
  except OSError:                                        # another system than Linux
    lines = []
  said = {name.strip(): words.split() for name, _, words in (line.partition(":") for line in lines)}
  # Virtual machines give one name to processors with instructions for bfloat16 and without.
  fast = [word for word in said.get("flags", said.get("Features", [])) if "bf16" in word]
  named = " ".join(said.get("model name", [])) or platform.processor() or platform.machine()
  return " ".join([named, *fast]) + f", jax {jax.__version__}"


def place() -> pathlib.Path | None:
  """Returns the folder of what was measured, that of compiled programs; None where these are not kept on a disk."""
  import jax
  folder = getattr(jax.config, "jax_compilation_cache_dir")
  return pathlib.Path(folder) if folder and "://" not in folder else None


def recall(file: str, name: str) -> float | None:
  """Returns what was kept of a `kind`, None if nothing was, or the file is damaged."""
  try:
    return float(_read(file)[name])
  except (KeyError, TypeError, ValueError):
    return None


def keep(file: str, name: str, value: float) -> None:
  """Keeps what was measured of a `kind`, where that can be; the other kinds in the file stay."""
  folder = place()
  if folder:
    with contextlib.suppress(OSError):                   # a full disk: it is measured again
      files.save_json(folder / file, _read(file) | {name: value})


def form(ratio: float | None) -> str:
  """Returns which form of soft-DTW is taken where its kernel is so many times as fast: "kernel" or "scan"."""
  return "kernel" if ratio is not None and ratio >= FASTER else "scan"


def _read(file: str) -> dict[str, float]:
  folder = place()
  try:
    found = json.loads((folder / file).read_text(encoding="utf-8")) if folder else {}
  except (OSError, ValueError, RecursionError):
    found = {}
  return found if isinstance(found, dict) else {}
