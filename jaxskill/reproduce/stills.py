"""What a video shows at some moments, for figures: from a video file, or drawn anew where all is simulated."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np

from jaxskill.data.simulation import scene, scripts
from jaxskill.data.video import decoding, timeline, video_files
from jaxskill.training.experiment import Experiment

SIZE, FPS = (120, 160), 2                # height and width, and frames a second, of what is drawn
PHASES = 8                               # of a simulated task


def duration(experiment: Experiment, video: int) -> float:
  """Returns how long a video lasts, in seconds."""
  dataset, stream = experiment.dataset, experiment.method.streams[0]
  return float(dataset.lengths[stream][video] * dataset.row_seconds[stream][video])


def even_times(experiment: Experiment, video: int, count: int) -> np.ndarray:
  """Returns `[count]` seconds, the middles of as many equal parts of a video."""
  return (np.arange(count) + 0.5) / count * duration(experiment, video)


def at(experiment: Experiment, video: int, seconds: np.ndarray, videos: pathlib.Path | None) -> list[np.ndarray]:
  """Returns what a video shows at some ascending times; nothing where no frames are to be had.

  Args:
    video: its number in the data set.
    videos: folder of video files that are named as the videos are, or as the last part of that name; None without.

  Returns:
    Pictures `[H, W, 3]` uint8, as many as times; fewer where the file ends early.

  Raises:
    ValueError: for a file that is no video.
  """
  dataset = experiment.dataset
  if videos is not None:
    name = dataset.videos[video]
    found = (video_files.find_video(videos / place) for place in (name, pathlib.Path(name).name))
    file = next(filter(None, found), None)
    if file is None:
      return []
    lasts = timeline.read_timeline(file).seconds          # rows lie evenly over it, but their seconds may be unknown
    return list(decoding.frames_at(file, seconds * lasts / duration(experiment, video),
                                   decoding.scale_short_side(SIZE[0])))
  if experiment.config.data.name == "simulated":
    return _drawn(experiment, video, seconds)
  return []


def _drawn(experiment: Any, video: int, seconds: np.ndarray) -> list[np.ndarray]:
  """The pictures of a simulated performance: those that its script would have been filmed as."""
  dataset, options = experiment.dataset, experiment.config.data.simulated
  task = scripts.make_task(options.get("task_seed", 0), options.get("num_phases", PHASES))
  routine = int(dataset.category[video].rpartition("_")[2])
  seed = options.get("seed", 0)
  skill, subject = float(dataset.truth["skill"][video]), video % options.num_subjects
  _, script = scripts.draw_script(task, skill, video, subject, routine, difficulty=options.get("difficulty", 0.5),
                                  seed=seed)
  plan = scene.make_plan(task, script, duration(experiment, video), FPS)
  wanted = np.minimum((np.asarray(seconds) * FPS).astype(int), len(plan.seconds) - 1)
  drawn = itertools.islice(scene.draw(task, script, plan, FPS, SIZE, (seed, video)), int(wanted.max()) + 1)
  kept = {number: picture for number, picture in enumerate(drawn) if number in set(wanted.tolist())}
  return [kept[number] for number in wanted]
