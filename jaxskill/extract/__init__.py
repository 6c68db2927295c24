"""Video files -> features: python -m jaxskill.extract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def run(config: ConfigDict, videos: str | os.PathLike[str], out: str | os.PathLike[str],
        weights: str | Mapping[str, str], **options: Any) -> dict[str, Any]:
  """Extracts the features of all videos.

  Args:
    config: a recipe, as `configs/features/` has them.
    videos: a folder of videos, or one file.
    out: folder of the features.
    weights: a file of weights or "random:SEED"; of several streams {stream: one}; of poses where the networks lie.
    options: see `jaxskill.extract.local.run`.

  Returns:
    The content of `extraction.json`: the recipe, what is known of each video, and {video: why it failed}.

  Raises:
    ValueError: if nothing can be begun: for a recipe, videos, weights or options that cannot be used, or a folder that
      another extraction works in.
  """
  from jaxskill.extract import local  # imports JAX, which a command does after it listens to signals
  return local.run(config, videos, out, weights, **options)
