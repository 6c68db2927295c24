"""Video files -> features, as a recipe says.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights FILE
  python -m jaxskill.extract --config configs/features/action_net.py --videos DIR --out DIR \\
      --weights rgb=FILE --weights static=FILE --boxes FILE.csv

Processes decode, the devices encode batches of a fixed size. A recipe of one stream of vectors writes `<video>.npy`
`[rows, channels]`, one of several or of maps `<video>.npz`, in a folder of own features, as training reads them
(`jaxskill.data.features`). `extraction.json` beside them says how they were made, from which files, how many seconds a
row stands for, and which videos failed and why. A video that is there already, made from the same file by the same
recipe and weights, is skipped.

Where persons are comes from --boxes (see jaxskill/data/persons.py) or --detector. --runner beam makes the same features
as an Apache Beam pipeline; Beam's own options follow after `--`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import time

import jax
import numpy as np
import tqdm

from jaxskill import encoders, extraction, main as command_line, report
from jaxskill.data import flow, persons as persons_of, video as videos_of
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.features import EXTRACTION as NOTE
from jaxskill.data.video_files import describe, find_videos
from jaxskill.modules import i3d
from jaxskill.parallel import Parallel

INPUTS = ("rgb", "flow")
REGIONS = ("centre", "frame", "person")
RUNNERS = ("local", "beam")


def run(config, videos, out, weights, *, boxes="", detector="", runner="local", beam_options=(), processes=0,
        patience=120.0, say=print):
  """Extracts the features of all videos; the arguments are those of the command line.

  Args:
    config: a recipe, or the recipe of an `extraction.json` as a `ConfigDict`.
    videos: a folder of videos, or one file.
    out: folder of the features.
    weights: a file of weights or "random:SEED"; of several streams {stream: one}.
    boxes, detector: where persons are, for recipes that cut them out: a table, or a network in an ONNX file.
    runner: "local" | "beam".
    beam_options: of Beam's pipeline.
    processes: that decode; 0 is one fewer than there are cores.
    patience: seconds without a decoded frame after which a video is given up.
    say: called with each line for the user.

  Returns:
    The content of `extraction.json`: {"recipe": the config, weights and random_weights; "videos": {video: {"file",
    "sha256", "rows", "row_seconds", "warnings"}}, rows and seconds {stream: ...} where there are several; "failed":
    {video: why}; "left_out": {file of the folder that is no video: why}}.

  Raises:
    ValueError: if nothing can be begun. A video that fails is noted, and the others go on.
  """
  check(config)
  if runner not in RUNNERS:
    raise ValueError(f"--runner {runner}: use one of {', '.join(RUNNERS)}.")
  if jax.process_count() > 1:
    raise ValueError(f"this is one of {jax.process_count()} hosts; features are extracted on one, or on many with "
                     "--runner beam.")
  videos_of.require_av()
  if runner == "beam":
    from jaxskill import extract_beam
    extract_beam.require()
  if any(recipe.input == "flow" for recipe in config.streams.values()):
    flow.require()
  (files, left_out), out = find_videos(videos), pathlib.Path(out)
  persons, about_persons = find_persons(config, boxes, detector)
  variables, origin = encoders.load(config, weights)
  report.open_folder(out)
  for drawn in sorted({file.resolve().parent / SIMULATED_NOTE for file in files.values()}):
    if drawn.is_file():
      shutil.copyfile(drawn, out / SIMULATED_NOTE)
  recipe = config.to_dict() | origin | about_persons
  known = _known(out, recipe)
  contents = {video: dict(sha256=encoders.digest(path)) | (
      {"boxes_sha256": persons.digest(video)} if boxes and persons else {}) for video, path in files.items()}
  ready = {video: known[video] for video in files if contents[video].items() <= known.get(video, {}).items()
           and feature_file(out, video, config).is_file()}
  todo = {video: str(path) for video, path in files.items() if video not in ready}
  others = {video: about for video, about in known.items()
            if video not in files and feature_file(out, video, config).is_file()}
  note = dict(recipe=recipe, videos=others | ready, failed={}, left_out=left_out)
  _check_unknown(out, todo)
  for line in describe(left_out):
    say(line)
  if ready:
    say(f"{len(ready)} of {len(files)} videos are there already")
  if origin["random_weights"]:
    say("RANDOM weights: these features are for trials and mean nothing")
  report.save_json(out / NOTE, note)

  def done(video, about):
    note["videos"][video] = dict(file=files[video].name, **contents[video], **about)
    report.save_json(out / NOTE, note)
  start = time.monotonic()
  if runner == "beam" and todo:
    note["failed"] = extract_beam.run(config, todo, contents, out, weights, persons, recipe, done, beam_options)
  elif todo:
    count = min(len(todo), processes or max(1, (os.cpu_count() or 2) - 1))
    note["failed"] = _run_here(config, todo, out, variables, persons, done, count, patience)
  for video in note["failed"]:
    if (stale := feature_file(out, video, config)).is_file():
      note["failed"][video] += f" {stale} is of another version of this video; remove it."
  report.save_json(out / NOTE, note)
  for video, about in note["videos"].items():
    for warning in about["warnings"]:
      say(f"warning: {video}: {warning}")
  for video, why in note["failed"].items():
    say(f"failed: {video}: {why}")
  say(f"{len(note['videos'])} videos in {out}, {len(note['failed'])} failed, {time.monotonic() - start:.0f} s; how "
      f"they were made: {out / NOTE}")
  return note


def _run_here(config, todo, out, variables, persons, done, processes, patience):
  """Decodes in processes and encodes here; {video: why} of those that failed."""
  encode, gathered, failed, planned = encoders.make_all(config, variables, Parallel()), {}, {}, {}
  decoders = extraction.Decoders(todo, config, persons, processes, patience)
  finished = set()
  try:
    with tqdm.tqdm(unit="frame", unit_scale=True, dynamic_ncols=True) as bar:
      for video, kind, content in decoders:
        video_features = gathered.setdefault(video, Features(config, encode))
        if kind == "planned":
          planned[video] = content
          bar.total = round(sum(planned.values()) / len(planned) * len(todo))      # of those not begun, the mean
        elif kind == "failed":
          failed[video] = content
        elif kind == "done":
          done(video, video_features.save(out, video, content))
        else:
          bar.update(video_features.take(kind, content))
        if kind in ("done", "failed"):
          del gathered[video]
          finished.add(video)
          bar.set_postfix_str(f"{len(finished)} of {len(todo)} videos")
  finally:
    decoders.close()
  lost = dict.fromkeys(todo.keys() - finished, "the processes that decode ended before it; start again.")
  return failed | lost


class Features:
  """The features of one video, as its items come in."""

  def __init__(self, config, encode):
    self._config, self._encode = config, encode
    self._rows = {}

  def take(self, kind, content):
    """Takes what `extraction.decode_one` sends; returns the number of pictures in it."""
    if kind == "again":
      self._rows.clear()
    if kind != "items":
      return 0
    stream, items = content
    self._rows.setdefault(stream, []).append(self._encode[stream](items))
    if stream == drawn(self._config):
      self._rows.setdefault("frames", []).append(encoders.shrink(items, self._config.draw))
    return items.shape[0] * items.shape[1]

  def save(self, out, video, about):
    """Writes the file of a video, whole or not at all; returns what the note says of it."""
    arrays = {stream: np.concatenate(rows) for stream, rows in self._rows.items()}
    streams = list(self._config.streams)
    path = feature_file(out, video, self._config)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    maps = [stream for stream in streams if self._config.streams[stream].keep == "maps"]
    if maps:
      arrays["times"] = about["times"][maps[0]].astype(np.float32)
    with open(unfinished, "wb") as file:
      if path.suffix == ".npy":
        np.save(file, arrays[streams[0]], allow_pickle=False)
      else:
        np.savez(file, **arrays)
    os.replace(unfinished, path)
    one = lambda values: values[streams[0]] if len(streams) == 1 else values
    return dict(rows=one({stream: len(arrays[stream]) for stream in streams}), row_seconds=one(about["row_seconds"]),
                warnings=about["warnings"])


def feature_file(out, video, config):
  """Where the features of a video go."""
  streams = list(config.streams.values())
  return pathlib.Path(out) / f"{video}.{'npy' if len(streams) == 1 and streams[0].keep == 'feature' else 'npz'}"


def drawn(config):
  """The stream whose pictures are kept small beside its maps, or None."""
  streams = config.streams.items()
  return next((name for name, recipe in streams if recipe.keep == "maps" and recipe.input == "rgb"), None)


def find_persons(config, boxes, detector):
  """Where persons are, or None where the recipe does not ask; and what the note says of it.

  Raises:
    ValueError: if the recipe asks and neither a table nor a detector is given, or both, or one cannot be read.
  """
  wanting = {name: recipe for name, recipe in config.streams.items() if recipe.region == "person"}
  if not wanting:
    if boxes or detector:
      raise ValueError(f"--{'boxes' if boxes else 'detector'}: no stream of this recipe cuts persons out; leave it "
                       "out.")
    return None, {}
  name, recipe = next(iter(wanting.items()))
  if bool(boxes) == bool(detector):
    raise ValueError(f"stream {name} shows the largest person: give {'one of ' if boxes else ''}--boxes FILE.csv "
                     "(video,time,x1,y1,x2,y2) or --detector FILE.onnx, or take the middle of the frame with "
                     f"--config.streams.{name}.region=centre.")
  if boxes:
    return persons_of.Boxes(boxes), dict(persons="a table of boxes")
  found = persons_of.Detector(detector, recipe.person.size, recipe.person.score)
  return found, dict(persons=dict(detector=found.file.name, sha256=encoders.digest(detector)))


def _known(out, recipe):
  """What an earlier run with the same recipe and weights noted of its videos."""
  try:
    note = json.loads((out / NOTE).read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return {}
  if note.get("recipe") == json.loads(report.to_json(recipe)):
    return note["videos"]
  if note.get("videos"):
    raise ValueError(f"{out}: holds features of another recipe or other weights; give a new --out, for they must not "
                     "mix.")
  return {}


def _check_unknown(out, todo):
  """Raises a `ValueError` if files of features would be overwritten that were not made here."""
  if not (out / NOTE).is_file():
    for video in todo:
      for file in (out / f"{video}.npy", out / f"{video}.npz"):
        if file.is_file():
          raise ValueError(f"{file}: is there already, and no {NOTE} says that it was made here; give a new --out.")


def check(config):
  """Raises a `ValueError` for an option that cannot be."""
  if not config.get("streams"):
    raise ValueError("config.streams is not there or empty; see configs/features for recipes.")
  if config.dtype not in ("float32", "bfloat16"):
    raise ValueError(f"config.dtype={config.dtype!r} is unknown; use one of float32, bfloat16.")
  for name, recipe in config.streams.items():
    _check_stream(f"config.streams.{name}", recipe)
  maps = {name: recipe for name, recipe in config.streams.items() if recipe.keep == "maps"}
  if len({recipe.sampling.to_json() for recipe in maps.values()} | {r.crop for r in maps.values()}) > 2:
    raise ValueError(f"config.streams: the maps {' and '.join(maps)} need the same sampling and crop.")
  if drawn(config) and maps[drawn(config)].crop % config.draw:
    raise ValueError(f"config.draw={config.draw} must divide config.streams.{drawn(config)}.crop="
                     f"{maps[drawn(config)].crop}.")


def _check_stream(where, recipe):
  sampling = recipe.sampling
  for name, value, allowed in (
      ("network", recipe.network, encoders.NETWORKS), ("input", recipe.input, INPUTS),
      ("region", recipe.region, REGIONS), ("scaling", recipe.scaling, encoders.SCALINGS),
      ("sampling.plan", sampling.plan, extraction.PLANS),
      ("keep", recipe.keep, ("feature",) if recipe.network == "i3d" else ("feature", "maps"))):
    if value not in allowed:
      raise ValueError(f"{where}.{name}={value!r} is unknown; use one of {', '.join(allowed)}.")
  if recipe.crop < 32 or (recipe.region == "centre" and recipe.crop > recipe.short_side):
    raise ValueError(f"{where}.crop={recipe.crop} must be at least 32" + (
        f" and at most {where}.short_side={recipe.short_side}." if recipe.region == "centre" else "."))
  if recipe.network == "i3d" and (sampling.plan == "frames" or sampling.length < i3d.MIN_FRAMES):
    raise ValueError(f"{where}.sampling: the network needs clips of at least {i3d.MIN_FRAMES} frames.")
  if recipe.network != "i3d" and sampling.plan != "frames" and sampling.length != 1:
    raise ValueError(f"{where}.sampling.length={sampling.length}: the network takes single frames; use 1.")
  if recipe.input == "flow" and (recipe.region == "person" or recipe.scaling == "imagenet"):
    raise ValueError(f"{where}: optical flow has neither region='person' nor scaling='imagenet'.")
  if recipe.input == "flow" and recipe.network != "i3d" and sampling.plan != "frames":
    raise ValueError(f"{where}.sampling.plan={sampling.plan!r}: stacks of flow want the plan 'frames'.")
  if sampling.plan == "snippets" and max(sampling.starts) + sampling.length > sampling.frames:
    raise ValueError(f"{where}.sampling: a clip of {sampling.length} frames from frame {max(sampling.starts)} on ends "
                     f"after the last of {sampling.frames}.")


def _weights(words):
  """What --weights says: one for all streams, or {stream: one}."""
  named = dict(word.split("=", 1) for word in words if word.partition("=")[0].isidentifier() and "=" in word)
  if len(words) <= 1 and not named:
    return "".join(words)
  if len(named) < len(words):
    raise ValueError("--weights: given more than once, each needs its own stream, e.g. --weights rgb=FILE.")
  return named


def main(argv=None):
  parser = argparse.ArgumentParser(prog="python -m jaxskill.extract", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--config", required=True, help="a recipe, e.g. configs/features/pros_cons.py; --config.FIELD=VALUE overrides")
  add("--videos", required=True, help="a folder of videos, or one file")
  add("--out", required=True, help="folder of the features")
  add("--weights", action="append", default=[], help="file of PyTorch weights, or random:SEED; of a recipe with "
      "several streams STREAM=FILE, once for each")
  add("--boxes", default="", help="csv table of persons: video,time,x1,y1,x2,y2")
  add("--detector", default="", help="ONNX file of a network that finds persons")
  add("--runner", default="local", help="local | beam")
  add("--processes", type=int, default=0, help="that decode; default one fewer than there are cores")
  add("--patience", type=float, default=120.0, help="seconds without a decoded frame after which a video is given up")
  words = list(sys.argv[1:] if argv is None else argv)
  words, beam_options = (words[: words.index("--")], words[words.index("--") + 1:]) if "--" in words else (words, [])
  options, overrides = parser.parse_known_args(words)
  if wrong := [word for word in overrides if not word.startswith("--config.")]:
    parser.error(f"unrecognised argument {wrong[0]!r}")
  if beam_options and options.runner != "beam":
    parser.error("options after -- are those of --runner beam")
  command_line.use_compilation_cache()
  try:
    config, _ = command_line.read_config(options.config, overrides)
    note = run(config, options.videos, options.out, _weights(options.weights), boxes=options.boxes,
               detector=options.detector, runner=options.runner, beam_options=beam_options, processes=options.processes,
               patience=options.patience)
  except (ValueError, OSError) as error:
    print(f"\njaxskill: {error}", file=sys.stderr)
    sys.exit(2)
  sys.exit(1 if note["failed"] else 0)


if __name__ == "__main__":
  main()
