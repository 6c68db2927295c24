"""Templates into files: everything is escaped, script and style are the package's own, and a page loads nothing else.

The Content-Security-Policy of a page names the SHA-256 of its one script, which is made of one or several files here,
and of its one style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import importlib.util
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from jaxskill import files, written
from jaxskill.assess.page.texts import TEXTS
from jaxskill.report import wording

HERE = pathlib.Path(__file__).parent


def require() -> None:
  """Raises a `ValueError` where Jinja2 is missing."""
  if importlib.util.find_spec("jinja2") is None:
    raise ValueError("pages need Jinja2, which is not installed: pip install 'jaxskill[page]'.")


@functools.cache
def _environment() -> Any:
  """Returns the templates, and what all of them use."""
  import jinja2
  made = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True,
                            lstrip_blocks=True, undefined=jinja2.StrictUndefined)
  made.policies["json.dumps_function"] = lambda content, **_: files.to_json(content)       # and Jinja2 escapes < > & '
  made.globals.update(text=TEXTS, clock=wording.clock, span=wording.span, percent=wording.percent,
                      exact_percent=wording.exact_percent)
  return made


def _with_digest(*names: str) -> tuple[str, str]:
  """Returns (a script or style of the package, its source in a Content-Security-Policy), of one file or several."""
  content = "".join((HERE / name).read_text(encoding="utf-8") for name in names)
  digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
  return content, f"'sha256-{digest}'"


def write(record: written.Record, name: str, template: str, data: dict[str, Any],
          scripts: Sequence[str] = ("together.js", "page.js"), **content: Any) -> pathlib.Path:
  """Writes a page into the folder of a record; returns its path.

  Args:
    name: of the page.
    template: name of the file in templates/.
    data: what the script reads, as JSON can hold it.
    scripts: their files, which follow common.js.
    content: what the template shows.
  """
  import markupsafe
  (code, script_source), (style, style_source) = _with_digest("common.js", *scripts), _with_digest("page.css")
  policy = (f"default-src 'none'; script-src {script_source}; style-src {style_source}; img-src data:; "
            "media-src 'self' file: data:; base-uri 'none'; form-action 'none'")
  made = _environment().get_template(template).render(
      policy=policy, script=markupsafe.Markup(code), style=markupsafe.Markup(style),
      data=data | dict(texts=TEXTS["script"]), **content)
  return record.write_text(name, made)


def inline(path: pathlib.Path, height: int = 900) -> str:
  """Returns a page and its films as one element, for the output of a notebook: `IPython.display.HTML(inline(path))`.

  Servers of notebooks open a page apart from themselves and give it no file beside it: films are in the element.

  Args:
    path: of the page; height: in pixels.
  """
  def film(found: re.Match[str]) -> str:
    file = path.with_name(found[1])
    if not file.is_file():
      return found[0]
    return f'src="data:video/{file.suffix[1:]};base64,{base64.b64encode(file.read_bytes()).decode()}"'
  text = re.sub(r'src="([\w-]+\.(?:mp4|webm))"', film, path.read_text(encoding="utf-8"))
  return f'<div><iframe srcdoc="{html.escape(text)}" width="100%" height="{height}"></iframe></div>'
