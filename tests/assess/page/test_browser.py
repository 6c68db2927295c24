"""Pages in a headless Chromium, opened from disk: what they load, what a click does, how two videos keep step."""

import json

import numpy as np
import pytest

from jaxskill import written
from jaxskill.assess import page
from tests.assess.page import chromium, samples
from tests.assess.page.chromium import click, until
from tests.data.video.test_decoding import turn

pytestmark = chromium.marks()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Pages of every kind, with films of 8 and 12 seconds."""
  root = tmp_path_factory.mktemp("pages")
  films = [samples.film(root / f"{seconds}.mp4", seconds) for seconds in (8, 12)]
  found, moments = samples.segments(12.0)
  people = [samples.person(seconds, side=0.1, gap=range(60, 70)) for seconds in (8, 12)]
  answers = [samples.answer("first", 8.0), samples.answer(samples.HOSTILE, 12.0, segments=found, moments=moments, score=0.2)]
  for name, result, film, person in zip(("one", "two"), answers, films, people):
    (root / name).mkdir()
    page.of_video(written.Record(root / name), result, samples.material(film, maps=True, points=person), "link")
    (root / name / "assessment.json").write_text(json.dumps(result))
  (root / "both").mkdir()
  aligned = (12 * (np.arange(16) / 15) ** 1.3).tolist()                 # slopes of 0.5 to 1.9
  page.of_comparison(written.Record(root / "both"), samples.comparison(*answers, aligned),
                     [samples.material(film, points=person) for film, person in zip(films, people)], "link", "first is better", "")
  page.of_folder(root, "assessment.json", answers[0])
  return root


@pytest.fixture
def opened(browser, folder):
  """opened(file): opens a page of `folder` anew and waits for its films."""
  def open_page(name):
    browser.get("about:blank")
    for kind in ("browser", "performance"):
      browser.get_log(kind)                                             # what was before is forgotten
    browser.get((folder / name).as_uri())
    until(browser, "return [...document.querySelectorAll('video')].every(video => video.readyState >= 3)")
    return browser
  return open_page


@pytest.mark.parametrize("name", ["one/report.html", "two/report.html", "both/report.html", "index.html"])
def test_pages_open_from_disk_without_errors_and_stay_in_their_folder(opened, folder, name):
  browser = opened(name)
  assert browser.execute_script("return typeof jaxskill") == "object"    # its script has run to the end
  assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
  events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
  asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
  assert asked and all(url.startswith(((folder / name).parent.as_uri(), "data:", "about:")) for url in asked), asked


def test_a_click_on_a_moment_plays_its_span_and_the_cursor_follows(opened):
  browser = opened("one/report.html")
  click(browser, ".moments li:nth-child(2) button")
  assert browser.execute_script("return jaxskill.players[0].span") == [3.5, 5.0]
  assert 3.5 <= browser.execute_script("return document.querySelector('video').currentTime") < 5.5      # at once
  until(browser, "return document.querySelector('video').paused && !document.querySelector('video').seeking")
  ends = browser.execute_script("return document.querySelector('video').currentTime")
  assert 5.0 <= ends < 6.0                                              # it stops where the moment ends
  left = float(until(browser, "return document.querySelector('.cursor').style.left").rstrip("%"))
  assert left / 100 * 8 == pytest.approx(ends, abs=0.15)
  assert browser.execute_script("return document.querySelector('.cursor').ariaValueText").endswith("of 0:08.0")


def test_the_cursor_follows_in_browsers_that_tell_of_no_picture(opened, browser):
  """Without `requestVideoFrameCallback`: by one loop of pictures of the page, which ends where the video does."""
  source = """delete HTMLVideoElement.prototype.requestVideoFrameCallback; window.asked = 0;
              const ask = requestAnimationFrame; requestAnimationFrame = work => { asked++; return ask(work); }"""
  script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", dict(source=source))["identifier"]
  try:
    opened("one/report.html")
    assert browser.execute_script("return asked") == 0
    for _ in range(3):
      click(browser, "[data-do=play]")
    until(browser, "return asked > 10 && jaxskill.players[0].time > 0.5")
    left, at = browser.execute_script("""const {cursor, video, time} = jaxskill.players[0]; video.pause();
                                         return [parseFloat(cursor.style.left), time]""")
    assert left / 100 * 8 == pytest.approx(at, abs=0.3)
    until(browser, "window.before = window.after; window.after = asked; return before === after")
    click(browser, "[data-do=play]")
    browser.execute_script("asked = 0")
    painted = browser.execute_async_script("""let count = 0; const done = arguments[0];
      const next = () => { if (++count < 20) ask(next); else done(count); }; ask(next)""")
    assert browser.execute_script("return asked") <= painted + 10         # not twice for each
  finally:
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", dict(identifier=script))


def test_clicks_and_keys_on_the_time_axis_jump(opened):
  from selenium.webdriver.common.keys import Keys
  browser = opened("one/report.html")
  now = lambda: browser.execute_script("return jaxskill.players[0].time")
  click(browser, ".timeline")                                           # its middle
  assert now() == pytest.approx(4.0, abs=0.05)
  for key, expected in ((Keys.ARROW_RIGHT, 5.0), (Keys.ARROW_LEFT, 4.0), (Keys.HOME, 0.0), (Keys.END, 8.0)):
    browser.switch_to.active_element.send_keys(key)                     # the cursor has the focus since the click
    assert now() == pytest.approx(expected, abs=0.05)
  browser.execute_script("jaxskill.players[0].seek(2.0)")
  for selector, expected in (("[data-do=forward]", 2.15), ("[data-do=back]", 2.05), ("[data-do=back]", 1.95)):
    click(browser, selector)                                            # pictures last 0.1 s: the middle of each
    assert now() == pytest.approx(expected, abs=0.02)
  browser.get(browser.current_url.partition("#")[0] + "#t=3.25")
  browser.refresh()
  until(browser, "return Math.abs(jaxskill.players[0].time - 3.25) < 0.05")


def test_a_page_within_a_notebook_plays(browser, folder, tmp_path):
  """As one element of another page; what a stranger's name holds is no film."""
  (tmp_path / "notebook.html").write_text(f"<p>{page.html.inline(folder / 'two' / 'report.html')}</p>")
  browser.get((tmp_path / "notebook.html").as_uri())
  browser.switch_to.frame(0)
  until(browser, "return [...document.querySelectorAll('video')].every(video => video.readyState >= 3)")
  click(browser, ".moments li:nth-child(1) button")
  until(browser, "return jaxskill.players[0].time > 0.5 && !jaxskill.players[0].video.paused")
  assert browser.execute_script("return document.querySelector('h1').textContent.includes(arguments[0])", samples.HOSTILE)
  browser.switch_to.default_content()


