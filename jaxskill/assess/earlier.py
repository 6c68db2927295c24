"""What earlier answers show of videos that nothing is to show any more: their pages, films and pictures go."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Collection, Sequence

from etils import epath

from jaxskill import cli, stores, written
from jaxskill.assess.arguments import SHOWN
from jaxskill.training.finished_run import NewVideo

ASSESSMENT, COMPARISON = "assessment.json", "comparison.json"
ASSESSMENTS, COMPARISONS = "assessments", "comparisons"      # folders of a run that hold them by default
MAY_SHOW = (".html", ".png", ".mp4", ".webm")      # endings of what an answer may have beside it


def forget(answers: pathlib.Path, workdir: epath.Path, videos: Sequence[NewVideo], failed: Collection[str],
           shown: str, new: Collection[pathlib.Path], say: Callable[[str], None]) -> dict[str, str]:
  """Removes what is beside earlier answers about videos that show more of them, and pages of pairs; the answers stay.

  Args:
    answers: folder of the answers; workdir: of the run, where they lie by default: both are searched.
    videos: those that were read, known by their features and names; failed: names of those that were not.
    shown: of `arguments.SHOWN`: an answer that shows no more keeps what it has.
    new: folders of the answers of this command.
    say: called with each text for the user.

  Returns:
    {what stays: why}.
  """
  from jaxskill.assess.page import pairs
  beside = [pathlib.Path(workdir) / name for name in (ASSESSMENTS, COMPARISONS)] if stores.is_local(workdir) else []
  places = {place.resolve() for place in (answers, *beside)}
  digests, ours = {video.digest for video in videos}, {folder.resolve() for folder in new}
  names = {*failed, *(video.name for video in videos)}           # features may be others by now
  found = {path.parent for place in places for name in (ASSESSMENT, COMPARISON) for path in place.rglob(name)
           if path.parent not in ours and _shows(path, digests, names, shown)}
  paged = places | {path.parent for place in places for path in place.rglob(pairs.NAME)}
  pages = [folder / pairs.NAME for folder in sorted(paged) if (folder / pairs.NAME).exists()]
  faults = {}
  for remove, folders in ((pairs.remove, paged), (_remove, found)):
    for folder in sorted(folders):
      try:
        if left := remove(folder):
          faults[f"earlier files in {folder}"] = stay(left)
      except (ValueError, OSError) as error:
        faults[f"earlier files in {folder}"] = str(error)
  if gone := [page for page in pages if not page.exists()]:
    say("removed pages of pairs, for nothing notes which videos they show; --pairs-to-label makes them anew: "
        + ", ".join(map(cli.plain, gone)))
  if bare := sorted(folder for folder in found if f"earlier files in {folder}" not in faults):
    say("nothing beside these earlier answers shows the videos any more: " + ", ".join(map(cli.plain, bare)))
  return faults


def _remove(folder: pathlib.Path) -> list[str]:
  return written.Record(folder).remove_old(*MAY_SHOW)


def _shows(path: pathlib.Path, digests: Collection[str], names: Collection[str], shown: str) -> bool:
  """Returns whether an answer is about a video of these features or names, and shows more of it than is to be shown."""
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    about = content["videos"] if "videos" in content else [content]
    told = not set(digests).isdisjoint(content["made_from"]["features"]) or not set(names).isdisjoint(
        one["video"] for one in about)
    return told and SHOWN.index(content.get("shown", SHOWN[-1])) > SHOWN.index(shown)
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):             # none of ours
    return False


def stay(left: Sequence[str]) -> str:
  """Returns why files of an earlier answer are still there, where nothing may show a video."""
  return (f"{', '.join(left)}: may show the video, but others changed it since jaxskill wrote it, nothing notes that "
          "jaxskill did, or it is the last name of a film; remove it yourself, or move it away if it is yours.")
