"""Tables 1 and 2 of spatial attention with GRUs: what guides the attention, and what stands in its place.

Every row leaves its heat maps (maps.png, maps.npz in its folder), those of "CBAM" as in Fig. 5.

  python -m jaxskill.main --config configs/spatial_attention_ablations.py            simulated performances, 5 seeds
  python -m jaxskill.main --config configs/spatial_attention_ablations.py:epic_skills --config.data.dir=EPIC \\
      --config.data.task=drawing

Options are those of configs/spatial_attention.py. The row "random labels" is the control of Fig. 6: half of the
training pairs are turned round. A linear ranking of mean features stands below as a baseline.
"""

from ml_collections import ConfigDict

from jaxskill.cli import beside

common = beside(__file__, "common")


def get_config(options: str = "simulated") -> ConfigDict:
  """Returns the base config with `rows`: {name: values that differ from it}."""
  config = beside(__file__, "spatial_attention").get_config(options)
  model = common.model
  rows = {
      "CBAM": model(attention="cbam"),                                          # Table 1
      "no attention GRU": model(attention_gru=False),                           # Table 2
      "frame only": model(guides=("frame",)),
      "skill state only": model(guides=("skill",)),
      "spatial attention": {},
      "random labels": {"train": {"pair_order": "random"}},                     # Fig. 6
  }
  config = common.table(config, options, rows)
  config.plots = True                       # heat maps of every row: Figs. 5 and 6
  return config
