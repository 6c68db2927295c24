"""Yu, Rao, Zhao, Lu, Zhou: Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021."""

from __future__ import annotations

from typing import Any

from jaxskill.reproduce import figures_core as figures
from jaxskill.reproduce.entries import Claim, Column, Figure, Row, Table

TABLES, USDL, LSTM = "configs/core_ablations.py", "configs/usdl.py", "configs/lstm.py:c3d"
SVR = "linear SVR on mean features"
USDL_UNKNOWN = f"{USDL}:difficulty_unknown"
MLP, CORE = "regression MLP", "CoRe + GART"
MLP_UNKNOWN, CORE_UNKNOWN = f"{MLP}, difficulty unknown", f"{CORE}, difficulty unknown"
RIDGE = Row("ridge on mean features (not in the paper)", baseline="ridge on mean features")
METRICS = {"spearman": "Sp. Corr.", "rl2": "R-l2 (x 100)"}
CLASSES = {"Diving": "diving", "Gym Vault": "gym_vault", "BigSki.": "ski_big_air", "BigSnow.": "snowboard_big_air",
           "Sync. 3m": "sync_diving_3m", "Sync. 10m": "sync_diving_10m"}
TASKS = {"Suturing": "suturing", "Needle Passing": "needle_passing", "Knot Tying": "knot_tying"}


def _columns(data: Any, options: str, task: str = "") -> Any:
  """The columns of a table that has both metrics."""
  return tuple(Column(title, (data,), options, task, metric=metric) for metric, title in METRICS.items())


def _tasks(data: Any, options: str, tasks: Any, metric: str) -> Any:
  """A column a task, whose folds are called by its name; all tasks train as one program."""
  return tuple(Column(title, (data,), options, folds=f"^{name}(/|$)", metric=metric) for title, name in tasks.items())


def _simulated(metric: str) -> Any:
  return Column(f"{METRICS[metric]}, simulated", (), "simulated", metric=metric)


MTL, DIVING = _columns("MTL-AQA", "mtl_aqa"), _columns("AQA-7", "aqa7", "diving")
SIMULATED = tuple(map(_simulated, METRICS))
GIVEN = "C3D-SVR and C3D-LSTM of ours read the features that all rows read, of C3D only where those are."
ONE_TASK = "Simulated performances are of one task; as in the paper, no row knows the difficulty."
TABLE_4 = ("The abstract of the paper gives means over the tasks, in percent: 85 for CoRe + GART*, 70 for the best of "
           "others.")


def _unknown(usdl: Any = (), mlp: Any = (), core: Any = ()) -> Any:
  """The rows of ours where the difficulty is not known, with what is published of them."""
  return (Row("USDL [29]", USDL_UNKNOWN, published=usdl),
          Row("I3D + MLP*, by the authors", MLP_UNKNOWN, published=mlp),
          Row("CoRe + GART*", CORE_UNKNOWN, published=core), RIDGE)


