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


def test_a_moment_that_ends_with_the_film_is_repeated(opened):
  """Also where the film is a picture shorter than the answer says; and the second film goes with it."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  browser.execute_script("""window.passes = 0; const {video} = jaxskill.players[0];
    video.addEventListener('seeking', () => { if (video.currentTime < 7.5) passes++; })""")
  click(browser, "[data-player='0'] [data-do=play]")
  for end in (8.0, 8.1):
    browser.execute_script("document.querySelector('[data-do=repeat]').checked = true")
    browser.execute_script("passes = 0; jaxskill.players[0].play([7.2, arguments[0]])", end)
    until(browser, "return passes >= 3")
    until(browser, "return jaxskill.players.every(one => !one.video.paused && one.time > 7.3 && one.time < 8)")
    browser.execute_script("document.querySelector('[data-do=repeat]').checked = false")
    until(browser, "return jaxskill.players.every(one => one.video.paused && one.span === null && one.time > 7.7)")


@pytest.mark.parametrize("seconds", ["1.2.3", ".", "", "abc", "9" * 400])
def test_a_link_to_a_time_that_is_none_breaks_nothing(browser, folder, seconds):
  browser.get("about:blank")
  browser.get_log("browser")
  browser.get(f"{(folder / 'one' / 'report.html').as_uri()}#t={seconds}")
  assert browser.execute_script("return typeof jaxskill") == "object" and not browser.get_log("browser")


def test_keys_move_the_player_that_has_the_focus(opened):
  """Also from one of its buttons, and from a moment of its list; the first where none has it."""
  from selenium.webdriver.common.keys import Keys
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "none")
  for place, moved in (("[data-player='1'] .cursor", 1), ("[data-player='1'] [data-do=forward]", 1),
                       (".moments [data-player='1']", 1), ("[data-player='0'] .cursor", 0), ("body", 0)):
    browser.execute_script("""document.activeElement.blur(); document.querySelector(arguments[0]).focus();
                              for (const player of jaxskill.players) player.seek(2.05)""", place)
    browser.switch_to.active_element.send_keys(".")
    times = browser.execute_script("return jaxskill.players.map(one => one.time)")
    assert times[moved] == pytest.approx(2.15, abs=0.01) and times[1 - moved] == pytest.approx(2.05, abs=0.01), place
  browser.execute_script("document.querySelector('[data-player=\"1\"] .cursor').focus()")
  browser.switch_to.active_element.send_keys(Keys.SPACE)
  until(browser, "return !jaxskill.players[1].video.paused && jaxskill.players[0].video.paused")


def test_keys_of_the_browser_stay_its_own(browser, opened, tmp_path):
  """Space scrolls where there is no film, Alt with an arrow goes back, and no other button of the mouse drags."""
  path = page.of_video(written.Record(tmp_path), samples.answer(), samples.material(tmp_path / "gone.mp4"), "none")
  press = """const event = new KeyboardEvent('keydown', {bubbles: true, cancelable: true, ...arguments[1]});
             return document.querySelector(arguments[0]).dispatchEvent(event)"""
  browser.get(path.as_uri())
  assert browser.execute_script(press, "body", dict(key=" "))
  opened("one/report.html")
  assert not browser.execute_script(press, "body", dict(key=" "))
  for how in ("altKey", "ctrlKey", "metaKey"):
    assert browser.execute_script(press, ".cursor", {"key": "ArrowLeft", how: True})
  browser.execute_script("""jaxskill.players[0].video.pause(); jaxskill.players[0].seek(1.0);
    const axis = document.querySelector('.timeline');
    for (const kind of ['pointerdown', 'pointermove']) {
      axis.dispatchEvent(new PointerEvent(kind, {bubbles: true, button: 2, buttons: 2, clientX: 500})); }""")
  assert browser.execute_script("return jaxskill.players[0].time") == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_a_second_film_that_ends_first_rests_at_its_end(opened, missing):
  """And is not played anew; also where it is shorter than the answer says. It goes on where the first is moved back."""
  browser = opened("both/report.html")
  browser.execute_script(APART)
  browser.execute_script("jaxskill.players[1].about.duration += arguments[0]", missing)
  browser.execute_script(CHOOSE, "none")
  browser.execute_script("jaxskill.players[0].seek(1.0); jaxskill.players[1].seek(9.0)")
  click(browser, "[data-do=pin]")
  browser.execute_script("jaxskill.players[0].seek(3.4)")
  until(browser, "return !jaxskill.players[1].video.seeking")
  browser.execute_script("jumps = 0; jaxskill.players[0].play()")
  until(browser, "return jaxskill.players[0].time > 5.5")
  jumps, second, ended = browser.execute_script("const {time, video} = jaxskill.players[1]; return [jumps, time, video.ended]")
  assert jumps <= 3 and second > 11.8 and ended
  browser.execute_script("jaxskill.players[0].seek(2.0)")
  until(browser, """const [first, second] = jaxskill.players;
                    return !second.video.paused && first.time < 3.5 && Math.abs(second.time - first.time - 8) < 0.2""")


def test_times_of_the_second_are_found_in_the_first(opened):
  """To the millisecond in half an hour, whatever keeps them in step; the ends are its own where it has none."""
  browser = opened("both/report.html")
  browser.execute_script("""const [first, second] = jaxskill.players, {together} = jaxskill;
    [first.about.duration, second.about.duration, together.pin] = [1800, 2100, [100, 30]]""")
  for mode in ("clock", "fraction", "pin", "alignment"):
    browser.execute_script("jaxskill.together.mode = arguments[0]", mode)
    if mode == "alignment":
      browser.execute_script("const {together} = jaxskill; together.alignment = together.whole(arguments[0])",
                             dict(better=[50, 700, 701, 1750], other=[20, 900, 880, 2000]))
    for at in (0.0, 10.0, 333.333, 900.0, 1700.123):
      back = browser.execute_script("return jaxskill.together.target(jaxskill.together.inverse(arguments[0]))", at)
      assert back == pytest.approx(at, abs=1e-3), mode
  browser.execute_script("jaxskill.together.mode = 'clock'")
  assert browser.execute_script("return [2000, 1700].map(at => jaxskill.together.inverse(at))") == [1800, 1700]


@pytest.mark.parametrize("span", [(9.0, 10.5), (7.5, 8.7)])
def test_a_moment_that_the_first_video_does_not_have_plays_alone(opened, span):
  """And wholly, also where the first has a part of it, and while both play; then the two keep step as before."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, "return jaxskill.players[1].time > 0.3 && !jaxskill.players[1].video.paused")
  browser.execute_script("""const {dataset} = document.querySelector(".moment[data-player='1']");
                            [dataset.from, dataset.to] = arguments""", *span)
  click(browser, ".moment[data-player='1']")
  until(browser, f"return jaxskill.players[1].time > {span[0] + 0.3}")
  assert browser.execute_script("return jaxskill.players.map(one => one.video.paused)") == [True, False]
  until(browser, "return jaxskill.players[1].video.paused && !jaxskill.players[1].video.seeking")
  first, second = browser.execute_script("return jaxskill.players.map(one => one.time)")
  assert span[1] <= second < span[1] + 0.5 and first < 3
  browser.execute_script("jaxskill.players[0].seek(1.0); jaxskill.players[0].toggle()")
  until(browser, "const [a, b] = jaxskill.players; return !b.video.paused && a.time > 1.3 && Math.abs(a.time - b.time) < 0.15")


