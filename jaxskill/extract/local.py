"""Video files -> features, as a recipe says.

  python -m jaxskill.extract --config configs/features/pros_cons.py --videos DIR --out DIR --weights FILE
  python -m jaxskill.extract --config configs/features/action_net.py --videos DIR --out DIR \\
      --weights rgb=FILE --weights static=FILE --boxes FILE.csv
  python -m jaxskill.extract --config configs/features/pose.py --videos DIR --out DIR --weights WHEEL --overlay DIR

Processes decode, the devices encode batches of a fixed size. A recipe of one stream of vectors writes `<video>.npy`
`[rows, channels]`, one of several or of maps `<video>.npz`, in a folder of own features, as training reads them
(`jaxskill.data.user.features`). `extraction.json` beside them says how they were made, from which files, how many
seconds a row stands for, and which videos failed and why. A video that is there already, made from the same file by the
same recipe and weights, is skipped.

Where persons are comes from --boxes (see jaxskill/data/video/persons.py) or --detector; recipes of poses find them
themselves, and --person says who is followed (see jaxskill/extract/pose/choice.py). --shard I/N makes share I, from 0
to N-1, of the videos, on as many machines; any later call brings the notes of all together. --runner beam makes the
same features as an Apache Beam pipeline, see jaxskill/extract/beam.py; Beam's own options follow after `--`.
"""

from __future__ import annotations

import argparse
import errno
import functools
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import tqdm
from ml_collections import ConfigDict

from jaxskill import cli, pretrained
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.user import extraction_note
from jaxskill.data.video import decoding as videos_of
from jaxskill.data.video import flow
from jaxskill.data.video.timeline import READING
from jaxskill.data.video.video_files import find_videos
from jaxskill.extract import beam, decoders, extraction, feature_files, kinds, shards, storage, words
from jaxskill.extract.folder import alone, begin_note, merge_notes
from jaxskill.extract.pose import overlay as overlays
from jaxskill.extract.pose.choice import Choice
from jaxskill.files import open_folder, write_text
from jaxskill.host import host_cores
from jaxskill.training.parallel import Parallel

RUNNERS = ("local", "beam")


def run(config: ConfigDict, videos: str | os.PathLike[str], out: str | os.PathLike[str],
        weights: str | Mapping[str, str], *, boxes: object = "", detector: str = "", person: str | Choice = "",
        overlay: str = "", shard: str = "", runner: str = "local", beam_options: Sequence[str] = (), processes: int = 0,
        patience: float = 120.0, say: Callable[[str], None] = cli.say) -> dict[str, Any]:
  """Extracts the features of all videos; the arguments are those of the command line.

  Args:
    config: a recipe, or the recipe of an `extraction.json` as a `ConfigDict`.
    videos: a folder of videos, or one file.
    out: folder of the features.
    weights: a file of weights or "random:SEED"; of several streams {stream: one}. Of poses a wheel, a bundle or a
      folder of networks.
    boxes, detector: where persons are, for recipes that cut them out: a table (or its `persons.Boxes`), or a network in
      an ONNX file; for the region "pose" the networks of poses.
    person: who is followed, of recipes of poses: "x,y" in pixels, a table, or its `choice.Choice`.
    overlay: folder of videos with the skeleton, of recipes of poses; a video without one is made again.
    shard: "I/N": only share I, from 0, of N shares of the videos, see `shards`.
    runner: "local" | "beam", for which videos, out, weights and detector may be addresses that Beam reads, as gs://...;
      beam_options: of its pipeline.
    processes: that decode; 0 is one fewer than there are cores for this process, of poses as many.
    patience: seconds without a decoded frame after which a video is given up.
    say: called with each line for the user.

  Returns:
    The content of `extraction.json`: {"format"; "recipe": the config, weights and random_weights; "videos": {video:
    {"file", "sha256", "reading": the version of the way of reading files, "rows", "row_seconds", "warnings"}}, rows and
    seconds {stream: ...} where there are several; "failed": {video: why}; "left_out": {file of the folder that is no
    video: why}}. Of a shard it is that of its own videos.

  Raises:
    ValueError: if nothing can be begun. A video that fails is noted, and the others go on.
  """
  kind, share, overlay = kinds.of(config), shards.read(shard), cli.path(overlay)
  kind.check(config)
  _check_options(config, runner, share, processes, patience)
  person = person if isinstance(person, Choice) else person and Choice(person)
  given = kinds.Given(boxes, detector, person, overlay)
  if runner == "beam":
    return beam.run(config, cli.path(videos), cli.path(out), weights, given, beam_options, say)
  _check_on_disk(videos=videos, out=out, overlay=overlay)
  (files, left_out), folder = find_videos(cli.path(videos)), pathlib.Path(cli.path(out))
  if overlay:
    overlays.check(overlay, cli.path(videos), files)
  networks, origin = kind.load(config, weights)
  persons, about_persons = kind.look(config, networks, given)
  about, looks = origin | about_persons, _Looks(kind, networks, persons, overlay)
  open_folder(folder)
  with alone(folder, overlay, share, say):
    feature_files.check_names(folder, files)
    if person and (strangers := person.strangers(files)):
      say(cli.plain(strangers))
    of_shard = share.members(files)
    if not share.is_all:
      say(f"{len(of_shard)} of {len(files)} videos are in this shard")
    return _extract(config, of_shard, left_out, folder, about, looks, share, processes, patience, say)