def test_heat_maps_follow_the_time_and_the_slider(opened):
  browser = opened("one/report.html")
  shown = """const {width, height} = jaxskill.players[0].heat.map;
             return [...jaxskill.players[0].heat.context.getImageData(0, 0, width, height).data]
               .filter((_, place) => place % 4 === 3)"""
  browser.execute_script("jaxskill.players[0].seek(1.0)")                # half way between two maps
  half = until(browser, shown)
  assert half[1] == half[4] == pytest.approx(0.5 * 255 * 0.6, abs=2) and half[7] == 0
  browser.execute_script("""const slider = document.querySelector('[data-do=opacity]');
                            slider.value = 0; slider.dispatchEvent(new Event('input'))""")
  assert not any(browser.execute_script(shown))
  box = browser.execute_script("""const [a, b] = ['canvas', 'video'].map(name =>
    document.querySelector(name).getBoundingClientRect()); return [a.width, a.height, b.height]""")
  assert box[0] == box[1] == pytest.approx(box[2], abs=1)                # the middle square of an oblong film


PAINTED = """const [x, y, number = 0] = arguments, {canvas, context} = jaxskill.players[number].skeleton;
  return [...context.getImageData(x * canvas.width - 2, y * canvas.height - 2, 5, 5).data].some(Boolean)"""
ANYTHING = """const {canvas, context} = jaxskill.players[arguments[0] ?? 0].skeleton;
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data].some(Boolean)"""


