"""Answers of every kind as assess and compare write them, made up, and films to go with them: no run is trained."""

import numpy as np

from jaxskill.assess import page
from jaxskill.data.simulation import rendered
from jaxskill.extract.pose import points
from jaxskill.extract.pose.body import LANDMARKS
from jaxskill.report import wording

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}' </title>"
MEANINGS = {"for": dict(words="moments that speak for skill", side=1, finds=(), shown=True),
            "against": dict(words="moments that speak against skill", side=-1, finds=(), shown=True),
            "places": dict(words="where in the picture the model looked", side=0, finds=(), shown=True)}


def attention(name, duration, rows, seed):
  """A curve with one peak, and its moment."""
  edges, at = np.linspace(0, duration, rows + 1), np.arange(rows)
  values = 1 + 5 * np.exp(-0.5 * ((at - (0.2 + 0.15 * seed) * rows) / (0.05 * rows)) ** 2)
  values /= values.sum()
  above = np.flatnonzero(values > values.mean())
  start, end = float(edges[above[0]]), float(edges[above[-1] + 1])
  moment = dict(what=name, start=start, end=end, peak=(start + end) / 2, at=wording.span(start, end),
                share=float(values[above].sum()), models=2 if seed % 2 else 1, words=MEANINGS[name]["words"],
                side=MEANINGS[name]["side"])
  return dict(start=edges[:-1].tolist(), end=edges[1:].tolist(), values=values.tolist()), moment


def answer(video="a film", duration=8.0, *, rows=16, curves=0, score=0.75, **changed):
  """An answer with attention for and against skill, and `curves` others."""
  lines = {name: attention(name, duration, rows, seed) for seed, name in enumerate(("for", "against"), 1)}
  further = {f"curve {number}": attention("for", duration, rows, number % 5)[0] for number in range(curves)}
  models = [dict(row="", criterion="overall", fold=f"fold{fold}", seed=0, score=score + 0.1 * fold, percentile=70 + fold)
            for fold in (-1, 0, 1)]
  edges = np.linspace(0, duration, rows + 1).tolist()
  return dict(
      row_times=dict(start=edges[:-1], end=edges[1:]),
      video=video, file="film.mp4", run="runs/mine", system="a system", trained_on="simulated data", simulated=True,
      random_weights=False, tested=True, ranked=True, score=score, spread=0.1, unit="rank score", range=None, level=0.9,
      guarantee="of a hundred new videos, 90 or more", of="mean over 3 models",
      percentile=70.0, training_videos=30, models=models, parts={}, duration_s=duration,
      attention={name: line for name, (line, _) in lines.items()}, curves=further, segments=[],
      moments=[moment for _, moment in lines.values()], meanings=MEANINGS,
      warnings=["unlike the training videos: it lasts 8.0 s, they last 3.0 to 4.0 s"], format=4,
      checkpoint=dict(chosen="last", step=10), pictures=[],
      made_from=dict(features=["f" * 64], said=[{}], params_sha256="e" * 64, models=[0, 1, 2])) | changed


def segments(duration, scores=(0.2, 0.9, 0.5, 0.4)):
  """Segments of one length, and the moments that decided among them."""
  edges = np.linspace(0, duration, len(scores) + 1).tolist()
  found = [dict(start=start, end=end, score=score, importance=1 / len(scores))
           for start, end, score in zip(edges, edges[1:], scores)]
  moment = found[0] | dict(what="lowered the score", words="lowered the score", side=-1, peak=edges[1] / 2,
                           effect=-0.1, at=wording.span(*edges[:2]), models=3)
  return found, [moment]


def comparison(better, worse, aligned=None):
  """What compare answers of two answers; `aligned`: seconds of the worse, row by row of the better."""
  between = [dict(what="segment", start=0.0, end=2.0, at=wording.span(0, 2), other_at=wording.span(0, 3), other_start=0.0,
                  other_end=3.0, difference=0.3, importance=0.25)] if aligned else []
  moments = between or [dict(video=one["video"]) | moment for one in (better, worse) for moment in one["moments"]]
  direct = dict(how="by the alignment", difference=0.4, spread=None, agrees=False, alignment=aligned) if aligned else None
  return dict(better=better["video"], worse=worse["video"], difference=better["score"] - worse["score"], spread=None,
              probability=0.75, probability_means="of pairs like those that calibrated it", models=3, agreeing=2, equal=False, ranked=True, larger_than_training_pairs=50.0, training_videos=30,
              videos=[better, worse], direct=direct, moments=moments, format=4, made_from=better["made_from"],
              checkpoint=better["checkpoint"])


