"""The model card of an exported file: what it holds and was learnt from, how good it is, and what it is not for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxskill import __version__, cli, files
from jaxskill.export import one_model, pack
from jaxskill.report import certainty, tables, wording
from jaxskill.training import packs
from jaxskill.training.finished_run import FinishedRun

HOLDS = dict(
    torch="the networks of one model, as the published code of the system saves them",
    stablehlo="one model as a function of the features of a video, for jax.export",
    onnx="one model as a function of the features of a video, as ONNX",
    safetensors="the parameters and constants of one model",
    pack="a finished run with all its models, for jaxskill.assess and jaxskill.compare")
SNIPPET = """```python
import numpy as np
from jax import export
model = export.deserialize(bytearray(open("{file}", "rb").read()))
answer = model.call({{{inputs}}})
```"""


def write(trained: FinishedRun, number: int | None, file: epath.Path, kind: str,
          about: Mapping[str, Any]) -> epath.Path:
  """Writes the card of a file beside it; returns its path.

  Args:
    number: of the model, None of a pack; kind: of `export.ENDINGS`; about: what was written of its inputs, or {}.
  """
  results = _results(trained)
  parts = dict([("", _file(trained, number, file, kind, about)), ("Data", _data(trained)),
                ("Protocol", _protocol(trained, number, results)), ("Results", _metrics(trained, results)),
                ("Limits", _limits(trained, kind, results)), ("Licence", _licence(trained)),
                ("Revision", _revision(trained, results))])
  text = f"# Model card: {cli.plain(file.name)}\n"
  for title, lines in parts.items():
    text += (f"\n## {title}\n" if title else "") + "\n" + "\n".join(lines) + "\n"
  path = file.with_name(f"{file.name}.md")
  files.write_text(path, text)
  return path


def _results(trained: FinishedRun) -> dict[str, Any]:
  """Returns results.json of a run, its rows without names of folds, which may be people's; {} where there is none."""
  with packs.opened(trained.workdir) as folder:
    path = folder / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
  return results | dict(rows=pack.without_names(results["rows"])) if "rows" in results else results


def _file(trained: FinishedRun, number: int | None, file: epath.Path, kind: str,
          about: Mapping[str, Any]) -> list[str]:
  """What the file holds."""
  replicas = trained.about["replicas"]
  lines = [f"* Holds {HOLDS[kind]}.", f"* System: {cli.plain(trained.config.method)}."]
  if number is None:
    lines.append(f"* Models: {len(replicas)}, of every fold and seed.")
  else:
    one = one_model.which(trained, number)["model"]
    row = f"row {cli.plain(one['row'])}, " if one["row"] else ""
    learns = "which of two videos is better" if trained.method.items.ranks else cli.plain(one["criterion"])
    lines.append(f"* Model {number} of {len(replicas)}: {row}fold {one['fold']}, seed {one['seed']}; learns {learns}.")
  lines.append(f"* SHA-256 of the file: `{hashlib.sha256(file.read_bytes()).hexdigest()}`.")
  if about:
    lines.append(f"* Names, shapes and units: [{file.name}.json]({file.name}.json).")
  if "inputs" in about:
    lines += [f"* Takes {one['name']} {one['shape']}: {one['words']}." for one in about["inputs"]]
    lines.append(f"* Gives {', '.join(one['name'] for one in about['outputs'])}. Computes in {about['computes_in']}.")
  if "differs" in about:
    lines.append(f"* Its answers differ from those of JAX by {about['differs']:.1g} at most, as a share of the largest "
                 "number, on drawn features.")
  if kind == "stablehlo":
    inputs = ", ".join(f'"{one["name"]}": {_example(one, trained.about["streams"])}' for one in about["inputs"])
    lines += ["", SNIPPET.format(file=file.name, inputs=inputs)]
  return lines


def _example(one: Mapping[str, Any], streams: Mapping[str, Any]) -> str:
  """What is given for an input in a line of Python; features are called as their stream."""
  stream = one["name"].removesuffix("_rows")
  value = f"len({stream})" if stream in streams else "0"
  return one["name"] if one["shape"] else f"np.{one['dtype']}({value})"


def _data(trained: FinishedRun) -> list[str]:
  """What was learnt from."""
  about, digest = trained.about, hashlib.sha256("".join(sorted(trained.arrays["digests"])).encode())
  weights = pack.without_folders(about["extraction"] or {}).get("weights") or "not noted"
  made = "random weights: for trials only" if trained.random_weights else cli.plain(
      ", ".join(f"{name} {file}" for name, file in weights.items()) if isinstance(weights, dict) else weights)
  simulated = ": SIMULATED, made by jaxskill, no recordings" if about["simulated"] else ""
  lines = [f"* Name: {cli.plain(about['data'])}{simulated}.",
           f"* Training videos: {len(trained.arrays['videos'])}, of all folds together.",
           f"* Digest of their features: `{digest.hexdigest()[:32]}`.",
           "* Streams: " + ", ".join(f"{cli.plain(name)} {list(one['shape'][1:])} a row"
                                     for name, one in about["streams"].items()) + "."]
  return lines if about["simulated"] else [*lines, f"* Weights of the network that made the features: {made}."]


