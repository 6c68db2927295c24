"""Pairs to label in a headless Chromium: which is asked next, what is saved and read, what stays when it is closed."""

import json

import numpy as np
import pytest

from jaxskill.assess.page import pairs
from jaxskill.data.user.features import load_features
from tests.assess.page import chromium, samples
from tests.assess.page.chromium import click, until
from tests.assess.page.test_browser import CONTRAST

pytestmark = chromium.marks()
NAMES = ("a", 'b,"', "sub/c", "d", "e", "f", "g")
REFUSED = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"


@pytest.fixture
def opened(browser, tmp_path):
  """opened(count): opens a page that asks for so many pairs of seven films; returns what it knows of them."""
  def open_page(count):
    film, rng, results = samples.film(tmp_path / "film.mp4", 1.0), np.random.default_rng(1), {}
    for name in NAMES:
      results[name] = samples.answer(name)
      for model in results[name]["models"]:
        model["score"] = float(len(results) / 2 + rng.normal())
    path, failed = pairs.write(tmp_path, results, dict.fromkeys(results, film), count, "link")
    assert not failed
    browser.get(path.as_uri())
    browser.execute_script("try { localStorage.clear(); } catch {}")
    browser.refresh()
    return browser.execute_script("return JSON.parse(document.getElementById('data').textContent).videos")
  return open_page


def shown(browser):
  """The names of both videos; () where no pair is asked for."""
  return browser.execute_script("""return jaxskill.labels.pair === null ? [] :
    [...document.querySelectorAll('.name')].map(one => one.textContent)""")


def press(browser, key):
  browser.find_element("css selector", "body").send_keys(key)


def asked_for(videos, answer, count):
  """The pairs that the rule asks for, slowly: by the inverse of all variances, and by powers of who is before whom."""
  means = np.array([one["mean"] for one in videos])
  precision = np.diag([one["spread"] ** -2 for one in videos])
  ahead, found = np.eye(len(videos), dtype=int), []
  for _ in range(count):
    covariances, decided, best = np.linalg.inv(precision), np.linalg.matrix_power(ahead, len(videos)) > 0, []
    for a, b in zip(*np.triu_indices(len(videos), 1)):
      variance = covariances[a, a] + covariances[b, b] - 2 * covariances[a, b]
      chance = 1 / (1 + np.exp(-(means[a] - means[b]) / np.sqrt(1 + np.pi / 8 * variance)))
      if not (decided[a, b] or decided[b, a] or {a, b} in map(set, found)):
        best.append((chance * (1 - chance) * variance, a, b))
    if not best:
      break
    _, a, b = max(best)
    found.append((a, b) if (a + b) % 2 else (b, a))
    a, b = found[-1]
    key = answer(videos[a]["name"], videos[b]["name"])
    gap = np.eye(len(videos))[a] - np.eye(len(videos))[b]
    chance = 1 / (1 + np.exp(-gap @ means))
    precision += chance * (1 - chance) * np.outer(gap, gap)
    means = means + np.linalg.solve(precision, gap) * ({"1": 1, "2": 0, "=": 0.5}[key] - chance)
    ahead[a, b], ahead[b, a] = key == "1", key == "2"
  return [[videos[number]["name"] for number in pair] for pair in found]


ALIKE = ({"d", "e"}, {"f", "g"})
ANSWERS = dict(
    sure=lambda left, right: "1" if NAMES.index(left) > NAMES.index(right) else "2",
    against=lambda left, right: "2" if NAMES.index(left) > NAMES.index(right) else "1",
    unsure=lambda left, right: "=" if {left, right} in ALIKE else "1" if left > right else "2")


def test_the_next_pair_follows_from_the_answers(opened, browser):
  """And no pair comes twice, or is one that answers decide: 21 there are, and fewer are asked for."""
  all_asked = []
  for answer in ANSWERS.values():
    videos, asked = opened(30), []
    while pair := shown(browser):
      asked.append(pair)
      press(browser, answer(*pair))
    assert asked == asked_for(videos, answer, 30)
    assert len({frozenset(pair) for pair in asked}) == len(asked) < 21
    assert browser.execute_script("return !document.querySelector('.done').hidden && document.querySelector('.pair').hidden")
    all_asked.append(asked)
  assert all_asked[0][0] == all_asked[1][0] and all_asked[0] != all_asked[1]


