"""The rows of CoRe: heads, exemplars, difficulty (Tables 1 to 4), depth of the tree and number of exemplars (Fig. 5).

  python -m jaxskill.main --config configs/core_ablations.py                     simulated performances, 5 seeds
  python -m jaxskill.main --config configs/core_ablations.py:mtl_aqa --config.data.dir=MTL-AQA

Options are those of configs/core.py. All folds and seeds of a row train as one program. Baselines that need no network
stand below; the linear support vector regression among them needs scikit-learn: pip install 'jaxskill[baselines]', or
--config.evaluate.svr=False. `python -m jaxskill.reproduce` trains the rows of one table alone.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")

DEPTHS = (2, 3, 4, 6, 7)                  # Fig. 5 (a); 5 is that of "CoRe + GART"
VOTES = (1, 2, 5, 20)                     # Fig. 5 (b), ours: the paper's are not in its text; 10 are of "CoRe + GART"


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "core").get_config(options)
  config.evaluate.svr = True
  model = common.model
  rows = {
      "regression MLP": model(head="mlp", contrastive=False),
      "MLP with exemplars": model(head="mlp"),
      "tree without exemplars": model(contrastive=False),
      "CoRe + GART": {},
  }
  # The difficulty is known neither in training nor in tests: scores are learnt whole, and exemplars are of any.
  unknown = dict(with_difficulty=False,
                 exemplars=dict(same=tuple(name for name in config.model.exemplars.same if name != "difficulty")))
  rows |= {
      "regression MLP, difficulty unknown": model(head="mlp", contrastive=False, **unknown),
      "CoRe + GART, difficulty unknown": model(**unknown),
  }
  layers = lambda depth: depth - (config.variant == "official")          # 2^d leaves; as published 2^(d - 1)
  rows |= {f"depth {depth}": model(num_leaves=2 ** layers(depth)) for depth in DEPTHS}
  rows |= {f"{count} exemplar{'s' * (count > 1)}": model(exemplars=dict(count=count)) for count in VOTES}
  return common.table(config, options, rows)
