"""Table 2 of SkillDiff: what each part is worth; baselines that need no network stand below.

  python -m jaxskill.main --config configs/skilldiff_ablations.py                simulated performances, 5 seeds
  python -m jaxskill.main --config configs/skilldiff_ablations.py:aqa7 --config.data.dir=AQA-7

Options are those of configs/skilldiff.py. All folds and seeds of a row train as one program. "No alignment" maps the
time of a reference linearly to that of the query.
"""

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options="simulated"):
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "skilldiff").get_config(options)
  weights = common.loss_weights
  rows = {
      "no alignment": {"model": {"alignment": "linear"}},
      "single head": {"model": {"heads": 1}},
      "no contrastive term": weights(contrastive=0.0),
      "no ranking loss": weights(ranking=0.0),
      "random references": {"model": {"exemplars": {"choose": "random"}}},
      "SkillDiff": {},
  }
  return common.table(config, options, rows)
