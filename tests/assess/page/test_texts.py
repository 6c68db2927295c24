"""What pages say stands in one dictionary: in no template, no script and no other file of the room."""

import ast
import json
import re

import pytest

from jaxskill import written
from jaxskill.assess import page
from jaxskill.assess.page import html, pairs
from jaxskill.assess.page.texts import TEXTS
from jaxskill.report import wording
from tests.assess.page import samples
from tests.assess.page.test_page import Read, of_comparison, of_video

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

TOLD = ("aria-label", "aria-valuetext", "aria-description", "aria-roledescription", "title", "alt", "placeholder", "label")
WORD = r"[^\W\d_]{2,}"
# What a script shows: a text of an element, of an attribute that is told, or in a window.
SHOWS = re.compile(rf"\.(textContent|innerText|value|title|alt|placeholder|label|aria\w+) = |"
                   rf"setAttribute\(.({'|'.join(TOLD)})|"
                   r"\b(alert|confirm|prompt|append|prepend|before|after|fillText|createTextNode|Option)\(")


def of_template(text):
  """The words that a template shows of its own: between its tags, in attributes that are told, and as texts of Jinja."""
  text = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", text, flags=re.DOTALL)
  shown = [re.sub(r"<[^>]*>", " ", re.sub(r"\{\{.*?\}\}", " ", text))]
  for name, value in re.findall(r'([\w-]+)="((?:\{\{.*?\}\}|[^"])*)"', text):
    told = value if name in TOLD else ""
    shown += [re.sub(r"\{\{.*?\}\}", " ", told), *_quoted(told)]
  shown += _quoted(re.sub(r"<(?:\{\{.*?\}\}|[^>])*>", " ", text))
  return [word for part in shown for word in re.findall(WORD, part)]


def _quoted(text):
  """Texts in quotes within expressions of Jinja, without forms of numbers and names of fields."""
  quoted = [one for made in re.findall(r"\{\{(.*?)\}\}", text) for _, one in re.findall(r"(?<!\[)(['\"])(.*?)\1", made)]
  return [re.sub(r"%[+\d.]*[a-z]", "", one) for one in quoted]


def of_script(text):
  """The words in quotes on lines of a script that show something, and quoted sentences on any line."""
  found = []
  for line in text.splitlines():
    line = re.sub(r"(^|\s)//.*", "", line)
    line = re.sub(r"(find|all|closest|addEventListener)\((\"[^\"]*\"|`[^`]*`)", "", line)       # selectors, and events
    for _, quoted in re.findall(r"([\"'`])((?:\\.|(?!\1).)*)\1", line):
      plain = re.sub(r"\$\{.*?\}", " ", quoted)
      if re.search(r"[A-Z]\w+( \w+)+|\w+ (\w+ )+\w+", plain):
        found.append(plain)
      elif SHOWS.search(line) and plain not in TOLD:
        found += re.findall(WORD, plain)
  return found


def of_module(text):
  """Texts of several words, of a file in Python: no docstrings, no errors."""
  tree = ast.parse(text)
  quiet = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
           and isinstance(node.body[0], ast.Expr)}
  quiet |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
  return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
          and id(node) not in quiet and re.search(rf" {WORD}|{WORD} ", node.value)]


def test_no_text_stands_elsewhere():
  found = {path.name: of_template(path.read_text(encoding="utf-8")) for path in html.HERE.glob("templates/*.html")}
  found |= {path.name: of_script(path.read_text(encoding="utf-8")) for path in html.HERE.glob("*.js")}
  found |= {path.name: of_module(path.read_text(encoding="utf-8")) for path in html.HERE.glob("*.py") if path.name != "texts.py"}
  assert len(found) > 12
  found["html.py"] = [text for text in found["html.py"] if "-src" not in text and "=" not in text]     # of HTML
  found["pairs.py"].remove("jaxskill pairs ")                           # the name of what a browser keeps
  found["__init__.py"] = [text for text in found["__init__.py"] if text not in ("RANDOM WEIGHTS", "SIMULATED DATA")]
  assert not any(found.values()), found


