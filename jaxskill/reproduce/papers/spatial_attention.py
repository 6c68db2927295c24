"""Li, Huang, Cai, Sato: Manipulation-skill Assessment from Videos with Spatial Attention Network, ICCVW 2019."""

from __future__ import annotations

from typing import Any

from jaxskill.reproduce import figures_spatial_attention as figures
from jaxskill.reproduce.entries import Claim, Column, Figure, Row, Table

PAPER, TABLES = "spatial_attention", "configs/spatial_attention_ablations.py"
WHOLE, CBAM, RANDOM = "spatial attention", "CBAM", "random labels"
NO_GRU, FRAME, SKILL = "no attention GRU", "frame only", "skill state only"


def _epic(title: str, task: Any) -> Any:
  return Column(title, ("EPIC-Skills",), "epic_skills", task)


CHOPSTICK, SURGERY = _epic("Chopstick-Using", "chopstick_using"), _epic("Surgery", "surgery")
DRAWING, DOUGH = _epic("Drawing", "drawing"), _epic("Dough-Rolling", "dough_rolling")
INFANT = Column("Infant-Grasp", ("Infant-Grasp",), "features,infant_grasp")
COLUMNS = (CHOPSTICK, SURGERY, DRAWING, DOUGH, INFANT)
SIMULATED = (Column("accuracy, simulated", (), "simulated"),)
NOTES = ("Accuracy in %, of four folds in the paper. It heads the column Dough-Rolling with 'Rough-Rolling'.",
         "Infant-Grasp is not public: the column reads maps of one's own, see configs/spatial_attention.md.")
FRAMES = "Frames are those that were kept with the maps, else of --videos DIR, else the mean over channels of the maps."


def _figure(number: Any, title: str, rows: tuple[str, ...], columns: Any, hours: float) -> Any:
  return Figure(f"{PAPER}-figure-{number}", PAPER, f"Figure {number}", title, TABLES, figures.draw, rows, columns,
                notes=(FRAMES,), hours=hours)


ENTRIES = (
    Table(
        f"{PAPER}-table-1", PAPER, "Table 1", "beside other methods", TABLES,
        rows=(Row("RankSVM [24]", baseline="RankSVM on mean features", published=("76.6", "65.2", "71.5", "72.0", "")),
              Row("Yao et al. [45]", published=("70.3", "66.1", "71.5", "78.1", "")),
              Row("Doughty et al. [12]", published=("71.5", "70.2", "83.2", "79.4", "80.3")),
              Row("CBAM Atten. [43]", CBAM, published=("82.0", "68.6", "84.1", "80.8", "83.8")),
              Row("Ours", WHOLE, published=("85.5", "73.1", "85.3", "82.7", "86.1"))),
        columns=COLUMNS, simulated=SIMULATED,
        notes=(*NOTES, "RankSVM reads mean maps here. Doughty et al. read features of segments, not maps: it is "
                       "configs/whos_better.py, which has data of its own, and no number here."), hours=0.2),
    Table(
        f"{PAPER}-table-2", PAPER, "Table 2", "what guides the attention", TABLES,
        rows=(Row("No RNN_att", NO_GRU, published=("84.1", "70.8", "82.4", "82.0", "85.1")),
              Row("x_t-based Atten.", FRAME, published=("84.1", "70.1", "83.4", "81.8", "85.3")),
              Row("h_skill-based Atten.", SKILL, published=("82.8", "69.1", "84.8", "81.6", "84.7")),
              Row("Full model", WHOLE, published=("85.5", "73.1", "85.3", "82.7", "86.1"))),
        columns=COLUMNS, simulated=SIMULATED, notes=NOTES, hours=0.2),
    _figure(4, "where the model looks", (WHOLE,), COLUMNS, 0.08),
    _figure(5, "where the model looks, beside CBAM", (WHOLE, CBAM), (SURGERY, DRAWING, CHOPSTICK), 0.16),
    _figure(6, "where it looks when labels are random", (WHOLE, RANDOM), COLUMNS, 0.16),
)

ACCURACY, PLACE, DISTRACTOR = "last.accuracy", "against_truth.attention_place", "against_truth.attention_distractor"
EVEN = "against_truth.uniform_place"


def _claim(source: str, words: str, more: Any, less: Any, lower: bool = False) -> Any:
  return Claim(PAPER, source, words, TABLES, more, less, lower)


def _beats(source: str, words: str, row: str) -> Any:
  return _claim(source, words, (WHOLE, ACCURACY), (row, ACCURACY))


CLAIMS = (
    _beats("Sec. 4.3, Table 1", "guided attention orders more pairs than CBAM", CBAM),
    _beats("Sec. 4.4, Table 2", "the attention GRU is needed", NO_GRU),
    _beats("Sec. 4.4, Table 2", "the skill state is needed as a guide", FRAME),
    _beats("Sec. 4.4, Table 2", "the frame is needed as a guide", SKILL),
    _claim("Sec. 4.3, Fig. 4", "attention lies on the region of the skill, more than equal weights would",
           (WHOLE, PLACE), (WHOLE, EVEN)),
    _claim("Sec. 4.3, Fig. 5", "attention lies on the region of the skill, more than CBAM's", (WHOLE, PLACE),
           (CBAM, PLACE)),
    _claim("Sec. 4.3, Fig. 5", "less of the attention lies on what is salient but not of the task than of CBAM's",
           (WHOLE, DISTRACTOR), (CBAM, DISTRACTOR), lower=True),
    _claim("Sec. 4.4, Fig. 6", "attention of real labels lies on the region of the skill, more than of random labels",
           (WHOLE, PLACE), (RANDOM, PLACE)),
)
