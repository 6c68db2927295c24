"""The work of `jaxskill.compare.run`: which of two new videos is better, how sure that is, which moments decide."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxskill import cli, files, written
from jaxskill.assess import arguments, earlier, new_videos, scoring
from jaxskill.methods import Assessment
from jaxskill.report import certainty, explain, wording
from jaxskill.training import finished_run

NAME = earlier.COMPARISON


def run(workdir: str | os.PathLike[str], sources: new_videos.Sources, models: explain.Models, out: str,
        say: Callable[[str], None], pages: arguments.Pages = arguments.Pages()) -> dict[str, Any]:
  """Compares two videos; returns what `jaxskill.compare.run` does, which says when it raises a `ValueError`.

  For the arguments see `scoring.run`.
  """
  given = sources.videos or sources.features
  if pages.pairs_to_label:
    raise ValueError("--pairs-to-label is of jaxskill.assess: two videos are one pair.")
  trained = finished_run.load(workdir, models.checkpoint)
  if models.free_ends and not trained.method.items.aligns:
    raise ValueError("--free-ends: the method of this run aligns no videos in time; leave it out.")
  answers = scoring.folder_of(trained, out, earlier.COMPARISONS)
  ids, words = explain.choose(trained, models)
  shown = pages.shown(others=bool(sources.extraction.weights))
  videos, failed = scoring.read_videos(trained, sources, out, say, pages)
  if failed:
    raise ValueError("; ".join(f"{name}: {why}" for name, why in failed.items()))
  if len(videos) != 2:
    raise ValueError(f"two videos are compared, but {', '.join(given)} is {len(videos)}; give two.")
  folder = answers / "_vs_".join(files.folder(video.name.replace("/", "_")) for video in videos)
  source = scoring.made_from(trained, videos, ids) | (dict(free_ends=True) if models.free_ends else {})
  scoring.check_free(folder / NAME, source)
  if pages.html:
    from jaxskill.assess import page  # Jinja2 is an extra
    page.check(folder, {video.file.resolve() for video in videos}, pages.films, page.BOTH)
  assessments = trained.assess(videos)
  ahead = np.subtract(*np.asarray(assessments.score, np.float64)[ids].T).mean()            # as in `difference`
  order = [1, 0] if ahead < 0 else [0, 1]                                                  # the better one first
  picked = [explain.pick(assessments, ids, number) for number in order]
  videos = [videos[number] for number in order]
  results = [scoring.answer_of(trained, video, one, ids, words, models.level) for video, one in zip(videos, picked)]
  result = difference(trained, results, np.stack([np.asarray(one.score) for one in picked]), ids)
  warnings = [warning for one in results for warning in one["warnings"]]
  result |= certainty.of_pair(trained, np.stack([one.score for one in picked]), ids, models.level, warnings)
  result["direct"], extra = directly(trained, videos, results, np.asarray(assessments.score)[:, order].T, ids,
                                     models.free_ends)
  result["moments"] = decided(results, extra)
  result |= dict(format=scoring.FORMAT, shown=shown, checkpoint=trained.checkpoint, made_from=source,
                 videos=results, cautions=wording.cautions(*results))
  maps = [explain.maps(trained, video, one) for video, one in zip(videos, picked)]
  paths = write(folder, videos, result, maps, extra, pages)
  if pages.hides:
    result["failed"] |= earlier.forget(answers, trained.folder, videos, (), shown, [folder], say)
  say(describe(result))
  for what, why in result["failed"].items():
    say(f"failed: the {what} {cli.plain(why)}")
  say("wrote " + "\n      ".join(cli.plain(path) for path in (folder / NAME, *paths)))
  return result


def write(folder: pathlib.Path, videos: Sequence[new_videos.NewVideo], result: dict[str, Any], maps: Sequence[tuple],
          extra: dict[str, Any], pages: arguments.Pages) -> list[pathlib.Path]:
  """Writes the answer, its picture, whose name it notes in `result`, and its page; returns the paths of both.

  Args:
    maps: of both videos; extra: of `directly`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  record, results = written.Record(folder), result["videos"]
  if pages.hides:
    record.remove_old()                    # as in `scoring.write`
  result["pictures"], undrawn = scoring.draw_into(record, lambda pictures, new: [pictures.draw_comparison(
      new / "comparison.png", videos, results, maps, extra, headline(result), keys(result))])
  files.save_json(folder / NAME, result)
  paths, faults = [folder / name for name in result["pictures"]], dict(picture=undrawn) if undrawn else {}
  if pages.html:
    from jaxskill.assess import page  # Jinja2 is an extra
    larger_than = larger(result) if result["larger_than_training_pairs"] is not None else ""
    try:
      shown = [scoring.material(video, one, *heat) for video, one, heat in zip(videos, results, maps)]
      paths.append(page.of_comparison(record, result, shown, pages.films, headline(result), larger_than))
    except (ValueError, OSError) as error:
      faults["page"] = f"cannot be written: {error}"
  if pages.hides and (left := record.remove_old(*earlier.MAY_SHOW)):
    faults["earlier files"] = earlier.stay(left)
  result["failed"] = faults
  return paths


