import pytest

from tests.assess.page import chromium, samples


@pytest.fixture(scope="session")
def driver():
  """A headless Chromium, for all tests of pages."""
  started = chromium.start()
  yield started
  started.quit()


@pytest.fixture(scope="module")
def browser(driver):
  """The same, left at rest: a page that plays on takes a tenth of a core to the end of all tests."""
  yield driver
  driver.get("about:blank")


@pytest.fixture
def film(tmp_path):
  return samples.film(tmp_path / "source.mp4", 2.0)
