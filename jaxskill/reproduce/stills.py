"""Frames of the videos that figures show: of video files, or drawn anew where the performances are simulated."""

from __future__ import annotations

import inspect
import itertools
import pathlib

import numpy as np

from jaxskill.data.simulation import scene, scripts, simulated
from jaxskill.data.video import decoding, timeline, video_files
from jaxskill.reproduce.runs import SIMULATED, Finished

HEIGHT = 120                                              # of a frame, in pixels
FPS = 2                                                   # of what is drawn


def stills(run: Finished, video: int, shares: np.ndarray, videos: pathlib.Path | None) -> list[np.ndarray]:
  """Returns what is seen of a video at some moments: `[H, W, 3]` uint8 each; none where there is nothing to be seen.

  Args:
    run: trained on the videos.
    video: its position in the data set.
    shares: `[N]` moments as shares of its duration, ascending.
    videos: folder of video files that are named by id, or None.

  Raises:
    ValueError: for a file that cannot be decoded, or without PyAV.
  """
  dataset = run.trainer.experiment.dataset
  if videos is not None:
    name = dataset.videos[video]
    files = (video_files.find_video(videos / place) for place in (name, pathlib.Path(name).name))
    file = next(filter(None, files), None)
    if file is None:
      return []
    times = shares * timeline.read_timeline(file).seconds
    return list(decoding.frames_at(file, times, decoding.scale_short_side(HEIGHT)))
  config = run.trainer.experiment.config.data
  return _drawn(dict(config.simulated), dataset, video, shares) if config.name == SIMULATED else []


def _drawn(options, dataset, video, shares):
  """Pictures of a simulated performance; its script is drawn anew, from the options that `simulated.simulate` had."""
  known = inspect.signature(simulated.simulate).parameters
  had = {name: one.default for name, one in known.items()} | options
  task = scripts.make_task(had["task_seed"], had["num_phases"])
  subject, routine = video % had["num_subjects"], int(dataset.category[video].rpartition("_")[2])
  share, script = scripts.draw_script(task, float(dataset.truth["skill"][video]), video, subject, routine,
                                      difficulty=had["difficulty"], seed=had["seed"])
  plan = scene.make_plan(task, script, share * had["max_seconds"], FPS)
  wanted = np.minimum((shares * len(plan.seconds)).astype(int), len(plan.seconds) - 1)
  frames = scene.draw(task, script, plan, FPS, (HEIGHT, HEIGHT * 4 // 3), (had["seed"], video))
  seen = list(itertools.islice(frames, int(wanted.max()) + 1))
  return [seen[number] for number in wanted]
