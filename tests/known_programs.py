"""Compiled functions that runs of one config share, for tests that start several: each would trace and compile anew."""

import json

from jaxskill import methods, train
from jaxskill.training import answers, finished_run


class Known:
  """Functions made once for all runs of a config, whatever their seeds; JAX itself sees to other shapes."""

  def __init__(self):
    self.made = {}

  def once(self, make, key):
    """Returns a function that makes what `make` does, once for what `key` returns of its arguments."""
    def known(*arguments, **options):
      name = make.__name__, key(*arguments, **options)
      if name not in self.made:
        self.made[name] = make(*arguments, **options)
      return self.made[name]
    return known

  def patch(self, monkeypatch):
    """Makes training and answers use them."""
    monkeypatch.setattr(methods, "build", self.once(methods.build, but_for_seeds))
    monkeypatch.setattr(train, "make_step", self.once(train.make_step, lambda config, method, parallel, **sizes: (
        id(method), parallel.count, *sorted(sizes.items()))))
    made = self.once(answers.Answers, lambda method, parallel: (id(method), parallel.count))
    for module in (answers, finished_run):
      monkeypatch.setattr(module, "Answers", made)


def but_for_seeds(config):
  """A config as text, without its seeds."""
  return json.dumps({name: value for name, value in json.loads(config.to_json_best_effort()).items() if name != "seeds"})