class _Looks(NamedTuple):
  """The networks of a recipe, who finds persons for them, and where overlays go."""

  kind: kinds.Kind
  networks: object
  persons: object
  overlay: str


def _extract(config: ConfigDict, files: Any, left_out: Any, out: pathlib.Path, about: Any, looks: Any,
             shard: Any, processes: int, patience: float, say: Callable[[str], None]) -> Any:
  """Extracts the features of {video: file}; returns the note."""
  kind, networks, persons, overlay = looks
  config, start = kind.settle(config, extraction_note.read_extraction(out), here=shard.is_all), time.monotonic()
  recipe = config.to_dict() | about
  contents, unreadable = _digests(files, persons)
  note, todo = _begin(config, out, files, recipe, contents, say, shard, overlay)
  note["left_out"] = left_out
  words.say_first(left_out, about, kind.remarks(networks), say)

  def done(video: str, about: Any) -> None:
    note["videos"][video] = dict(file=files[video].name, **contents[video], **about)
    feature_files.save_note(out, note, shard.note)
  with words.telling_what_is_kept(out, files, note, say):
    _put_beside(files, out, kind.notice)
    begin_note(out, note, shard, todo)
    encode = kind.encoders(config, networks, Parallel()) if todo else {}
    count = processes or max(1, host_cores() - kind.spared)
    failed = unreadable | _run_here(config, todo, out, encode, persons, done, count, patience)
    note["failed"] = {video: failed[video] for video in files if video in failed}
    _name_stale(config, out, note)
    feature_files.save_note(out, note, shard.note)
    if not shard.is_all:
      merge_notes(out, note)
  words.say_last(note, out, shard.note, time.monotonic() - start, say)
  return note


def _put_beside(files: Any, out: pathlib.Path, notice: Any) -> None:
  """Writes the notice of a licence, and copies the note beside simulated videos: their features are called so too."""
  if notice:
    write_text(out / feature_files.LICENCE, notice)
  for drawn in sorted({file.resolve().parent / SIMULATED_NOTE for file in files.values()}):
    if drawn.is_file():
      write_text(out / SIMULATED_NOTE, drawn.read_text(encoding="utf-8"))          # whole: shards write it at once


def _check_options(config: ConfigDict, runner: str, shard: Any, processes: int, patience: float) -> None:
  """Raises a `ValueError` for an option that cannot be, or what is not installed."""
  if runner not in RUNNERS:
    raise ValueError(f"--runner {runner}: use one of {', '.join(RUNNERS)}.")
  if jax.process_count() > 1:
    raise ValueError(f"this is one of {jax.process_count()} hosts; features are extracted on one, or on many with "
                     "--runner beam.")
  videos_of.require_av()
  if runner == "beam":
    beam.require()
    if not shard.is_all:
      raise ValueError("--shard: Beam shares the videos out itself; leave it out.")
  if any(recipe.get("input") == "flow" for recipe in config.streams.values()):
    flow.require()
  if processes < 0 or not patience > 0:
    raise ValueError(f"--processes {processes} must be at least 0 and --patience {patience:g} above 0.")


def _check_on_disk(**places: str | os.PathLike[str]) -> None:
  """Raises a `ValueError` for an address such as gs://..., which would be taken for a folder called "gs:"."""
  for option, place in places.items():
    if not storage.is_local(os.fspath(place)):
      raise ValueError(f"--{option} {place}: is read and written by --runner beam alone; copy the files, and give a "
                       "folder of this machine.")


def _digests(files: Mapping[str, pathlib.Path], persons: Any) -> tuple[dict[str, Any], dict[str, str]]:
  """Returns ({video: what tells whether it is the same as before}, {video: why it cannot be read})."""
  contents, failed = {}, {}
  for video, path in files.items():
    try:
      if not path.is_file():               # a pipe would be waited for
        raise FileNotFoundError(errno.ENOENT, "no file, or a link that leads nowhere")
      about = persons.about(video) if persons else {}
      contents[video] = dict(sha256=pretrained.digest(path), reading=READING, **about)
    except OSError as error:
      failed[video] = f"cannot be read ({error.strerror}); change its permissions, or copy it again."
  return contents, failed


