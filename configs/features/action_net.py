"""Features for ACTION-NET (Zeng et al., ACM MM 2020): I3D on segments of 16 frames, ResNet-50 on the largest person.

  python -m jaxskill.extract --config configs/features/action_net.py --videos DIR --out DIR \\
      --weights rgb=rgb_imagenet.pt --weights static=resnet50-0676ba61.pth --boxes persons.csv
  python -m jaxskill.extract --config configs/features/action_net.py:rgb --videos DIR --out DIR \\
      --weights rgb_imagenet.pt

The dynamic stream `rgb` shows successive segments at 5 frames a second, the middle of each scaled to [-1, 1], as the
weights were trained; the stream `static` one frame a second, the largest person squeezed to a square, normalised as
torchvision does. `--detector FILE.onnx` finds persons where there is no table of boxes, and
--config.streams.static.region=pose takes the networks of poses instead (`--detector WHEEL`, see
configs/features/pose.py), which follow one person, --person x,y says whom. The paper discards frames without a person:
--config.streams.static.person.missing=discard.
"""

from ml_collections import ConfigDict


def get_config(streams: str = "rgb,static") -> ConfigDict:
  """Returns the recipe of `streams`: rgb, static, or rgb,static; raises a `ValueError` for others."""
  config = ConfigDict()
  config.name = "action_net"
  config.dtype = "float32"                  # of matrix products, by OpenVINO between layers too: float32 | bfloat16
  config.engine = "auto"                    # auto | jax | openvino | onnxruntime, see jaxskill/extract/engine.py
  recipes = dict(
      rgb=dict(
          network="i3d", input="rgb", keep="feature",
          sampling=dict(plan="segments", length=16, fps=5.0),
          region="centre", short_side=256, crop=224,
          scaling="symmetric",              # symmetric, to [-1, 1] | imagenet | tsn
          eps=1e-3,                         # of batch normalisation, as in the weights' own network
          batch=8,                          # clips at once
      ),
      static=dict(
          network="resnet50", input="rgb", keep="feature",
          sampling=dict(plan="segments", length=1, fps=1.0),
          region="person",                  # person | pose | centre | frame, squeezed to a square
          short_side=256,                   # of the region "centre"
          crop=224, scaling="imagenet", batch=16,
          person=dict(size=640, score=0.25,     # of a detector: the side of its input, and what is surely a person
                      missing="nearest"),       # of a frame without a person: nearest takes the nearest one that has
                                                # one (ours, so that rows keep their times) | discard, as in the paper
      ))
  if unknown := [name for name in streams.split(",") if name not in recipes]:
    raise ValueError(f"stream {unknown[0]!r} is unknown; use rgb, static or rgb,static.")
  config.streams = {name: recipes[name] for name in streams.split(",")}
  return config
