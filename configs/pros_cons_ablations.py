"""The tables of Pros & Cons: baselines (Table 2), losses (Fig. 4), branches (Fig. 5), number of filters (Fig. 6).

  python -m jaxskill.main --config configs/pros_cons_ablations.py                    simulated performances, 5 seeds
  python -m jaxskill.main --config configs/pros_cons_ablations.py:best --config.data.dir=BEST --config.data.task=origami

Options are those of configs/pros_cons.py. Fig. 5 is in the columns of branches, Fig. 7 (correlation of filters) in each
row's results.json. Rows that differ in loss weights alone, all folds and all seeds train as one program.
"""

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "pros_cons").get_config(options)
  model = common.model
  weights = common.loss_weights
  joint = {"train": {"alternation": "joint"}}
  rows = {
      "uniform": model(branches=("uniform",)),
      "last segment": model(branches=("last",)),
      "softmax attention": joint | model(branches=("attention",), num_filters=1) | weights(diversity=0),
      "STPN-style attention": (joint | model(branches=("attention",), num_filters=1, normalize="sigmoid")
                               | weights(sparsity=0.1, diversity=0)),
      "one module, 6 filters": model(branches=("both", "uniform"), num_filters=6),
      "rank-aware": {},
      "rank-aware, joint": joint,
      # Fig. 4: attention learns from the ranking losses alone only where all is trained jointly
      "ranking losses (joint)": joint | weights(disparity=0, rank_aware=0, diversity=0),
      "disparity": weights(rank_aware=0, diversity=0),
      "disparity, rank-aware": weights(diversity=0),
      "disparity, diversity": weights(rank_aware=0),
      "K = 1": model(num_filters=1) | weights(diversity=0),                     # one filter has none to differ from
  } | {f"K = {k}": model(num_filters=k) for k in (2, 4, 5)}                     # K = 3 is "rank-aware"
  return common.table(config, options, rows)
