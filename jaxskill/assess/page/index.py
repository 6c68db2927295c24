"""Many answers on one page: a table that can be sorted, one person over time, the moments that speak against skill."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxskill import written
from jaxskill.assess.page import downloads, html
from jaxskill.assess.page.texts import TEXTS

NAME = "index.html"
WORST = 50            # moments that are listed
LEFT, RIGHT = 14, 96  # percent of the width of a picture over time; its scale stands on the left


def write(folder: pathlib.Path, page: str, answer: str, asked: dict[str, Any],
          banners: Callable[[Sequence[dict[str, Any]]], list[dict[str, str]]]) -> list[pathlib.Path]:
  """Writes the index of all answers that have a page, in a folder and those below it; returns its path, if any has.

  Args:
    page, answer: names of both files.
    asked: an answer; those of other models are left out.
    banners: results -> what stands above the scores.
  """
  paths = [path for path in sorted(folder.rglob(answer)) if written.Record(path.parent).is_ours(page)]
  answers = {path: content for path in paths if (content := _read(path))}
  found = [(urllib.parse.quote(path.with_name(page).relative_to(folder).as_posix()), content)
           for path, content in answers.items() if _same(content, asked)]
  if not found:
    return []
  rows = [_row(*one) for one in found]
  return [html.write(written.Record(folder), NAME, "index.html", {}, title=TEXTS["title_index"], rows=rows,
                     banners=_shared(banners, [one for _, one in found]), ranked=asked["ranked"],
                     about=TEXTS["index_of"].format(count=len(rows), run=pathlib.Path(asked["run"]).name),
                     columns=[name for name in ("subject", "date") if any(row[name] for row in rows)],
                     people=over_time(rows), worst=worst(found))]


def _shared(banners: Callable[[Sequence[dict[str, Any]]], list[dict[str, str]]],
            results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
  """What must be read of all scores, once; what is odd about single videos stands in their rows."""
  first = dict(results[0], warnings=[], simulated=any(one["simulated"] for one in results),
               random_weights=any(one["random_weights"] for one in results))
  return banners([first])


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """An answer; None where the file is none of ours."""
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if "made_from" in content and "models" in content else None
  except (OSError, ValueError, TypeError):
    return None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
  return all(one["made_from"][name] == other["made_from"][name] for name in ("params_sha256", "models"))


def _row(address: str, result: dict[str, Any]) -> dict[str, Any]:
  score = f"{result['score']:.4g}" + (f" ± {result['spread']:.3g}" if result["spread"] is not None else "")
  return dict(address=address, video=result["video"], score=result["score"], words=score,
              percentile=round(result["percentile"], 1), warnings=len(result["warnings"]),
              subject=result.get("subject", ""), date=result.get("date", ""))


def over_time(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns the scores of every person of whom two or more dates are known, as points of a picture, 0 to 100 both ways.

  Args:
    rows: {"subject", "date", "score", "words", "address"}; dates as 2024-05-31.

  Returns:
    [{"subject", "points": [{"x", "y", "label", "address"}], "ends": the first and the last date, "low", "high"}].
  """
  people: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
  for row in rows:
    with contextlib.suppress(ValueError):         # where no date is known
      day = datetime.date.fromisoformat(row["date"]).toordinal()
      people.setdefault(row["subject"], []).append((day, row))
  found = []
  for subject, visits in sorted(people.items()):
    visits.sort(key=lambda visit: visit[0])
    days, shown = zip(*visits)
    if not subject or len(set(days)) < 2:
      continue
    scores = [row["score"] for row in shown]
    wide, high = days[-1] - days[0], (max(scores) - min(scores)) or 1
    points = [dict(x=round(LEFT + (RIGHT - LEFT) * (day - days[0]) / wide, 2),
                   y=round(88 - 76 * (row["score"] - min(scores)) / high, 2),
                   label=f"{row['date']}: {row['words']} ({row['video']})", address=row["address"])
              for day, row in visits]
    found.append(dict(subject=subject, points=points, ends=[shown[0]["date"], shown[-1]["date"]],
                      low=f"{min(scores):.3g}", high=f"{max(scores):.3g}"))
  return found


def worst(found: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
  """Returns the moments that speak against skill, those that count most first: [{"video", "at", "text", "address"}].

  Args:
    found: (address of the page, answer) of every video.
  """
  moments = [(abs(one.get("effect", one.get("share", 0.0))), address, result["video"], one)
             for address, result in found for one in downloads.spans(result) if one["side"] < 0]
  moments.sort(key=lambda item: -item[0])
  return [dict(video=video, at=one["at"], text=one["text"], address=f"{address}#t={one['from']:.2f}")
          for _, address, video, one in moments[:WORST]]
