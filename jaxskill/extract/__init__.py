"""Video files -> features: python -m jaxskill.extract."""

from __future__ import annotations

import os
from typing import Any

from ml_collections import ConfigDict


def run(config: ConfigDict, videos: Any, out: str | os.PathLike[str], weights: Any,
        **options: Any) -> Any:
  """Extracts the features of all videos: see `jaxskill.extract.local.run`."""
  from jaxskill.extract import local  # imports JAX, which a command does after it listens to signals
  return local.run(config, videos, out, weights, **options)
