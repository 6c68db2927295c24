"""Pages as they are read in tests: written by what the package makes, and taken apart."""

import html.parser
import json

from jaxskill import written
from jaxskill.assess import page
from tests.assess.page import samples

QUIET = ("script", "style")


class Read(html.parser.HTMLParser):
  """The elements of a page: [(name, attributes)], its text without scripts, and its scripts and styles."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.text, self.raw, self._within = [], "", [], None
    self.source = path.read_text(encoding="utf-8")
    self.feed(self.source)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    self._within = self.elements[-1] if tag in QUIET else None

  def handle_endtag(self, tag):
    self._within = None

  def handle_data(self, data):
    if self._within:
      self.raw.append((self._within, data))
    else:
      self.text += data

  def of(self, tag, **attributes):
    return [found for name, found in self.elements
            if name == tag and all(found.get(key.replace("_", "-")) == value for key, value in attributes.items())]

  @property
  def data(self):
    return json.loads(next(text for (_, given), text in self.raw if given.get("type") == "application/json"))


def of_video(folder, result, material, how="link"):
  folder.mkdir(exist_ok=True)
  return Read(page.of_video(written.Record(folder), result, material, how))


def of_comparison(folder, source, aligned=None, how="link", better="one", worse="other", **changed):
  folder.mkdir(exist_ok=True)
  found, moments = samples.segments(8.0)
  parts = dict(segments=found, moments=moments) if aligned else {}
  both = samples.answer(better, score=0.8, **parts), samples.answer(worse, score=0.4, **parts)
  return Read(page.of_comparison(written.Record(folder), samples.comparison(*both, aligned) | changed,
                                 [samples.material(source, maps=True)] * 2, how, "one is better", "50 % of the differences"))
