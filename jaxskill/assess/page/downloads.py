"""What other programs read of an answer: curves as a csv table, moments as subtitles and as annotations of ELAN."""

from __future__ import annotations

import csv
import datetime
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from jaxskill import cli
from jaxskill.report import wording

SHORTEST = 1.0        # seconds that a moment is shown for


def spans(result: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the moments of an answer, each with the span that is played, at least `SHORTEST` within the video.

  Args:
    result: {"moments", "duration_s"} of `explain.answer`.

  Returns:
    The moments in their order, each with "from" and "to" in seconds, and "text", what is said of it.
  """
  found = []
  for one in result["moments"]:
    length = max(one["end"] - one["start"], SHORTEST)
    begin = max(0.0, min((one["start"] + one["end"] - length) / 2, result["duration_s"] - length))
    text = f"{cli.plain(one['words'])}: {wording.amount(one)}"
    found.append(dict(one) | {"from": begin, "to": min(begin + length, result["duration_s"]), "text": text})
  return found


def later(moments: Sequence[dict[str, Any]], offset: float) -> list[dict[str, Any]]:
  """Returns moments of `spans` by the clock of players, which stands at `offset` seconds at the first picture."""
  return [one | {side: max(one[side] + offset, 0.0) for side in ("from", "to")} for one in moments]


def curves_csv(result: dict[str, Any]) -> str:
  """Returns a table kind,name,start,end,value of all curves and segments of an answer, a line for each row."""
  out = io.StringIO()
  table = csv.writer(out, lineterminator="\n")
  table.writerow(("kind", "name", "start", "end", "value"))
  for kind in ("attention", "curves"):
    for name, line in result[kind].items():
      shown, rows = cli.plain(name), zip(line["start"], line["end"], line["values"])
      table.writerows((kind, shown, *row) for row in rows)
  for name in ("score", "importance"):
    table.writerows(("segment", name, one["start"], one["end"], one[name]) for one in result["segments"])
  return out.getvalue()


def srt(moments: Sequence[Mapping[str, Any]]) -> str:
  """Returns SubRip subtitles of moments of `spans`, in order of time."""
  return "\n".join(f"{number}\n{_stamp(one['from'], ',')} --> {_stamp(one['to'], ',')}\n{one['text']}\n"
                   for number, one in enumerate(sorted(moments, key=lambda one: one["from"]), 1))


def vtt(moments: Sequence[Mapping[str, Any]]) -> str:
  """Returns WebVTT subtitles of moments of `spans`, in order of time."""
  cues = (f"\n{_stamp(one['from'], '.')} --> {_stamp(one['to'], '.')}\n{html.escape(one['text'], quote=False)}\n"
          for one in sorted(moments, key=lambda one: one["from"]))
  return "WEBVTT\n" + "".join(cues)


def _stamp(seconds: float, point: str) -> str:
  """Returns seconds as hh:mm:ss and milliseconds behind `point`."""
  whole, thousandths = divmod(round(seconds * 1000), 1000)
  return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{thousandths:03d}"


def eaf(moments: Sequence[Mapping[str, Any]], film: str) -> str:
  """Returns annotations of ELAN, a tier for each kind of moment; within a tier they do not overlap.

  Args:
    moments: of `spans`; film: name of the video file beside it, "" where there is none.
  """
  root = ElementTree.Element("ANNOTATION_DOCUMENT", AUTHOR="jaxskill", FORMAT="3.0", VERSION="3.0",
                             DATE=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))
  header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
  if film:
    kind = "video/webm" if film.endswith(".webm") else "video/mp4"
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=f"./{film}", RELATIVE_MEDIA_URL=f"./{film}",
                           MIME_TYPE=kind)
  order = ElementTree.SubElement(root, "TIME_ORDER")
  number = 0
  for words in dict.fromkeys(one["words"] for one in moments):
    tier = ElementTree.SubElement(root, "TIER", TIER_ID=cli.plain(words), LINGUISTIC_TYPE_REF="moments")
    alike: dict[int, list[Mapping[str, Any]]] = {}          # by the millisecond: those that begin at once are one
    for one in sorted((one for one in moments if one["words"] == words), key=lambda one: one["from"]):
      alike.setdefault(round(1000 * one["from"]), []).append(one)
    for (begins, together), following in zip(alike.items(), [*list(alike)[1:], None]):
      last = max(round(1000 * one["to"]) for one in together)
      number += 1
      for name, at in (("a", begins), ("b", last if following is None else min(last, following))):
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"t{number}{name}", TIME_VALUE=str(at))
      holder = ElementTree.SubElement(tier, "ANNOTATION")
      annotation = ElementTree.SubElement(holder, "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"m{number}",
                                          TIME_SLOT_REF1=f"t{number}a", TIME_SLOT_REF2=f"t{number}b")
      ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = "; ".join(one["text"] for one in together)
  ElementTree.SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="moments", TIME_ALIGNABLE="true",
                         GRAPHIC_REFERENCES="false")
  ElementTree.indent(root)
  return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"
