"""Video files -> features, as a recipe says.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights FILE

Processes decode, the devices encode batches of a fixed size. Each video becomes `<video>.npy` `[rows, 1024]` in a folder
of own features, as training reads them; `extraction.json` beside them says how they were made, from which files, how many
seconds a row stands for, and which videos failed and why. A video that is there already, made from the same file by the
same recipe and weights, is skipped.

C clips of a video, L frames of a clip, S their side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib
import queue
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import tqdm

from jaxskill import benchmark, interop, main as command_line, report
from jaxskill.data import video as videos_of
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.features import EXTRACTION as NOTE
from jaxskill.modules import i3d
from jaxskill.modules.convolution import random_variables
from jaxskill.parallel import Parallel

RANDOM = "random:"
PLANS = ("stacks", "snippets", "segments")
SCALINGS = dict(symmetric=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),                             # to [-1, 1]
                imagenet=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def plan(sampling, seconds):
  """When the frames of every clip are shown.

  Args:
    sampling: `config.sampling`. "stacks": `clips` stacks of `length` successive frames at `fps`, spread evenly and
      overlapping where need be. "snippets": `frames` frames spread over the whole video, clips of `length` of them from
      each of `starts`. "segments": successive clips of `length` frames at `fps`, what is left over at the end is not
      used.
    seconds: the video lasts.

  Returns:
    `[C, L]` times in seconds, ascending along both axes, and the seconds from one clip to the next.

  Raises:
    ValueError: if the video is shorter than a clip.
  """
  length = sampling.length
  if sampling.plan == "snippets":
    times = (np.arange(sampling.frames) + 0.5) * seconds / sampling.frames
    starts = np.asarray(sampling.starts)
    return times[starts[:, None] + np.arange(length)], seconds / len(starts)
  count = int(seconds * sampling.fps + 1e-6)
  if count < length:
    raise ValueError(f"lasts {seconds:.2f} s, which is shorter than a clip of {length} frames at {sampling.fps:g} a "
                     "second.")
  if sampling.plan == "stacks":
    starts = np.round(np.linspace(0, count - length, sampling.clips)).astype(int)
    every = seconds / sampling.clips
  else:
    starts, every = np.arange(count // length) * length, length / sampling.fps
  return (starts[:, None] + np.arange(length)) / sampling.fps, every


def clips_of(path, recipe, seconds, faults):
  """Yields the clips of a video, `[L, S, S, 3]` uint8 each, planned for its `seconds`; stops where the file ends.

  Raises:
    ValueError: if it is too short for a clip, or no video.
  """
  times, _ = plan(recipe.sampling, seconds)
  wanted, place = np.unique(times, return_inverse=True)
  place, frames, clip = place.reshape(times.shape), {}, 0
  size = videos_of.scale_short_side(recipe.short_side)
  for number, image in enumerate(videos_of.frames_at(path, wanted, size, faults)):
    frames[number] = videos_of.centre_crop(image, recipe.crop)
    while clip < len(place) and place[clip, -1] <= number:
      yield np.stack([frames[i] for i in place[clip]])
      clip += 1
      for old in [i for i in frames if clip == len(place) or i < place[clip, 0]]:
        del frames[old]


def decode_one(path, recipe, send):
  """Sends a video's clips in chunks, then what is known of it.

  Args:
    send: called with ("clips", `[n, L, S, S, 3]` uint8); ("again", None): forget them, the file ends early and others
      follow; ("done", {"row_seconds", "warnings"}); or ("failed", why).
  """
  try:
    (seconds, announced), warnings = videos_of.length(path), []
    if announced - seconds > max(1.0, 0.02 * announced):
      warnings.append(f"damaged: of {announced:.2f} s only {seconds:.2f} are there")
    while True:
      expected, every = plan(recipe.sampling, seconds)
      chunk, count, faults = [], 0, []
      for clip in clips_of(path, recipe, seconds, faults):
        chunk.append(clip)
        count += 1
        if len(chunk) == recipe.batch:
          send("clips", np.stack(chunk))
          chunk = []
      if count == len(expected):
        break
      last = max((frame.time for frame in videos_of.decode(path, lambda *_: (16, 16))), default=0.0)
      if not 0 < last < seconds:
        raise ValueError("not a single clip can be decoded; the file is damaged.")
      warnings.append(f"damaged: of {seconds:.2f} s only the first {last:.2f} can be decoded")
      seconds = last
      send("again", None)
    if faults:
      warnings.append(f"damaged: {len(faults)} packets could not be decoded; the picture before stays in their place")
    if chunk:
      send("clips", np.stack(chunk))
    send("done", dict(row_seconds=every, warnings=warnings))
  except ValueError as error:
    send("failed", str(error).removeprefix(f"{path}: "))


def _work(tasks, results, recipe, number):
  """A process that decodes one video after the other; `results` is bounded, so that it never runs far ahead."""
  for video, path in iter(tasks.get, None):
    results.put((number, video, "begun", None))
    decode_one(path, recipe, lambda kind, content, video=video: results.put((number, video, kind, content)))
  results.put((number, None, "over", None))


class Decoders:
  """Processes that decode videos; one that dies or stands still costs its video, not the run."""

  def __init__(self, files, recipe, count, patience):
    """
    Args:
      files: {video: path}.
      count: processes.
      patience: seconds without a word from any of them after which all are taken to hang.
    """
    self._context, self._recipe, self._patience = multiprocessing.get_context("spawn"), recipe, patience
    self._tasks, self._results = self._context.Queue(), self._context.Queue(4 * count)
    for item in files.items():
      self._tasks.put(item)
    self._busy, self._processes = {}, {}
    for number in range(count):
      self._start(number)

  def _start(self, number):
    self._tasks.put(None)
    process = self._context.Process(target=_work, args=(self._tasks, self._results, self._recipe, number), daemon=True)
    process.start()
    self._processes[number] = process

  def __iter__(self):
    """Yields (video, kind, content), see `decode_one`, until all videos are done or failed."""
    waited = 0.0
    while self._processes:
      try:
        number, video, kind, content = self._results.get(timeout=1.0)
        waited = 0.0
      except queue.Empty:
        waited += 1.0
        for number, process in list(self._processes.items()):
          if not process.is_alive() or waited >= self._patience:
            why = "the decoder died" if not process.is_alive() else f"nothing was decoded for {self._patience:g} s"
            process.kill()
            del self._processes[number]
            if number in self._busy:
              yield self._busy.pop(number), "failed", f"{why}; convert the file with ffmpeg first."
            if not self._tasks.empty():
              self._start(number)
        continue
      if kind == "over":
        self._processes.pop(number).join()
      elif kind == "begun":
        self._busy[number] = video
      else:
        if kind in ("done", "failed"):
          self._busy.pop(number, None)
        yield video, kind, content

  def close(self):
    for process in self._processes.values():
      process.kill()


def make_encoder(recipe, variables, parallel):
  """encode(clips `[n, L, S, S, 3]` uint8, n at most the batch) -> `[n, 1024]` float32, in batches of one size."""
  size = parallel.padded(recipe.batch)
  mean, scale = (np.array(values, np.float32) for values in SCALINGS[recipe.scaling])
  module = i3d.I3D(eps=recipe.eps, dtype=jnp.dtype(recipe.dtype))

  def features(variables, clips):
    clips = (clips.astype(jnp.float32) / 255 - mean) / scale
    return parallel.gather(i3d.clip_features(variables, clips, module=module))
  compiled, variables = parallel.compile(features), parallel.replicate(variables)

  def encode(clips):
    padded = np.concatenate([clips, np.zeros((size - len(clips), *clips.shape[1:]), np.uint8)])
    return np.asarray(compiled(variables, parallel.split(padded)))[: len(clips)]
  return encode


def load_weights(recipe, weights):
  """(variables of the network, what the note says of them).

  Raises:
    ValueError: without weights, with where to get them; for a file that cannot be read or is of another architecture.
  """
  if not weights:
    raise ValueError(f"--weights is not given. This recipe wants {recipe.weights_from}. For a trial, --weights random:0 "
                     "draws weights, and everything that is written says so.")
  if weights.startswith(RANDOM):
    seed = weights.removeprefix(RANDOM)
    if not seed.isdigit():
      raise ValueError(f"--weights {weights}: expected random:SEED with a whole number, e.g. random:0.")
    sample = jnp.zeros((1, max(i3d.MIN_FRAMES, recipe.sampling.length), 32, 32, 3))
    variables = random_variables(i3d.I3D(eps=recipe.eps), sample, int(seed))
    return variables, dict(weights=weights, random_weights=True, weights_sha256="")
  state = interop.read_weights(weights)
  return (interop.i3d_from_torch(state, num_classes=0),
          dict(weights=pathlib.Path(weights).name, random_weights=False, weights_sha256=_digest(weights)))


def _digest(path):
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def find_videos(folder):
  """{name of the video without its ending: file} of a folder and those below it.

  Raises:
    ValueError: if the folder cannot be read, holds no video, or two of one name.
  """
  folder = pathlib.Path(folder)
  if folder.is_file():
    return {folder.stem: folder}
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder of videos.")
  found = {}
  for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in videos_of.ENDINGS):
    name = file.relative_to(folder).with_suffix("").as_posix()
    if name in found:
      raise ValueError(f"{folder}: {found[name].name} and {file.name} are two videos of one name; rename one.")
    found[name] = file
  if not found:
    raise ValueError(f"{folder}: holds no video ({', '.join(videos_of.ENDINGS)}).")
  return found


def run(config, videos, out, weights, *, processes=0, patience=120.0, say=print):
  """Extracts the features of all videos; the arguments are those of the command line.

  Returns:
    The content of `extraction.json`.

  Raises:
    ValueError: if nothing can be begun. A video that fails is noted, and the others go on.
  """
  check(config)
  videos_of.require_av()
  files, out = find_videos(videos), pathlib.Path(out)
  variables, origin = load_weights(config, weights)
  try:
    out.mkdir(parents=True, exist_ok=True)
    (out / ".writable").touch()
    (out / ".writable").unlink()
  except OSError as error:
    raise ValueError(f"{out}: cannot be written ({error}); give another --out.") from error
  for drawn in sorted({file.resolve().parent / SIMULATED_NOTE for file in files.values()}):
    if drawn.is_file():
      shutil.copyfile(drawn, out / SIMULATED_NOTE)
  recipe = dict(config.to_dict(), **origin)
  known = _known(out, recipe)
  digests = {video: _digest(path) for video, path in files.items()}
  ready = {video: known[video] for video in files
           if known.get(video, {}).get("sha256") == digests[video] and (out / f"{video}.npy").is_file()}
  note = dict(recipe=recipe, videos=dict(ready), failed={})
  todo = {video: str(path) for video, path in files.items() if video not in ready}
  if ready:
    say(f"{len(ready)} of {len(files)} videos are there already")
  if origin["random_weights"]:
    say("RANDOM weights: these features are for trials and mean nothing")
  parallel = Parallel()
  encode, rows = make_encoder(config, variables, parallel), {}
  decoders = Decoders(todo, config, min(len(todo), processes or max(1, (os.cpu_count() or 2) - 1)), patience)
  length = config.sampling.length
  try:
    with tqdm.tqdm(unit="frame", dynamic_ncols=True, disable=not todo) as bar:
      for video, kind, content in decoders:
        if kind == "clips":
          rows.setdefault(video, []).append(encode(content))
          bar.update(len(content) * length)
        elif kind == "again":
          rows.pop(video, None)
        elif kind == "failed":
          rows.pop(video, None)
          note["failed"][video] = content
        else:
          features = np.concatenate(rows.pop(video))
          _save(out / f"{video}.npy", features)
          note["videos"][video] = dict(file=files[video].name, sha256=digests[video], rows=len(features), **content)
          report.save_json(out / NOTE, note)
          bar.set_postfix_str(f"{len(note['videos'])} of {len(files)} videos")
  finally:
    decoders.close()
  for video in todo.keys() - note["videos"].keys() - note["failed"].keys():
    note["failed"][video] = "the processes that decode ended before it; start again."
  report.save_json(out / NOTE, note)
  for video, about in note["videos"].items():
    for warning in about["warnings"]:
      say(f"warning: {video}: {warning}")
  for video, why in note["failed"].items():
    say(f"failed: {video}: {why}")
  say(f"{len(note['videos'])} videos in {out}, {len(note['failed'])} failed; how they were made: {out / NOTE}")
  return note


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


def _save(path, features):
  path.parent.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_suffix(".unfinished")
  with open(unfinished, "wb") as file:
    np.save(file, features, allow_pickle=False)
  os.replace(unfinished, path)


def check(config):
  """Raises a `ValueError` for an option that cannot be."""
  sampling = config.sampling
  for where, value, allowed in (("sampling.plan", sampling.plan, PLANS), ("scaling", config.scaling, SCALINGS),
                                ("dtype", config.dtype, ("float32", "bfloat16"))):
    if value not in allowed:
      raise ValueError(f"config.{where}={value!r} is unknown; use one of {', '.join(allowed)}.")
  if not 32 <= config.crop <= config.short_side:
    raise ValueError(f"config.crop={config.crop} must lie between 32 and config.short_side={config.short_side}.")
  if sampling.length < i3d.MIN_FRAMES:
    raise ValueError(f"config.sampling.length={sampling.length}: the network needs clips of at least {i3d.MIN_FRAMES} "
                     "frames.")
  if sampling.plan == "snippets" and max(sampling.starts) + sampling.length > sampling.frames:
    raise ValueError(f"config.sampling: a clip of {sampling.length} frames from frame {max(sampling.starts)} on ends "
                     f"after the last of {sampling.frames}.")


def main(argv=None):
  parser = argparse.ArgumentParser(prog="python -m jaxskill.extract", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--config", required=True, help="a recipe, e.g. configs/features/pros_cons.py; --config.FIELD=VALUE overrides")
  add("--videos", required=True, help="a folder of videos, or one file")
  add("--out", required=True, help="folder of the features")
  add("--weights", default="", help="file of PyTorch weights, or random:SEED")
  add("--processes", type=int, default=0, help="that decode; default one fewer than there are cores")
  add("--patience", type=float, default=120.0, help="seconds without a decoded frame after which a video is given up")
  options, overrides = parser.parse_known_args(argv)
  if wrong := [word for word in overrides if not word.startswith("--config.")]:
    parser.error(f"unrecognised argument {wrong[0]!r}")
  command_line.use_compilation_cache()
  try:
    config, _ = benchmark.read_config(options.config, overrides)
    note = run(config, options.videos, options.out, options.weights, processes=options.processes,
               patience=options.patience)
  except (ValueError, OSError) as error:
    print(f"\njaxskill: {error}", file=sys.stderr)
    sys.exit(2)
  sys.exit(1 if note["failed"] else 0)


if __name__ == "__main__":
  main()
