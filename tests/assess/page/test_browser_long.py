"""Half an hour with 25 curves in a headless Chromium: painted at once, and what is done at each moment stays little."""

import numpy as np
import pytest

from jaxskill import written
from jaxskill.assess import page
from tests.assess.page import chromium, samples
from tests.assess.page.chromium import click, until

pytestmark = chromium.marks()
DURATION, CURVES = 1800.0, 25
WATCH = """
  const player = jaxskill.players[0], draw = player.draw;
  window.draws = 0; window.changed = 0; window.tasks = [];
  player.draw = function (...at) { draws++; return draw.apply(this, at); };
  new MutationObserver(found => { changed += found.length; }).observe(document.body,
    {subtree: true, childList: true, attributes: true, characterData: true});
  new PerformanceObserver(found => found.getEntries().forEach(one => tasks.push(one.duration)))
    .observe({type: 'longtask'});
"""
# of one cursor: its place, two values that are told, the clock, and the value of each curve
CHANGES = 4 + CURVES


@pytest.fixture(scope="module")
def half_an_hour(tmp_path_factory):
  """(its answer, its page): a film of a picture a second, 54000 rows of each curve, and heat maps."""
  root = tmp_path_factory.mktemp("long")
  film = samples.film(root / "film.mp4", DURATION, fps=1)
  result = samples.answer("long", DURATION, rows=54_000, curves=CURVES - 2)
  places = np.random.default_rng(0).random((1800, 14, 14))
  material = page.Material(film, [], dict(places=places), dict(places=np.arange(DURATION)))
  (root / "page").mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(page.downloads, "curves_csv", lambda result: "")             # 87 MB beside the page
    return result, page.of_video(written.Record(root / "page"), result, material, "link")


@pytest.fixture
def opened(browser, half_an_hour):
  result, path = half_an_hour
  browser.get(path.as_uri())
  until(browser, "return document.querySelector('video').readyState >= 3")
  assert browser.execute_script("return document.querySelectorAll('.track .value').length") == CURVES
  browser.execute_script(WATCH)
  return result


def work(browser):
  """(cursors drawn, parts of the page changed, the longest task in ms) since the last call."""
  return browser.execute_async_script("""const done = arguments[0]; requestAnimationFrame(() => setTimeout(() => {
    done([draws, changed, Math.max(0, ...tasks)]); draws = changed = 0; tasks.length = 0; }))""")


def test_it_is_painted_within_a_second(browser, half_an_hour):
  """The best of five openings, for the machine may be busy."""
  path, best = half_an_hour[1], np.inf
  assert path.stat().st_size < 2e6
  for _ in range(5):
    browser.get(path.as_uri())
    best = min(best, until(browser, "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"))
    if best < 1000:
      break
  print(f"first contentful paint of {path.stat().st_size / 1e6:.2f} MB: {best:.0f} ms")
  assert best < 1000


def test_playing_moves_the_cursor_and_nothing_else(browser, opened):
  browser.execute_script("jaxskill.players[0].seek(600)")
  until(browser, "return !jaxskill.players[0].video.seeking")
  work(browser)
  click(browser, "[data-do=play]")
  until(browser, "return jaxskill.players[0].time > 604")
  browser.execute_script("jaxskill.players[0].video.pause()")
  draws, changed, longest = work(browser)
  assert 4 <= draws < 400 and changed <= CHANGES * draws
  assert longest < 1000, "ms in which nothing else can be done"
  at, left = browser.execute_script("return [jaxskill.players[0].time, parseFloat(jaxskill.players[0].cursor.style.left)]")
  assert left / 100 * DURATION == pytest.approx(at, abs=0.5)


def test_clicks_and_moves_along_the_axis_each_draw_once(browser, opened):
  browser.execute_script("document.querySelector('.ticks').scrollIntoView({block: 'center'})")
  box = browser.execute_script("const {x, y, width} = document.querySelector('.ticks').getBoundingClientRect(); return [x, y, width]")

  def mouse(kind, share):
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", dict(
        type=kind, x=box[0] + share * box[2], y=box[1] + 5, button="left", buttons=int(kind != "mouseReleased"), clickCount=1))
    return browser.execute_script("return jaxskill.players[0].at")
  work(browser)
  for share in np.random.default_rng(0).random(10):
    assert mouse("mousePressed", share) == pytest.approx(share * DURATION, abs=3)
    mouse("mouseReleased", share)
  until(browser, "return !jaxskill.players[0].video.seeking")
  clicked = work(browser)
  mouse("mousePressed", 0.2)
  for share in np.linspace(0.2, 0.8, 60):
    assert mouse("mouseMoved", share) == pytest.approx(share * DURATION, abs=3)
  mouse("mouseReleased", 0.8)
  until(browser, f"return Math.abs(jaxskill.players[0].time - 0.8 * {DURATION}) < 3 && !jaxskill.players[0].video.seeking")
  moved = work(browser)
  for (draws, changed, longest), events in ((clicked, 10), (moved, 61)):
    assert events <= draws <= 6 * events + 20 and changed <= CHANGES * draws
    assert longest < 1000, "ms in which nothing else can be done"


def test_a_click_on_a_moment_jumps_there(browser, opened):
  click(browser, ".moments li:nth-child(1) button")
  start = opened["moments"][0]["start"]
  assert start <= browser.execute_script("return jaxskill.players[0].time") < start + 10
