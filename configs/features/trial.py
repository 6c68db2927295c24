"""Features for trials: few clips of small pictures, so that a video takes a second or two on a CPU.

  python -m jaxskill.extract --config configs/features/trial.py --videos DIR --out DIR --weights random:0
  python -m jaxskill.extract --config configs/features/trial.py:64,112 ...         64 clips, pictures of 112 x 112

To see whether videos can be read, labels fit and a model trains, before a paper's recipe is run. The weights of I3D
will do as well as random ones, but no paper looks at so little: what follows from these features is no result.
"""

from ml_collections import ConfigDict


def get_config(size: str = "32,64") -> ConfigDict:
  """Returns the recipe of `size`: the number of clips of a video, and the side of the pictures in pixels.

  Raises:
    ValueError: unless they are two whole numbers.
  """
  try:
    clips, side = map(int, size.split(","))
  except ValueError:
    raise ValueError(f"trial.py:{size}: expected two whole numbers, clips and side, e.g. trial.py:32,64.") from None
  config = ConfigDict()
  config.name = "trial"
  config.dtype = "float32"                  # of matrix products, by OpenVINO between layers too: float32 | bfloat16
  config.engine = "auto"                    # auto | jax | openvino | onnxruntime, see jaxskill/extract/engine.py
  config.streams = dict(rgb=dict(
      network="i3d", input="rgb", keep="feature",
      sampling=dict(plan="stacks", clips=clips, length=10, fps=10.0),
      region="centre", short_side=side, crop=side,
      scaling="symmetric",                  # symmetric, to [-1, 1] | imagenet | tsn
      eps=1e-3,                             # of batch normalisation, as in the weights' own network
      batch=8,                              # clips at once
  ))
  return config
