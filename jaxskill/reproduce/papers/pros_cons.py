"""Doughty, Mayol-Cuevas, Damen: The Pros and Cons: Rank-Aware Temporal Attention, CVPR 2019."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import numpy as np

from jaxskill import cli, data
from jaxskill.data.published import labels_pairs
from jaxskill.reproduce import figures_pros_cons
from jaxskill.reproduce.entries import Claim, Column, Figure, Row, Statistics, Table

CONFIG, TABLES = "configs/pros_cons.py", "configs/pros_cons_ablations.py"
WHOLE, HIGH, LOW, UNIFORM = "rank-aware", "branches.high", "branches.low", "branches.uniform"
EPIC_SKILLS = tuple(Column(title, ("EPIC-Skills", "EPIC-Skills 2018"), "epic_skills", task, mean="EPIC Skills")
                    for title, task in (("Chopstick Using", "chopstick_using"), ("Dough Rolling", "dough_rolling"),
                                        ("Drawing", "drawing"), ("Surgery", "surgery")))
BEST = tuple(Column(title, ("BEST", "YouTubeSkill"), "best", task, mean="YouTubeSkill")
             for title, task in (("Scramble Eggs", "scrambled_eggs"), ("Tie Tie", "tie_tie"),
                                 ("Apply Eyeliner", "apply_eyeliner"), ("Braid Hair", "braid_hair"),
                                 ("Origami", "origami")))
TASKS = EPIC_SKILLS + BEST
SIMULATED = (Column("accuracy, simulated", (), "simulated"),)
DRAWN = "The paper draws this figure and prints no numbers."
EQUAL = ("Rows whose parameters all move at every step have half the epochs of those that take turns: all are moved "
         "equally often. Who's Better trains by its own config: on simulated performances twice as often.")


def means(epic_skills: str, youtube_skill: str) -> tuple[str, ...]:
  """Returns a row of Table 2, which prints the means over tasks alone."""
  return ("",) * len(TASKS) + (epic_skills, youtube_skill)


def count(options: str, task: str, folder: pathlib.Path | None) -> dict[str, str]:
  """Returns a line of Table 1: videos, pairs, their share of all that can be, and length in seconds.

  Videos of two sub-tasks make no pair. Only BEST says how long a video is, in BEST.csv.
  """
  if folder is None:
    config, _ = cli.read_config(f"{CONFIG}:{options}")
    dataset = data.load(config.data)
    category, pairs, videos = None, dataset.pairs, dataset.num_videos
    seconds = dataset.lengths["rgb"] * dataset.row_seconds["rgb"]
  else:
    labels = labels_pairs.read_pairs(options, folder, task)
    category, pairs, videos = labels.category, labels.pairs, len(labels.videos)
    seconds = _seconds(folder / "BEST.csv", task, set(labels.videos))
  sizes = [videos] if category is None else np.unique(category, return_counts=True)[1]
  possible = sum(int(size) * (int(size) - 1) // 2 for size in sizes)
  counted = {"#Videos": str(videos), "#Pairs": str(len(pairs)), "%Pairs": f"{100 * len(pairs) / possible:.0f}%"}
  if len(seconds):
    counted["Av. Length (s)"] = f"{seconds.mean():.0f} ± {seconds.std():.0f}"
  return counted


def _seconds(file: pathlib.Path, task: Any, videos: Any) -> Any:
  """`[V]` seconds between start and end of the videos of a task; none without the file."""
  if not file.is_file():
    return np.zeros(0)
  with file.open(newline="", encoding="utf-8") as lines:
    return np.array([float(line["end_seconds"]) - float(line["start_seconds"]) for line in csv.DictReader(lines)
                     if line["task"] == task and line["vid_id"] in videos])


ENTRIES = (
    Statistics(
        "pros_cons-table-1", "pros_cons", "Table 1", "videos, pairs and lengths of the tasks",
        ("#Videos", "#Pairs", "%Pairs", "Av. Length (s)"), count, TASKS,
        published={"Chopstick Using": ("40", "536", "69%", "46 ± 17"),
                   "Dough Rolling": ("33", "181", "34%", "102 ± 29"),
                   "Drawing": ("40", "247", "65%", "101 ± 47"), "Surgery": ("103", "1659", "95%", "92 ± 41"),
                   "Scramble Eggs": ("100", "2112", "43%", "170 ± 113"), "Tie Tie": ("100", "3843", "77%", "81 ± 47"),
                   "Apply Eyeliner": ("100", "3743", "76%", "122 ± 105"),
                   "Braid Hair": ("100", "3847", "78%", "179 ± 91"), "Origami": ("100", "3237", "65%", "386 ± 193")},
        notes=("The published lists of YouTubeSkill hold the pairs of its training and of its test videos; those of a "
               "training and a test video are in no list. Pairs that a list repeats are counted as often.",)),
    Table(
        "pros_cons-table-2", "pros_cons", "Table 2", "rank-aware attention beside baselines", TABLES,
        rows=(Row("Who's Better", "configs/whos_better.py", published=means("76.0", "75.8")),
              Row("Last Segment", "last segment", published=means("76.8", "61.0")),
              Row("Uniform Weighting", "uniform", published=means("78.8", "73.6")),
              Row("Softmax Attention", "softmax attention", published=means("74.5", "72.3")),
              Row("STPN", "STPN-style attention", published=means("74.3", "70.0")),
              Row("Ours (Rank Aware Attention)", WHOLE, published=means("80.3", "81.2"))),
        columns=TASKS, simulated=SIMULATED, notes=(EQUAL,), hours=0.17),
    Table(
        "pros_cons-filters", "pros_cons", "Sec. 5.2", "two modules of three filters, and one of six", TABLES,
        rows=(Row("one module, 6 filters", "one module, 6 filters", published=("",) * len(BEST) + ("75.0",)),
              Row("two modules, 3 filters", WHOLE, published=("",) * len(BEST) + ("81.2",))),
        columns=BEST, simulated=SIMULATED, hours=0.15),
    Table(
        "pros_cons-figure-4", "pros_cons", "Figure 4", "losses, each added to those before", TABLES, chart="bars",
        rows=(Row("softmax attention", "softmax attention"), Row("+ diversity loss", "softmax, diversity"),
              Row("+ disparity loss", "softmax, diversity, disparity"), Row("+ rank-aware loss", WHOLE)),
        columns=TASKS, simulated=SIMULATED, notes=(DRAWN, EQUAL), hours=0.33),
    Table(
        "pros_cons-figure-5", "pros_cons", "Figure 5", "what each branch reaches", TABLES, chart="bars",
        rows=(Row("uniform", WHOLE, branch="uniform"), Row("low-skill branch", WHOLE, branch="low"),
              Row("high-skill branch", WHOLE, branch="high"), Row("high and low", WHOLE)),
        columns=TASKS, simulated=SIMULATED, notes=(DRAWN,), hours=0.11),
    Table(
        "pros_cons-figure-6", "pros_cons", "Figure 6", "number of filters of a module", TABLES, chart="lines",
        reference="K = 3",
        rows=tuple(Row(f"K = {k}", WHOLE if k == 3 else f"K = {k}") for k in range(1, 6)),
        columns=TASKS, simulated=SIMULATED, notes=(DRAWN,), hours=0.29),
    Figure("pros_cons-figure-7", "pros_cons", "Figure 7", "correlation of high-skill with low-skill filters", TABLES,
           figures_pros_cons.correlation, (WHOLE,), TASKS, hours=0.11),
    Figure("pros_cons-figure-8", "pros_cons", "Figure 8", "attention with frames, for pairs of videos", TABLES,
           figures_pros_cons.examples, (WHOLE,), TASKS, hours=0.11),
)


def _claim(source: str, words: str, more: Any, less: Any, lower: bool = False) -> Claim:
  """A claim about rows, whose accuracy at the last step counts where no quantity is named."""
  ahead, behind = (side if not isinstance(side, str) else (side, "last.accuracy") for side in (more, less))
  return Claim("pros_cons", source, words, TABLES, ahead, behind, lower=lower)


CLAIMS = (
    _claim("Table 2", "rank-aware attention is better than Who's Better, Who's Best", WHOLE, "configs/whos_better.py"),
    _claim("Table 2", "rank-aware attention is better than uniform weighting", WHOLE, "uniform"),
    _claim("Table 2", "rank-aware attention is better than softmax attention", WHOLE, "softmax attention"),
    _claim("Table 2", "rank-aware attention is better than STPN's attention", WHOLE, "STPN-style attention"),
    _claim("Table 2", "rank-aware attention is better than the last segment alone", WHOLE, "last segment"),
    _claim("Sec. 5.2", "softmax attention is worse than uniform weighting", "uniform", "softmax attention"),
    _claim("Sec. 5.2", "STPN's attention is worse than uniform weighting", "uniform", "STPN-style attention"),
    _claim("Sec. 5.2", "the last segment alone is worse than uniform weighting", "uniform", "last segment"),
    _claim("Fig. 4", "the diversity loss helps softmax attention", "softmax, diversity", "softmax attention"),
    _claim("Fig. 4", "the disparity loss helps further", "softmax, diversity, disparity", "softmax, diversity"),
    _claim("Fig. 4", "the rank-aware loss helps further", WHOLE, "softmax, diversity, disparity"),
    _claim("Fig. 5", "the high-skill branch is better than the uniform one", (WHOLE, HIGH), (WHOLE, UNIFORM)),
    _claim("Fig. 5", "the low-skill branch is better than the uniform one", (WHOLE, LOW), (WHOLE, UNIFORM)),
    _claim("Fig. 5", "both branches together are better than the high-skill one", WHOLE, (WHOLE, HIGH)),
    _claim("Fig. 5", "both branches together are better than the low-skill one", WHOLE, (WHOLE, LOW)),
    _claim("Fig. 6", "three filters are better than one", WHOLE, "K = 1"),
    _claim("Fig. 6", "three filters are better than two", WHOLE, "K = 2"),
    _claim("Fig. 6", "three filters are better than four", WHOLE, "K = 4"),
    _claim("Fig. 6", "three filters are better than five", WHOLE, "K = 5"),
    _claim("Sec. 5.2", "two modules of three filters are better than one of six", WHOLE, "one module, 6 filters"),
    _claim("Fig. 7", "high-skill and low-skill filters are little correlated (below 0.5)",
           (WHOLE, "filter_correlation.high attention.low attention"), 0.5, lower=True),
    _claim("Sec. 5.3", "high-skill attention finds moments of high skill better than equal weights",
           (WHOLE, "against_truth.ap_high"), (WHOLE, "against_truth.chance_high")),
    _claim("Sec. 5.3", "low-skill attention finds moments of low skill better than equal weights",
           (WHOLE, "against_truth.ap_low"), (WHOLE, "against_truth.chance_low")),
)
