"""The packages that are installed: every folder of code, and configs/ within the package, where commands find it."""

import os
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """The folder that a wheel is unpacked in."""
  source, unpacked = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
  caches = shutil.ignore_patterns("__pycache__")
  for name in ("jaxskill", "configs"):
    shutil.copytree(REPO / name, source / name, ignore=caches)
  for name in ("pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(REPO / name, source / name)
  build = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
  made = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
  assert made.returncode == 0, made.stderr
  shutil.unpack_archive(source / made.stdout.split()[-1], unpacked, "zip")
  return unpacked


def test_wheel_brings_one_package_and_one_command(installed):
  about, = installed.glob("*.dist-info")
  assert {path.name for path in installed.iterdir()} == {"jaxskill", about.name}
  assert (about / "entry_points.txt").read_text().split() == [
      "[console_scripts]", "jaxskill", "=", "jaxskill.__main__:main"]


def test_wheel_finds_its_configs_from_any_folder(installed, tmp_path):
  """By their paths and by their names; what a config names of the package is there, too."""
  code = ("import sys; sys.path.insert(0, sys.argv[1]); from jaxskill import cli; "
          "[cli.read_config(file) for file in sys.argv[2:]]; cli.read_config('pose', among=cli.RECIPES); "
          "print(cli.__file__)")
  files = [path.relative_to(REPO).as_posix() for path in (REPO / "configs").rglob("*.py") if path.stem != "common"]
  read = subprocess.run([sys.executable, "-c", code, str(installed), *files, "pros_cons:tiny"], cwd=tmp_path,
                        capture_output=True, text=True, check=False)
  assert read.returncode == 0, read.stderr
  assert pathlib.Path(read.stdout.strip()).is_relative_to(installed)


@pytest.mark.slow
def test_wheel_runs_the_main_job_in_an_empty_folder(installed, tmp_path):
  """As `.ci/run` does, too, where a newer Python is at hand."""
  environment = os.environ | dict(PYTHONPATH=str(installed), JAX_PLATFORMS="cpu")
  ended = subprocess.run([sys.executable, "-m", "jaxskill", "train", "--config", "pros_cons:tiny"], cwd=tmp_path,
                         env=environment, capture_output=True, text=True, check=False)
  assert ended.returncode == 0 and "Pairwise accuracy on test pairs" in ended.stdout, ended.stderr
  assert [path.name for path in tmp_path.iterdir()] == ["runs"]
