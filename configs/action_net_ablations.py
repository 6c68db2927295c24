"""Rows of Tables 2 and 3 of ACTION-NET: streams, and what takes the place of context-aware attention; baselines below.

  python -m jaxskill.main --config configs/action_net_ablations.py               simulated performances, 5 seeds
  python -m jaxskill.main --config configs/action_net_ablations.py:rhythmic_gymnastics --config.data.dir=RG

Options are those of configs/action_net.py; of gymnastics, rows learn the final score, which the paper's tables are of.
Competitors of Table 1 are configs/lstm.py, configs/ms_lstm.py and the baselines; python -m jaxskill.reproduce prints
whole tables. All folds, criteria and seeds of a row train as one program. The linear support vector regression among
the baselines needs scikit-learn: pip install 'jaxskill[baselines]', or --config.evaluate.svr=False.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "action_net").get_config(options)
  config.evaluate.svr = True
  if config.data.name == "rhythmic_gymnastics":
    config.data.criteria = ("total",)
  model = common.model
  rows = {
      "dynamic only": model(streams=("rgb",)),
      "static only": model(streams=("static",)),
      "average pooling": model(context="none", pooling="average"),
      "max pooling": model(context="none", pooling="max"),
      "attention unit": model(context="none"),
      "LSTM + attention unit": model(context="lstm"),
      "Bi-LSTM + attention unit": model(context="bilstm"),
      "multi-filter attention": model(context="none", pooling="filters"),       # of Pros & Cons
      "graph, average pooling": model(pooling="average"),
      "ACTION-NET, graph of time": model(adjacency="time"),
      "ACTION-NET": {},
  }
  return common.table(config, options, rows)