def _protocol(trained: FinishedRun, number: int | None, results: Mapping[str, Any]) -> list[str]:
  """How it was trained and measured."""
  replicas, config = trained.about["replicas"], trained.config
  folds, seeds = (list(dict.fromkeys(str(one[name]) for one in replicas)) for name in ("fold", "seed"))
  step = trained.about["step"]
  lines = [f"* {len(folds)} fold(s), {len(seeds)} seed(s).",
           f"* Parameters are those of step {step}, the last one"
           + (", after training that began with those of a file: what these had seen is not known."
              if config.get("init_from") else ": no test video chose them.")]
  if number is None:
    lines.append("* Where the pack holds the checkpoint that was best on validation videos too, `--checkpoint "
                 "validation` asks it.")
  else:
    lines.append("* The results below are those of all folds and seeds, not of this model alone.")
  return lines if results else [*lines, "* The run has no results.json: what it was measured on is not known."]


def _metrics(trained: FinishedRun, results: Mapping[str, Any]) -> list[str]:
  """The numbers of results.json, with their spread and simple baselines."""
  if trained.tested is False:
    return [f"* {tables.NOT_TESTED[0].upper()}{tables.NOT_TESTED[1:]}."]
  if not results:
    return ["* Not known: the run has no results.json."]
  lines = ["```", cli.plain(tables.table(results["rows"], results["simulated"], results["protocol"]), keep="\n"), "```"]
  sure = certainty.describe(results.get("certainty", {}), trained.method.items.ranks)
  return lines + ([""] if sure else []) + [f"* {line[0].upper()}{line[1:]}." for line in sure]


def _limits(trained: FinishedRun, kind: str, results: Mapping[str, Any]) -> list[str]:
  """What must be known before a score is read."""
  replicas, ranks = trained.about["replicas"], trained.method.items.ranks
  known = dict(random_weights=trained.random_weights, simulated=trained.about["simulated"], tested=trained.tested,
               training_videos=min(len(trained.training_scores(i)) for i in range(len(replicas))), models=replicas)
  lines = [f"* **{caution}**." for caution in wording.cautions(known)]
  if results.get("protocol", {}).get("too_few_to_claim"):
    lines.append(f"* Only {results['protocol']['test_videos']} test videos: too few for a claim.")
  lines.append("* A rank score has no unit: it orders videos of this task, and says nothing by itself." if ranks else
               "* A score is in the unit of the labels, and means what those who gave them meant.")
  lines += ["* It was learnt from videos of one task and one way of recording; it knows nothing of others. Attention "
            "says where the model looked, not how good that moment was.",
            "* It is no medical device and no examiner: no diagnosis and no decision about a person should rest on it "
            "alone."]
  if trained.method.items.compares and kind != "torch" and kind != "safetensors":
    lines.append("* A video is compared with training videos, whose encodings, not their names, are in the file: they "
                 "are derived from the recordings."
                 + ("" if kind == "pack" else " One of them is compared with itself too, which jaxskill.assess leaves "
                    "out: its score is not to be read."))
  if kind == "pack":
    lines.append("* Statistics and digests of the training videos' features are in the file, what every model says of "
                 "each of them, and labels. Whoever has such features can tell that they were trained on.")
  if kind in ("stablehlo", "onnx"):
    lines.append("* It does not say whether a video is unlike the training videos, and gives no range: jaxskill.assess "
                 "does.")
  return lines


def _licence(trained: FinishedRun) -> list[str]:
  lines, simulated = ["* The code of jaxskill is under Apache-2.0."], trained.about["simulated"]
  if simulated:
    lines.append("* The data were simulated by jaxskill; nobody else has a right in them.")
  borrowed = (trained.about["extraction"] or {}).get("weights") and not trained.random_weights
  if not simulated or borrowed or trained.config.get("init_from"):
    lines.append("* The licence of these parameters follows that of the data, of the network that made the features, "
                 "and of any parameters that training began with. It is not known here: ask who holds them before you "
                 "pass the file on.")
  return lines


def _revision(trained: FinishedRun, results: Mapping[str, Any]) -> list[str]:
  """Which software made it."""
  versions, revision = results.get("versions", {}), results.get("git_revision") or "not noted"
  lines = [f"* Trained by jaxskill {versions.get('jaxskill', 'of an unknown version')}, git revision {revision}"
           + (f", jax {versions['jax']}" if "jax" in versions else "") + ".",
           f"* Written by jaxskill {__version__}.",
           f"* SHA-256 of all trained parameters: `{trained.about['params_sha256']}`."]
  return lines