def test_the_skeleton_is_where_the_landmarks_are_and_goes_when_it_is_toggled(opened):
  """It moves to the right by a sixteenth of the picture a second; nobody is seen from 6 to 7 s."""
  browser = opened("one/report.html")
  seek = lambda at: browser.execute_script("jaxskill.players[0].seek(arguments[0])", at)
  for at in (2.05, 5.05, 2.05):                                         # within a picture, which stays for .1 s
    seek(at)
    middle = 0.25 + (at - 0.05) / 16
    for side in (-0.1, 0.1):                                            # shoulders, hips and what joins them
      for down in (0.1, 0.2, 0.35):
        assert browser.execute_script(PAINTED, middle + side, 0.25 + down), (at, side, down)
    assert browser.execute_script(PAINTED, middle, 0.35) and not browser.execute_script(PAINTED, middle + 0.2, 0.35)
    assert not browser.execute_script(PAINTED, middle, 0.45)
  box = browser.execute_script("""const [a, b] = ['canvas.skeleton', 'video'].map(name =>
    document.querySelector(name).getBoundingClientRect()); return [a.width, a.height, b.height, a.left + a.width / 2,
    b.left + b.width / 2]""")
  assert box[0] / box[1] == pytest.approx(64 / 48, abs=0.02) and box[1] == pytest.approx(box[2], abs=1)
  assert box[3] == pytest.approx(box[4], abs=1)                          # as large as what is shown of the film
  seek(6.55)
  assert not browser.execute_script(ANYTHING)
  seek(2.05)
  for toggle in (lambda: click(browser, "[data-do=skeleton]"), lambda: browser.find_element("css selector", "body").send_keys("s")):
    for shown in (False, True):
      browser.execute_script("document.activeElement.blur()")
      toggle()
      assert browser.execute_script(ANYTHING) == shown
      assert browser.execute_script("return document.querySelector('[data-do=skeleton]').checked") == shown


def test_the_skeleton_lies_on_a_film_that_is_turned(browser, folder):
  film = turn(samples.film(folder / "turned.mp4", 1.0), (0, 1, -1, 0))
  (folder / "turned").mkdir()
  person = samples.person(1.0, size=(48, 64), side=0.1)
  path = page.of_video(written.Record(folder / "turned"), samples.answer("turned", 1.0), samples.material(film, points=person), "link")
  browser.get(path.as_uri())
  until(browser, "return document.querySelector('video').readyState >= 3")
  assert browser.execute_script("const {width, height} = document.querySelector('canvas.skeleton'); return width / height"
                                ) == pytest.approx(48 / 64, abs=0.02)
  for side, down in ((-0.1, 0.1), (0.1, 0.35), (0, 0.1)):
    assert browser.execute_script(PAINTED, 0.25 + side, 0.25 + down)
  assert not browser.execute_script(PAINTED, 0.25, 0.45)


def test_both_players_of_a_comparison_have_a_skeleton(opened):
  browser = opened("both/report.html")
  browser.execute_script("jaxskill.players[0].seek(2.05)")
  assert browser.execute_script(PAINTED, 0.25 + 2 / 16 - 0.1, 0.35, 0) and browser.execute_script(ANYTHING, 1)
  browser.find_element("css selector", "body").send_keys("s")
  assert not browser.execute_script(ANYTHING, 0) and not browser.execute_script(ANYTHING, 1)


CHOOSE = """const mode = document.querySelector('[data-do=sync]');
            mode.value = arguments[0]; mode.dispatchEvent(new Event('change'))"""
APART = """window.apart = []; window.jumps = 0;
  const [first, second] = jaxskill.players;
  second.video.addEventListener('seeking', () => jumps++);
  setInterval(() => { if (!first.video.paused && !first.video.seeking && !second.video.seeking)
    apart.push([first.time, second.time, jaxskill.together.target(first.time)]); }, 50)"""


@pytest.mark.parametrize("mode, seconds, expected", [
    ("alignment", 5.5, lambda at: np.interp(at, (np.arange(16) + 0.5) / 2, 12 * (np.arange(16) / 15) ** 1.3)),
    ("clock", 2.5, lambda at: at), ("fraction", 2.5, lambda at: 1.5 * at), ("pin", 3.5, lambda at: at + 2.0)])
