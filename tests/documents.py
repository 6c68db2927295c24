"""What stands in the documents of the project: commands, snippets, links, and words set as code."""

import ast
import json
import re
import shlex
from typing import NamedTuple

from tests.places import REPO

PASSED_OVER = {"runs", "data", "build", "dist"}          # folders at the top that are not the project's


class Document(NamedTuple):
  """A page, without its comments.

  Attributes:
    path: of the file.
    blocks: [(language, text)] of the fenced code.
    prose: what is left of it.
  """

  path: object
  blocks: list
  prose: str

  @property
  def name(self):
    return str(self.path.relative_to(REPO))


def found(ending):
  """Returns the files of the project with an ending, in order."""
  files = [path for path in REPO.rglob(f"*{ending}") if path.is_file()]
  names = [(path, path.relative_to(REPO).parts) for path in files]
  return sorted(path for path, parts in names
                if parts[0] not in PASSED_OVER and not any(part.startswith(".") for part in parts))


def read(path):
  """Reads a page of Markdown."""
  text = re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.S)
  parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
  return Document(path, list(zip(parts[1::3], parts[2::3])), "\n".join(parts[::3]))


def spans(document):
  """Returns the words that are set as code within its prose, each on one line."""
  return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", document.prose)]


def links(document):
  """Returns the targets of its links and pictures."""
  return re.findall(r"\]\(([^)\s]+)\)", document.prose)


def anchors(path):
  """Returns what can follow `#` in a link to a page: its headings as GitHub names them."""
  headings = re.findall(r"^#+ (.*)$", read(path).prose, flags=re.M)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of_shell(text):
  """Returns the commands of a shell script, each a list of words: lines joined, comments cut, "&&" and ";" split."""
  commands = []
  for line in text.replace("\\\n", " ").splitlines():
    words = []
    for word in [*shlex.split(line, comments=True), "&&"]:
      if word not in ("&&", ";"):
        words.append(word)
      elif words:
        commands.append(words)
        words = []
  return commands


def commands(document):
  """Returns all commands of a page, of its blocks and of its prose, each a list of words."""
  result = [words for language, text in document.blocks if language == "bash" for words in commands_of_shell(text)]
  starts = ("python ", "jaxskill ", "pip ", "pytest ", "launch/")
  return result + [shlex.split(span) for span in spans(document) if span.startswith(starts) and " " in span]


def commands_of_docstring(path):
  """Returns the commands in the docstring of a module; not those that say which options there are."""
  text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").replace("\\\n", " ")
  lines = [line.strip() for line in text.splitlines() if line.strip().startswith(("python -m jaxskill", "jaxskill "))]
  lines = [re.split(r"(?<=\S)   +(?=[^-\s])", line)[0] for line in lines]        # words about it follow
  return [shlex.split(line) for line in lines if not re.search(r"\[|<|\.\.\.|: see", line)]


def notebook(path):
  """Reads a notebook.

  Returns:
    (its Python, cell by cell; its commands, each a list of words, with the values of the notebook's variables).
  """
  cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
  sources = ["".join(cell["source"]).replace("\\\n", " ") for cell in cells if cell["cell_type"] == "code"]
  python = [re.sub(r"^[!%].*$", "pass", source, flags=re.M) for source in sources]
  values = {"python": "python"}
  for node in ast.walk(ast.parse("\n".join(python))):
    if isinstance(node, ast.Assign):
      values |= _constants(node)
  shell = [line[1:] for source in sources for line in source.splitlines() if line.startswith("!")]
  filled = [re.sub(r"\{([^}]+)\}", lambda match: str(values.get(match[1], match[1])), line) for line in shell]
  return python, [words for line in filled for words in commands_of_shell(line)]


def _constants(node):
  """{name: value} of an assignment, as far as it is of constants."""
  try:
    value = ast.literal_eval(node.value)
  except ValueError:
    return {}
  target = node.targets[0]
  if isinstance(target, ast.Tuple):
    return {name.id: one for name, one in zip(target.elts, value)}
  return {target.id: value} if isinstance(target, ast.Name) else {}
