"""The packages that are installed: every folder of code, and configs/ within the package, where commands find it."""

import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.places import REPO

SETUPTOOLS = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def folders_of(root, name):
  """{package name: folder} of all folders of Python files at and below `root`."""
  found = sorted({path.parent for path in root.rglob("*.py")})
  return {".".join([name, *folder.relative_to(root).parts]): folder for folder in found}


def test_every_folder_of_code_is_installed():
  folders = folders_of(REPO / "jaxskill", "jaxskill") | folders_of(REPO / "configs", "jaxskill.configs")
  assert SETUPTOOLS["packages"] == sorted(folders)
  assert SETUPTOOLS["package-dir"] == {"jaxskill.configs": "configs"}


def test_wheel_is_found_from_any_folder(tmp_path):
  """A wheel, unpacked elsewhere, reads its own configs and recipes, and brings no top-level package but jaxskill."""
  pytest.importorskip("setuptools", minversion="77")
  source, installed, elsewhere = tmp_path / "source", tmp_path / "installed", tmp_path / "elsewhere"
  elsewhere.mkdir()
  caches = shutil.ignore_patterns("__pycache__")
  for name in ("jaxskill", "configs"):
    shutil.copytree(REPO / name, source / name, ignore=caches)
  for name in ("pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(REPO / name, source / name)
  build = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
  made = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
  assert made.returncode == 0, made.stderr
  shutil.unpack_archive(source / made.stdout.split()[-1], installed, "zip")
  assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"jaxskill"}
  code = ("import sys; sys.path.insert(0, sys.argv[1]); from jaxskill import cli; "
          "[cli.read_config(file) for file in sys.argv[2:]]; print(cli.__file__)")
  files = [path.relative_to(REPO).as_posix() for path in (REPO / "configs").rglob("*.py") if path.stem != "common"]
  read = subprocess.run([sys.executable, "-c", code, str(installed), *files], cwd=elsewhere, capture_output=True,
                        text=True, check=False)
  assert read.returncode == 0, read.stderr
  assert pathlib.Path(read.stdout.strip()).is_relative_to(installed)
