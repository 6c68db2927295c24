"""A headless Chromium and its driver, both as the system has them: nothing is downloaded."""

import base64
import contextlib
import shutil
import time

import pytest

from tests import cores

PATIENCE = 30.0       # seconds until something has happened, however busy the machine


def found():
  """(Chromium, its driver), or () where one is missing."""
  browsers = [path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))]
  driver = shutil.which("chromedriver")
  return (browsers[0], driver) if browsers and driver else ()


def marks():
  """Marks of tests that need it, and PyAV, Jinja2 and Selenium; they skip where one is missing."""
  for name, extra in (("jinja2", "page"), ("av", "video"), ("selenium", "test")):
    pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[{extra}]'")
  return [pytest.mark.browser, pytest.mark.skipif(
      not found(), reason="no Chromium with its driver: apt-get install chromium chromium-driver")]


def start():
  from selenium import webdriver
  browser, driver = found()
  options = webdriver.ChromeOptions()
  options.binary_location = browser
  for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1300,1000",
               "--disable-background-networking", "--no-first-run", "--disable-extensions", "--hide-scrollbars"):
    options.add_argument(word)
  options.set_capability("goog:loggingPrefs", dict(browser="ALL", performance="ALL"))
  with cores.every_one():
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def until(browser, script):
  """Waits until a script returns something true; returns it."""
  return wait(lambda: browser.execute_script(script), script)


def wait(happens, what):
  """Waits until a function returns something true; returns it."""
  begun = time.monotonic()
  while not (value := happens()):
    assert time.monotonic() - begun < PATIENCE, f"has not happened: {what}"
    time.sleep(0.02)
  return value


def click(browser, selector):
  """Scrolls to an element and clicks it."""
  browser.execute_script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
  browser.find_element("css selector", selector).click()


@contextlib.contextmanager
def look(browser, width=1300, scheme="light", media=""):
  """Shows pages as on a screen of this width, below 500 that of a phone, in a color scheme, or as printed."""
  browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(width=width, height=800, deviceScaleFactor=1,
                                                                    mobile=width < 500))
  browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(
      media=media, features=[dict(name="prefers-color-scheme", value=scheme)]))
  try:
    yield
  finally:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(media="", features=[]))


def whole_page(browser):
  """A picture of all of a page, as PNG."""
  size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
  shot = browser.execute_cdp_cmd("Page.captureScreenshot", dict(
      captureBeyondViewport=True, clip=dict(x=0, y=0, width=size["width"], height=size["height"], scale=1)))
  return base64.b64decode(shot["data"])
