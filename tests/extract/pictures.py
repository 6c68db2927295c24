"""Recipes whose features are the pictures themselves, so that no network is compiled; also as a process of its own.

  python -m tests.extract.pictures VIDEOS OUT SHARD
"""

import sys

from jaxskill.extract import kinds, local
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


def config():
  """One picture a second, 32 x 32."""
  made = recipe("action_net:static")
  made.streams.static.update(region="frame")
  return made


if __name__ == "__main__":
  kinds.VIDEO = KIND
  local.run(config(), sys.argv[1], sys.argv[2], "random:0", shard=sys.argv[3], processes=1)