def difference(trained: finished_run.FinishedRun, results: Sequence[dict[str, Any]], scores: np.ndarray,
               ids: np.ndarray) -> dict[str, Any]:
  """Returns how far the first of two videos is ahead.

  Args:
    scores: `[2, n]` by the models `ids`.
  """
  gap = np.asarray(scores[0], np.float64) - np.asarray(scores[1], np.float64)
  ranks = []
  for model, one in zip(ids, gap):
    training = trained.training_scores(model)
    apart = np.abs(training[:, None] - training)[np.triu_indices(len(training), 1)]
    if apart.size:
      ranks.append(explain.percentile(abs(one), apart))
  return dict(
      better=results[0]["video"], worse=results[1]["video"], equal=bool(gap.mean() == 0), difference=float(gap.mean()),
      spread=float(gap.std(ddof=1)) if len(gap) > 1 else None, models=len(gap), agreeing=int((gap > 0).sum()),
      ranked=results[0]["ranked"], training_videos=results[0]["training_videos"],
      unit=results[0]["unit"], of=results[0]["of"],
      larger_than_training_pairs=float(np.mean(ranks)) if ranks else None,
      parts={name: value - results[1]["parts"][name] for name, value in results[0]["parts"].items()
             if not name.startswith("spread")})


def directly(trained: finished_run.FinishedRun, videos: Sequence[new_videos.NewVideo],
             results: Sequence[dict[str, Any]], scores: np.ndarray, ids: np.ndarray,
             free_ends: bool = False) -> tuple[dict[str, Any] | None, dict[str, Any]]:
  """Compares one video with the other, where the system compares videos.

  Args:
    scores: `[2, R]` of both.
    free_ends: whether the shorter one is aligned with a piece of the longer one.

  Returns:
    ({"difference" by the models, mean, and "spread"} or None, what of it is drawn).
  """
  items = trained.method.items
  if not items.compares:
    return None, {}
  count = scores.shape[1]
  for video, reference in () if free_ends else (videos, videos[::-1]):                     # what they have is a band
    rows = {stream: np.array([len(reference.arrays[stream])]) for stream in reference.arrays}
    trained.method.check(finished_run.as_dataset(trained, [video], str(video.file)), rows)
  other = np.repeat(np.array([1, 0], np.int32)[:, None, None], count, axis=1)              # [2, R, 1]
  found = (with_free_ends if free_ends else finished_run.FinishedRun.assess)(trained, videos, against=(other, scores))
  gap = items.lead(np.asarray(found.score, np.float64).T, scores)[ids]
  one, extra = explain.pick(found, ids, 0), {}
  if one.alignment is not None:
    places = np.asarray(one.alignment[:, 0], np.float64).mean(axis=0)
    stream = trained.method.streams[0]
    extra["alignment"] = at_places(places[: len(videos[0].arrays[stream])], videos[1], stream).tolist()
  if one.distribution:
    extra["distribution"] = explain.distribution(one)
  how = items.how + (", a piece of the longer one aligned" if free_ends else "")
  return dict(how=how, difference=float(gap.mean()), spread=float(gap.std(ddof=1)) if len(gap) > 1 else None,
              agrees=bool(gap.mean() > 0), **extra), extra


def with_free_ends(trained: finished_run.FinishedRun, videos: Sequence[new_videos.NewVideo],
                   against: tuple[np.ndarray, np.ndarray]) -> Assessment:
  """Returns assessments `[R, 2, ...]` of two videos against one another, a piece of the longer one aligned."""
  rows = [len(video.arrays[trained.method.streams[0]]) for video in videos]
  longer = int(rows[1] > rows[0])
  ways = [trained.with_free_ends("query" if number == longer else "reference").assess(videos, against)
          for number in range(2)]
  return jax.tree.map(lambda first, second: np.stack([first[:, 0], second[:, 1]], axis=1), *ways)


def at_places(places: np.ndarray, video: new_videos.NewVideo, stream: str) -> np.ndarray:
  """Returns the seconds of places among the T rows of a stream, 0 to T: the middle of the first row is at .5."""
  start, end = explain.rows_in_time(video, stream)
  return np.interp(places, np.arange(len(start) + 1), np.append(start, end[-1]))


