"""Features for CoRe (Yu et al., ICCV 2021): I3D on ten snippets of 16 of 103 frames.

  python -m jaxskill.extract --config configs/features/core.py --videos DIR --out DIR --weights rgb_imagenet.pt

Of JIGSAWS: `configs/features/core.py:jigsaws`. The frames are scaled to [-1, 1], as the weights were trained; the crop
is the center.
"""

from ml_collections import ConfigDict


def get_config(data_set: str = "") -> ConfigDict:
  """Returns the recipe; that of JIGSAWS has 160 frames in ten snippets that do not overlap (Sec. 4.1).

  Raises:
    ValueError: for another data set.
  """
  frames, starts = 103, [0, 10, 20, 30, 40, 50, 60, 70, 80, 86]
  if data_set == "jigsaws":
    frames, starts = 160, list(range(0, 160, 16))
  elif data_set:
    raise ValueError(f"data set {data_set!r} is unknown; use jigsaws, or none.")
  config = ConfigDict()
  config.name = "core"
  config.dtype = "float32"                  # of matrix products, by OpenVINO between layers too: float32 | bfloat16
  config.engine = "auto"                    # auto | jax | openvino | onnxruntime, see jaxskill/extract/engine.py
  config.streams = dict(rgb=dict(
      network="i3d", input="rgb", keep="feature",
      sampling=dict(plan="snippets", frames=frames, starts=tuple(starts), length=16),
      region="centre", short_side=256, crop=224,
      scaling="symmetric",                  # symmetric, to [-1, 1] | imagenet | tsn
      eps=1e-3,                             # of batch normalisation, as in the weights' own network
      batch=8,                              # clips at once
  ))
  return config
