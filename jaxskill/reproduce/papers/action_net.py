"""Zeng et al.: Hybrid Dynamic-static Context-aware Attention Network for Action Assessment, ACM Multimedia 2020."""

from __future__ import annotations

from typing import Any

from jaxskill.reproduce import figures_action_net as figures
from jaxskill.reproduce.entries import Claim, Column, Figure, Row, Table

TABLES, LSTM, MS_LSTM = "configs/action_net_ablations.py", "configs/lstm.py", "configs/ms_lstm.py"
ACTION_NET, DYNAMIC, STATIC = "ACTION-NET", "dynamic only", "static only"
SKATING = Column("MIT-Skating", ("MIT-Skating", "Fis-V_and_MIT-Skate"), "mit_skating", metric="spearman",
                 criterion="total")
GYMNASTICS = "Rhythmic Gymnastics", "RhythmicGymnastics"
COLUMNS = (SKATING, *(Column(apparatus, GYMNASTICS, "rhythmic_gymnastics", folds=f"^{apparatus.lower()}(/|$)",
                             metric="spearman", criterion="total")
                      for apparatus in ("Ball", "Clubs", "Hoop", "Ribbon")))
SIMULATED = (Column("Spearman, simulated", (), "simulated", metric="spearman"),)
RIDGE = Row("ridge on mean features (not in the paper)", baseline="ridge on mean features")
WHOLE = ("0.615", "0.528", "0.657", "0.708", "0.578")          # of ACTION-NET, the last row of every table
STATIC_ONLY = ("0.575", "0.443", "0.581", "0.686", "0.540")

ENTRIES = (
    Table(
        "action_net-table-1", "action_net", "Table 1", "beside competitors", TABLES,
        rows=(Row("Pose + DCT [15]", published=("0.350", "", "", "", "")),
              Row("ConvISA [8]", published=("0.450", "", "", "", "")),
              Row("C3D + SVR [16]", published=("0.530", "0.357", "0.551", "0.495", "0.516")),
              Row("Li et al. [9]", published=("0.575", "", "", "", "")),
              Row("Pan et al. [13]", published=("0.384", "", "", "", "")),
              Row("Xu et al. [25]", MS_LSTM, published=("0.590", "0.515", "0.621", "0.540", "0.522")),
              Row("ResNet, Avg + SVR", baseline="linear SVR on mean features of static",
                  published=("0.545", "0.279", "0.589", "0.602", "0.395")),
              Row("ResNet, Max + SVR", baseline="linear SVR on max features of static",
                  published=("0.512", "0.169", "0.452", "0.376", "0.404")),
              Row("ResNet, LSTM", f"{LSTM}:static", published=("0.602", "0.471", "0.472", "0.555", "0.410")),
              Row("ResNet, Bi-LSTM", f"{LSTM}:static,bidirectional",
                  published=("0.598", "0.466", "0.444", "0.544", "0.447")),
              Row("I3D, Avg + SVR", baseline="linear SVR on mean features of rgb",
                  published=("0.531", "0.403", "0.579", "0.610", "0.456")),
              Row("I3D, Max + SVR", baseline="linear SVR on max features of rgb",
                  published=("0.442", "0.445", "0.465", "0.386", "0.191")),
              Row("I3D, LSTM", LSTM, published=("0.472", "0.327", "0.583", "0.546", "0.381")),
              Row("I3D, Bi-LSTM", f"{LSTM}:bidirectional", published=("0.587", "0.355", "0.653", "0.557", "0.368")),
              Row("ACTION-NET (ours in the paper)", ACTION_NET, published=WHOLE), RIDGE),
        columns=COLUMNS, simulated=SIMULATED,
        notes=("What is printed for C3D + SVR and Xu et al. on gymnastics are the authors' own runs of these methods. "
               "Ours of Xu et al. reads the dynamic stream.",
               "ResNet in the paper reads whole frames here; ours reads the static stream as it is given.",
               "MIT-Skating is dealt into five random splits, which are not those of the paper."), hours=0.05),
    Table(
        "action_net-table-2", "action_net", "Table 2", "one stream (DS, SS) or both (TS)", TABLES,
        rows=(Row("DS + CAA", DYNAMIC, published=("0.603", "0.346", "0.583", "0.643", "0.394")),
              Row("SS + CAA", STATIC, published=STATIC_ONLY),
              Row("TS + CAA (ours in the paper)", ACTION_NET, published=WHOLE), RIDGE),
        columns=COLUMNS, simulated=SIMULATED,
        notes=("The paper prints 0.575 for SS + CAA on MIT-Skating here, and 0.572 in Table 4.",), hours=0.02),
    Table(
        "action_net-table-3", "action_net", "Table 3", "what takes the place of context-aware attention (CAA)", TABLES,
        rows=(Row("Avg Pooling", "average pooling", published=("0.605", "0.518", "0.650", "0.650", "0.552")),
              Row("SAU", "attention unit", published=("0.590", "0.501", "0.610", "0.703", "0.528")),
              Row("LSTM + SAU", "LSTM + attention unit", published=("0.596", "0.487", "0.651", "0.690", "0.570")),
              Row("Bi-LSTM + SAU", "Bi-LSTM + attention unit", published=("0.572", "0.522", "0.568", "0.674", "0.600")),
              Row("RTA [5]", "multi-filter attention", published=("0.611", "0.522", "0.634", "0.713", "0.565")),
              Row("graph of time, published code (not in the paper)", "ACTION-NET, graph of time"),
              Row("CAA (ours in the paper)", ACTION_NET, published=WHOLE), RIDGE),
        columns=COLUMNS, simulated=SIMULATED, hours=0.07),
    Table(
        "action_net-table-4", "action_net", "Table 4", "frames of the detected athlete, or whole", TABLES,
        rows=(Row("SS + CAA, w/o detection", published=("0.565", "0.334", "0.582", "0.602", "0.391")),
              Row("SS + CAA, w detection", STATIC, published=("0.572", *STATIC_ONLY[1:])),
              Row("TS + CAA, w/o detection", published=("0.592", "0.365", "0.632", "0.656", "0.540")),
              Row("TS + CAA, w detection", ACTION_NET, published=WHOLE)),
        columns=COLUMNS, simulated=SIMULATED,
        notes=("Detection is a matter of features, so ours of both kinds are two runs of this table: extract whole "
               "frames into a folder of their own (python -m jaxskill.extract --config configs/features/action_net.py "
               "--config.streams.static.region=frame), and give each folder with its own --data and --workdir.",
               "Simulated features show no scene, so there is no row of theirs without detection."), hours=0.01),
    Figure("action_net-figure-4", "action_net", "Figure 4", "attention weights over the segments of two videos", TABLES,
           figures.weights, rows=(ACTION_NET,), columns=COLUMNS, hours=0.01),
    Figure("action_net-figure-5", "action_net", "Figure 5", "segments with high and low attention weights", TABLES,
           figures.segments, rows=(ACTION_NET,), columns=COLUMNS, hours=0.01),
    Figure("action_net-figure-6", "action_net", "Figure 6", "frames with high and low attention weights", TABLES,
           figures.frames, rows=(ACTION_NET,), columns=COLUMNS, hours=0.01),
)