def test_two_players_stay_in_step(opened, mode, seconds, expected):
  browser = opened("both/report.html")
  browser.execute_script(APART)
  browser.execute_script(CHOOSE, "none" if mode == "pin" else mode)
  if mode == "pin":
    browser.execute_script("jaxskill.players[0].seek(1.0); jaxskill.players[1].seek(3.0)")
    click(browser, "[data-do=pin]")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, f"return jaxskill.players[0].time > {seconds}")
  first, second, target = np.array(browser.execute_script("return apart")).T
  assert target == pytest.approx(expected(first), abs=1e-3)
  apart = np.abs(second - target)[first > first[0] + 0.5]
  assert len(apart) > 4 * seconds - 2 and apart.max() < 0.15, apart.max()
  assert browser.execute_script("return jumps") < 10                     # its rate follows the slope
  assert browser.execute_script("return jaxskill.players.map(one => one.video.muted)") == [False, True]


def test_a_player_that_is_off_jumps_back(opened):
  """One that is off by a little more than a tenth of a second, too: its rate alone would take a second for that."""
  browser = opened("both/report.html")
  browser.execute_script(APART)
  click(browser, "[data-player='0'] [data-do=play]")
  for off in (6.0, -0.3):
    browser.execute_script("jaxskill.players[0].seek(2.0)")
    until(browser, "return jaxskill.players[0].time > 2.3 && !jaxskill.players[1].video.seeking")
    browser.execute_script("jumps = 0; jaxskill.players[1].video.currentTime += arguments[0]", off)
    until(browser, "return jumps >= 2 || jaxskill.players[0].time > 6")
    assert browser.execute_script("return jumps") >= 2                   # ours, and one back


def test_a_moment_of_the_second_video_plays_both(opened):
  browser = opened("both/report.html")
  click(browser, ".moment[data-player='1']")                            # in the table: 0 to 3 s of the second
  until(browser, "return jaxskill.players[1].time > 1")
  assert browser.execute_script("return jaxskill.players.map(one => one.video.paused)") == [False, False]
  until(browser, "return jaxskill.players.every(one => one.video.paused)")
  first, second = browser.execute_script("return jaxskill.players.map(one => one.time)")
  assert 2.9 < second < 3.5 and 2.7 < first < 3.5                        # where the alignment has 3 s
  click(browser, "[data-player='1'] [data-do=play]")
  until(browser, "return jaxskill.players.every(one => !one.video.paused)")
  browser.execute_script("jaxskill.players[1].video.pause()")           # by the browser's own button
  until(browser, "return jaxskill.players.every(one => one.video.paused)")


def test_steps_by_clock_fraction_and_pin(opened):
  browser = opened("both/report.html")
  for mode, expected in (("clock", 4.0), ("fraction", 6.0)):
    browser.execute_script(CHOOSE, mode)
    browser.execute_script("jaxskill.players[0].seek(4.0)")
    assert browser.execute_script("return jaxskill.players[1].time") == pytest.approx(expected, abs=0.02)
  browser.execute_script(CHOOSE, "none")
  browser.execute_script("jaxskill.players[0].seek(2.0); jaxskill.players[1].seek(5.0)")
  click(browser, "[data-do=pin]")
  browser.execute_script("jaxskill.players[0].seek(3.0)")
  assert browser.execute_script("return jaxskill.players[1].time") == pytest.approx(6.0, abs=0.02)
  browser.execute_script("jaxskill.players[1].seek(9.0)")                # the first follows as well
  assert browser.execute_script("return jaxskill.players[0].time") == pytest.approx(6.0, abs=0.02)


def test_the_index_is_sorted_by_a_click(opened):
  browser = opened("index.html")
  names = "return [...document.querySelectorAll('tbody th')].map(cell => cell.textContent)"
  click(browser, "th:nth-child(2) button")
  assert browser.execute_script(names) == [samples.HOSTILE, "first"]
  click(browser, "th:nth-child(2) button")
  assert browser.execute_script(names) == ["first", samples.HOSTILE]
  assert browser.execute_script("return document.querySelector('th:nth-child(2)').ariaSort") == "descending"


