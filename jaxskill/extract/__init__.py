"""Video files -> features: python -m jaxskill.extract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def run(config: ConfigDict, videos: str | os.PathLike[str], out: str | os.PathLike[str],
        weights: str | Mapping[str, str], **options: Any) -> dict[str, Any]:
  """Extracts the features of all videos: see `jaxskill.extract.local.run`."""
  from jaxskill.extract import local  # imports JAX, which a command does after it listens to signals
  return local.run(config, videos, out, weights, **options)
