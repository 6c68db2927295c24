"""The rows of Table 2 of SkillDiff, and two that it has not: what each part is worth, and other alignments.

  python -m jaxskill.main --config configs/skilldiff_ablations.py                simulated performances, 5 seeds
  python -m jaxskill.main --config configs/skilldiff_ablations.py:aqa7 --config.data.dir=AQA-7

Options are those of configs/skilldiff.py. All folds and seeds of a row train as one program. In the first four rows a
video is one segment; "SkillDiff" is the whole, with segment-level scoring, and what follows lacks one part of it.
"Linear time" maps the time of a reference linearly to that of the query; "aligned as drawn" takes distances in the
embedding that the heads read. Simple baselines stand below the printed table.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "skilldiff").get_config(options)
  weights, model = common.loss_weights, common.model
  rows = {
      "direct regression": model(differences="none", alignment="linear", segments=1) | weights(alignment=0.0),
      "DTW alignment": model(differences="rows", segments=1),
      "single head": model(heads=1, segments=1),
      "multi-head": model(segments=1),
      "SkillDiff": {},
      "no contrastive term": weights(contrastive=0.0),
      "no ranking loss": weights(ranking=0.0),
      "random references": model(exemplars={"choose": "random"}),
      "linear time": model(alignment="linear"),
      "aligned as drawn": model(directions=0),
  }
  return common.table(config, options, rows)
