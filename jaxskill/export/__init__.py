"""A finished run for other software, with a model card: python -m jaxskill.export."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable

from etils import epath

from jaxskill import cli, files, stores
from jaxskill.training import finished_run, packs

ENDINGS = dict(torch=".pth", stablehlo=".stablehlo", onnx=".onnx", safetensors=".safetensors", pack=packs.ENDING)
ROOMS = dict(torch="published", stablehlo="stablehlo", onnx="onnx_file", safetensors="tensors", pack="pack")


def run(workdir: epath.PathLike, out: epath.PathLike = "", format: str = "", model: int | None = None,
        say: Callable[[str], None] = cli.say) -> list[epath.Path]:
  """Writes a finished run, or one model of it, as other software reads it, and beside it what the file is.

  Args:
    workdir: folder of the run, or its pack.
    out: file to write; by default one in the folder `export` of the run.
    format: of `ENDINGS`: "torch" (networks, as the published code saves them), "stablehlo" and "onnx" (one model as a
      function of features), "safetensors" (its parameters) or "pack" (all that answers need, of all models). "" is that
      of the ending of `out`, PyTorch's where it is another.
    model: its number, from 0 on, in the order of results.json; None where there is one alone, and of a pack.
    say: called with each text for the user.

  Returns:
    The paths of what was written: the file, `<file>.json` with names, shapes and units where it holds one model, and
    the model card `<file>.md`.

  Raises:
    ValueError: if the run cannot be read, it is not said which model, or it cannot be written so.
  """
  endings = {ending: name for name, ending in ENDINGS.items()}
  kind = format or endings.get(pathlib.Path(out).suffix, "torch")
  if kind not in ENDINGS:
    raise ValueError(f"--format {kind}: there is no such format; use one of {', '.join(ENDINGS)}.")
  if not (out or format):
    raise ValueError("say what to write with --format, or where with --out, whose ending says it: "
                     + ", ".join(f"{ending} ({name})" for name, ending in ENDINGS.items()) + ".")
  trained = finished_run.load(workdir)
  number = None if kind == "pack" else chosen(trained, model)
  if kind == "pack" and model is not None:
    raise ValueError("--model: a pack holds all models of a run; leave it out, and choose when you assess.")
  file = stores.place(out) if out else default_file(trained, kind, number)
  if not stores.is_local(file):
    raise ValueError(f"{file}: files are written to this machine only; name one of it with --out.")
  if not file.parent.is_dir():
    raise ValueError(f"{file}: there is no folder {file.parent}; make it, or give another --out.")
  if endings.get(file.suffix, kind) != kind or kind != "torch" and file.suffix != ENDINGS[kind]:
    raise ValueError(f"{file}: a file of {kind} is called *{ENDINGS[kind]}; give another --out, or --format "
                     f"{endings.get(file.suffix, 'another')}.")
  room = importlib.import_module(f"jaxskill.export.{ROOMS[kind]}")
  about = room.write(trained, number, file, say)
  written = [file]
  if about:
    written.append(file.with_name(f"{file.name}.json"))
    files.save_json(written[-1], about)
  from jaxskill.export import card  # after the file, whose digest it tells
  written.append(card.write(trained, number, file, kind, about))
  return written


def chosen(trained: finished_run.FinishedRun, model: int | None) -> int:
  """Returns the number of the model that is asked for; a `ValueError` if there is none such, or several."""
  replicas = trained.about["replicas"]
  if model is None and len(replicas) > 1 or model is not None and not 0 <= model < len(replicas):
    known = "; ".join(f"{number}: fold {one['fold']}, seed {one['seed']}" for number, one in enumerate(replicas))
    raise ValueError(f"{trained.workdir}: has {len(replicas)} models; say which one with --model NUMBER ({known}).")
  return model or 0


def default_file(trained: finished_run.FinishedRun, kind: str, number: int | None) -> epath.Path:
  """Returns where a file goes if nothing else is said; makes the folder, a `ValueError` where it cannot."""
  several = number is not None and len(trained.about["replicas"]) > 1
  name = "run" if number is None else f"model_{number}" if several else "model"
  folder = trained.folder / "export"
  if not stores.is_local(folder):
    raise ValueError(f"{folder}: files are written to this machine only; name one of it with --out.")
  files.open_folder(pathlib.Path(folder))
  return folder / f"{name}{ENDINGS[kind]}"
