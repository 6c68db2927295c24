"""Poses of bodies and hands from videos, as BlazePose and MediaPipe Hands are published, with their public networks.

  networks    reading and running them: the wheel, a bundle, a folder; their digests
  detection   bodies and palms in a whole picture
  crops       upright squares around them
  body, hands landmarks, followed from picture to picture; what is ours is said there
  smoothing   the filter of landmarks
  choice      whom to follow
  streams     what becomes rows of features
  overlay     the skeleton over the video
  recipe      what such a recipe says, checked
"""
