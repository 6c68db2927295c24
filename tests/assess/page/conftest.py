import pytest

from tests.assess.page import chromium


@pytest.fixture(scope="package")
def browser():
  """A headless Chromium, for all tests of pages."""
  driver = chromium.start()
  yield driver
  driver.quit()
