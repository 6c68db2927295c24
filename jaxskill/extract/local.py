"""Video files -> features, as a recipe says.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights FILE
  python -m jaxskill.extract --config configs/features/action_net.py --videos DIR --out DIR \\
      --weights rgb=FILE --weights static=FILE --boxes FILE.csv

Processes decode, the devices encode batches of a fixed size. A recipe of one stream of vectors writes `<video>.npy`
`[rows, channels]`, one of several or of maps `<video>.npz`, in a folder of own features, as training reads them
(`jaxskill.data.user.features`). `extraction.json` beside them says how they were made, from which files, how many
seconds a row stands for, and which videos failed and why. A video that is there already, made from the same file by the
same recipe and weights, is skipped.

Where persons are comes from --boxes (see jaxskill/data/video/persons.py) or --detector. --runner beam makes the same
features as an Apache Beam pipeline; Beam's own options follow after `--`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import pathlib
import shutil
import sys
import time

import jax
import tqdm

from jaxskill import cli, pretrained
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.user.extraction_note import EXTRACTION as NOTE
from jaxskill.data.user.extraction_note import FORMAT
from jaxskill.data.video import decoding as videos_of
from jaxskill.data.video import flow
from jaxskill.data.video import persons as persons_of
from jaxskill.data.video.timeline import READING
from jaxskill.data.video.video_files import describe, find_videos
from jaxskill.extract import beam, decoders, extraction, feature_files
from jaxskill.files import FULL, open_folder, remove_unfinished
from jaxskill.modules import i3d
from jaxskill.training import locks
from jaxskill.training.parallel import Parallel

INPUTS = ("rgb", "flow")
REGIONS = ("centre", "frame", "person")
MISSING = ("nearest", "discard")
RUNNERS = ("local", "beam")
LOCK = ".extraction.lock"


def run(config, videos, out, weights, *, boxes="", detector="", runner="local", beam_options=(), processes=0,
        patience=120.0, say=cli.say):
  """Extracts the features of all videos; the arguments are those of the command line.

  Args:
    config: a recipe, or the recipe of an `extraction.json` as a `ConfigDict`.
    videos: a folder of videos, or one file.
    out: folder of the features.
    weights: a file of weights or "random:SEED"; of several streams {stream: one}.
    boxes, detector: where persons are, for recipes that cut them out: a table (or its `persons.Boxes`), or a network in
      an ONNX file.
    runner: "local" | "beam".
    beam_options: of Beam's pipeline.
    processes: that decode; 0 is one fewer than there are cores.
    patience: seconds without a decoded frame after which a video is given up.
    say: called with each line for the user.

  Returns:
    The content of `extraction.json`: {"format"; "recipe": the config, weights and random_weights; "videos": {video:
    {"file", "sha256", "reading": the version of the way of reading files, "rows", "row_seconds", "warnings"}}, rows and
    seconds {stream: ...} where there are several; "failed": {video: why}; "left_out": {file of the folder that is no
    video: why}}.

  Raises:
    ValueError: if nothing can be begun. A video that fails is noted, and the others go on.
  """
  check(config)
  _check_options(config, runner, processes, patience)
  (files, left_out), out = find_videos(cli.path(videos)), pathlib.Path(cli.path(out))
  persons, about_persons = find_persons(config, boxes, detector)
  variables, origin = pretrained.load(config, weights)
  open_folder(out)
  with locks.hold(out / LOCK, "extraction", "give another --out", say):
    feature_files.check_names(out, files)
    remove_unfinished(out)
    recipe, start = config.to_dict() | origin | about_persons, time.monotonic()
    contents, unreadable = _digests(files, persons if boxes else None)
    note, todo = _begin(config, out, files, recipe, contents, say)
    note["left_out"] = left_out
    _say_first(left_out, origin, say)

    def done(video, about):
      note["videos"][video] = dict(file=files[video].name, **contents[video], **about)
      feature_files.save_note(out, note)
    with _kept(out, files, note, say):
      _carry_on(files, out)
      feature_files.save_note(out, note)
      if runner == "beam" and todo:
        failed = beam.run(config, todo, contents, out, weights, persons, recipe, done, beam_options)
      else:
        failed = _run_here(config, todo, out, variables, persons, done, processes, patience)
      failed = unreadable | failed
      note["failed"] = {video: failed[video] for video in files if video in failed}
      _name_stale(config, out, note)
      feature_files.save_note(out, note)
  _say_all(note, out, time.monotonic() - start, say)
  return note


def _say_first(left_out, origin, say):
  """Says what must be known before the work begins."""
  for line in describe(left_out):
    say(line)
  if origin["random_weights"]:
    say("RANDOM weights: these features are for trials and mean nothing")


def _carry_on(files, out):
  """Copies the note beside simulated videos, so that their features are called simulated too."""
  for drawn in sorted({file.resolve().parent / SIMULATED_NOTE for file in files.values()}):
    if drawn.is_file():
      shutil.copyfile(drawn, out / SIMULATED_NOTE)


def _check_options(config, runner, processes, patience):
  """Raises a `ValueError` for an option that cannot be, or what is not installed."""
  if runner not in RUNNERS:
    raise ValueError(f"--runner {runner}: use one of {', '.join(RUNNERS)}.")
  if jax.process_count() > 1:
    raise ValueError(f"this is one of {jax.process_count()} hosts; features are extracted on one, or on many with "
                     "--runner beam.")
  videos_of.require_av()
  if runner == "beam":
    beam.require()
  if any(recipe.input == "flow" for recipe in config.streams.values()):
    flow.require()
  if processes < 0 or not patience > 0:
    raise ValueError(f"--processes {processes} must be at least 0 and --patience {patience:g} above 0.")


@contextlib.contextmanager
def _kept(out, files, note, say):
  """Says, where a signal or a fault ends the body, what is kept; a full disk in words."""
  def tell():
    kept = len(note["videos"].keys() & files.keys())
    say(f"{kept} of {len(files)} videos are done and kept in {out}; the same command does the rest")

  try:
    with cli.at_end(tell):
      yield
  except BaseException as error:
    tell()
    if isinstance(error, OSError) and error.errno in FULL:
      raise ValueError(f"{out}: cannot be written ({error.strerror}); make room, or give another --out.") from error
    raise


def _digests(files, boxes):
  """Returns ({video: what tells whether it is the same as before}, {video: why it cannot be read})."""
  contents, failed = {}, {}
  for video, path in files.items():
    try:
      if not path.is_file():               # a pipe would be waited for
        raise FileNotFoundError(errno.ENOENT, "no file, or a link that leads nowhere")
      contents[video] = dict(sha256=pretrained.digest(path), reading=READING)
      if boxes:
        contents[video]["boxes_sha256"] = boxes.digest(video)
    except OSError as error:
      failed[video] = f"cannot be read ({error.strerror}); change its permissions, or copy it again."
  return contents, failed


def _begin(config, out, files, recipe, contents, say):
  """Returns (the note to begin with, {video: path} of those that are not there yet)."""
  known = feature_files.known(out, recipe)
  known = {video: about for video, about in known.items()
           if os.path.isfile(feature_files.feature_file(out, video, config))}
  ready = {video: known[video] for video in contents if contents[video].items() <= known.get(video, {}).items()}
  todo = {video: str(files[video]) for video in contents if video not in ready}
  others = {video: about for video, about in known.items() if video not in files}
  feature_files.check_unknown(out, todo)
  if ready:
    say(f"{len(ready)} of {len(files)} videos are there already")
  if older := [video for video in todo if video in known and known[video].get("reading") != READING]:
    say(f"{len(older)} videos, such as {older[0]}, are of an older version, which read some files in another way: they "
        "are made again")
  if older := [video for video, about in others.items() if about.get("reading") != READING]:
    say(f"warning: the features of {len(older)} videos in {out}, such as {older[0]}, are of an older version, which "
        "read some files in another way, and the videos are not given: give them too, or remove their features")
  return dict(format=FORMAT, recipe=recipe, videos=others | ready, failed={}), todo


def _name_stale(config, out, note):
  """Says of videos that failed where features of another version of them lie."""
  for video in note["failed"]:
    if os.path.isfile(stale := feature_files.feature_file(out, video, config)):
      note["failed"][video] += f" {stale} is of another version of this video; remove it."


def _say_all(note, out, seconds, say):
  for video, about in note["videos"].items():
    for warning in about.get("warnings", ()):
      say(cli.plain(f"warning: {video}: {warning}"))
  for video, why in note["failed"].items():
    say(cli.plain(f"failed: {video}: {why}"))
  say(f"{len(note['videos'])} videos in {out}, {len(note['failed'])} failed, {seconds:.0f} s; how they were made: "
      f"{out / NOTE}")


def _run_here(config, todo, out, variables, persons, done, processes, patience):
  """Decodes in processes and encodes here; {video: why} of those that failed."""
  if not todo:
    return {}
  encode, gathered, failed, planned = pretrained.make_all(config, variables, Parallel()), {}, {}, {}
  count = min(len(todo), processes or max(1, (os.cpu_count() or 2) - 1))
  coming, finished = decoders.Decoders(todo, config, persons, count, patience), set()
  try:
    with tqdm.tqdm(unit="frame", unit_scale=True, dynamic_ncols=True) as bar:
      for video, kind, content in coming:
        features = gathered.setdefault(video, feature_files.Features(config, encode, out, video))
        if kind == "planned":
          planned[video] = sum(rows * pictures for rows, pictures in content.values())
          bar.total = round(sum(planned.values()) / len(planned) * len(todo))      # of those not begun, the mean
        bar.update(features.take(kind, content))
        if kind in extraction.ENDS:
          del gathered[video]
          finished.add(video)
          if features.failed:
            failed[video] = features.failed
          else:
            done(video, features.about)
          bar.set_postfix_str(f"{len(finished)} of {len(todo)} videos")
  finally:
    coming.close()
  lost = dict.fromkeys(todo.keys() - finished, "the processes that decode ended before it; start again.")
  return failed | lost


def find_persons(config, boxes, detector):
  """Returns where persons are, or None where the recipe does not ask; and what the note says of it.

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
    return boxes if isinstance(boxes, persons_of.Boxes) else persons_of.Boxes(boxes), dict(persons="a table of boxes")
  found = persons_of.Detector(detector, recipe.person.size, recipe.person.score)
  return found, dict(persons=dict(detector=found.file.name, sha256=pretrained.digest(detector)))


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
  if feature_files.drawn(config) and maps[feature_files.drawn(config)].crop % config.draw:
    raise ValueError(f"config.draw={config.draw} must divide config.streams.{feature_files.drawn(config)}.crop="
                     f"{maps[feature_files.drawn(config)].crop}.")


