"""Features for Pros & Cons (Doughty et al., CVPR 2019): I3D on 400 stacks of 16 frames at 10 a second.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights rgb_imagenet.pt
  python -m jaxskill.extract --config configs/features/pros_cons.py:flow --videos DIR --out DIR \\
      --weights flow_imagenet.pt

":rgb,flow" makes both in one pass over each video. Frames and flow are scaled to [-1, 1], as the weights were trained;
the crop is the centre. A flow leads from a frame to the next one at 10 a second.
"""

from ml_collections import ConfigDict


def get_config(streams: str = "rgb") -> ConfigDict:
  """Returns the recipe of `streams`: rgb, flow, or rgb,flow; raises a `ValueError` for others."""
  config = ConfigDict()
  config.name = "pros_cons"
  config.dtype = "float32"                  # of matrix products, by OpenVINO between layers too: float32 | bfloat16
  config.engine = "auto"                    # auto | jax | openvino | onnxruntime, see jaxskill/extract/engine.py
  config.streams = {}
  for name in streams.split(","):
    if name not in ("rgb", "flow"):
      raise ValueError(f"stream {name!r} is unknown; use rgb, flow or rgb,flow.")
    config.streams[name] = dict(
        network="i3d", input=name, keep="feature",
        sampling=dict(plan="stacks", clips=400, length=16, fps=10.0),
        region="centre", short_side=256, crop=224,
        scaling="symmetric",                # symmetric, to [-1, 1] | imagenet | tsn
        eps=1e-3,                           # of batch normalisation, as in the weights' own network
        batch=8,                            # clips at once
    )
  return config
