"""Maps for spatial attention (Li et al., ICCVW 2019): the last block of ResNet-101, appearance and stacks of flow.

  python -m jaxskill.extract --config configs/features/spatial_attention.py --videos DIR --out DIR \\
      --weights rgb=resnet101-63fe2227.pth --weights flow=FILE

Two frames of each of 25 segments, the last one at the segment's end: training draws one, testing takes the last. Frames
are squeezed to 448 x 448 and give 14 x 14 places; maps are stored as float16, 40 MB a stream and video. Flow is TV-L1
at 10 frames a second, with ":infant_grasp" at the 60 that the videos of Infant Grasp have. ":rgb" makes appearance
alone, as `maps`.

The paper's networks were trained on ImageNet and then, in two streams for appearance and stacks of flow, on
UCF101; they are not public. Ours: torchvision's ImageNet weights for appearance, normalised as torchvision does, and
for flow whatever is trained as Temporal Segment Networks are; the paper does not say how long its stacks are.
"""

from ml_collections import ConfigDict


def get_config(streams: str = "rgb,flow") -> ConfigDict:
  """Returns the recipe of `streams`: rgb,flow, or rgb, or infant_grasp, both at the rate of its videos.

  Raises:
    ValueError: for other streams.
  """
  config = ConfigDict()
  config.name = "spatial_attention"
  config.dtype = "float32"                  # of matrix products, by OpenVINO between layers too: float32 | bfloat16
  config.engine = "auto"                    # auto | jax | openvino | onnxruntime, see jaxskill/extract/engine.py
  config.draw = 112                         # side of the pictures that are kept to draw on; divides the crop
  common = dict(
      network="resnet101", keep="maps",
      sampling=dict(plan="frames", segments=25, per_segment=2, length=1,     # both streams'; changed in one, so in both
                    fps=60.0 if streams == "infant_grasp" else 10.0),     # of the flows of a stack
      region="frame", crop=448, batch=8)
  recipes = dict(rgb=dict(input="rgb", scaling="imagenet", **common),
                 flow=dict(input="flow", scaling="tsn",
                           stack=5,         # flows that lead up to a frame: 10 channels of the first layer
                           **common))
  if streams not in ("rgb,flow", "rgb", "infant_grasp"):
    raise ValueError(f"streams {streams!r} are unknown; use rgb,flow, rgb or infant_grasp.")
  config.streams = dict(maps=recipes["rgb"]) if streams == "rgb" else recipes
  return config