ENTRIES = (
    Table(
        "core-table-1", "core", "Table 1, Sp. Corr.", "AQA-7, class by class", TABLES,
        rows=(Row("Pose+DCT [24]", published=("0.5300", "0.1000", "", "", "", "", "")),
              Row("ST-GCN [36]", published=("0.3286", "0.5770", "0.1681", "0.1234", "0.6600", "0.6483", "0.4433")),
              Row("C3D-LSTM [21]", LSTM,
                  published=("0.6047", "0.5636", "0.4593", "0.5029", "0.7912", "0.6927", "0.6165")),
              Row("C3D-SVR [21]", baseline=SVR,
                  published=("0.7902", "0.6824", "0.5209", "0.4006", "0.5937", "0.9120", "0.6937")),
              Row("JRG [19]", published=("0.7630", "0.7358", "0.6006", "0.5405", "0.9013", "0.9254", "0.7849")),
              Row("I3D + MLP* [29]", published=("0.7438", "0.7342", "0.5190", "0.5103", "0.8915", "0.8703", "0.7472")),
              *_unknown(usdl=("0.8099", "0.7570", "0.6538", "0.7109", "0.9166", "0.8878", "0.8102"),
                        mlp=("0.8685", "0.6939", "0.5391", "0.5180", "0.8782", "0.8486", "0.7601"),
                        core=("0.8824", "0.7746", "0.7115", "0.6624", "0.9442", "0.9078", "0.8401"))),
        columns=_tasks("AQA-7", "aqa7", CLASSES, "spearman"), simulated=SIMULATED[:1], mean="Avg. Corr.", how="fisher",
        notes=(ONE_TASK, GIVEN,
               "Printed means are Fisher's z to 2e-4, but for that of CoRe + GART*: 0.8433 by Fisher's z."),
               hours=0.02),
    Table(
        "core-table-1-rl2", "core", "Table 1, R-l2 (x 100)", "AQA-7, class by class", TABLES,
        rows=(Row("C3D-SVR [21]", baseline=SVR, published=("1.53", "3.12", "6.79", "7.03", "17.84", "4.83", "6.86")),
              *_unknown(usdl=("0.79", "2.09", "4.82", "4.94", "0.65", "2.14", "2.57"),
                        mlp=("0.81", "2.54", "6.06", "5.31", "1.41", "3.08", "3.20"),
                        core=("0.64", "1.78", "3.67", "3.87", "0.41", "2.35", "2.12"))),
        columns=_tasks("AQA-7", "aqa7", CLASSES, "rl2"), simulated=SIMULATED[1:], mean="Avg. R-l2",
        notes=(ONE_TASK, GIVEN), hours=0.02),
    Table(
        "core-table-2", "core", "Table 2", "MTL-AQA, with and without the degree of difficulty (DD)", TABLES,
        rows=(Row("Pose+DCT [24]", published=("0.2682", "")), 
              Row("C3D-SVR [21]", baseline=SVR, published=("0.7716", "")),
              Row("C3D-LSTM [21]", LSTM, published=("0.8489", "")),
              Row("MSCADC-STL [22]", published=("0.8472", "")),
              Row("C3D-AVG-STL [22]", published=("0.8960", "")), Row("MSCADC-MTL [22]", published=("0.8612", "")),
              Row("C3D-AVG-MTL [22]", published=("0.9044", "")), Row("I3D + MLP* [29]", published=("0.8921", "0.707")),
              *_unknown(usdl=("0.9066", "0.654"), mlp=("0.9196", "0.465"), core=("0.9341", "0.365"))[:-1],
              Row("MUSDL* [29]", published=("0.9158", "0.609")),
              Row("USDL, with DD [29]", USDL, published=("0.9231", "0.468")),
              Row("MUSDL, with DD [29]", published=("0.9273", "0.451")),
              Row("I3D + MLP, with DD", MLP, published=("0.9381", "0.394")),
              Row("CoRe + GART, with DD", CORE, published=("0.9512", "0.260")), RIDGE),
        columns=MTL, simulated=SIMULATED,
        notes=(GIVEN, "Support vectors and ridge regression do not know the difficulty here, nor does C3D-LSTM.",
               "MUSDL needs what every judge said: see configs/usdl.py:features,judges.",), hours=0.03),
    Table(
        "core-table-3", "core", "Table 3", "a perceptron or the tree, with and without exemplars", TABLES,
        rows=(Row("I3D + MLP", MLP, published=("0.9381", "0.394")),
              Row("I3D + GART", "tree without exemplars", published=("0.9403", "0.366")),
              Row("CoRe + MLP (not in the paper)", "MLP with exemplars"),
              Row("CoRe + GART", CORE, published=("0.9512", "0.260")), RIDGE),
        columns=MTL, simulated=SIMULATED, hours=0.02),
    Table(
        "core-table-4", "core", "Table 4", "JIGSAWS, task by task", TABLES, rows=_unknown(),
        columns=_tasks("JIGSAWS", "jigsaws", TASKS, "spearman"), simulated=SIMULATED[:1], mean="Avg.", how="fisher",
        notes=(ONE_TASK, TABLE_4), hours=0.02),
    Table(
        "core-table-4-rl2", "core", "Table 4, R-l2 (x 100)", "JIGSAWS, task by task", TABLES, rows=_unknown(),
        columns=_tasks("JIGSAWS", "jigsaws", TASKS, "rl2"), simulated=SIMULATED[1:], mean="Avg.",
        notes=(ONE_TASK, TABLE_4), hours=0.02),
    Figure("core-figure-4", "core", "Figure 4", "differences of scores in equal parts, and in groups of equal count",
           TABLES, figures.groups, rows=(CORE,), columns=(*DIVING[:1], *MTL[:1]), hours=0.01),
    Table(
        "core-figure-5a", "core", "Figure 5 (a)", "depth of the tree, AQA-7 Diving", TABLES,
        rows=tuple(Row(f"depth {depth}", CORE if depth == 5 else f"depth {depth}") for depth in range(2, 8)),
        columns=DIVING, simulated=SIMULATED, chart="lines", reference="depth 5",
        notes=("The paper draws these numbers and prints none.",), hours=0.07),
    Table(
        "core-figure-5b", "core", "Figure 5 (b)", "exemplars that vote, AQA-7 Diving", TABLES,
        rows=(Row("M = 1", "1 exemplar"), Row("M = 2", "2 exemplars"), Row("M = 5", "5 exemplars"), Row("M = 10", CORE),
              Row("M = 20", "20 exemplars")),
        columns=DIVING, simulated=SIMULATED, chart="lines", reference="M = 10",
        notes=("The paper draws these numbers and prints none. Rows train alike and differ in the vote.",),
        hours=0.03),
    Figure("core-figure-6", "core", "Figure 6", "predicted against true scores", TABLES, figures.scatter,
           rows=(MLP, CORE_UNKNOWN, CORE), columns=MTL[:1], hours=0.03),
    Figure("core-figure-7", "core", "Figure 7", "share of test videos within an error: cumulative score curves", TABLES,
           figures.cumulative, rows=(USDL, CORE), columns=MTL[:1], hours=0.01),
    Figure("core-figure-8", "core", "Figure 8", "two pairs of videos, level by level of the tree", TABLES,
           figures.pairs, rows=(CORE,), columns=MTL[:1], hours=0.01),
    Figure("core-figure-9", "core", "Figure 9", "Grad-CAM on frames, of videos with --weights of an I3D", TABLES,
           figures.grad_cam, rows=(MLP, CORE), columns=(Column("frames", ("MTL-AQA",), "mtl_aqa,frames"),),
           simulated=(Column("simulated films, random weights", (), "frames,rendered"),), models=1,
           hours=0.14),
)