def pictures(seconds, fps=10, size=(48, 64)):
  """Pictures `[H, W, 3]` whose brightness says their time."""
  for number in range(round(seconds * fps)):
    yield np.full((*size, 3), 40 + 4 * (number % 50), np.uint8)


def film(path, seconds=8.0, fps=10, size=(48, 64)):
  """Writes an mp4 film, the shade of its pictures says their time; returns its path."""
  rendered.encode(path, pictures(seconds, fps, size), fps, size)
  return path


def other_film(path, container, codec, seconds=1.0, fps=10, late=0, shown=(), size=(64, 48), colors="yuv420p"):
  """Writes a film with sound and metadata; its pictures begin `late` of them later than its sound."""
  import av
  with av.open(str(path), "w", format=container) as out:
    out.metadata["title"] = "the name of a patient"
    stream, sound = out.add_stream(codec, rate=fps), out.add_stream("aac" if container == "mp4" else "mp2", rate=44100)
    stream.width, stream.height, stream.pix_fmt = *size, colors
    for number in range(round(seconds * 44100) // 1152):
      samples = np.zeros((1, 2304), np.int16)
      heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
      heard.sample_rate, heard.pts = 44100, 1152 * number
      out.mux(sound.encode(heard))
    out.mux(sound.encode())
    for number, image in enumerate(shown or pictures(seconds, fps)):
      picture = av.VideoFrame.from_ndarray(image, "rgb24")
      picture.pts = number + late
      out.mux(stream.encode(picture))
    out.mux(stream.encode())
  return path


PARTS = dict(shoulder=0.1, elbow=0.2, hip=0.35, knee=0.5, ankle=0.6)        # heights of the picture below the head


def person(seconds=8.0, fps=10, size=(64, 48), gap=(), head=lambda at: (0.25 + 0.5 * at / 8, 0.25), side=0.03):
  """`Points` of a body that hangs below its head, which is at `head(seconds)` in shares; rows of `gap` show nobody."""
  times = np.arange(round(seconds * fps)) / fps
  shares, heads = np.zeros((len(times), 33, 2)), np.array([head(at) for at in times])
  for number, name in enumerate(LANDMARKS):
    across = (("right" in name) - ("left" in name)) * (0.3 if number < 11 else 1)
    down = 0.0 if number < 11 else PARTS.get(name.partition("_")[2], 0.3)
    shares[:, number] = heads + (side * across, down)
  seen = np.array([row not in gap for row in range(len(times))])
  places = shares * size * seen[:, None, None]
  return points.Points(times, seen, places, np.full((len(times), 33), 0.9), size)


def material(source, duration=8.0, frames=True, maps=False, **others):
  """An `Material` with key frames and heat maps."""
  shown = [(at, image) for at, image in zip((1.0, 4.0), pictures(1))] if frames else []
  places = np.zeros((4, 3, 3), np.float32)
  places[np.arange(4), np.arange(4) % 3, 1] = 1.0
  return page.Material(source, shown, dict(places=places) if maps else {},
                       dict(places=np.linspace(0, duration, 4, endpoint=False)) if maps else {}, **others)


def save(path, found):
  """Writes `Points` beside features of a row each, as the extraction does."""
  np.savez(path, rgb=np.zeros((len(found.times), 4), np.float32), **beside(found))
  return path


def beside(found):
  """The arrays that lie beside features."""
  places = np.concatenate([found.places, found.visibility[..., None]], axis=2).astype(np.float32)
  return dict(times=found.times.astype(np.float32), seen=found.seen, picture_points=places,
              picture_size=np.array(found.size, np.int32))