def decided(results: Sequence[dict[str, Any]], extra: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the moments that decide between two videos: those that both show and segments differ, else of each."""
  better, worse = results
  if not better["segments"] or "alignment" not in extra:
    return [dict(video=one["video"]) | moment for one in results for moment in one["moments"]]
  found, aligned = [], np.array(extra["alignment"])
  start = np.array(better["row_times"]["start"])
  ends = np.array([segment["end"] for segment in worse["segments"]])
  score = np.array([segment["score"] for segment in worse["segments"]])
  for segment in better["segments"]:
    seen = aligned[(start >= segment["start"] - 1e-6) & (start < segment["end"] - 1e-6)]
    other = score[np.minimum(np.searchsorted(ends, seen, side="right"), len(score) - 1)].mean()
    found.append(dict(what="segment", start=segment["start"], end=segment["end"],
                      at=wording.span(segment["start"], segment["end"]), other_at=wording.span(seen.min(), seen.max()),
                      other_start=float(seen.min()), other_end=float(seen.max()),
                      difference=float(segment["score"] - other), importance=segment["importance"]))
  return sorted(found, key=lambda one: -abs(one["difference"] * one["importance"]))[: explain.MOMENTS]


def keys(result: dict[str, Any]) -> list[list[dict[str, Any]]]:
  """Returns the moments of both videos that are worth a picture, see `explain.key_moments`.

  They are what decides between the two where both show the same, else what decided on each.
  """
  found, shared = [], [moment for moment in result["moments"] if "video" not in moment]
  for number, one in enumerate(result["videos"]):
    start, end = ("other_start", "other_end") if number else ("start", "end")
    moments = [dict(what=str(place), words="decides between the two", peak=(moment[start] + moment[end]) / 2,
                    side=int(np.sign(moment["difference"])) * (-1 if number else 1))
               for place, moment in enumerate(shared)]
    found.append(explain.key_moments(one | dict(moments=moments) if shared else one))
  return found


def headline(result: dict[str, Any]) -> str:
  """Returns who is better, in a line that begins with what must be known first."""
  better, worse = cli.short(result["better"]), cli.short(result["worse"])
  if result["equal"]:
    return wording.warned(f"{better} and {worse} score the same", *result["videos"])
  clear = result["models"] == 1 or result["agreeing"] > result["models"] / 2
  sure = (f"{'' if clear else 'only '}{result['agreeing']} of {result['models']} models agree" if result["models"] > 1
          else "one model, so nothing is known of its certainty")
  spread = f" ± {result['spread']:.3g}" if result["spread"] is not None else ""
  gap = f"by {result['difference']:.3g}{spread}" + (" in rank score, no unit" if result["ranked"] else " in score")
  verdict = "is better than" if clear else "may be better than"
  return wording.warned(f"{better} {verdict} {worse} ({gap}); {sure}", *result["videos"])


def larger(result: dict[str, Any]) -> str:
  """Returns where the difference stands among those between training videos, in words."""
  count, percent = result["training_videos"], result["larger_than_training_pairs"]
  pairs = count * (count - 1) // 2
  if count < wording.FEW:
    return f"about {percent * pairs / 100:.0f} of the {pairs} differences between the {count} training videos"
  return f"{percent:.0f} % of the differences between the {count} training videos"


def describe(result: dict[str, Any]) -> str:
  """Returns the comparison as lines of text."""
  lines = [headline(result)]
  sure = ""
  if result["probability"] is not None:
    sure = ("neither is more likely to be the better one; " if result["equal"] else
            f"{wording.percent(result['probability'])} probable that it is; ")
  lines.append(f"  {sure}{result['probability_means']}")
  for video in result["videos"]:
    lines += [f"  {cli.plain(video['video'])}: {wording.standing(video)}"]
    lines += [f"    warning: {cli.plain(warning)}" for warning in video["warnings"]]
  if result["larger_than_training_pairs"] is not None:
    lines.append(f"  the difference is larger than {larger(result)}")
  if result["parts"]:
    lines.append("  of it: " + ", ".join(f"{name} {value:+.3g}" for name, value in result["parts"].items()))
  if result["direct"]:
    agrees = "which agrees" if result["direct"]["agrees"] else "which DISAGREES: take them for equally good"
    lines.append(f"  compared directly: {result['direct']['difference']:+.3g}, {agrees} ({result['direct']['how']})")
  better, worse = cli.plain(result["better"]), cli.plain(result["worse"])
  for video in result["videos"]:
    moments = [one for one in result["moments"] if one.get("video") == video["video"]]
    lines += [f"  {cli.plain(video['video'])}, {line}" for line in explain.moment_lines(video, moments)]
  for one in result["moments"]:
    if "video" not in one:
      lines.append(f"  {better} {one['at']} against {worse} {one['other_at']}: {one['difference']:+.3g} in the score "
                   f"of this part (counts {wording.percent(one['importance'])})")
  return "\n".join(lines)