def _both(source: str, words: str, more: Any, less: Any) -> Any:
  """A claim in both metrics."""
  return (Claim("core", source, f"{words}, Spearman", TABLES, (more, "last.spearman"), (less, "last.spearman")),
          Claim("core", source, f"{words}, R-l2", TABLES, (more, "last.rl2"), (less, "last.rl2"), lower=True))


CLAIMS = (
    *_both("Table 3", "the tree is better than a perceptron", "tree without exemplars", MLP),
    *_both("Table 3", "exemplars make the tree better", CORE, "tree without exemplars"),
    *_both("Table 2", "CoRe + GART is better than a perceptron", CORE, MLP),
    *_both("Tables 1, 2", "and without difficulty, CoRe + GART* better than a perceptron", CORE_UNKNOWN, MLP_UNKNOWN),
    *_both("Table 2", "knowing the difficulty makes CoRe + GART better", CORE, CORE_UNKNOWN),
    *_both("Table 2", "CoRe + GART is better than USDL", CORE, USDL),
    *_both("Tables 1, 2, 4", "and without difficulty, CoRe + GART* better than USDL", CORE_UNKNOWN, USDL_UNKNOWN),
    Claim("core", "Figure 7", "CoRe + GART has a smaller absolute error than USDL", TABLES, (CORE, "last.mae"),
          (USDL, "last.mae"), lower=True),
    *_both("Figure 5 (a)", "a tree of depth 5 is better than one of depth 2", CORE, "depth 2"),
    *_both("Figure 5 (a)", "a tree of depth 5 is better than one of depth 7", CORE, "depth 7"),
    *_both("Figure 5 (b)", "ten exemplars are better than one", CORE, "1 exemplar"),
    Claim("core", "Figure 5 (b)", "ten exemplars vary less than one over draws, Spearman", TABLES,
          (CORE, "draws.std.spearman"), ("1 exemplar", "draws.std.spearman"), lower=True),
    *_both("Figure 5 (b)", "twenty exemplars are better than ten, if little", "20 exemplars", CORE),
)
