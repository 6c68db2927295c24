"""What the suite found, as Markdown, as a picture of the roofs, and beside an earlier one."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from jaxskill import files
from jaxskill.benchmark.suite import roof
from jaxskill.benchmark.throughput import number

FORMAT = 1
KIND = "jaxskill.benchmark --suite"
_HEAD = ("line", "time (range)", "compile s", "FLOP", "of products", "of memory", "limit", "MiB: program, peak",
         "beside")


def duration(seconds: float) -> str:
  """Returns seconds with three digits: "12.3 ms"."""
  scale, unit = next(((s, u) for s, u in ((1.0, "s"), (1e-3, "ms")) if seconds >= s), (1e-6, "us"))
  return f"{seconds / scale:.3g} {unit}"


def times(line: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]]) -> float | None:
  """Returns how many times as fast a line is as the one that it stands beside, for each model; None without one."""
  other = lines.get(line.get("beside", ""))
  if not other or other is line:
    return None
  return other["median_s"] / line["median_s"] * line.get("replicas", 1) / other.get("replicas", 1)


def markdown(results: Mapping[str, Any]) -> str:
  """Returns the results as a page of Markdown."""
  machine = results["machine"]
  names = ", ".join(dict.fromkeys(machine["devices"]))
  products = ", ".join(f"{dtype} {number(rate)}FLOP/s" for dtype, rate in machine["products"].items())
  page = [f"# {results['kind']}", "",
          f"{machine['device_count']} device(s): {names} ({machine['device']}); {machine['cpus']} cores, load average "
          f"{results['load_average'][0]:.1f} at the start, {results['load_average'][1]:.1f} at the end; revision "
          f"{machine['git_revision'][:12] or 'unknown'}; sizes: {results['shape']}; {results['took_s'] / 60:.1f} of "
          f"{results['minutes']:g} minutes. Peaks: products {products}; memory {number(machine['bandwidth'])}B/s.", ""]
  by_name = {line["name"]: line for line in results["lines"]}
  for group in dict.fromkeys(line["group"] for line in results["lines"]):
    page += [f"## {group}", "", *_table([line for line in results["lines"] if line["group"] == group], by_name), ""]
  if results["not_run"]:
    page += ["## not run", "", *(f"* {entry['name']}: {entry['why']}" for entry in results["not_run"]), ""]
  if results.get("against"):
    page += ["## against an earlier one", "", *_against(results["against"]), ""]
  if results.get("verdict"):
    page += [results["verdict"], ""]
  return "\n".join([*page, "Time of one step, call, item or start, compilation apart: median of five rounds, or of as "
                    "many as fit into five seconds, at least two; start-up and the decoder have one. Lines one after "
                    "another, each with the peaks measured beside it. \"beside\": how many times as fast as the line "
                    "that is named, for each model.", "", roof.RULE.replace("\n", " "), ""])


def _table(lines: list[Mapping[str, Any]], by_name: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
  yield "| " + " | ".join(_HEAD) + " |"
  yield "|" + "---|" * len(_HEAD)
  for line in lines:
    share = lambda name, line=line: f"{line['shares'][name]:.0%}" if name in line["shares"] else "-"
    mib = lambda name, line=line: f"{line[name] / 2 ** 20:.0f}" if line.get(name) else "-"
    ratio, busy = times(line, by_name), line.get("busy")
    limit = line["limit"] + (f", {busy:.1f} cores" if busy and line["limit"] == "latency" else "")
    yield "| " + " | ".join((
        line["name"], f"{duration(line['median_s'])} ({duration(line['min_s'])} to {duration(line['max_s'])})",
        f"{line['compile_s']:.1f}" if "compile_s" in line else "-", number(line.get("flops")), share("products"),
        share("memory"), limit, f"{mib('program_bytes')}, {mib('peak_bytes')}",
        f"{ratio:.2f} x {line['beside']}" if ratio else "-")) + " |"


def _against(found: Mapping[str, Any]) -> Iterator[str]:
  yield (f"{found['path']}: {found['machine']}, {found['revision'][:12] or 'unknown revision'}"
         + ("" if found["same"] else "; **another machine**") + ". Ratio: old time over new; above 1 is faster now.")
  yield ""
  yield "| line | old | new | ratio | |"
  yield "|---|---|---|---|---|"
  for name, pair in found["lines"].items():
    yield (f"| {name} | {duration(pair['old_s'])} | {duration(pair['new_s'])} | {pair['ratio']:.2f} | "
           f"{'within the spread' if pair['within'] else ''} |")


def read(path: pathlib.Path) -> dict[str, Any]:
  """Returns the results of an earlier suite.

  Raises:
    ValueError: if the file holds none, or those of another format.
  """
  remedy = "give the JSON file that --suite wrote"
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise ValueError(f"--against={path}: cannot be read ({error.strerror}); {remedy}.") from None
  except (ValueError, RecursionError):
    found = None
  if not isinstance(found, dict) or found.get("kind") != KIND:
    raise ValueError(f"--against={path}: holds no results of {KIND}; {remedy}.")
  files.check_format(path, found, FORMAT, "run the suite again", oldest=FORMAT)
  return found


def compare(path: pathlib.Path, old: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {"lines": {name: old and new seconds, their ratio, and whether the rounds of both overlap}} and whose."""
  before = {line["name"]: line for line in old["lines"]}
  lines = {}
  for line in results["lines"]:
    if other := before.get(line["name"]):
      lines[line["name"]] = dict(
          old_s=other["median_s"], new_s=line["median_s"], ratio=other["median_s"] / line["median_s"],
          within=other["min_s"] <= line["max_s"] and line["min_s"] <= other["max_s"])
  there, here = old["machine"], results["machine"]
  same = (there["device"], there["device_count"], old["shape"]) == (here["device"], here["device_count"],
                                                                    results["shape"])
  return dict(path=path.name, machine=there["device"], revision=there["git_revision"], same=same, lines=lines)


def draw(path: pathlib.Path, results: Mapping[str, Any]) -> None:
  """Draws every line of one device with FLOPs and bytes below the roofs, FLOP/s over FLOP a byte, into a PNG file."""
  machine, points = results["machine"], [line for line in results["lines"] if line.get("flops") and line.get("bytes")
                                         and line["devices"] == 1]
  figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
  intensity = [line["flops"] / line["bytes"] for line in points]
  reach = np.geomspace(min([0.1, *intensity]) / 2, max([1e3, *intensity]) * 2, 200)
  colors = dict(zip(machine["products"], ("tab:blue", "tab:orange")))
  for dtype, rate in machine["products"].items():
    axes.loglog(reach, np.minimum(reach * machine["bandwidth"], rate), color=colors[dtype],
                label=f"{dtype}: {number(rate)}FLOP/s, {number(machine['bandwidth'])}B/s")
  for place, (x, line) in enumerate(sorted(zip(intensity, points), key=lambda pair: pair[0])):
    rate = line["flops"] / line["median_s"]
    axes.plot(x, rate, "o", color=colors[line["dtype"]], markersize=4)
    axes.annotate(line["name"], (x, rate), textcoords="offset points", xytext=(4, 4 - 8 * (place % 2)), fontsize=5)
  axes.set(xlabel="FLOP a byte", ylabel="FLOP/s", title=machine["device"])
  axes.legend(loc="lower right")
  axes.grid(alpha=0.3)
  with files.writing(path) as file:
    figure.savefig(file, format="png", dpi=150)
  plt.close(figure)