@pytest.mark.parametrize("name", ["one/report.html", "two/report.html", "both/report.html", "index.html"])
@pytest.mark.parametrize("width, scheme", [(360, "dark"), (360, "light"), (1300, "dark")])
def test_pages_fit_a_phone_and_the_dark(opened, name, width, scheme):
  """Nothing sticks out, and every text has a contrast of 4.5 at least."""
  browser = opened(name)
  with chromium.look(browser, width, scheme):
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    poor = browser.execute_script(CONTRAST)
  assert not poor, poor


CONTRAST = """
const parts = color => color.match(/[\\d.]+/g).map(Number);
const light = color => parts(color).slice(0, 3).map(part => part / 255)
  .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
const behind = element => { for (; element; element = element.parentElement) {
  const back = getComputedStyle(element).backgroundColor, [, , , alpha = 1] = parts(back); if (alpha === 1) return back; }
  return 'rgb(255, 255, 255)'; };
return [...document.querySelectorAll('h1, h2, p, li, b, span, td, th, dt, dd, button, figcaption, a, label, output, small')]
  .filter(element => element.innerText?.trim()).map(element => {
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    return [(a + 0.05) / (b + 0.05), element.outerHTML.slice(0, 80)]; }).filter(([ratio]) => ratio < 4.5)
"""


@pytest.mark.parametrize("name", ["one/report.html", "both/report.html", "index.html"])
def test_everything_that_can_be_used_has_a_name_and_is_reached_by_tab(opened, name):
  from selenium.webdriver.common.keys import Keys
  browser = opened(name)
  unnamed = browser.execute_script("""return [...document.querySelectorAll('button, select, input, a, video, [role=slider]')]
    .filter(one => !(one.ariaLabel || one.title || one.textContent.trim() || one.closest('label')?.textContent.trim() ||
                     one.querySelector('img')?.alt)).map(one => one.outerHTML)""")
  assert not unnamed
  assert not browser.execute_script("return [...document.querySelectorAll('img')].filter(one => !one.alt).length")
  browser.execute_script("""window.missed = new Set([...document.querySelectorAll('button, select, input, a, [role=slider]')]
    .filter(one => one.checkVisibility()));""")
  assert browser.execute_script("return missed.size") > 3
  for _ in range(150):                                                  # those of the browser's own player among them
    browser.switch_to.active_element.send_keys(Keys.TAB)
    if not browser.execute_script("missed.delete(document.activeElement); return missed.size"):
      break
  assert not browser.execute_script("return [...missed].map(one => one.outerHTML)")


def test_a_gap_of_a_curve_and_uneven_pictures(browser, folder):
  """A row without a number shows none; a step goes to the next of three pictures."""
  result = samples.answer("odd", 8.0)
  result["attention"]["for"]["values"][2] = float("nan")
  (folder / "odd").mkdir()
  path = page.of_video(written.Record(folder / "odd"), result, samples.material(folder / "8.mp4"), "link")
  path.write_text(path.read_text().replace('"shown": {', '"shown": {"times": [0.0, 2.0, 7.0]}, "was": {'))
  browser.get(path.as_uri())
  until(browser, "return document.querySelector('video').readyState >= 3")
  shown = "jaxskill.players[0].seek(arguments[0]); return document.querySelector('.value').textContent"
  assert browser.execute_script(shown, 1.2) == "" and float(browser.execute_script(shown, 2.2)) > 0
  for selector, expected in (("[data-do=forward]", 7.01), ("[data-do=back]", 4.5), ("[data-do=back]", 1.0)):
    click(browser, selector)
    assert browser.execute_script("return jaxskill.players[0].time") == pytest.approx(expected, abs=0.02)


def test_print_shows_curves_and_no_player(opened):
  browser = opened("one/report.html")
  shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
  with chromium.look(browser, media="print"):
    found = {name: browser.execute_script(shown, name) for name in (".screen", ".controls", ".sentence", ".track", ".key")}
  assert found.pop(".screen") == found.pop(".controls") == "none" and "none" not in found.values()
