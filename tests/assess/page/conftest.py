import pytest

from tests.assess.page import chromium, samples


@pytest.fixture(scope="package")
def browser():
  """A headless Chromium, for all tests of pages."""
  driver = chromium.start()
  yield driver
  driver.quit()


@pytest.fixture
def film(tmp_path):
  return samples.film(tmp_path / "source.mp4", 2.0)
