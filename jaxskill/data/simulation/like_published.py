"""Simulated features for the real video ids of a published data set, in its layout; nothing here was recorded.

  python -m jaxskill.data.simulation --like data/annotations/BEST --out best_simulated
  python -m jaxskill.data.simulation --like data/annotations/MTL-AQA --out mtl_aqa_simulated
  python -m jaxskill.data.simulation --like data/annotations/Fis-V_and_MIT-Skate --name fis_v --out fis_v_simulated

Hidden skills follow the annotators: their pairs, or their scores, each within its possible range (so a dive's skill is
its score by its difficulty), of rhythmic_gymnastics the execution part. `official` loads what is written.

V videos, P pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shlex
import shutil
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import cli, files
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.published.labels import Labels, NoLabels
from jaxskill.data.published.labels_scores import SCORED, read_scores
from jaxskill.data.simulation.performances import performances

# Rows of rgb if none are asked for: as published, or 16 frames of 5 a second.
SEGMENTS = dict(pairs=400, mtl_aqa=10, unlv_dive=10, aqa7=10, jigsaws=10, finediving=10, rhythmic_gymnastics=28,
                fis_v=53, mit_skating=53)
HIGHEST_EXECUTION = 10.0             # of rhythmic gymnastics


def skills_from_pairs(pairs: Sequence[tuple[int, int]] | np.ndarray, num_videos: int) -> np.ndarray:
  """Draws hidden skills that agree with annotators' pairs: a Bradley-Terry ranking, even over (0, 1).

  Args:
    pairs: `[P, 2]` positions (better, worse); may hold cycles, which no ranking can satisfy.
    num_videos: V.

  Returns:
    `[V]` skills, all different.
  """
  wins = np.zeros((num_videos, num_videos))
  wins[tuple(np.asarray(pairs).reshape(-1, 2).T)] = 1
  strength = np.zeros(num_videos)
  for _ in range(100):   # damped Newton steps; the ridge keeps those finite who win, or lose, every comparison
    win = 1 / (1 + np.exp(strength - strength[:, None]))
    slope = (wins * (1 - win) - wins.T * win).sum(1) - 0.01 * strength
    weight = (wins + wins.T) * win * (1 - win)
    strength += 0.7 * np.linalg.solve(np.diag(weight.sum(1) + 0.01) - weight, slope)
  return (np.argsort(np.argsort(strength, kind="stable")) + 0.5) / num_videos


def read_splits(folder: pathlib.Path) -> tuple[list[str], np.ndarray]:
  """Reads the split lists of one task of BEST or EPIC-Skills.

  Args:
    folder: holds `train*.txt` and `test*.txt` with lines "better worse", and perhaps `*_vid_list.txt`.

  Returns:
    (sorted video ids, `[P, 2]` positions (better, worse) of the pairs of all lists, each once).

  Raises:
    ValueError: naming file and line, for a line that is no pair, or an id that is no path inside a folder.
  """
  named, pairs = set(), set()
  for file in sorted(pathlib.Path(folder).glob("*.txt")):
    expected = 1 if file.stem.endswith("_vid_list") else 2
    for number, line in enumerate(file.read_text().splitlines(), 1):
      ids = tuple(line.split())
      if not ids:
        continue
      if len(ids) != expected or any(".." in v.split("/") or v.startswith("/") for v in ids):
        raise ValueError(f"{file}, line {number}: expected {expected} video id(s) ('better worse' in lists of pairs), "
                         f"found {line!r}.")
      named.update(ids)
      if expected == 2:
        pairs.add(ids)
  videos = sorted(named)
  position = {video: i for i, video in enumerate(videos)}
  return videos, np.array([[position[v] for v in pair] for pair in sorted(pairs)], np.int32).reshape(-1, 2)


def write_like(like: str | os.PathLike[str], out: str | os.PathLike[str], *, name: str = "",
               tasks: Sequence[str] | None = None, num_segments: int | None = None, width: int = 1024,
               static_rows: int = 80, static_width: int = 2048, map_frames: int = 0, map_size: int = 7,
               map_width: int = 32, difficulty: float = 0.5, seed: int = 0, command: str = "") -> dict[str, float]:
  """Writes simulated features for the real video ids of a published data set, in its layout.

  A video's features depend on its id, its task, its skill, its routine and `seed` alone.

  Args:
    like: folder of the labels, as `official` reads them; of BEST and EPIC-Skills the `splits` folder will do.
    out: new folder; gets the features, float32 `[num_segments, width]` and, where the layout has it, static ones
      `[static_rows, static_width]`; a copy of the label files; and SIMULATED.txt.
    name: of the data set, where the labels of several with scores lie in the folder; else found.
    tasks: names; all if None.
    num_segments: rows of a video; as in `SEGMENTS` if None.
    map_frames: of the maps of a video of BEST or EPIC-Skills, `[map_frames, map_size, map_size, map_width]`, written
      beside its features; 0 writes none.
    width, static_rows, static_width, map_size, map_width, difficulty, seed: as in `simulate`.
    command: noted in SIMULATED.txt.

  Returns:
    task -> share of its pairs (of videos with different scores) that the hidden skills order as the annotators did.

  Raises:
    ValueError: if the folder holds no labels or not the task, or one file would be of two tasks.
    FileExistsError: if there are features in `out` already, or the labels would be copied onto themselves.
  """
  like, out = pathlib.Path(like), pathlib.Path(out)
  name, labels = _find_scores(like, name)
  options = dict(num_segments=num_segments or SEGMENTS[name or "pairs"], width=width, difficulty=difficulty, seed=seed)
  folders = ["features", *["maps"] * bool(map_frames)] if labels is None else list(SCORED[name].features)
  for folder in folders:
    _check_new(out / folder)
  with contextlib.ExitStack() as whole:             # features appear when all of them and the note are there
    if labels is None:
      options |= dict(map_frames=map_frames, map_size=map_size, map_width=map_width) if map_frames else {}
      agreement = _write_pairs(like, out, whole, tasks, options)
      followed, truth = "the annotators' pairs in splits/", "pairs"
    else:
      options |= dict(static_rows=static_rows, static_width=static_width)
      agreement = _write_scores(like, out, whole, name, labels, tasks, options)
      followed, truth = f"the scores in {', '.join(file.name for file in labels.files)}", "pairs of different scores"
    lines = [f"{task}: {videos} videos; their hidden skills order {share:.2%} of {pairs} {truth}"
             for task, (videos, pairs, share) in agreement.items()]
    files.write_text(out / SIMULATED_NOTE, "\n".join([
        f"SIMULATED FEATURES. Nothing in {'/, '.join(folders)}/ was recorded or extracted from video: the numbers were",
        f"drawn by jaxskill.data.simulation.simulated so that they agree with {followed}.",
        "The video ids are real, the features are not; no result on them says anything about people.",
        f"seed: {seed}", f"difficulty: {difficulty:g}", f"command: {command}", *lines, ""]))
  return {task: share for task, (_, _, share) in agreement.items()}


def same_labels(like: str | os.PathLike[str], out: str | os.PathLike[str], name: str = "") -> bool:
  """Returns whether the labels of a folder are still those that simulated features were written for.

  Args:
    like, name: as of `write_like`; out: what it wrote, all tasks.

  Raises:
    ValueError: if a folder holds no labels that can be read.
  """
  return _contents(pathlib.Path(like), name) == _contents(pathlib.Path(out), name)


def _contents(folder: pathlib.Path, name: str) -> dict[pathlib.Path, bytes]:
  """{path of a label file, in the layout of `write_like`: its bytes}."""
  _, labels = _find_scores(folder, name)
  if labels is not None:
    return {file.relative_to(folder): file.read_bytes() for file in labels.files}
  splits = _splits(folder)
  return {file.relative_to(splits): file.read_bytes() for file in splits.glob("*/*.txt")}


def _splits(folder: pathlib.Path) -> pathlib.Path:
  """The folder of the tasks of BEST or EPIC-Skills: `splits` below another, or itself."""
  return folder / "splits" if (folder / "splits").is_dir() else folder


def _find_scores(like: pathlib.Path, name: str) -> tuple[str, Labels | None]:
  """Returns (name, labels) of the data set with scores whose labels lie in the folder, ("", None) if none does."""
  if name and name not in SCORED:
    raise ValueError(f"name={name!r} is unknown; use one of {', '.join(SCORED)}, or none for BEST and EPIC-Skills.")
  found = {}
  for candidate in [name] if name else SCORED:
    try:
      found[candidate] = read_scores(candidate, like)
    except NoLabels:
      if name:
        raise
  if len(found) > 1:
    raise ValueError(f"{like}: holds the labels of {' and '.join(found)}; say which with --name.")
  return next(iter(found.items()), ("", None))


def _check_new(folder: pathlib.Path) -> None:
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(f"{folder} is not empty, and simulated features would mix with what is there; give a new "
                          "folder.")


def _write_pairs(like: pathlib.Path, out: pathlib.Path, whole: Any, tasks: Sequence[str] | None,
                 options: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the features of BEST or EPIC-Skills; task -> (videos, pairs, share of the pairs that skills order).

  Args:
    whole: an `ExitStack`; the folders of features and of maps appear when it is left.
    options: of `performances`, which makes maps where there are `map_frames`.
  """
  splits = _splits(like)
  found = sorted(f.name for f in splits.iterdir() if list(f.glob("*.txt"))) if splits.is_dir() else []
  if not found:
    raise ValueError(f"{like}: no splits/<task>/*.txt found, and no labels of {', '.join(SCORED)}; give the folder of "
                     "such annotations.")
  _check_tasks(splits, tasks, found)
  if (out / "splits").resolve() == splits.resolve():
    raise FileExistsError(f"{out}: simulated features do not go beside the annotations they follow; give a new folder.")

  read = {task: read_splits(splits / task) for task in sorted(set(tasks or found))}
  owner = {}
  for task, (videos, _) in read.items():
    for video in videos:
      if owner.setdefault(video, task) != task:
        raise ValueError(f"{splits}: video {video!r} is in the tasks {owner[video]!r} and {task!r}, whose features "
                         "would share one file; write them one at a time, with --task.")
  features, agreement = whole.enter_context(files.writing_folder(out / "features")), {}
  maps = whole.enter_context(files.writing_folder(out / "maps")) if "map_frames" in options else None
  streams = ("rgb", "maps") if maps else ("rgb",)
  for task, (videos, pairs) in read.items():
    skills = skills_from_pairs(pairs, len(videos))
    share = float(np.mean(skills[pairs[:, 0]] > skills[pairs[:, 1]])) if len(pairs) else float("nan")
    agreement[task] = len(videos), len(pairs), share
    simulated = performances(skills, _keys(videos), task_seed=zlib.crc32(task.encode()), streams=streams, **options)
    for video, performance in zip(videos, simulated):
      _save(features / f"{video}_rgb.npz", performance.streams["rgb"])
      if maps:
        _save(maps / f"{video}.npz", maps=performance.streams["maps"].astype(np.float16))
    shutil.copytree(splits / task, out / "splits" / task, dirs_exist_ok=True)
  return agreement


