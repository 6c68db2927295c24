"""Simulated performances as video files: for trying the whole way from a film to a score. No person was filmed.

  python -m jaxskill.data.simulation.rendered --out MY_VIDEOS --videos 24 --seconds 30

writes `<video>.mp4`, drawn by `scene`; `scores.csv` (video,score,subject and, of eight videos or more, split);
SIMULATED.txt; and for every video `truth/<video>.json`: its skill, and when it shows what. `jaxskill.extract` carries
SIMULATED.txt on to the features, so that every result says so. Another `--seed` gives other performers of the same
task. Needs PyAV (pip install 'jaxskill[video]').
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxskill import cli, files
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.simulation import scene, scripts, simulated
from jaxskill.data.video.decoding import require_av

# The first that FFmpeg has. With its lookahead, x264 makes another file of the same frames every now and then.
CODECS = dict(libx264=dict(crf="20", tune="zerolatency", threads="1"), mpeg4=dict(qscale="3", threads="1"))
TEST_FROM = 8                                 # videos; with fewer, the test side would have no pair


def write_videos(out: str | os.PathLike[str], num_videos: int = 24, *, seconds: float = 30.0, fps: int = 10,
                 size: tuple[int, int] = (120, 160), difficulty: float = 0.5, seed: int = 0, task_seed: int = 0,
                 num_phases: int = 6, skills: Sequence[float] | np.ndarray | None = None,
                 command: str = "") -> list[str]:
  """Renders performances into a new folder, which appears when all of them are there.

  Args:
    out: the folder; must not exist, or be empty.
    num_videos: each of another performer.
    seconds: of the longest possible video; they last half of it to all of it.
    fps: frames a second, a whole number.
    size: (height, width) of the pictures, both even.
    difficulty, seed, task_seed, num_phases, skills: as in `simulated.simulate`.
    command: noted in SIMULATED.txt.

  Returns:
    The names of the videos.

  Raises:
    ValueError: for an argument out of its range, or without PyAV.
    FileExistsError: if there is something in `out`.
  """
  require_av()
  out = pathlib.Path(out)
  if fps < 1 or seconds * fps < 4:
    raise ValueError(f"seconds={seconds:g} at fps={fps} is no video; give at least a frame a second, and four in all.")
  if min(size) < 32 or any(side % 2 for side in size):
    raise ValueError(f"size={tuple(size)} must be two even numbers of at least 32 pixels.")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise FileExistsError(f"{out} is not empty, and simulated videos would mix with what is there; give a new folder.")
  labels = simulated.simulate(
      num_videos, num_segments=1, width=1, num_subjects=num_videos, difficulty=difficulty, seed=seed,
      task_seed=task_seed, num_phases=num_phases, skills=skills, test_share=0.25 * (num_videos >= TEST_FROM),
      validation_share=0)
  scores = np.asarray(labels.score)
  task, names = scripts.make_task(task_seed, num_phases), [f"sim{seed}_{v:03d}" for v in range(num_videos)]
  with files.writing_folder(out) as folder:
    (folder / "truth").mkdir()
    for v, name in enumerate(names):
      skill = float(labels.truth["skill"][v])
      share, script = scripts.draw_script(task, skill, v, v, 0, difficulty=difficulty, seed=seed)
      plan = scene.make_plan(task, script, share * seconds, fps)
      encode(folder / f"{name}.mp4", scene.draw(task, script, plan, fps, size, (seed, v)), fps, size)
      truth = dict(simulated=True, skill=skill, score=float(scores[v]), **describe(plan, fps))
      (folder / "truth" / f"{name}.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    with open(folder / "scores.csv", "w", newline="", encoding="utf-8") as file:
      table = csv.writer(file)
      columns = dict(video=names, score=scores.round(2), subject=labels.subject)
      if num_videos >= TEST_FROM:
        tested = np.isin(np.arange(num_videos), labels.folds[0].test_videos)
        columns["split"] = np.where(tested, "test", "train")
      table.writerow(columns)
      table.writerows(zip(*columns.values()))
    (folder / SIMULATED_NOTE).write_text("\n".join([
        "SIMULATED VIDEOS. No person was filmed: jaxskill.data.simulation.rendered drew every picture, and the scores",
        "follow from hidden skills that were drawn at random. No result on them says anything about people.",
        f"seed: {seed}", f"task seed: {task_seed}", f"difficulty: {difficulty:g}", f"command: {command}", ""]))
  return names


def encode(path: pathlib.Path, frames: Iterator[np.ndarray], fps: int, size: tuple[int, int]) -> None:
  """Writes frames `[H, W, 3]` uint8 as an mp4 file; the same frames make the same file."""
  import av
  codec = next(name for name in CODECS if name in av.codecs_available)
  with av.open(str(path), "w") as container:
    stream: Any = container.add_stream(codec, rate=fps, options=CODECS[codec])
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    for image in frames:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
    container.mux(stream.encode())


def describe(plan: scene.Plan, fps: int) -> dict[str, Any]:
  """Returns a plan in words and seconds.

  Returns:
    {"seconds", "fps"; "moments": the key moments in order, {"start", "end", "technique", "mistake": what is shown, ""
    for nothing, "strength"}; "idle", "distracting", "posture_errors": `[[start, end], ...]`; "progress" `[frames]` in
    [0, 1]; "place", "distractor" `[frames][row, column]` in [0, 1]}. A moment that idleness interrupts is listed twice.
  """
  moments = []
  for number, shown in enumerate(plan.moment.T):
    way = number % scripts.CUES
    for start, end in _runs(shown, fps):
      frame = round(start * fps)
      technique, mistake = float(plan.technique[frame, way]), float(plan.mistakes[frame, way])
      moments.append(dict(start=start, end=end, technique=scene.TECHNIQUE[way] if technique else "",
                          mistake=scene.MISTAKES[way] if mistake else "", strength=round(technique + mistake, 3)))
  intervals = dict(idle=plan.idle, distracting=plan.distracting, posture_errors=plan.posture > 0)
  curves = dict(progress=plan.progress, place=plan.place, distractor=plan.ball)
  return dict(seconds=len(plan.seconds) / fps, fps=fps, moments=sorted(moments, key=lambda moment: moment["start"]),
              **{name: _runs(shown, fps) for name, shown in intervals.items()},
              **{name: curve.round(4).tolist() for name, curve in curves.items()})


def _runs(shown: np.ndarray, fps: int) -> list[list[float]]:
  """Returns `[[start, end], ...]` in seconds of the frames that are True."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], shown, [0]]).astype(int)))
  return (edges.reshape(-1, 2) / fps).round(3).tolist()


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.data.simulation.rendered", description=__doc__,
                                   allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add("--out", required=True, type=cli.path, help="new folder")
  add("--videos", type=int, default=24, help="how many, each of another performer (24)")
  add("--seconds", type=float, default=30.0, help="of the longest possible video; others last half of it or more (30)")
  add("--fps", type=int, default=10, help="frames a second (10)")
  add("--height", type=int, default=120, help="of the pictures; they are a third wider than high (120)")
  add("--difficulty", type=float, default=0.5, help="0 is easy, 1 very hard (0.5)")
  add("--seed", type=int, default=0, help="of performers and performances")
  add("--task-seed", type=int, default=0, help="of the task: its line and key moments")
  args = parser.parse_args(argv)
  command = shlex.join(["python", "-m", "jaxskill.data.simulation.rendered", *(sys.argv[1:] if argv is None else argv)])
  with cli.command():
    names = write_videos(args.out, args.videos, seconds=args.seconds, fps=args.fps, seed=args.seed, command=command,
                         size=(args.height, 2 * round(args.height * 2 / 3)), difficulty=args.difficulty,
                         task_seed=args.task_seed)
  print(f"{len(names)} SIMULATED videos in {args.out}: {names[0]} to {names[-1]}")


if __name__ == "__main__":
  cli.listen()
  main()
