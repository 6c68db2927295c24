"""Whether soft-DTW runs as a kernel: decided once a run, by what the benchmark saw on the device, and recorded."""

from __future__ import annotations

from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from jaxskill.modules.soft_dtw import wavefront
from jaxskill.training import run_folder
from jaxskill.training.parallel import on_first_process

FIELD = "soft_dtw"      # of config.model, where a method aligns by soft-DTW


def decide(config: ConfigDict, workdir: epath.Path, device: jax.Device) -> tuple[Any, str]:
  """Decides `config.model.soft_dtw` where it is "auto"; one that is named stays.

  Args:
    config: of the run.
    workdir: of the run; one that goes on keeps what it began with.
    device: on the first host, of the kind that was timed.

  Returns:
    The config, a copy where something was decided, and what there is to say of it in words, "" where nothing is.
  """
  if config.model.get(FIELD) != "auto":
    return config, ""
  before = on_first_process(lambda: _recorded(workdir))
  form = before or on_first_process(lambda: wavefront.faster_form(device))
  decided = config.copy_and_resolve_references()
  decided.model[FIELD] = form
  if device.platform == "cpu":
    return decided, ""                                   # which has no other form
  if before:
    return decided, f"soft-DTW: {form}, as this run began" if form != "scan" else ""
  why = "was faster here" if form == "kernel" else "has not been found faster here by jaxskill.benchmark --suite"
  return decided, f"soft-DTW: {form} (the kernel {why}; config.model.soft_dtw names one)"


def _recorded(workdir: epath.Path) -> str:
  """Returns the form that a run in `workdir` began with, "" where there is none; earlier versions had the scan."""
  model = (run_folder.recorded(workdir) or {}).get("model")
  stored = model.get(FIELD, "scan") if isinstance(model, dict) else ""
  return stored if stored in wavefront.IMPLEMENTATIONS and stored != "auto" else ""
