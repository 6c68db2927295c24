"""Pictures of puppets, and networks that see them as trained ones see persons: hips are red, tops are green."""

import types

import numpy as np
from scipy import ndimage

from jaxskill.data.video.decoding import resize
from jaxskill.extract.pose import detection

OPTIONS = dict(detection=0.5, flag=0.5, hold=1.0, several="error", smoothing=False)


def options(**changes):
  return types.SimpleNamespace(**OPTIONS | changes)


class Picture:
  """An image as `jaxskill.data.video.decoding.Picture` gives it."""

  def __init__(self, image, time=0.0):
    self._image, self.size, self.time, self.number = image, image.shape[1::-1], time, round(time * 25)

  def image(self, width=None, height=None):
    return resize(self._image, width or self.size[0], height or self.size[1])


def picture(*puppets, time=0.0, size=(320, 240)):
  """Puppets are (x, y of the hips, x, y of the top)."""
  image = np.zeros((size[1], size[0], 3), np.uint8)
  y, x = np.mgrid[: size[1], : size[0]] + 0.5
  for left, hips, right, top in puppets:
    radius = max(3.0, np.hypot(left - right, hips - top) / 12)
    image[np.hypot(x - left, y - hips) <= radius, 0] = 255
    image[np.hypot(x - right, y - top) <= radius, 1] = 255
  return Picture(image, time)


def scene(*puppets, time=0.0, size=(320, 240)):
  """Puppets are (x, y of the hips, x, y of the top, blue of the clothes); one hides those before it."""
  image = np.zeros((size[1], size[0], 3), np.uint8)
  y, x = np.mgrid[: size[1], : size[0]] + 0.5
  for left, hips, right, top, blue in puppets:
    length = np.hypot(left - right, hips - top)
    along = ((x - left) * (right - left) + (y - hips) * (top - hips)) / length ** 2
    away = np.hypot(x - left - along * (right - left), y - hips - along * (top - hips))
    image[(away <= length / 4) & (along >= -0.25) & (along <= 1.25)] = (0, 0, blue)
    for place, height, channel in ((left, hips, 0), (right, top, 1)):
      image[np.hypot(x - place, y - height) <= max(3.0, length / 12), channel] = 255
  return Picture(image, time)


def spots(image, channel):
  """`[N, 2]` middles (x, y) in shares of spots of one color."""
  labels, count = ndimage.label(image[..., channel] > 0.5)
  middles = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))).reshape(-1, 2)
  return (middles[:, ::-1] + 0.5) / image.shape[0]


class Networks:
  """Finds puppets. Attributes: calls: names of the networks that ran."""

  def __init__(self):
    self.calls = []

  def run(self, name, image):
    self.calls.append(name)
    return self._detect(image) if name == "pose_detection" else self._read(image)

  def _detect(self, image):
    middles = detection.anchors(224, detection.STRIDES["pose_detection"])
    raw, scores = np.zeros((len(middles), 12), np.float32), np.full((len(middles), 1), -200.0, np.float32)
    image = (image + 1) / 2
    hips, tops = spots(image, 0), spots(image, 1)
    for hip in hips if len(tops) else ():
      top = tops[np.hypot(*(tops - hip).T).argmin()]
      anchor = np.hypot(*(middles - hip).T).argmin()
      box = np.concatenate([(hip + top) / 2 - middles[anchor], np.abs(hip - top) + 0.05])
      points = np.concatenate([hip, top, (hip + 2 * top) / 3, top]) - np.tile(middles[anchor], 4)
      raw[anchor], scores[anchor] = np.concatenate([box, points]) * 224, 3.0
    return raw, scores

  def _read(self, image):
    """All landmarks are the hips that are nearest to the middle, but the nose, which is the top."""
    hips, tops = spots(image, 0), spots(image, 1)
    raw, world = np.zeros((39, 5), np.float32), np.zeros((39, 3), np.float32)
    flag = float(len(hips) > 0 and len(tops) > 0)
    if flag:
      hip = hips[np.hypot(*(hips - 0.5).T).argmin()]
      top = tops[np.hypot(*(tops - hip).T).argmin()]
      raw[:, :2], raw[[0, 34], :2], raw[:, 3] = 256 * hip, 256 * top, 4.0
      world[0, :2], world[:, 2] = top - hip, np.linspace(-0.1, 0.1, 39)
    maps = np.full((64, 64, 39), -10.0, np.float32)              # nothing is sure: no landmark is refined
    return raw.reshape(-1), np.array([flag], np.float32), np.zeros((256, 256, 1)), maps, world.reshape(-1)
