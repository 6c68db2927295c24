"""Makes pictures of the pages of all systems, to be looked at: python tests/assess/page/screenshots.py OUT

Each page on a screen in light and in the dark, on a phone, and as printed: OUT/<system>_<page>_<look>.png.

Tiny runs on simulated features, beside simulated films that were drawn apart from them: what they say means nothing.
Needs Chromium with its driver, and extra test.
"""

import json
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from jaxskill import compare
from jaxskill.data.simulation import rendered
from tests.assess import own_videos
from tests.assess.page import chromium

SECONDS = 20
LOOKS = dict(light={}, dark=dict(scheme="dark"), phone=dict(width=360), print=dict(media="print", width=800))


def features(run, films):
  """Features of two test videos, noted as those of two films;
  returns their paths, and the category and the difficulty of the first."""
  chosen = run.dataset.folds[0].test_videos
  same = [video for video in chosen if run.dataset.category[video] == run.dataset.category[chosen[0]]]
  notes, paths = {}, []
  for video, film in zip((same if len(same) > 1 else chosen)[:2], films):
    name, seconds = film.stem, json.loads((film.parent / "truth" / f"{film.stem}.json").read_text())["seconds"]
    rows = {stream: seconds / run.dataset.lengths[stream][video] for stream in run.dataset.streams}
    notes[name] = dict(row_seconds=rows, file=str(film), warnings=["the film was drawn apart from the features"])
    paths.append(run.save(video, name=name))
  (run.folder / "extraction.json").write_text(json.dumps(dict(format=1, recipe={}, videos=notes)))
  return paths, str(run.dataset.category[chosen[0]]), float(run.dataset.difficulty[chosen[0]])


def picture(browser, page):
  """A page with its films in the middle, as PNG."""
  browser.get(page.as_uri())
  chromium.until(browser, "return [...document.querySelectorAll('video')].every(video => video.readyState >= 3)")
  browser.execute_script("(jaxskill.players ?? []).forEach(player => player.seek(6))")
  chromium.until(browser, "return [...document.querySelectorAll('video')].every(video => !video.seeking)")
  time.sleep(1)                                   # until the circle goes by which a player says that it waits
  return chromium.whole_page(browser)


def main(out):
  root = pathlib.Path(out).resolve()
  root.mkdir(parents=True, exist_ok=True)
  if not (root / "films").exists():
    rendered.write_videos(root / "films", 2, seconds=SECONDS, fps=10, size=(180, 240), seed=3, command="screenshots")
  films = sorted((root / "films").glob("*.mp4"))
  browser = chromium.start()
  for system in own_videos.SYSTEMS:
    run = own_videos.trained(system)
    files, category, difficulty = features(run, films)
    labels = root / "labels.csv"
    labels.write_text("video,category,difficulty,subject,date\n" + "".join(
        f"{file.stem},{category},{difficulty:g},Ann,2024-0{number}-01\n" for number, file in enumerate(files, 1)))
    run.labels = labels
    shutil.rmtree(root / system, ignore_errors=True)
    run.assess(*files, out=root / system, html=True, pairs_to_label=3)
    compare.run(run.workdir, out=root / system / "comparison", features=files, labels=labels, html=True,
                say=lambda line: None)
    pages = dict(video=min((root / system).glob("*/report.html")), index=root / system / "index.html",
                 comparison=next((root / system / "comparison").rglob("report.html")), pairs=root / system / "pairs.html")
    for name, page in pages.items():
      for look, how in LOOKS.items():
        with chromium.look(browser, **how):
          (root / f"{system}_{name}_{look}.png").write_bytes(picture(browser, page))
  browser.quit()


if __name__ == "__main__":
  main(*sys.argv[1:])