def _begin(config: ConfigDict, out: pathlib.Path, files: Any, recipe: Any, contents: Any, say: Callable[[str], None],
           shard: Any, overlay: Any) -> Any:
  """Returns (the note to begin with, {video: path} of those that are not there yet)."""
  known = feature_files.known(out, recipe)
  known = {video: about for video, about in known.items()
           if os.path.isfile(feature_files.feature_file(out, video, config))
           and (not overlay or video not in files or os.path.isfile(f"{overlay}/{video}.mp4"))}
  ready = {video: known[video] for video in contents if contents[video].items() <= known.get(video, {}).items()}
  todo = {video: str(files[video]) for video in contents if video not in ready}
  kept = known if shard.is_all else extraction_note.read_note(out / shard.note)["videos"]
  others = {video: known[video] for video in kept if video in known and video not in files}
  feature_files.check_unknown(out, todo, functools.partial(storage.exists, str(out)))
  if ready:
    say(f"{len(ready)} of {len(files)} videos are there already")
  if older := [video for video in todo if video in known and known[video].get("reading") != READING]:
    say(f"{len(older)} videos, such as {older[0]}, are of an older version, which read some files in another way: they "
        "are made again")
  words.say_older(others, out, say)
  return dict(format=extraction_note.FORMAT, recipe=recipe, videos=others | ready, failed={}), todo


def _name_stale(config: ConfigDict, out: pathlib.Path, note: Mapping[str, Any]) -> None:
  """Says of videos that failed where features of another version of them lie."""
  for video in note["failed"]:
    if os.path.isfile(stale := feature_files.feature_file(out, video, config)):
      note["failed"][video] += f" {stale} is of another version of this video; remove it."


def _run_here(config: ConfigDict, todo: Any, out: pathlib.Path, encode: Any, persons: Any, done: Any,
              count: int, patience: float) -> dict[str, str]:
  """Decodes in processes and encodes here; {video: why} of those that failed."""
  if not todo:
    return {}
  gathered, failed, planned = {}, {}, {}
  coming, ended = decoders.Decoders(todo, config, persons, min(len(todo), count), patience), set()
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
          ended.add(video)
          if features.failed:
            failed[video] = features.failed
          else:
            done(video, features.about)
          bar.set_postfix_str(f"{len(ended)} of {len(todo)} videos")
  finally:
    coming.close()
  lost = dict.fromkeys(todo.keys() - ended, "the processes that decode ended before it; start again.")
  return failed | lost


def _weights(words: Sequence[str]) -> Any:
  """Returns what --weights says: one for all streams, or {stream: one}."""
  named = dict(word.split("=", 1) for word in words if word.partition("=")[0].isidentifier() and "=" in word)
  if len(words) <= 1 and not named:
    return "".join(words)
  if len(named) < len(words):
    raise ValueError("--weights: given more than once, each needs its own stream, e.g. --weights rgb=FILE.")
  return named


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit, with 1 where a video failed."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.extract", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  cli.add_config(parser, "a recipe, e.g. configs/features/pros_cons.py")
  add("--videos", required=True, type=cli.path, help="a folder of videos, or one file")
  add("--out", required=True, type=cli.path, help="folder of the features")
  add("--weights", action="append", default=[], type=cli.weights, help="file of PyTorch weights, or random:SEED; of a "
      "recipe with several streams STREAM=FILE, once for each")
  add("--boxes", default="", type=cli.path, help="csv table of persons: video,time,x1,y1,x2,y2")
  add("--detector", default="", type=cli.path, help="ONNX file of a network that finds persons; for region=pose the "
      "networks of poses")
  add("--person", default="", type=cli.path, help="who is followed, of poses: x,y in pixels, or a csv table: "
      "video,x,y[,time]")
  add("--overlay", default="", type=cli.path, help="folder of videos with the skeleton, of poses")
  add("--shard", default="", help="I/N: only share I, from 0 to N-1, of the videos")
  add("--runner", default="local", help="local | beam")
  add("--processes", type=int, default=0, help="that decode; default one fewer than there are cores, of poses as many")
  add("--patience", type=float, default=120.0, help="seconds without a decoded frame after which a video is given up")
  words = list(sys.argv[1:] if argv is None else argv)
  words, beam_options = (words[: words.index("--")], words[words.index("--") + 1:]) if "--" in words else (words, [])
  options, overrides = cli.parse(parser, words)
  if beam_options and options.runner != "beam":
    parser.error("options after -- are those of --runner beam")
  with cli.command():
    cli.use_compilation_cache()
    config, _ = cli.read_config(options.config, overrides, cli.RECIPES)
    note = run(config, options.videos, options.out, _weights(options.weights), boxes=options.boxes,
               detector=options.detector, person=options.person, overlay=options.overlay, shard=options.shard,
               runner=options.runner, beam_options=beam_options, processes=options.processes, patience=options.patience)
  sys.exit(1 if note["failed"] else 0)
