"""Pages that people read: an answer beside its video, in one folder that opens without a server and without a network.

A page reads nothing but what `jaxskill.assess` and `jaxskill.compare` put into their answers, and knows no system.
"""

from __future__ import annotations

import base64
import importlib.metadata
import io
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill import __version__, written
from jaxskill.assess.faces import Faces
from jaxskill.assess.page import downloads, films, html, index, skeleton, tracks
from jaxskill.assess.page.texts import TEXTS
from jaxskill.extract.pose.points import Points
from jaxskill.report import explain, wording
from jaxskill.training import similarity

NAME = "report.html"
ONE, BOTH = "video", ("better", "other")          # the films of a page, without their endings
DOWNLOADS = ("curves.csv", "moments.srt", "moments.vtt", "moments.eaf")


class Material(NamedTuple):
  """What belongs to the answer about a video and stands in no JSON.

  Attributes:
    source: the file of the video, or of its features.
    frames: [(seconds, `[H, W, 3]` uint8)] of key frames; none where there are none, or none may be shown.
    maps, seconds: of `explain.maps`.
    points: where the body of the person who is followed is, or None; faces: what blurs faces in its film, or None.
  """

  source: pathlib.Path
  frames: Sequence[tuple[float, np.ndarray]] = ()
  maps: Mapping[str, np.ndarray] = {}
  seconds: Mapping[str, np.ndarray] = {}
  points: Points | None = None
  faces: Faces | None = None


def check(folder: pathlib.Path, sources: Collection[pathlib.Path], how: str, shown: Sequence[str] = (ONE,)) -> None:
  """Raises a `ValueError` if a page in a folder would take the place of files that are not ours.

  Args:
    sources: the files of all videos that are asked for, resolved; how: see `arguments.Pages`.
    shown: names of the page's films, without their endings.
  """
  record = written.Record(folder)
  record.check(NAME, *(DOWNLOADS if ONE in shown else ()))
  for name in shown if how != "none" else ():
    films.check(record, name, sources)


def of_video(record: written.Record, result: dict[str, Any], material: Material, how: str) -> pathlib.Path:
  """Writes the page of one video, its video and its downloads into the folder of its answer; returns the page's path.

  Args:
    record: of the folder.
    result: of `explain.answer`, as `assessment.json` has it.
    how: the page comes by its video, see `arguments.Pages`.

  Raises:
    ValueError, OSError: if something cannot be read or written.
  """
  film = films.place(material.source, record, ONE, how, material.faces)
  moments = downloads.later(downloads.spans(result), film.offset if film else 0.0)
  texts = (downloads.curves_csv(result), downloads.srt(moments), downloads.vtt(moments),
           downloads.eaf(moments, film.file if film else ""))
  for name, text in zip(DOWNLOADS, texts):
    record.write_text(name, text)
  player = _player(result, material, film, result["segments"])
  return html.write(
      record, NAME, "video.html", dict(players=[player["data"]]), title=TEXTS["title"].format(video=result["video"]),
      sentence=_begun(wording.standing(result)), banners=banners([result]), player=player, result=result,
      models=_models(result), about=_about([result], [film]), distributions=tracks.distributions(result),
      downloads=["assessment.json", *DOWNLOADS])


