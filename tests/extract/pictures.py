"""Recipes whose features are the pictures themselves, so that no network is compiled; also as a process of its own.

  python -m tests.extract.pictures VIDEOS OUT SHARD [hang]
"""

import sys
import time

from jaxskill.extract import extraction, feature_files, kinds, local
from tests.extract.test_extraction import recipe

# Options of Beam. Its DirectRunner would first look for a program of another project, and download it.
IN_PROCESS = ("--runner=DirectRunner", "--prism_location=none")


def load(*_):
  """Loads no network."""
  return {}, dict(weights="random:0", weights_sha256="", random_weights=True)


def encoders(*_):
  """{stream: items -> the items, flat}."""
  return dict(static=lambda items: items.reshape(len(items), -1))


KIND = kinds.VIDEO._replace(load=load, encoders=encoders)


class Decoders:
  """As `decoders.Decoders`, without other processes."""

  def __init__(self, todo, config, persons, *_):
    self._todo, self._others = todo, (config, persons)

  def __iter__(self):
    for video, path in self._todo.items():
      said = []
      extraction.decode_one(path, video, *self._others, lambda *message: said.append(message))
      yield from ((video, *message) for message in said)

  def close(self):
    """Has nothing to end."""


def config():
  """One picture a second, 32 x 32."""
  made = recipe("action_net:static")
  made.streams.static.update(region="frame")
  return made


def hang(out, note, name="extraction.json", save_note=feature_files.save_note):
  """Saves a note; waits for ever when it is a shard's with a single video."""
  save_note(out, note, name)
  while name != "extraction.json" and len(note["videos"]) == 1:
    time.sleep(1)


if __name__ == "__main__":
  kinds.VIDEO = KIND
  if sys.argv[4:] == ["hang"]:
    feature_files.save_note = hang
  local.run(config(), sys.argv[1], sys.argv[2], "random:0", shard=sys.argv[3], processes=1)
