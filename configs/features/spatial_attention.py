"""Maps for spatial attention (Li et al., ICCVW 2019): the last block of ResNet-101, appearance and stacks of flow.

  python -m jaxskill.extract --config configs/features/spatial_attention.py --videos DIR --out DIR \\
      --weights rgb=resnet101-63fe2227.pth --weights flow=FILE

Two frames of each of 25 segments, the last one at the segment's end: training draws one, testing takes the last. Frames
are squeezed to 448 x 448 and give 14 x 14 places; maps are stored as float16, 40 MB a stream and video. Appearance is
normalised as torchvision does, flow as Temporal Segment Networks do; the paper names neither its weights nor the length
of its stacks. ":rgb" makes appearance alone, as `maps`.
"""

import ml_collections


def get_config(streams="rgb,flow"):
  """Returns the recipe of `streams`: rgb,flow, or rgb."""
  config = ml_collections.ConfigDict()
  config.name = "spatial_attention"
  config.dtype = "float32"                  # operands of matrix products: float32 | bfloat16
  config.draw = 112                         # side of the pictures that are kept to draw on; divides the crop
  common = dict(
      network="resnet101", keep="maps",
      sampling=dict(plan="frames", segments=25, per_segment=2, length=1,     # both streams'; changed in one, so in both
                    fps=25.0),              # of the flows of a stack
      region="frame", crop=448, batch=8)
  recipes = dict(rgb=dict(input="rgb", scaling="imagenet", **common),
                 flow=dict(input="flow", scaling="tsn",
                           stack=5,         # flows that lead up to a frame: 10 channels of the first layer
                           **common))
  if streams not in ("rgb,flow", "rgb"):
    raise ValueError(f"streams {streams!r} are unknown; use rgb,flow or rgb.")
  config.streams = recipes if streams == "rgb,flow" else dict(maps=recipes["rgb"])
  return config
