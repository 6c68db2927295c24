"""The notebook runs, small: from rendered videos to the score of a new one; everything says what it is made from."""

import base64
import html
import importlib
import json
import os
import re

import jax
import numpy as np
import pytest

from tests.places import POSE, REPO

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
pytest.importorskip("av")
pytest.importorskip("ipykernel")
pytest.importorskip("jinja2")

NOTEBOOK = REPO / "notebooks" / "own_video.ipynb"
SMALL = """
from tests.assess import notebook_commands
notebook_commands.run_here({processes})
folder = pathlib.Path({folder!r})
epochs, seeds = 2, "(0,)"
if real:
  videos, seconds, height = 8, 1.5, 144
  recipe += " --config.fps=6"
else:
  videos, seconds, height = 10, 4, 48
  recipe += ":4,32"
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory, without_torch):
  """(folder of everything it wrote, the notebook as it was executed) on the simulated road."""
  return execute(tmp_path_factory.mktemp("own_video") / "all", "none", without_torch, ["jaxskill.assess"])


def execute(folder, weights, path, processes=()):
  """The same; `weights` are the networks of poses, `path` is a PYTHONPATH, `processes` are commands in one of their own."""
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  for cell in notebook.cells:
    if "parameters" in cell.metadata.get("tags", ()):
      cell.source += SMALL.format(folder=str(folder), processes=processes)
  flags = os.environ.get("XLA_FLAGS", "").replace("device_count=8", "device_count=1")
  with pytest.MonkeyPatch.context() as patch:
    for name, value in dict(XLA_FLAGS=flags, PYTHONPATH=f"{path}{os.pathsep}{REPO}", JAX_DISABLE_MOST_OPTIMIZATIONS="1",
                            JAXSKILL_POSE_WEIGHTS=str(weights), JAX_COMPILATION_CACHE_DIR=jax.config.jax_compilation_cache_dir).items():
      patch.setenv(name, value)
    try:
      nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    except nbclient.exceptions.CellExecutionError:
      print(printed(notebook))          # a command that fails says why there
      raise
  return folder, notebook


def printed(notebook):
  return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))


def answers(folder, name):
  return [json.loads(path.read_text()) for path in sorted(folder.glob(f"**/{name}"))]


def test_the_whole_way(executed):
  folder, _ = executed
  results, = answers(folder, "results.json")
  assert results["data"] == "features of RANDOM weights: simulated features" and results["simulated"]
  assert [len(replica["scores"]) for replica in results["replicas"]] == [2]        # as the column split of the videos says
  note = json.loads((folder / "features" / "extraction.json").read_text())
  assert len(note["videos"]) == 10 and not note["failed"]
  assert np.load(folder / "features" / "sim0_000.npy").shape == (4, 1024)


def test_a_new_video_has_its_score_and_evidence(executed):
  folder, _ = executed
  answer, = answers(folder, "assessment.json")
  truth = json.loads((folder / "new" / "truth" / f"{answer['video']}.json").read_text())
  assert answer["simulated"] and answer["random_weights"] and np.isfinite(answer["score"])
  assert answer["training_videos"] == 8                            # none is taken away to validate
  line = answer["attention"]["high attention"]
  assert len(line["values"]) == 4 and line["end"][-1] == pytest.approx(truth["seconds"], abs=0.01)   # its own seconds
  assert answer["pictures"]
  pages = sorted(folder.glob("**/report.html"))
  assert len(pages) == 1 and (pages[0].parent / "video.mp4").samefile(folder / "new" / f"{answer['video']}.mp4")
  comparison, = answers(folder, "comparison.json")
  assert {comparison["better"], comparison["worse"]} == {"sim7_000", "sim7_001"}
  scores = {one["video"]: one["score"] for one in comparison["videos"]}
  assert scores[comparison["better"]] >= scores[comparison["worse"]]
  assert scores[answer["video"]] == pytest.approx(answer["score"], rel=1e-4)               # asked twice


def test_the_page_stands_in_the_notebook(executed):
  """And so does its film, for a server of notebooks gives none to a page."""
  folder, notebook = executed
  shown = [output["data"]["text/html"] for cell in notebook.cells for output in cell.get("outputs", ())
           if "<iframe" in output.get("data", {}).get("text/html", "")]
  source, = re.findall(r'srcdoc="([^"]*)"', *shown)
  film, = re.findall(r'<video src="data:video/mp4;base64,([^"]*)"', html.unescape(source))
  video, = folder.glob("answers/*/video.mp4")
  assert base64.b64decode(film) == video.read_bytes()


def test_the_reader_is_told_what_is_not_real(executed):
  _, notebook = executed
  text = printed(notebook)
  for words in ("The simulated road: RANDOM weights", "10 SIMULATED videos", "RANDOM weights: these features are for trials",
                "RANDOM WEIGHTS, SIMULATED DATA"):
    assert words in text
  assert "Traceback" not in text and not any("error" == output.output_type for cell in notebook.cells
                                             for output in cell.get("outputs", ()))
  pictures = [output for cell in notebook.cells for output in cell.get("outputs", ())
              if "image/png" in output.get("data", {})]
  assert len(pictures) >= 4


@pytest.mark.slow
@pytest.mark.pose
def test_the_real_road(tmp_path, without_torch):
  """Trained networks of poses, on drawn persons: it says so, and a score comes of kinematics."""
  folder, notebook = execute(tmp_path / "all", POSE, without_torch)
  text = printed(notebook)
  assert "The real road: trained networks of poses" in text and "RANDOM" not in text and "8 SIMULATED videos" in text
  results, = answers(folder, "results.json")
  assert results["data"] == "simulated features"
  answer, = answers(folder, "assessment.json")
  assert np.isfinite(answer["score"]) and not answer["random_weights"] and answer["pictures"]
  comparison, = answers(folder, "comparison.json")
  assert {comparison["better"], comparison["worse"]} == {"person7_000", "person7_001"}


def test_the_notebook_as_it_lies_there():
  """Small, and clean: nothing of the machine on which it was executed."""
  assert NOTEBOOK.stat().st_size < 300_000
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbformat.validate(notebook)
  source = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
  assert "def " not in source and str(REPO) not in NOTEBOOK.read_text()


def test_the_size_of_a_trial():
  trial = importlib.import_module("configs.features.trial")
  assert "clips: 4" in str(trial.get_config("4,32")) and "crop: 32" in str(trial.get_config("4,32"))
  with pytest.raises(ValueError, match="expected two whole numbers, clips and side, e.g. trial.py:32,64"):
    trial.get_config("small")