def test_pairs_are_labelled_by_keys_and_the_file_is_read(opened, browser, tmp_path):
  from selenium.webdriver.common.keys import Keys
  opened(4)
  for _ in range(2):
    browser.execute_script("dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true}))")      # held down
  seen = []
  for key in ("1", "1", Keys.BACKSPACE, "2", "=", "1", "1"):
    seen.append(shown(browser))
    press(browser, key)
  assert seen[1] == seen[3] and not seen[-1]                             # taken back, it is asked for again
  assert "answered: 4, of them equal: 1" in browser.execute_script("return document.querySelector('.progress').value")
  browser.execute_cdp_cmd("Browser.setDownloadBehavior", dict(behavior="allow", downloadPath=str(tmp_path)))
  click(browser, "[data-do=save]")
  table = tmp_path / "pairs.csv"
  chromium.wait(table.exists, "the file is saved")
  for name in NAMES:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32))
  data = load_features(tmp_path, split="all")
  named = lambda found: [[data.videos[video] for video in pair] for pair in found]
  assert named(data.pairs) == [seen[0], seen[3][::-1], seen[5]]
  assert [set(pair) for pair in named(data.similar)] == [set(seen[4])]


def test_answers_stay_when_the_page_is_closed(opened, browser):
  from selenium.webdriver.common.keys import Keys
  opened(10)
  for key in "12=":
    press(browser, key)
  following, table = shown(browser), browser.execute_script("return jaxskill.labels.table()")
  browser.get("about:blank")
  browser.back()
  until(browser, "return typeof jaxskill")
  assert shown(browser) == following and browser.execute_script("return jaxskill.labels.table()") == table
  press(browser, Keys.BACKSPACE)
  browser.refresh()
  assert browser.execute_script("return jaxskill.labels.table()") == table.rpartition("\n")[0].rpartition("\n")[0] + "\n"
  for sure, left in ((False, 2), (True, 0)):
    click(browser, "[data-do=anew]")
    asked = browser.switch_to.alert
    assert asked.text == "Forget all answers (2)?"
    asked.accept() if sure else asked.dismiss()
    assert browser.execute_script("return jaxskill.labels.answers.length") == left


def test_a_browser_that_keeps_nothing_asks_before_it_closes(opened, browser):
  script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", dict(source=REFUSED))["identifier"]
  try:
    opened(10)
    leaves = """const leaving = new Event('beforeunload', {cancelable: true}); dispatchEvent(leaving);
                return !leaving.defaultPrevented"""
    assert browser.execute_script(leaves)
    press(browser, "1")
    assert not browser.execute_script(leaves) and len(shown(browser)) == 2
    browser.execute_script("jaxskill.labels.unsaved = false")
  finally:
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", dict(identifier=script))


def test_a_browser_that_is_full_asks_until_there_is_room(opened, browser):
  opened(10)
  leaves = """const leaving = new Event('beforeunload', {cancelable: true}); dispatchEvent(leaving);
              return !leaving.defaultPrevented"""
  press(browser, "1")
  browser.execute_script("""Storage.prototype.own = Storage.prototype.setItem;
    Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }""")
  press(browser, "2")
  assert not browser.execute_script(leaves) and browser.execute_script("return jaxskill.labels.answers.length") == 2
  browser.execute_script("Storage.prototype.setItem = Storage.prototype.own")
  press(browser, "1")
  assert browser.execute_script(leaves)
  browser.refresh()
  assert browser.execute_script("return jaxskill.labels.answers.length") == 3


@pytest.mark.parametrize("kept, read", [("{}", 0), ("5", 0), ("no JSON", 0), ('[["a", "d", "constructor"], 7]', 0),
                                        ('[["a", "d", "1"], ["gone", "a", "2"]]', 2)])
