"""Yu, Rao, Zhao, Lu, Zhou: Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021."""

from __future__ import annotations

from jaxskill.reproduce.entries import Claim, Column, Row, Table

TABLES = "configs/core_ablations.py"
MTL = tuple(Column(title, ("MTL-AQA",), "mtl_aqa", metric=metric)
            for title, metric in (("Sp. Corr.", "spearman"), ("R-l2 (x 100)", "rl2")))
SIMULATED = (Column("Sp. Corr., simulated", (), "simulated", metric="spearman"),
             Column("R-l2 (x 100), simulated", (), "simulated", metric="rl2"))

ENTRIES = (
    Table(
        "core-table-3", "core", "Table 3", "a perceptron or the tree, with and without exemplars", TABLES,
        rows=(Row("I3D + MLP", "regression MLP", published=("0.9381", "0.394")),
              Row("I3D + GART", "tree without exemplars", published=("0.9403", "0.366")),
              Row("CoRe + MLP (not in the paper)", "MLP with exemplars"),
              Row("CoRe + GART", "CoRe + GART", published=("0.9512", "0.260")),
              Row("ridge on mean features (not in the paper)", baseline="ridge on mean features")),
        columns=MTL, simulated=SIMULATED),
)

CLAIMS = (
    Claim("core", "Table 3", "the tree is better than a perceptron", TABLES,
          ("tree without exemplars", "last.spearman"), ("regression MLP", "last.spearman")),
    Claim("core", "Table 3", "exemplars help the tree", TABLES,
          ("CoRe + GART", "last.spearman"), ("tree without exemplars", "last.spearman")),
)
