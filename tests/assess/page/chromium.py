"""A headless Chromium and its driver, both as the system has them: nothing is downloaded."""

import base64
import shutil
import time

PATIENCE = 30.0       # seconds until something has happened, however busy the machine


def found():
  """(Chromium, its driver), or () where one is missing."""
  browsers = [path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))]
  driver = shutil.which("chromedriver")
  return (browsers[0], driver) if browsers and driver else ()


def start():
  from selenium import webdriver
  browser, driver = found()
  options = webdriver.ChromeOptions()
  options.binary_location = browser
  for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1300,1000",
               "--disable-background-networking", "--no-first-run", "--disable-extensions"):
    options.add_argument(word)
  options.set_capability("goog:loggingPrefs", dict(browser="ALL", performance="ALL"))
  return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def until(browser, script):
  """Waits until a script returns something true; returns it."""
  begun = time.monotonic()
  while not (value := browser.execute_script(script)):
    assert time.monotonic() - begun < PATIENCE, f"has not happened: {script}"
    time.sleep(0.02)
  return value


def whole_page(browser):
  """A picture of all of a page, as PNG."""
  size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
  shot = browser.execute_cdp_cmd("Page.captureScreenshot", dict(
      captureBeyondViewport=True, clip=dict(x=0, y=0, width=size["width"], height=size["height"], scale=1)))
  return base64.b64decode(shot["data"])
