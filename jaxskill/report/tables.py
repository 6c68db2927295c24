"""Tables of results, as they are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import cli
from jaxskill.evaluate import protocol, raters, simple_baselines
from jaxskill.evaluate.protocol import SCORE_METRICS

NOT_TESTED = ("not tested: config.data.split=all trains on every video and holds none out, so that nothing is known "
              "of how good the answers of this run are")


def number(summary: dict[str, Any] | None, percent: bool = False, digits: int | None = None) -> str:
  """Returns one number as text: mean, ± over seeds, and over folds, as far as there are several; "-" if missing.

  An undefined one is called so, and one that rests on too little is marked.
  """
  if summary is None:
    return "-"
  if summary["mean"] is None:
    return "undefined"
  digits = digits or (1 if percent else 3)
  show = lambda x: f"{100 * x if percent else x:.{digits}f}"
  return (show(summary["mean"]) + (f" ± {show(summary['std_seeds'])}" if summary["std_seeds"] is not None else "")
          + (f" (folds {show(summary['std_folds'])})" if summary["std_folds"] is not None else "")
          + protocol.MARK * summary.get("marked", False))


def table(rows: Mapping[str, dict[str, Any]], simulated: bool, facts: Mapping[str, Any] | None = None) -> str:
  """Returns the rows as text: mean and standard deviation over seeds and over folds.

  Args:
    rows: {row: of `protocol.summarize`}, after `protocol.show`.
    facts: of `protocol.facts`, with "raters" where there are several.
  """
  scored = any("spearman" in row for row in rows.values())
  chosen = protocol.selections(facts or {})
  columns = _score_columns(rows, chosen) if scored else _pair_columns(rows, chosen)
  truths = list(dict.fromkeys(t for row in rows.values() for t in row["against_truth"]))
  columns |= {t: lambda row, t=t: number(row["against_truth"].get(t)) for t in truths}
  lines = [["row", *columns]] + [[cli.plain(name), *(cell(row) for cell in columns.values())]
                                 for name, row in rows.items()]
  if not scored and len(rows) < 4:     # few rows of many columns read better downwards
    lines = [list(line) for line in zip(*lines)]
  widths = [max(map(len, column)) for column in zip(*lines)]
  body = "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
  cells = [cell for line in lines for cell in line]
  title = _title(rows, scored, cells, len(facts["folds"]) if facts else 1)
  notes = [title + (", SIMULATED data" if simulated else ""), body]
  if "best_on_test" in chosen:
    notes.append(f"* chosen on the test {'videos' if scored else 'pairs'} themselves, as many papers print; not a "
                 "result of an honest protocol")
  notes += _undefined(rows) + (protocol.describe(facts, scored) if facts else [])
  if facts and "raters" in facts:
    notes += raters.describe(facts["raters"])
  notes += simple_baselines.describe(rows)
  few = max(row.get("test_videos_with_fewer_exemplars", 0) for row in rows.values())
  if few:
    notes.append(f"{few} test video(s) had fewer exemplars than were asked for; all that there are voted")
  for encodings in [row["encodings"] for row in rows.values() if "encodings" in row][:1]:
    notes.append(f"an evaluation encodes {encodings['ours']} videos, each once; both sides of every comparison of a "
                 f"test video would be {encodings['both_sides_of_comparisons']}")
  return "\n".join(notes)


def _title(rows: Mapping[str, Any], scored: bool, cells: Sequence[str], folds: int) -> str:
  """What the numbers are: which mean over folds, and which spreads stand beside it."""
  shown = {n["shown"] for row in rows.values() for n in row.get("spearman", {}).values()
           if n and "shown" in n and n["mean"] is not None}
  seeds = any(" ± " in cell for cell in cells)
  if scored:
    how = " and ".join(words for name, words in protocol.MEANS.items() if name in shown)
    how = how if folds > 1 else how.replace("over folds", "over seeds") if seeds and "fisher" in shown else ""
    title = "Spearman's correlation on test videos" + (f" ({how})" if how else "")
  else:
    pooled = any(row.get("pooled") for row in rows.values())
    title = "Pairwise accuracy on test pairs, %" + (" (mean over folds)" if pooled else "")
  headline = "spearman" if scored else "accuracy"
  single = all(n["count"] <= folds for row in rows.values() for n in row[headline].values() if n and "count" in n)
  spread = ", mean ± standard deviation over seeds" if seeds else ", one seed" if single else ""
  return title + spread + (" (and over folds)" if any("(folds" in cell for cell in cells) else "")


def _undefined(rows: Mapping[str, Any]) -> list[str]:
  """Why numbers of the headline are undefined, each reason once."""
  why = {}
  for name, row in rows.items():
    for number_ in {**row.get("spearman", {}), **row.get("accuracy", {})}.values():
      for one in (number_, number_ and number_.get("over_folds")):
        if one and one.get("undefined"):
          why.setdefault(str(one["undefined"]), dict.fromkeys([])).setdefault(name)
  return [f"undefined: {reason} ({', '.join(names)})" for reason, names in why.items()]


def _pair_columns(rows: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
  branches = list(dict.fromkeys(b for row in rows.values() for b in row.get("branches", {})))
  columns: dict[str, Any] = {title: lambda row, s=s: number(row["accuracy"][s], percent=True)
                             for s, title in chosen.items()}
  if any(row.get("pooled") for row in rows.values()):
    columns["pooled over folds"] = lambda row: number(row["pooled"], percent=True)
  return columns | {f"{b} branch": lambda row, b=b: number(row["branches"].get(b), percent=True) for b in branches} | {
      "ties": lambda row: str(row.get("test_ties", "-"))}


def _score_columns(rows: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
  columns: dict[str, Any] = {title: lambda row, s=s: number(row["spearman"][s]) for s, title in chosen.items()}
  last = [row["spearman"]["last"] for row in rows.values() if row["spearman"]["last"]]
  if any(n.get("shown") == "pooled" for n in last):
    columns["mean over folds"] = lambda row: number(row["spearman"]["last"].get("over_folds"))
  if any("std_draws" in row for row in rows.values()):
    spread = lambda value: f"{value:.3f}" if np.isfinite(value) else "undefined"
    columns["± over draws"] = lambda row: spread(row["std_draws"]) if "std_draws" in row else "-"
  return columns | {title: lambda row, m=m: number(row["metrics"][m], percent=m == "rl2", digits=3)    # published 0.260
                    for m, title in SCORE_METRICS.items()}