def of_comparison(record: written.Record, result: dict[str, Any], material: Sequence[Material], how: str,
                  sentence: str, larger: str) -> pathlib.Path:
  """Writes the page of a comparison, two players in step; returns its path.

  Args:
    record: of the folder; result: as `comparison.json` has it; material: of the better and of the other video.
    sentence: who is better, behind what must be known first.
    larger: where the difference stands among those of training videos, "" if nowhere.

  Raises:
    ValueError, OSError: if a video cannot be put beside it, see `films.place`, or the page cannot be written.
  """
  sentence = sentence.removeprefix(wording.warned("", *result["videos"]))         # which are banners here
  whole = dict(checkpoint=result["checkpoint"], made_from=dict(params_sha256=result["made_from"]["params_sha256"]))
  both = [one | whole for one in result["videos"]]
  placed = [films.place(one.source, record, name, how, one.faces) for one, name in zip(material, BOTH)]
  scale = [segment for one in both for segment in one["segments"]]
  players = [_player(*each, scale, skeleton.MOST_BYTES // 2) for each in zip(both, material, placed)]
  aligned, steps = (result["direct"] or {}).get("alignment"), None
  if aligned:
    middles = np.mean([both[0]["row_times"]["start"], both[0]["row_times"]["end"]], axis=0)
    steps = dict(better=middles.round(3).tolist(), other=aligned)
  return html.write(
      record, NAME, "comparison.html", dict(players=[one["data"] for one in players], alignment=steps),
      title=TEXTS["title_comparison"].format(better=result["better"], worse=result["worse"]), sentence=sentence,
      larger=larger, banners=banners(both), players=players, result=result,
      standings=[_begun(wording.standing(one)) for one in both], models=_agreeing(both), about=_about(both, placed),
      parts_between=[one for one in result["moments"] if "video" not in one], downloads=["comparison.json"],
      modes=[mode for mode in TEXTS["sync_modes"] if mode != "alignment" or steps])


def banners(results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
  """Returns what stands above the score, the gravest first: [{"kind", "text"}]."""
  found = [dict(kind="grave", text=TEXTS["random_weights"])] if any(one["random_weights"] for one in results) else []
  found += [dict(kind="grave", text=TEXTS["simulated"])] if any(one["simulated"] for one in results) else []
  told = {"RANDOM WEIGHTS", "SIMULATED DATA"}
  found += [dict(kind="grave", text=text) for text in wording.cautions(*results) if text not in told]
  for one in results:
    whose = f"{one['video']}: " if len(results) > 1 else ""
    for text in one["warnings"]:
      rest = text.removeprefix(similarity.UNLIKE) if text.startswith(similarity.UNLIKE) else ""
      kind, text = ("grave", f"{TEXTS['unlike']}: {whose}{rest}") if rest else ("note", f"{whose}{text}")
      found.append(dict(kind=kind, text=text))
  return sorted(found, key=lambda one: one["kind"] == "note")


def _player(result: dict[str, Any], material: Material, film: films.Film | None,
            scale: Sequence[dict[str, Any]], most: int = skeleton.MOST_BYTES) -> dict[str, Any]:
  """What the templates and the script need of one video: its film, time axis, moments, heat maps, skeleton."""
  moments, drawn = downloads.spans(result), tracks.curves(result)
  frames = [dict(at=at, text=wording.clock(at), picture=_picture(image)) for at, image in material.frames]
  data = dict(duration=result["duration_s"], offset=film.offset if film else 0.0, shown=film.shown if film else {},
              curves=[dict(start=one["start"], values=one["values"]) for one in drawn],
              maps=tracks.heat(material.maps, material.seconds, result),
              skeleton=skeleton.pack(material.points, most) if film and material.points else None)
  lines = [*result["attention"].values(), *result["curves"].values()]
  return dict(video=result["video"], film=film, moments=moments, curves=drawn, frames=frames, data=data,
              thinned=any(len(line["values"]) > tracks.POINTS for line in lines),
              segments=tracks.segments(result, scale), marks=tracks.marks(result, moments),
              ticks=tracks.ticks(result["duration_s"]), duration=result["duration_s"], models=len(result["models"]),
              decided=bool(result["moments"]))


def _begun(text: str) -> str:
  """A text with a capital at its beginning."""
  return text[:1].upper() + text[1:]


def _picture(image: np.ndarray) -> str:
  """A picture as a `data:` address."""
  from PIL import Image  # comes with matplotlib
  out = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(out, "JPEG", quality=80)
  return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _name(model: dict[str, Any]) -> str:
  """A model by its row, criterion, fold and seed, as far as it has them."""
  return ", ".join(words.format(value=model[field]) for field, words in TEXTS["model_named"].items()
                   if model.get(field) not in (None, ""))


def _models(result: dict[str, Any]) -> dict[str, Any]:
  """What every model says of a video, from the lowest score to the highest, and moments that few of them find."""
  models = sorted(result["models"], key=lambda one: one["score"])
  rows = [dict(name=_name(one), score=f"{one['score']:.4g}", percentile=f"{one['percentile']:.0f}") for one in models]
  places = [one["percentile"] for one in models]
  text = TEXTS["models_range"].format(
      count=len(models), low=f"{models[0]['score']:.4g}", high=f"{models[-1]['score']:.4g}", least=f"{min(places):.0f}",
      most=f"{max(places):.0f}") if len(models) > 1 else TEXTS["one_model"]
  disputed = [f"{one['at']} {one['words']}" for one in result["moments"] if 2 * one.get("models", 1) < len(models)]
  return dict(text=text, rows=rows, disputed=disputed if len(models) > 1 else [])


def _agreeing(both: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """Both scores by every model, and their difference."""
  return [dict(name=_name(one), scores=[f"{one['score']:.4g}", f"{two['score']:.4g}"],
               difference=f"{one['score'] - two['score']:+.3g}") for one, two in zip(*(one["models"] for one in both))]


def _about(results: Sequence[dict[str, Any]], placed: Sequence[films.Film | None]) -> list[tuple[str, str]]:
  """The rows of the foot: [(what, value)]."""
  first, words = results[0], TEXTS["about_rows"]
  versions = dict(jaxskill=__version__) | {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
  rows = [(words["run"], pathlib.Path(first["run"]).name), (words["system"], first["system"]),
          (words["trained_on"], TEXTS["training"].format(data=first["trained_on"], count=first["training_videos"])),
          (words["tested"], TEXTS["tested"][first["tested"]]), (words["answers"], first["of"]),
          (words["versions"], ", ".join(f"{name} {one}" for name, one in versions.items()))]
  if first.get("checkpoint"):
    rows.append((words["checkpoint"], TEXTS["step"].format(**first["checkpoint"])))
  if first.get("made_from"):
    rows.append((words["weights"], first["made_from"]["params_sha256"]))
  for result, film in zip(results, placed):
    whose = f", {result['video']}" if len(results) > 1 else ""
    rows += [(words["features"] + whose, digest) for digest in result.get("made_from", {}).get("features", ())]
    if film:
      rows.append((words["film"] + whose, film.digest))
      rows += [(words["proxy"] + whose, TEXTS[film.note])] if film.note else []
  return rows


def key_times(result: dict[str, Any]) -> list[float]:
  """Returns the seconds of the key frames of a video, in order."""
  return [one["at"] for one in explain.key_moments(result)]


def of_folder(folder: pathlib.Path, answer: str, asked: dict[str, Any]) -> list[pathlib.Path]:
  """Writes the index of all answers below a folder by the models of `asked`, an answer; see `index.write`."""
  return index.write(folder, NAME, answer, asked, banners)