def test_the_second_goes_on_where_the_first_has_ended(opened):
  """Moved there while both play, or started there; moved back, both play."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  paused = "return jaxskill.players.map(one => one.video.paused)"
  browser.execute_script("jaxskill.players[0].seek(5.0)")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, "return !jaxskill.players[1].video.paused")
  browser.execute_script("jaxskill.players[1].seek(9.5)")
  until(browser, "return jaxskill.players[1].time > 9.8")
  assert browser.execute_script(paused) == [True, False]
  browser.execute_script("jaxskill.players[1].seek(2.0)")
  until(browser, "const [a, b] = jaxskill.players; return a.time > 2.3 && a.time < 4 && Math.abs(a.time - b.time) < 0.15")
  assert browser.execute_script(paused) == [False, False]
  browser.execute_script("jaxskill.players[0].video.pause(); jaxskill.players[1].seek(8.5)")
  until(browser, "return jaxskill.players[1].video.paused && Math.abs(jaxskill.players[1].time - 8.5) < 0.3")
  click(browser, "[data-player='1'] [data-do=play]")
  until(browser, "return jaxskill.players[1].time > 8.9")
  assert browser.execute_script(paused) == [True, False]
  click(browser, "[data-player='1'] [data-do=forward]")
  until(browser, "return jaxskill.players[1].video.paused && !jaxskill.players[1].video.seeking")
  assert browser.execute_script("return jaxskill.players[1].time") % 0.1 == pytest.approx(0.05, abs=0.01)


def test_a_start_of_the_second_by_the_page_is_no_wish_to_see_it_alone(opened):
  """Its event comes when the first stands still already, in the moment in which somebody stops both and moves the second."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  browser.execute_script("""
    const [a, b] = jaxskill.players, play = b.video.play.bind(b.video);
    b.video.play = () => {
      b.video.play = play;
      const started = play();
      a.video.pause();
      b.seek(10.0);
      return started;
    };""")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, "return jaxskill.players.every(one => one.video.paused) && Math.abs(jaxskill.players[1].time - 10) < 0.3")


def test_a_start_that_the_browser_refuses_leaves_no_trace(opened):
  """Whoever starts the second by its own button later still starts both."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  browser.execute_script("""
    const [a, b] = jaxskill.players;
    window.refused = 0;
    b.video.play = () => { window.refused++; return Promise.reject(new DOMException("", "NotAllowedError")); };""")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, "return window.refused > 2")
  browser.execute_script("const [a, b] = jaxskill.players; a.video.pause(); delete b.video.play;")
  until(browser, "return jaxskill.players.every(one => one.video.paused)")
  browser.execute_script("jaxskill.players[1].video.play()")
  until(browser, "return jaxskill.players.every(one => !one.video.paused)")


def test_nothing_plays_out_of_step_when_the_mode_changes_or_the_browser_moves_a_film(opened):
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "none")
  browser.execute_script("jaxskill.players[1].seek(4.0); jaxskill.players[1].play()")
  until(browser, "return jaxskill.players[1].time > 4.2")
  browser.execute_script(CHOOSE, "clock")
  until(browser, "return jaxskill.players[1].video.paused && jaxskill.players[1].time === 0")
  for moved in (1, 0):                                                   # by the slider of the browser's own player
    browser.execute_script("jaxskill.players[arguments[0]].video.currentTime = 3 + arguments[0]", moved)
    until(browser, f"return jaxskill.players.every(one => Math.abs(one.time - {3 + moved}) < 0.02)")


def test_a_step_of_the_second_while_both_play_stops_both_at_its_picture(opened):
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  click(browser, "[data-player='0'] [data-do=play]")
  for _ in range(3):
    until(browser, "return jaxskill.players.every(one => one.time > 0.5 && !one.video.paused && !one.video.seeking)")
    aimed = browser.execute_script("const [, second] = jaxskill.players; second.step(1); return second.time")
    until(browser, "return jaxskill.players.every(one => one.video.paused && !one.video.seeking)")
    assert browser.execute_script("return jaxskill.players.map(one => one.time)") == pytest.approx([aimed, aimed], abs=1e-3)
    click(browser, "[data-player='1'] [data-do=play]")


def test_speed_and_repetition_are_those_of_both(opened):
  browser = opened("both/report.html")
  change = """const box = document.querySelector(`[data-player='1'] [data-do=${arguments[0]}]`);
              Object.assign(box, arguments[1]); box.dispatchEvent(new Event('change'))"""
  shown = "return [jaxskill.players[0].video.playbackRate, jaxskill.players[0].rate, jaxskill.players[0].repeats]"
  for mode, expected in (("none", [1, 1, False]), ("clock", [2, 2, True])):
    browser.execute_script(CHOOSE, mode)
    browser.execute_script(change, "speed", dict(value="2"))
    browser.execute_script(change, "repeat", dict(checked=True))
    assert browser.execute_script(shown) == expected


def test_a_film_whose_jumps_take_long_is_caught(opened):
  """A jump aims at where the first film is when it is done: one that is late for ever would only jump."""
  browser = opened("both/report.html")
  browser.execute_script(CHOOSE, "clock")
  browser.execute_script("""const {video} = jaxskill.players[1], of = name =>
      Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, name), [time, seeking] = ['currentTime', 'seeking'].map(of);
    let busy = 0; window.jumps = 0;
    Object.defineProperty(video, 'seeking', {get: () => performance.now() < busy || seeking.get.call(video)});
    Object.defineProperty(video, 'currentTime', {get: () => time.get.call(video), set: value => {
      jumps++; busy = performance.now() + 400; setTimeout(() => time.set.call(video, value), 400); }});
    jaxskill.players[0].video.currentTime = 2""")
  click(browser, "[data-player='0'] [data-do=play]")
  until(browser, "return jaxskill.players[0].time > 6")
  assert browser.execute_script("return jumps") <= 4


def test_the_index_is_sorted_by_a_click(opened):
  browser = opened("index.html")
  names = "return [...document.querySelectorAll('tbody th')].map(cell => cell.textContent)"
  click(browser, "th:nth-child(2) button")
  assert browser.execute_script(names) == [samples.HOSTILE, "first"]
  click(browser, "th:nth-child(2) button")
  assert browser.execute_script(names) == ["first", samples.HOSTILE]
  assert browser.execute_script("return document.querySelector('th:nth-child(2)').ariaSort") == "descending"


@pytest.mark.parametrize("name", ["one/report.html", "two/report.html", "both/report.html", "index.html"])
def test_pages_fit_a_phone_and_the_dark(opened, name):
  """Nothing sticks out, and every text has a contrast of 4.5 at least."""
  browser = opened(name)
  for width, scheme in ((360, "dark"), (360, "light"), (1300, "dark")):
    with chromium.look(browser, width, scheme):
      assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
      poor = browser.execute_script(CONTRAST)
    assert not poor, (width, scheme, poor)


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
  from selenium.webdriver.common.action_chains import ActionChains
  from selenium.webdriver.common.keys import Keys
  browser = opened(name)
  unnamed = browser.execute_script("""return [...document.querySelectorAll('button, select, input, a, video, [role=slider]')]
    .filter(one => !(one.ariaLabel || one.title || one.textContent.trim() || one.closest('label')?.textContent.trim() ||
                     one.querySelector('img')?.alt)).map(one => one.outerHTML)""")
  assert not unnamed
  assert not browser.execute_script("return [...document.querySelectorAll('img')].filter(one => !one.alt).length")
  browser.execute_script("""window.missed = new Set([...document.querySelectorAll('button, select, input, a, [role=slider]')]
    .filter(one => one.checkVisibility()));
    document.addEventListener('focusin', event => missed.delete(event.target));""")
  assert browser.execute_script("return missed.size") > 3
  for _ in range(15):                                                   # those of the browser's own player among them
    ActionChains(browser, duration=0).send_keys(10 * Keys.TAB).perform()
    if not browser.execute_script("return missed.size"):
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