def _check_stream(where, recipe):
  sampling = recipe.sampling
  for name, value, allowed in (
      ("network", recipe.network, pretrained.NETWORKS), ("input", recipe.input, INPUTS),
      ("region", recipe.region, REGIONS), ("scaling", recipe.scaling, pretrained.SCALINGS),
      ("sampling.plan", sampling.plan, extraction.PLANS),
      ("person.missing", recipe.get("person", {}).get("missing", "nearest"), MISSING),
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
  """Returns what --weights says: one for all streams, or {stream: one}."""
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
  cli.add_config(parser, "a recipe, e.g. configs/features/pros_cons.py")
  add("--videos", required=True, type=cli.path, help="a folder of videos, or one file")
  add("--out", required=True, type=cli.path, help="folder of the features")
  add("--weights", action="append", default=[], type=cli.weights, help="file of PyTorch weights, or random:SEED; of a "
      "recipe with several streams STREAM=FILE, once for each")
  add("--boxes", default="", type=cli.path, help="csv table of persons: video,time,x1,y1,x2,y2")
  add("--detector", default="", type=cli.path, help="ONNX file of a network that finds persons")
  add("--runner", default="local", help="local | beam")
  add("--processes", type=int, default=0, help="that decode; default one fewer than there are cores")
  add("--patience", type=float, default=120.0, help="seconds without a decoded frame after which a video is given up")
  words = list(sys.argv[1:] if argv is None else argv)
  words, beam_options = (words[: words.index("--")], words[words.index("--") + 1:]) if "--" in words else (words, [])
  options, overrides = cli.parse(parser, words)
  if beam_options and options.runner != "beam":
    parser.error("options after -- are those of --runner beam")
  with cli.command():
    cli.use_compilation_cache()
    config, _ = cli.read_config(options.config, overrides)
    note = run(config, options.videos, options.out, _weights(options.weights), boxes=options.boxes,
               detector=options.detector, runner=options.runner, beam_options=beam_options, processes=options.processes,
               patience=options.patience)
  sys.exit(1 if note["failed"] else 0)