@pytest.mark.parametrize("read, text, words", [
    (of_template, '<p class="a">{{ text.b }}: Hello</p>', ["Hello"]),
    (of_template, '<b aria-label="{{ text.a }} of" class="left">{# note #}{{ b|join("; ") }}</b>', ["of"]),
    (of_template, '<td>{{ "yes" if one["a"] else text.no }}{{ "%.3g"|format(c) }}</td>', ["yes"]),
    (of_template, '<img title="{{ \'Sort by\' }}">{% if a == "note" %}<i>1 × é</i>{% endif %}', ["Sort", "by"]),
    (of_script, 'shown.textContent = `${a} of ${b}`; // a note', ["of"]),
    (of_script, 'cursor.setAttribute("aria-label", "time");', ["time"]),
    (of_script, 'const words = "Pair " + a, sure = "are you sure";', ["are you sure"]),
    (of_script, 'find("[data-do=pin]").value = fill(data.texts.pinned, {first: 1});', []),
    (of_module, 'def f():\n  """Says so."""\n  raise ValueError("no such thing")\nx = f"{a} videos"', [" videos"]),
])
def test_texts_elsewhere_are_found(read, text, words):
  assert read(text) == words


def strange(value):
  """The dictionary in another script: each letter that is not within braces is one."""
  if isinstance(value, dict):
    return {key: strange(one) for key, one in value.items()}
  return re.sub(r"\{\w+\}|([A-Za-z])", lambda found: "я" if found[1] else found[0], value)


def shown(read):
  """What a page shows and tells: texts, and attributes."""
  text = re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style).*?</\1>", " ", read.source, flags=re.DOTALL))
  return "\n".join([text, *(given[name] or "" for _, given in read.elements for name in TOLD if name in given)])


@pytest.mark.parametrize("make", ["video", "segments", "comparison", "index", "pairs"])
def test_a_page_in_another_language(tmp_path, monkeypatch, make):
  """All that is left in ours comes from the answer, and from the sentences of the terminal."""
  film, result = samples.film(tmp_path / "source.avi", 1.0), samples.answer(ranked=False)
  if make == "segments":
    parts, moments = samples.segments(8.0)
    more = dict(references=[dict(video="r", score=80.0, models=2, seconds=[0.5] * 16, segments=[], duration_s=2.0)],
                distribution=dict(bars=dict(places=[0.0, 1.0], probabilities=[0.25, 0.75])), parts=dict(execution=1.0))
    result = samples.answer(ranked=False, segments=parts, moments=moments, random_weights=True) | more
  for name, words in TEXTS.items():
    monkeypatch.setitem(TEXTS, name, strange(words))
  folder = tmp_path / "page"
  if make == "comparison":
    read = of_comparison(folder, film, [0.5 * at for at in range(16)])
  elif make == "pairs":
    folder.mkdir()
    answers = {name: samples.answer(name) for name in "ab"}
    read = Read(pairs.write(folder, answers, dict.fromkeys(answers, film), 1, "link")[0])
  else:
    read = of_video(folder, result, samples.material(film, maps=True))
  if make == "index":
    for number, name in enumerate("ab"):
      said = dict(subject="Ann", date=f"2024-0{number + 1}-01")
      (folder / name).mkdir()
      page.of_video(written.Record(folder / name), samples.answer(name), samples.material(film), "none")
      (folder / name / "assessment.json").write_text(json.dumps(samples.answer(name) | said))
    read = Read(*page.of_folder(folder, "assessment.json", result))
  both = [samples.answer("one", score=0.8), samples.answer("other", score=0.4), result]
  answered = json.dumps([*both, samples.comparison(*both[:2], [0.0])])
  told = [wording.standing(one) for one in both] + [wording.amount(moment) for one in both for moment in one["moments"]]
  told += wording.cautions(result) + ["lowered the score", "counts 25 %", "one is better 50 % of the differences Ann jaxskill jax flax numpy"]
  ours = set(re.findall("[a-z]{2,}", re.sub("[0-9a-f]{64}", "", shown(read)).lower()))
  known = set(re.findall("[a-z]{2,}", " ".join([answered, *told]).lower()))
  assert "яя" in shown(read) and not ours - known, ours - known


def test_scripts_have_all_their_texts():
  script = "".join(path.read_text(encoding="utf-8") for path in html.HERE.glob("*.js"))
  assert set(re.findall(r"data\.texts\.(\w+)", script)) == TEXTS["script"].keys()
  used = "".join(path.read_text(encoding="utf-8") for path in (*html.HERE.rglob("*.html"), *html.HERE.glob("*.py")))
  unused = [name for name in TEXTS if not re.search(rf"text\.{name}\b|TEXTS\[[\"']{name}[\"']\]", used)]
  by_name = {"subject", "date", "even", "zero", "unsure_film", "proxy", "blurred", "blurred_one"}        # of columns, films, curves
  assert not set(unused) - by_name, unused
