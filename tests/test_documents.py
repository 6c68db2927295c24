"""What documents say can be done: every command is parsed by the real parser, every name and link is looked up.

Nothing is trained: a command ends where its arguments have been read, and its config is made.
"""

import argparse
import ast
import contextlib
import importlib
import io
import itertools
import os
import re
import runpy
import shlex
import sys
import tomllib
import warnings

import pytest

import jaxskill
from jaxskill import cli
from jaxskill.__main__ import COMMANDS
from jaxskill.extract.pose import networks
from tests import documents
from tests.places import REPO

PAGES = [documents.read(path) for path in documents.found(".md")]
NOTEBOOKS = documents.found(".ipynb")
MODULES = [path for path in documents.found(".py") if path.relative_to(REPO).parts[0] in ("jaxskill", "configs")]
CONFIGS = sorted(path for path in (REPO / "configs").rglob("*.py") if "def get_config" in path.read_text())
NAMED_FILES = re.compile(r"[\w./-]+\.(py|md|ipynb|sh|toml|cff)")
ENDINGS = (".py", ".md", ".ipynb", ".sh", ".toml", ".cff")
FILE_NAMES = {path.name for ending in ENDINGS for path in documents.found(ending)}
MACHINE = re.compile(r"(?<![\w/:.>)\]~*-])/[A-Za-z][\w.-]*/|\b[A-Z]:\\")
EXTRAS = set(tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"])
MARKERS = [marker.split(":")[0] for marker in
           tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]]
PARSERS = ((argparse.ArgumentParser, "parse_args"), (argparse.ArgumentParser, "parse_known_args"), (cli, "parse"))


class Parsed(BaseException):
  """A command line that has been read: (options, overrides)."""


def stops(read, inside):
  """A parser that raises what it read; one that another calls returns it, for it is `inside`."""
  def parse(*arguments):
    if inside:
      return read(*arguments)
    inside.append(read)
    try:
      result = read(*arguments)
    finally:
      inside.pop()
    raise Parsed(*(result if isinstance(result, tuple) else (result, ())))
  return parse


def read_command_line(module, words, monkeypatch):
  """(options, overrides) of `python -m module words`, read by the module itself.

  Raises:
    ValueError: in the words of the parser, or if there is no such command.
  """
  errors, inside = io.StringIO(), []
  with monkeypatch.context() as patch, contextlib.redirect_stderr(errors), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)        # of runpy: the module has been imported before
    for owner, name in PARSERS:
      patch.setattr(owner, name, stops(getattr(owner, name), inside))
    patch.setattr(cli, "listen", lambda thread=True: None)
    patch.setattr(sys, "argv", [module, *words])
    try:
      runpy.run_module(module, run_name="__main__", alter_sys=False)
    except Parsed as parsed:
      return parsed.args
    except SystemExit:
      lines = errors.getvalue().splitlines()
      if not words and "required" in lines[-1]:            # a command is named, not called
        return argparse.Namespace(), ()
      raise ValueError(lines[-1]) from None
    except ImportError as error:
      raise ValueError(f"no such command: {error}") from None
  raise ValueError("it reads no command line")


def check_jaxskill(module, words, monkeypatch):
  """A command of ours: its options exist, and its config can be made."""
  options, overrides = read_command_line(module, words, monkeypatch)
  if unknown := [word for word in overrides if not word.startswith("--config.")]:
    raise ValueError(f"unknown option {unknown[0]}")
  if getattr(options, "config", None):
    among = cli.RECIPES if module == "jaxskill.extract" else cli.CONFIGS
    config, official = cli.read_config(options.config, overrides, among)
    if getattr(options, "forms", None):
      from jaxskill.benchmark import contenders, systems
      shape = systems.find(config.method).shapes[options.shape]
      for form in options.forms.split(","):
        contenders.configure(config, form, shape, official)
  if getattr(options, "extractor", None):
    cli.read_config(options.extractor, among=cli.RECIPES)


def check_pytest(words):
  """Paths and markers exist."""
  for option, word in itertools.pairwise(["", *words]):
    if option == "-m" and not set(re.findall(r"\w+", word)) - {"not", "and", "or"} <= set(MARKERS):
      raise ValueError(f"no marker {word}")
    if option not in ("-m", "-n", "-k") and not word.startswith("-") and not (REPO / word.split("::")[0]).exists():
      raise ValueError(f"no file {word}")


def check_install(words):
  """Extras exist."""
  for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*?)\]", " ".join(words)))):
    if extra not in EXTRAS:
      raise ValueError(f"no extra {extra!r} in pyproject.toml")


def check(words, monkeypatch):
  """Any command of a document.

  Raises:
    ValueError: for a program that no document needs, or what the program would refuse.
  """
  words = list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))
  program, *rest = words
  if words[:2] == ["python", "-m"] and words[2].split(".")[0] == "jaxskill":
    check_jaxskill(words[2], words[3:], monkeypatch)
  elif program == "jaxskill" and rest != ["--help"]:
    if rest[0] not in COMMANDS:
      raise ValueError(f"no command {rest[0]!r}")
    check_jaxskill(COMMANDS[rest[0]][0], rest[1:], monkeypatch)
  elif program == "pytest" or words[:3] == ["python", "-m", "pytest"]:
    check_pytest(rest if program == "pytest" else words[3:])
  elif words[:2] == ["pip", "install"]:
    check_install(rest)
  elif words[:2] == ["pip", "download"]:
    if shlex.join(words) != networks.PIP:
      raise ValueError(f"the networks of poses come by {networks.PIP}")
  elif program == "python" and not (REPO / rest[0]).is_file():
    raise ValueError(f"no file {rest[0]}")
  elif program.startswith("launch/"):
    if not os.access(REPO / program, os.X_OK):
      raise ValueError(f"{program} cannot be run")
    if "--" in rest:
      module = next((name for name in ("benchmark", "extract") if name in rest[: rest.index("--")]), "main")
      check_jaxskill(f"jaxskill.{module}", rest[rest.index("--") + 1:], monkeypatch)
  elif program in ("docker", "kubectl", "sky"):
    if missing := [word for word in rest if word.startswith("launch/") and not (REPO / word).is_file()]:
      raise ValueError(f"no file {missing[0]}")
  elif program not in ("python", "jaxskill", "cp", "head"):
    raise ValueError(f"unknown program {program!r}")