def _better(source: str, words: str, more: Any, less: Any) -> Any:
  """A claim that Spearman's correlation is higher."""
  return Claim("action_net", source, words, TABLES, (more, "last.spearman"), (less, "last.spearman"))


def _finds(words: str, truth: Any) -> Any:
  """A claim that attention is better than equal weights at finding what the simulation hid."""
  return Claim("action_net", "Figures 5 and 6", words, TABLES, (ACTION_NET, f"against_truth.ap_{truth}"),
               (ACTION_NET, f"against_truth.chance_{truth}"))


CLAIMS = (
    *(_better("Table 1", f"better than {words}", ACTION_NET, row)
      for words, row in (("MS-LSTM of Xu et al.", MS_LSTM), ("an LSTM on I3D", LSTM),
                         ("a Bi-LSTM on I3D", f"{LSTM}:bidirectional"), ("an LSTM on ResNet", f"{LSTM}:static"),
                         ("a Bi-LSTM on ResNet", f"{LSTM}:static,bidirectional"))),
    _better("Sec. 5.3", "I3D features are better than ResNet's, under an LSTM", LSTM, f"{LSTM}:static"),
    _better("Sec. 5.3", "I3D features are better than ResNet's, under a Bi-LSTM", f"{LSTM}:bidirectional",
            f"{LSTM}:static,bidirectional"),
    _better("Table 2", "two streams are better than the dynamic one", ACTION_NET, DYNAMIC),
    _better("Table 2", "two streams are better than the static one", ACTION_NET, STATIC),
    *(_better("Table 3", f"context-aware attention is better than {words}", ACTION_NET, row)
      for words, row in (("average pooling", "average pooling"),
                         ("a plain attention unit (the graph helps)", "attention unit"),
                         ("an LSTM for context", "LSTM + attention unit"),
                         ("a Bi-LSTM for context", "Bi-LSTM + attention unit"),
                         ("the filters of Pros & Cons", "multi-filter attention"))),
    _finds("dynamic attention finds key moments better than equal weights", "key_moment"),
    _finds("static attention finds posture errors better than equal weights", "posture_error"),
)