def _save(file: pathlib.Path, *arrays: np.ndarray, **named: Any) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  np.savez(file, *arrays, **named)


def _write_scores(like: pathlib.Path, out: pathlib.Path, whole: Any, name: str, labels: Labels,
                  tasks: Sequence[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the features of a data set with scores; task -> (videos, pairs, share of the pairs that skills order).

  Args:
    whole: an `ExitStack`; the folders of features appear when it is left.
  """
  layout = SCORED[name]
  by_task = labels.category is not None and set(layout.tasks) >= set(labels.category)
  groups: Any = labels.category if by_task else np.full(len(labels.videos), name)
  found = sorted(set(groups.tolist()))
  _check_tasks(like, tasks, found)
  copies = {file: out / file.relative_to(like) for file in labels.files}
  if any(copy.resolve() == file.resolve() for file, copy in copies.items()):
    raise FileExistsError(f"{out}: simulated features do not go beside the annotations they follow; give a new folder.")

  skills = _skills_from_scores(name, labels)
  subjects, routines = _numbered(labels.subject), _numbered(labels.difficulty)
  streams = {folder: stream or "rgb" for folder, stream in layout.features.items()}
  folders = {folder: whole.enter_context(files.writing_folder(out / folder)) for folder in streams}
  agreement = {}
  for task in sorted(set(tasks or found)):
    rows = np.flatnonzero(groups == task)
    videos = [labels.videos[row] for row in rows]
    simulated = performances(
        skills[rows], _keys(videos), subjects=None if subjects is None else subjects[rows],
        routines=None if routines is None else routines[rows], streams=tuple(streams.values()),
        task_seed=zlib.crc32(task.encode()), **options)
    for video, performance in zip(videos, simulated):
      for folder, stream in streams.items():
        file = folders[folder] / f"{video}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, performance.streams[stream])
    agreement[task] = len(rows), *_agreement(skills[rows], np.asarray(labels.score)[rows])
  for file, copy in copies.items():
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
  return agreement


def _skills_from_scores(name: str, labels: Any) -> np.ndarray:
  """Returns `[V]` hidden skills in [0, 1] that follow the scores within their possible range."""
  if name == "rhythmic_gymnastics":
    return np.clip(labels.criteria["execution"] / HIGHEST_EXECUTION, 0, 1)
  low, high = labels.score_range.T
  return np.clip((labels.score - low) / (high - low), 0, 1)


def _agreement(skills: np.ndarray, score: np.ndarray) -> tuple[int, float]:
  """Returns (number of pairs of different scores, share of them that the skills order in the same way)."""
  order = np.sign(score[:, None] - score)
  differ = np.triu(order != 0, 1)
  pairs = int(differ.sum())
  return pairs, float((np.sign(skills[:, None] - skills) == order)[differ].mean()) if pairs else float("nan")


def _numbered(values: np.ndarray | None) -> np.ndarray | None:
  """Returns `[V]` numbers of the distinct values, None where there are none."""
  return None if values is None else np.unique(values, return_inverse=True)[1]


def _keys(videos: Sequence[str]) -> list[int]:
  return [zlib.crc32(video.encode()) for video in videos]


def _check_tasks(folder: pathlib.Path, tasks: Sequence[str] | None, found: Sequence[str]) -> None:
  unknown = sorted(set(tasks or ()) - set(found))
  if unknown:
    raise ValueError(f"{folder}: no task {unknown[0]!r}; there are {', '.join(found)}.")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(description="Write simulated features in the layout of a published data set.")
  parser.add_argument("--like", required=True, type=cli.path, help="folder with the published labels")
  parser.add_argument("--out", required=True, type=cli.path, help="new folder")
  parser.add_argument("--name", default="", choices=("", *SCORED), help="where labels of several data sets lie there")
  parser.add_argument("--task", action="append", help="repeatable; all tasks if not given")
  parser.add_argument("--segments", type=int, help="rows of a video; as published if not given")
  parser.add_argument("--width", type=int, default=1024, help="channels")
  parser.add_argument("--static-rows", type=int, default=80)
  parser.add_argument("--static-width", type=int, default=2048, help="channels of static features")
  parser.add_argument("--map-frames", type=int, default=0, help="of maps, of BEST and EPIC-Skills; 0 writes none")
  parser.add_argument("--difficulty", type=float, default=0.5, help="0 is easy, 1 very hard")
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args(argv)
  command = shlex.join(["python", "-m", "jaxskill.data.simulation", *(sys.argv[1:] if argv is None else argv)])
  with cli.command():
    agreement = write_like(args.like, args.out, name=args.name, tasks=args.task, num_segments=args.segments,
                           width=args.width, static_rows=args.static_rows, static_width=args.static_width,
                           map_frames=args.map_frames, difficulty=args.difficulty, seed=args.seed, command=command)
  for task, share in agreement.items():
    print(f"{task}: simulated; hidden skills order {share:.2%} of the pairs as the annotators' labels do")