def test_what_a_browser_has_kept_need_not_be_answers(opened, browser, kept, read):
  opened(10)
  browser.execute_script("""localStorage.setItem(JSON.parse(document.getElementById('data').textContent).key,
                                                 arguments[0])""", kept)
  browser.get_log("browser")
  browser.refresh()
  assert browser.execute_script("return typeof jaxskill") == "object" and not browser.get_log("browser")
  assert len(shown(browser)) == 2 and browser.execute_script("return jaxskill.labels.answers.length") == read


def test_two_windows_know_the_answers_of_each_other(opened, browser):
  opened(10)
  press(browser, "1")
  first, address = browser.current_window_handle, browser.current_url
  browser.switch_to.new_window("window")
  try:
    browser.get(address)
    press(browser, "2")
    table, pair = browser.execute_script("return jaxskill.labels.table()"), shown(browser)
    browser.close()
  finally:
    browser.switch_to.window(first)
  until(browser, "return jaxskill.labels.answers.length === 2")
  assert browser.execute_script("return jaxskill.labels.table()") == table and shown(browser) == pair


def test_a_key_that_is_held_and_an_answer_each_count_once(opened, browser):
  """What was learned before is not learned anew: of a thousand answers that would take seconds."""
  opened(10)
  press(browser, "1")
  browser.execute_script("""const {beliefs} = jaxskill.labels, {learn} = beliefs; window.learned = 0;
    Object.getPrototypeOf(beliefs).learn = function (...answer) { learned++; return learn.apply(this, answer); }""")
  browser.find_element("css selector", "[data-answer='2']").send_keys("2")
  assert browser.execute_script("return learned") == 1
  for repeated in (False, True, True):
    browser.execute_cdp_cmd("Input.dispatchKeyEvent", dict(
        type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r", autoRepeat=repeated))
  browser.execute_cdp_cmd("Input.dispatchKeyEvent", dict(type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13))
  assert browser.execute_script("return jaxskill.labels.answers.length") == 3


def test_names_may_be_those_that_objects_have(browser, tmp_path):
  film, names = samples.film(tmp_path / "film.mp4", 1.0), ("__proto__", "constructor", "toString", "{answered}")
  path, _ = pairs.write(tmp_path, {name: samples.answer(name) for name in names}, dict.fromkeys(names, film), 9, "link")
  browser.get(path.as_uri())
  browser.execute_script("localStorage.clear()")
  browser.refresh()
  asked = []
  while pair := shown(browser):
    asked.append(frozenset(pair))
    press(browser, "=")
  assert len(set(asked)) == len(asked) == 6 and set().union(*asked) == set(names)
  assert browser.execute_script("return jaxskill.labels.table().split('\\n').length") == 8


def test_a_name_of_a_stranger_stays_text(browser, tmp_path):
  film, names = samples.film(tmp_path / "film.mp4", 1.0), (samples.HOSTILE, f"{samples.HOSTILE}2")
  path, _ = pairs.write(tmp_path, {name: samples.answer(name) for name in names}, dict.fromkeys(names, film), 1, "link")
  browser.get_log("browser")
  browser.get(path.as_uri())
  assert sorted(shown(browser)) == sorted(names) and not browser.get_log("browser")
  assert browser.execute_script("return document.querySelectorAll('img, b').length") == 0


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (1300, "light")])
def test_the_page_of_pairs_fits_and_is_read(opened, browser, width, scheme):
  """On a phone and in the dark; films bear the names that stand above them; it asks for nothing outside its folder."""
  browser.get_log("performance")
  opened(5)
  with chromium.look(browser, width, scheme):
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert not browser.execute_script(CONTRAST)
  named = browser.execute_script("""return [...document.querySelectorAll('video')].map(one =>
    document.getElementById(one.getAttribute('aria-labelledby')).textContent)""")
  assert named == shown(browser)
  events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
  asked = {event["params"]["request"]["url"].partition(":")[0] for event in events if event["method"] == "Network.requestWillBeSent"}
  assert asked <= {"file", "data", "about"}, asked
