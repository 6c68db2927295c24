"""Films of different content and length, and a decoder that naps before every picture it hands out."""

import os
import time

import numpy as np

from jaxskill.data.video import decoding
from jaxskill.extract import decoders, extraction

NAP, ALIVE = "JAXSKILL_TEST_NAP", "JAXSKILL_TEST_ALIVE"      # seconds, for the processes that decode


def work(connection, config, persons):
  """As `decoders._work`, but slow: it tells that it is at work many times in every video."""
  extraction.ALIVE, pictures_at = float(os.environ[ALIVE]), decoding.pictures_at

  def slowly(*arguments):
    for picture in pictures_at(*arguments):
      time.sleep(float(os.environ[NAP]))
      yield picture
  decoding.pictures_at = slowly
  decoders._work(connection, config, persons)


def film(path, seed, seconds, size=(64, 48), rate=10):
  """Writes noise that no other seed has."""
  import av
  rng = np.random.default_rng(seed)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
    (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
    for _ in range(round(seconds * rate)):
      image = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
    container.mux(stream.encode())
  return path
