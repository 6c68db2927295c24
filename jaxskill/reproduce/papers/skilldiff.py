"""SkillDiff: Quantifying Fine-Grained Skill Differences from Paired Demonstration Videos, preprint, February 2026.

Table 1 is an entry for each of its columns, for not every method can be trained on each data set.
"""

from __future__ import annotations

from typing import Any

from jaxskill.reproduce import figures_skilldiff
from jaxskill.reproduce.entries import Claim, Column, Figure, Row, Table

TABLES = "configs/skilldiff_ablations.py"
WHOLE, RHO = "SkillDiff", "last.spearman"
SIMULATED = (Column("rho, simulated", (), "simulated", metric="spearman"),)
BEST = tuple(Column(task, ("BEST",), "best", task=task)
             for task in ("apply_eyeliner", "braid_hair", "origami", "scrambled_eggs", "tie_tie"))
FIS_V = tuple(Column(score.upper(), ("FIS-V", "Fis-V_and_MIT-Skate"), "fis_v", metric="spearman", criterion=score)
              for score in ("tes", "pcs"))
AQA_7 = Column("AQA-7", ("AQA-7",), "aqa7", metric="spearman")
NOT_CREDIBLE = ("The preprint is not peer-reviewed, has no code, and says that AQA-7 is 1,189 videos across 7 diving "
                "events, which it is not: its numbers are printed, and nothing is claimed from them.")
PAIRS_ALONE = ("BEST has pairs and no scores. Ours is the share of test pairs in order, learnt by the ranking loss and "
               "the alignment; the preprint prints a correlation, and does not say of what.")


def _table_1(column: str, columns: Any, digits: Any, trained: Any, **options: Any) -> Any:
  """The entry of one column of Table 1, whose number is the mean over `columns` where these are several."""
  names = ("C3D-SVR", "USDL", "CoRe", "TSA", "LOGO", "SkillDiff")
  empty = ("",) * len(columns) if len(columns) > 1 else ()
  rows = tuple(Row(name, trained.get(name, ""), published=(*empty, number)) for name, number in zip(names, digits))
  return Table(f"skilldiff-table-1-{column.lower()}", "skilldiff", "Table 1", f"SkillDiff and others, {column}", TABLES,
               rows=rows, columns=columns, mean=column if len(columns) > 1 else "", **options)


def _row(name: str, trains: str = "", number: str = "") -> Any:
  """A row of Table 2, its number that of the mean over the tasks of BEST."""
  return Row(name, trains, published=(*("" for _ in BEST), number) if number else ())


ENTRIES = (
    _table_1("BEST", BEST, ("0.72", "0.81", "0.86", "0.88", "0.90", "0.93"), dict(SkillDiff=WHOLE),
             notes=(PAIRS_ALONE, NOT_CREDIBLE)),
    _table_1("Fis-V", FIS_V, ("0.78", "0.83", "0.87", "0.89", "0.91", "0.93"), dict(SkillDiff=WHOLE),
             notes=("The preprint prints one number and does not say of which score; here it stands beside the mean.",
                    NOT_CREDIBLE)),
    _table_1("AQA-7", (AQA_7,), ("0.83", "0.89", "0.91", "0.93", "0.92", "0.95"),
             dict(USDL="configs/usdl.py", CoRe="configs/core.py", SkillDiff=WHOLE), how="fisher",
             notes=("A model a class; the mean over classes is by Fisher's z, which the preprint does not say.",
                    NOT_CREDIBLE)),
    Table(
        "skilldiff-table-2", "skilldiff", "Table 2", "what each component is worth", TABLES,
        rows=(_row("Direct regression (no alignment)", "direct regression", "0.86"),
              _row("+ DTW alignment", "DTW alignment", "0.89"),
              _row("+ Differential Encoder (single head)", "single head", "0.91"),
              _row("+ Multi-head (H = 4)", "multi-head", "0.92"),
              _row("+ Segment-level scoring", WHOLE, "0.93"),
              _row("w/o contrastive regularization", "no contrastive term", "0.87"),
              _row("w/o ranking loss", "no ranking loss", "0.91"),
              _row("Random reference (not expert)", "random references", "0.88"),
              _row("linear time (not in the paper)", "linear time"),
              _row("aligned on the embedding itself, as drawn", "aligned as drawn")),
        columns=BEST, simulated=SIMULATED, mean="BEST", reference="+ Segment-level scoring",
        notes=("The first two rows are ours where the preprint is silent: direct regression pools embeddings of the "
               "query; with alignment, what the heads would read is pooled.",
               "Where pairs are all that is known, as on BEST, the ranking loss alone trains the score: w/o ranking "
               "loss is then as good as chance.", PAIRS_ALONE, NOT_CREDIBLE), hours=0.65),
    Figure(
        "skilldiff-figure-2", "skilldiff", "Fig. 2", "segment scores of an expert and a novice at the same activity",
        TABLES, figures_skilldiff.draw, rows=(WHOLE,), columns=(*FIS_V[:1], AQA_7, *BEST),
        notes=("The test videos of the highest and the lowest label of one activity.",), hours=0.35),
)

CLAIMS = (
    Claim("skilldiff", "Sec. 4.4, Table 2", "DTW alignment adds to direct regression", TABLES,
          ("DTW alignment", RHO), ("direct regression", RHO)),
    Claim("skilldiff", "Sec. 4.4, Table 2", "the differential encoder adds to alignment", TABLES,
          ("single head", RHO), ("DTW alignment", RHO)),
    Claim("skilldiff", "Sec. 4.4, Table 2", "four heads are better than one", TABLES,
          ("multi-head", RHO), ("single head", RHO)),
    Claim("skilldiff", "Table 2", "segment-level scoring adds to scoring the whole", TABLES, (WHOLE, RHO),
          ("multi-head", RHO)),
    Claim("skilldiff", "Table 2", "the whole is better than direct regression", TABLES, (WHOLE, RHO),
          ("direct regression", RHO)),
    Claim("skilldiff", "Sec. 4.4, Table 2", "contrastive regularization is essential to the score", TABLES,
          (WHOLE, RHO), ("no contrastive term", RHO)),
    Claim("skilldiff", "Table 2", "the ranking loss helps", TABLES, (WHOLE, RHO), ("no ranking loss", RHO)),
    Claim("skilldiff", "Table 2", "expert references are better than random ones", TABLES, (WHOLE, RHO),
          ("random references", RHO)),
    Claim("skilldiff", "Sec. 1, 3.2", "what is aligned shows the same, nearer than linear time does (seconds)", TABLES,
          (WHOLE, "against_truth.alignment_error_s"), (WHOLE, "against_truth.linear_error_s"), lower=True),
    Claim("skilldiff", "Sec. 3.5, 4.4", "contrastive regularization prevents collapse of the alignment (seconds)",
          TABLES, (WHOLE, "against_truth.alignment_error_s"),
          ("no contrastive term", "against_truth.alignment_error_s"), lower=True),
    Claim("skilldiff", "Sec. 1, Fig. 2", "segment scores find where execution is bad, above chance (AP)", TABLES,
          (WHOLE, "against_truth.ap_faulty"), (WHOLE, "against_truth.chance_faulty")),
)
