"""Poses, kinematics and hands by trained networks: features that mean something, on any machine.

  pip download --no-deps --python-version 3.12 --only-binary=:all: --platform manylinux_2_28_x86_64 \\
      mediapipe==0.10.21 -d weights
  python -m jaxskill.extract --config configs/features/pose.py --videos DIR --out DIR \\
      --weights weights/mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl

":pose,kinematics" is the default; ":hands" is 21 landmarks of each hand, where the body is not in the picture;
":pose,kinematics,hands" all. `--person x,y` or a csv table (video,x,y[,time]) says who is followed, `--overlay DIR`
writes videos with the skeleton to check it. What rows and columns are: jaxskill/extract/pose/streams.py and
jaxskill/data/kinematics.py.
"""

from ml_collections import ConfigDict


def get_config(streams: str = "pose,kinematics") -> ConfigDict:
  """Returns the recipe of `streams`: some of pose, kinematics, hands; raises a `ValueError` for others."""
  config = ConfigDict()
  config.name = "pose"
  config.fps = 25.0                         # pictures a second that are looked at, about; never more than there are
  config.person = dict(
      detection=0.5,                        # score of a detection
      flag=0.5,                             # chance that a person is in a square, below which it is lost
      hold=1.0,                             # seconds that only a person near the last place is taken for a lost one
      several="error",                      # where several are as large and none is chosen: error | largest
      smoothing=True,                       # one-euro filters, as published
  )
  common = dict(keep="rows", batch=64,      # rows that are handed on at once
                gaps=0.2)                   # share of rows in which nobody is seen, above which it is said
  recipes = dict(
      pose=dict(common),
      kinematics=dict(
          window=1.0,                       # seconds of which the smoothness of a row is
          face_right=False,                 # mirror a person who faces left, for views from the side
          **common),
      hands=dict(common))
  if unknown := [name for name in streams.split(",") if name not in recipes]:
    raise ValueError(f"stream {unknown[0]!r} is unknown; use some of pose, kinematics, hands.")
  config.streams = {name: recipes[name] for name in streams.split(",")}
  return config
