"""What the paper compares rank-aware attention with: Table 2, losses (Fig. 4), number of filters (Fig. 6).

  python -m jaxskill.main --config configs/pros_cons_ablations.py                    simulated performances, 5 seeds
  python -m jaxskill.main --config configs/pros_cons_ablations.py:best --config.data.dir=BEST --config.data.task=origami

Options are those of configs/pros_cons.py. `python -m jaxskill.reproduce` prints these rows as the tables and figures of
the paper; Who's Better, Who's Best, a row of Table 2, is configs/whos_better.py. Rows that differ in loss weights
alone, all folds and all seeds train as one program.

Where the two halves of the network take turns, a step moves one of them. Rows that move all parameters at every step
have half the epochs: every parameter of every row is moved equally often.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "pros_cons").get_config(options)
  model = common.model
  weights = common.loss_weights
  every = {"train": {"alternation": "joint", "epochs": (config.train.get_ref("epochs") + 1) // 2}}
  attention = model(branches=("attention",))        # one module, which learns from the ranking loss alone
  rows = {
      "uniform": every | model(branches=("uniform",)),
      "last segment": every | model(branches=("last",)),
      "softmax attention": every | attention | weights(diversity=0),
      "softmax, diversity": every | attention,
      # One module beside the uniform branch; the second one comes with the loss that tells them apart. The text says
      # "the attention module", and so does the published code.
      "softmax, diversity, disparity": model(branches=("attention", "uniform")),
      "rank-aware": {},                     # all losses
      "STPN-style attention": (every | model(branches=("attention",), num_filters=1, normalize="sigmoid")
                               | weights(sparsity=0.1, diversity=0)),
      "one module, 6 filters": model(branches=("both", "uniform"), num_filters=6),
  } | {f"K = {k}": model(num_filters=k) for k in (1, 2, 4, 5)} | {                  # K = 3 is "rank-aware"
      # Not in the paper: what each part does to the other
      "two modules, no rank-aware loss": weights(rank_aware=0),
      "rank-aware, joint": every,
      "ranking losses, joint": every | weights(disparity=0, rank_aware=0, diversity=0),
  }
  return common.table(config, options, rows)