def failures(commands, monkeypatch):
  """[command: why] of those that cannot be called as they stand."""
  monkeypatch.chdir(REPO)
  result = []
  for words in commands:
    try:
      check(words, monkeypatch)
    except ValueError as error:
      result.append(f"{' '.join(words)}: {error}")
  return result


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page, monkeypatch):
  assert not failures(documents.commands(page), monkeypatch)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_call_commands_and_define_nothing(path, monkeypatch):
  python, commands = documents.notebook(path)
  assert commands and not failures(commands, monkeypatch)
  for cell in python:
    assert not [node for node in ast.walk(ast.parse(cell)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
  check_imports("\n".join(python))


def test_commands_of_docstrings(monkeypatch):
  commands = {path: documents.commands_of_docstring(path) for path in MODULES}
  assert len([path for path in commands if commands[path]]) > len(CONFIGS)
  assert not {path.name: wrong for path in commands if (wrong := failures(commands[path], monkeypatch))}


def check_imports(python):
  """A snippet compiles, and what it imports of ours is there."""
  for node in ast.walk(ast.parse(python)):
    if isinstance(node, ast.Import):
      for name in node.names:
        if name.name.split(".")[0] == "jaxskill":
          importlib.import_module(name.name)
    if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "jaxskill":
      for name in node.names:
        assert resolves(f"{node.module}.{name.name}"), f"{node.module} has no {name.name}"


def resolves(name):
  """Whether a dotted name is a module of ours or something in one."""
  parts = name.split(".")
  for count in range(len(parts), 0, -1):
    try:
      node = importlib.import_module(".".join(parts[:count]))
    except ModuleNotFoundError:
      continue
    try:
      for part in parts[count:]:
        node = getattr(node, part)
    except AttributeError:
      return False
    return True
  return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_compile_and_their_imports_resolve(page):
  for language, text in page.blocks:
    assert language in ("", "bash", "python"), f"a block of {language!r} is checked by nobody"
    if language == "python":
      check_imports(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  for link in documents.links(page):
    if link.startswith("https://"):
      continue
    file, _, anchor = link.partition("#")
    target = (page.path.parent / file).resolve() if file else page.path
    assert target.exists() and target.is_relative_to(REPO), link
    assert not anchor or anchor in documents.anchors(target), link


@pytest.fixture(scope="module")
def fields():
  """The fields of all configs and recipes, with their default options: {"config.a.b"}."""
  return {field for path in CONFIGS for field in fields_of(cli.read_config(str(path))[0], "config")}


def fields_of(node, name):
  items = node.items() if hasattr(node, "items") else ()
  return {name}.union(*(fields_of(value, f"{name}.{key}") for key, value in items))


def can_be_read(config, *overrides):
  try:
    return bool(cli.read_config(str(config), overrides))
  except ValueError:
    return False


def exists(span, page, fields):
  """Whether words set as code are there; None for those that name neither a file, a module, a config nor a field."""
  if re.fullmatch(r"--config(\.[a-z_0-9]+)+=\S+", span):
    return any(can_be_read(path, *shlex.split(span)) for path in CONFIGS)
  if re.fullmatch(r"(--)?config(\.[a-z_0-9]+)+(=\S+)?", span) and span != "config.json":
    return span.removeprefix("--").partition("=")[0] in fields
  if re.fullmatch(r"configs/[\w/]+\.py:[\w,]+", span):
    return can_be_read(span)
  if re.fullmatch(r"jaxskill(\.\w+)+(\(.*\))?", span):
    return resolves(span.partition("(")[0])
  if NAMED_FILES.fullmatch(span):
    return any((folder / span).is_file() for folder in (page.path.parent, REPO)) or span in FILE_NAMES
  return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_set_as_code_exist(page, fields, monkeypatch):
  """Files, modules, configs with their options, and fields of configs with their values."""
  monkeypatch.chdir(REPO)
  assert not [span for span in documents.spans(page) if exists(span, page, fields) is False]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_path_of_a_machine(page):
  lines = page.path.read_text(encoding="utf-8").splitlines()
  assert not [line for line in lines if MACHINE.search(line)]


def test_readme_is_a_page():
  assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_system_has_a_page_that_the_readme_links():
  systems = [path for path in CONFIGS if path.with_name(f"{path.stem}_ablations.py") in CONFIGS]
  linked = documents.links(documents.read(REPO / "README.md"))
  assert len(systems) >= 5 and not [path for path in systems if f"configs/{path.stem}.md" not in linked]


def test_pictures_of_documents_are_small():
  pictures = [page.path.parent / link for page in PAGES for link in documents.links(page) if link.endswith(".png")]
  assert pictures and all(path.stat().st_size < 150_000 for path in pictures)


def test_citation():
  text = (REPO / "CITATION.cff").read_text(encoding="utf-8")
  assert f"\nversion: {jaxskill.__version__}\n" in text and text.count("  - type: ") == 5
  fields = {line.partition(":")[0] for line in text.splitlines() if re.match(r"\w", line)}
  assert fields >= {"cff-version", "message", "title", "authors", "references", "license"}
