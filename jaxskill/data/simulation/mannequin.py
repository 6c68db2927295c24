"""A drawn person who lifts the arms and bends the knees: pictures in which networks of poses find somebody.

No person was filmed. Trained pose networks see the drawing as a person, so the whole way from a film to kinematics can
be tried and measured without one.

  python -m jaxskill.data.simulation.mannequin --out MY_VIDEOS --videos 12

writes `<video>.mp4` of repetitions of one exercise, `scores.csv` (video,score,subject and, of eight videos or more,
split), SIMULATED.txt, and for every video `truth/<video>.json`: its skill, and how long it lasts. A skilled performer
lifts both arms fully, evenly and without trembling. Needs PyAV (pip install 'jaxskill[video]').
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import pathlib
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill import cli, files
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.simulation.rendered import CODECS, TEST_FROM
from jaxskill.data.video.decoding import require_av

SKY, GRASS = (150, 170, 190), (110, 130, 90)
SKIN, SHIRT, TROUSERS, HAIR, SHOES = (225, 180, 150), (60, 70, 130), (50, 50, 60), (60, 40, 30), (30, 20, 20)
PARTS = 8.0                      # heads that a person is high, the unit of all lengths below
_ARM, _FOREARM, _THIGH, _SHANK = 1.35, 1.3, 1.9, 1.8


class Posture(NamedTuple):
  """How a person stands in a picture.

  Attributes:
    x, feet: where, in pixels: the middle, and the ground.
    height: in pixels, upright.
    left, right: degrees by which an arm is lifted sideways, 0 hanging, 180 overhead; left is the person's, who faces
      the camera.
    bend: degrees by which the knees are bent.
  """

  x: float
  feet: float
  height: float
  left: float = 20.0
  right: float = 20.0
  bend: float = 0.0


def joints_of(posture: Posture) -> dict[str, np.ndarray]:
  """Returns {name of a landmark: (x, y) pixels}, those of shoulders, elbows, wrists, hips, knees and ankles."""
  unit, bend = posture.height / PARTS, np.radians(posture.bend / 2)
  lifted = dict(left=np.radians(posture.left), right=np.radians(posture.right))
  found = {}
  for side, sign in (("left", 1), ("right", -1)):              # the person's left is on the right of the picture
    ankle = np.array([sign * 0.5, 0.0])
    knee = ankle + _SHANK * np.array([sign * 0.6 * np.sin(bend), -np.cos(bend)])
    hip = np.array([sign * 0.42, knee[1] - _THIGH * np.cos(bend)])
    shoulder = hip + (sign * 0.45, -2.3)
    along = np.array([sign * np.sin(lifted[side]), np.cos(lifted[side])])
    points = dict(ankle=ankle, knee=knee, hip=hip, shoulder=shoulder, elbow=shoulder + _ARM * along,
                  wrist=shoulder + (_ARM + _FOREARM) * along)
    found |= {f"{side}_{name}": (posture.x, posture.feet - 0.3 * unit) + unit * point for name, point in points.items()}
  return found


def draw(postures: Iterable[Posture], size: tuple[int, int] = (640, 480)) -> np.ndarray:
  """Returns `[H, W, 3]` uint8: persons before a meadow, the last one in front; `size` is (width, height)."""
  image = np.empty((size[1], size[0], 3), np.float32)
  image[:] = SKY
  image[size[1] * 3 // 4:] = GRASS
  for posture in postures:
    _person(image, posture)
  return image.round().astype(np.uint8)


def _person(image: np.ndarray, posture: Any) -> None:
  joints, unit = joints_of(posture), posture.height / PARTS
  neck = (joints["left_shoulder"] + joints["right_shoulder"]) / 2
  head = neck - (0, 0.95 * unit)
  for side, sign in (("left", 1), ("right", -1)):
    place = {name.partition("_")[2]: point for name, point in joints.items() if name.startswith(side)}
    _stroke(image, place["hip"], place["knee"], 0.28 * unit, TROUSERS)
    _stroke(image, place["knee"], place["ankle"], 0.21 * unit, TROUSERS)
    _stroke(image, place["ankle"] + (0, 0.15 * unit), place["ankle"] + (sign * 0.2 * unit, 0.15 * unit), 0.16 * unit,
            SHOES)
  for share in np.linspace(0, 1, 6):                           # the trunk, in strips
    left, right = ((1 - share) * joints[f"{side}_shoulder"] + share * joints[f"{side}_hip"]
                   for side in ("left", "right"))
    _stroke(image, left, right, 0.24 * unit, SHIRT)
  for side in ("left", "right"):
    shoulder, elbow, wrist = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    _stroke(image, elbow, wrist, 0.15 * unit, SKIN)
    _stroke(image, wrist, wrist + 0.25 * (wrist - elbow) / _FOREARM, 0.17 * unit, SKIN)
    _stroke(image, shoulder, elbow, 0.21 * unit, SHIRT)
  _stroke(image, neck, head, 0.2 * unit, SKIN)
  _stroke(image, head - (0, 0.1 * unit), head + (0, 0.08 * unit), 0.47 * unit, SKIN)
  _stroke(image, head - (0.12 * unit, 0.38 * unit), head + (0.12 * unit, -0.38 * unit), 0.33 * unit, HAIR)
  for sign in (-1, 1):
    _stroke(image, head + (sign * 0.17 * unit, 0), head + (sign * 0.17 * unit, 0), 0.055 * unit, SHOES)
  _stroke(image, head + (0, 0.12 * unit), head + (0, 0.2 * unit), 0.05 * unit, (200, 150, 120))
  _stroke(image, head + (-0.13 * unit, 0.35 * unit), head + (0.13 * unit, 0.35 * unit), 0.04 * unit, (150, 60, 60))


def _stroke(image: np.ndarray, start: Any, end: Any, radius: Any, color: Any) -> None:
  """Draws a line with round ends, its edge one pixel soft."""
  start, end = np.asarray(start, float), np.asarray(end, float)
  low = np.maximum(np.floor(np.minimum(start, end) - radius - 1), 0).astype(int)
  high = np.ceil(np.maximum(start, end) + radius + 1).astype(int)
  part = image[low[1]: max(high[1], 0), low[0]: max(high[0], 0)]
  if not part.size:
    return
  y, x = np.mgrid[: part.shape[0], : part.shape[1]]
  offset = np.stack([x + low[0] + 0.5, y + low[1] + 0.5], axis=-1) - start                 # [H, W, 2]
  line = end - start
  share = np.clip(offset @ line / max(line @ line, 1e-9), 0, 1)[..., None]
  away = np.linalg.norm(offset - share * line, axis=-1)
  cover = np.clip(radius - away + 0.5, 0, 1)[..., None].astype(np.float32)
  part += cover * (np.array(color, np.float32) - part)


def write_film(path: str | os.PathLike[str], pictures: Iterable[np.ndarray], rate: int = 25) -> None:
  """Writes a film of `[H, W, 3]` uint8 pictures of one even size."""
  import av
  codec = next(name for name in CODECS if name in av.codecs_available)
  with av.open(str(path), "w") as container:
    stream: Any = None
    for picture in pictures:
      if stream is None:
        stream = container.add_stream(codec, rate=rate, options=CODECS[codec])
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode())


def exercise(skill: float, rng: np.random.Generator, seconds: float = 8.0, rate: int = 25,
             size: tuple[int, int] = (320, 240)) -> Iterator[np.ndarray]:
  """Yields the pictures of one performance: arms are lifted and knees bent, once every four seconds.

  Args:
    skill: in [0, 1]: 1 lifts both arms to 170 degrees without trembling; 0 much lower, unevenly, with tremor.
    rng: a NumPy generator.
    seconds, rate, size: of the film.
  """
  low, height = 1 - skill, size[1] * 0.72
  phase, uneven = rng.uniform(0, 0.3), low * rng.choice([-1, 1]) * rng.uniform(25, 45)
  reach, tremor = 170 - 70 * low * rng.uniform(0.7, 1.1), 9 * low
  x = size[0] * rng.uniform(0.42, 0.58)
  for time in np.arange(round(seconds * rate)) / rate:
    lift = (1 - np.cos(2 * np.pi * (time / 4 + phase))) / 2
    shake = tremor * np.sin(2 * np.pi * rng.uniform(3, 5) * time)
    left, right = (20 + (reach - 20 + sign * uneven / 2) * lift + sign * shake * lift for sign in (1, -1))
    yield draw([Posture(x, size[1] * 0.95, height, left, right, 70 * (0.4 + 0.6 * skill) * lift)], size)


def write_videos(out: str | os.PathLike[str], num_videos: int = 12, seconds: float = 8.0, seed: int = 0,
                 height: int = 240, command: str = "") -> dict[str, float]:
  """Writes performances into a new folder.

  Args:
    out: the folder; must not exist, or be empty.
    num_videos, seconds: of how many performers, how long each.
    seed: of another one other performers.
    height: of the pictures, in pixels.
    command: noted in SIMULATED.txt.

  Returns:
    {video: score from 0 to 100}.

  Raises:
    ValueError: for an argument out of its range, something in `out`, or without PyAV.
  """
  require_av()
  out, rng = pathlib.Path(out), np.random.default_rng(seed)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f"{out} is not empty, and simulated videos would mix with what is there; give a new folder.")
  if num_videos < 1 or not seconds >= 1:
    raise ValueError(f"--videos {num_videos} must be at least 1, and --seconds {seconds:g} too.")
  if height < 48 or height % 6:
    raise ValueError(f"--height {height} must be a multiple of 6 from 48 on.")
  scores, table = {}, io.StringIO()
  rows = csv.writer(table, lineterminator="\n")
  tested = max(2, num_videos // 5) if num_videos >= TEST_FROM else 0          # the last ones
  rows.writerow(("video", "score", "subject", *["split"] * bool(tested)))
  with files.writing_folder(out) as folder:
    (folder / "truth").mkdir()
    for number in range(num_videos):
      skill, name = rng.uniform(), f"person{seed}_{number:03d}"
      write_film(folder / f"{name}.mp4", exercise(skill, rng, seconds, size=(height * 4 // 3, height)))
      scores[name] = round(100 * skill, 1)
      side = ["test" if number >= num_videos - tested else "train"] * bool(tested)
      rows.writerow((name, scores[name], f"subject{number}", *side))
      files.save_json(folder / "truth" / f"{name}.json", dict(skill=skill, score=scores[name], seconds=seconds))
    files.write_text(folder / "scores.csv", table.getvalue())
    files.write_text(folder / SIMULATED_NOTE, "These videos are simulated: a drawn person, nobody was filmed.\n"
                     + (f"{command}\n" if command else ""))
  return scores


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.data.simulation.mannequin", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", required=True, type=cli.path, help="a new folder")
  parser.add_argument("--videos", type=int, default=12)
  parser.add_argument("--seconds", type=float, default=8.0, help="of each video")
  parser.add_argument("--height", type=int, default=240, help="of the pictures, in pixels")
  parser.add_argument("--seed", type=int, default=0)
  words = sys.argv[1:] if argv is None else argv
  options = parser.parse_args(argv)
  with cli.command():
    written = write_videos(options.out, options.videos, options.seconds, options.seed, options.height,
                           "python -m jaxskill.data.simulation.mannequin " + shlex.join(map(str, words)))
    cli.say(f"{len(written)} SIMULATED videos in {options.out}: a drawn person, nobody was filmed")


if __name__ == "__main__":
  cli.listen()
  main()
