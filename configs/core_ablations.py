"""Table 3 of CoRe: a perceptron or the tree, with and without exemplars; baselines that need no network stand below.

  python -m jaxskill.main --config configs/core_ablations.py                     simulated performances, 5 seeds
  python -m jaxskill.main --config configs/core_ablations.py:mtl_aqa --config.data.dir=MTL-AQA

Options are those of configs/core.py. All folds and seeds of a row train as one program.
"""

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "core").get_config(options)
  model = common.model
  rows = {
      "regression MLP": model(head="mlp", contrastive=False),
      "MLP with exemplars": model(head="mlp"),
      "tree without exemplars": model(contrastive=False),
      "CoRe + GART": {},
  }
  return common.table(config, options, rows)
