"""Video files -> features: python -m jaxskill.extract."""


def run(config, videos, out, weights, **options):
  """Extracts the features of all videos: see `jaxskill.extract.local.run`."""
  from jaxskill.extract import local  # imports JAX, which a command does after it listens to signals
  return local.run(config, videos, out, weights, **options)
