"""The command lines of assess and compare, and the functions behind them: the same arguments, the same answers."""

import inspect
import json
import re
import subprocess
import sys
import types

import pytest

from jaxskill import assess, compare
from jaxskill.assess import __main__ as assess_command
from jaxskill.assess import arguments, comparison, scoring
from jaxskill.report import explain
from tests import documents
from tests.assess.own_videos import trained
from tests.places import REPO

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")

RUNS = {"assess": (assess.run, assess_command.main), "compare": (compare.run, compare.main)}
GIVEN = dict(workdir="run", videos=("a.mp4", "b"), features=("c.npz", "d"), out="out",
             weights={"rgb": "rgb.pt", "flow": "e"}, extractor="recipe.py", boxes="boxes.csv", detector="persons.onnx",
             person="3,4", labels="labels.csv", category="salto", difficulty="2.5", row_seconds=0.25, row="a row", criterion="total",
             fold="a fold", seed=3, checkpoint="validation", level=0.8, html=True, films="copy",
             pairs_to_label=4, blur_faces=True, free_ends=True)


def words(**given):
  """A command line that gives the same as the arguments of a function."""
  line = [*map(str, given.pop("videos", ())), *["--blur-faces"] * given.pop("blur_faces", False)]
  line += [f"--weights={stream}={file}" for stream, file in given.pop("weights", {}).items()]
  line += ["--free-ends"] * given.pop("free_ends", False)
  line += ["--html"] * given.pop("html", False)
  line += [f"--videos={given.pop('films')}"] if "films" in given else []
  for name, value in given.items():
    line += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, (tuple, list)) else [str(value)])]
  return line


@pytest.mark.parametrize("name", RUNS)
def test_the_command_line_has_the_arguments_of_the_function(name):
  run, _ = RUNS[name]
  assert inspect.signature(run).parameters.keys() == GIVEN.keys() | {"say"}
  read = lambda *line: arguments.keywords(arguments.parser(name, "").parse_args(line))
  given = read(*words(**GIVEN))
  assert given | {key: tuple(given[key]) for key in ("videos", "features")} == GIVEN
  for key, value in read("--workdir", "run").items():
    default = inspect.signature(run).parameters[key].default
    assert key == "workdir" or value == default, key


@pytest.mark.parametrize("name, work", [("assess", scoring), ("compare", comparison)])
def test_every_argument_arrives(monkeypatch, name, work):
  """In its own place, and paths of any kind."""
  monkeypatch.setattr(work, "run", lambda *passed: passed)
  workdir, sources, models, out, say, pages = RUNS[name][0](**GIVEN, say=print)
  flat = dict(workdir=workdir, out=out) | sources._asdict() | models._asdict() | pages._asdict()
  flat |= flat.pop("known")._asdict() | flat.pop("extraction")._asdict()
  assert flat == GIVEN and say is print
  _, sources, _, out, *_ = RUNS[name][0]("run", REPO / "a.mp4", labels=REPO / "b.csv", out=REPO)
  assert (sources.videos, sources.features) == ((str(REPO / "a.mp4"),), ())
  assert (sources.known.labels, out) == (str(REPO / "b.csv"), str(REPO))


@pytest.mark.parametrize("name", RUNS)
def test_an_unknown_argument_is_refused(name):
  run, _ = RUNS[name]
  with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
    run("run", ["a.mp4"], colour="red")
  with pytest.raises(TypeError, match="positional"):
    run("run", ["a.mp4"], ["features.npy"])


@pytest.mark.parametrize("given, weights", [
    ([], ""), (["a.pt"], "a.pt"), (["rgb=a=b.pt"], {"rgb": "a=b.pt"}),
    (["rgb=a.pt", "flow=random:1"], {"rgb": "a.pt", "flow": "random:1"}), (["there=is.pt"], "there=is.pt")])
def test_weights_on_the_command_line(tmp_path, monkeypatch, given, weights):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "there=is.pt").touch()
  line = ["--workdir", "run", *(f"--weights={one}" for one in given)]
  assert arguments.keywords(arguments.parser("assess", "").parse_args(line))["weights"] == weights


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("given, why", [
    (["random:0", "b.pt"], "--weights=random:0: of several weights each must say its stream"),
    (["rgb=a.pt", "b.pt"], "--weights=b.pt: of several weights each must say its stream"),
    (["rgb=a.pt", "flow=c.pt", "rgb=b.pt"], "--weights: stream 'rgb' has 2 files, a.pt, b.pt; give one.")])
def test_no_weights_are_dropped_silently(capsys, name, given, why):
  """In one line, before the run is looked at."""
  with pytest.raises(SystemExit) as ended:
    RUNS[name][1](["--workdir", "no_run", "a.mp4", *(f"--weights={one}" for one in given)])
  said = capsys.readouterr().err.strip()
  assert ended.value.code == 2 and said.startswith(f"jaxskill: {why}") and len(said.splitlines()) == 1


@pytest.mark.parametrize("folds", [("1", "2"), (1, 2)])
def test_models_are_chosen_by_text(folds):
  """A command line gives texts, Python may give numbers, and folds may be named by either."""
  replicas = [dict(row="", criterion="score", fold=fold, seed=seed) for fold in folds for seed in (0, 1)]
  run = types.SimpleNamespace(about=dict(replicas=replicas))
  for fold in ("2", 2):
    assert explain.choose(run, explain.Models(fold=fold))[0].tolist() == [2, 3]
  assert explain.choose(run, explain.Models(fold="1", seed=1))[0].tolist() == [1]
  with pytest.raises(ValueError, match="^--fold=3: no model of the run is of this fold; there are 1, 2.$"):
    explain.choose(run, explain.Models(fold="3"))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("system, chosen", [
    ("core", dict(seed=1, row_seconds=0.5)), ("pros_cons", dict(fold="simulated"))])
def test_function_and_command_line_answer_the_same(tmp_path, capsys, name, system, chosen):
  """Files, words, and what is returned."""
  trained_run, (run, main) = trained(system), RUNS[name]
  capsys.readouterr()                                      # what training said
  test = trained_run.dataset.folds[0].test_videos[:2]
  given = chosen | dict(workdir=trained_run.workdir, features=[trained_run.save(video) for video in test],
                        category=trained_run.dataset.category[test[0]], labels=trained_run.labels)
  by_function, by_command = tmp_path / "function", tmp_path / "command"
  said = []
  returned = run(**given, out=by_function, say=said.append)
  with pytest.raises(SystemExit) as ended:
    main(words(**given, out=by_command))
  assert ended.value.code == 0
  steady = lambda text, out: re.sub(r"\d+\.\d s\b", "", text.replace(str(out), "OUT")).splitlines()
  assert steady("\n".join(said), by_function) == steady(capsys.readouterr().out, by_command)
  files = {path.relative_to(by_function) for path in by_function.rglob("*.*")}
  assert files == {path.relative_to(by_command) for path in by_command.rglob("*.*")}
  written = [path for path in sorted(files) if path.suffix == ".json" and not path.name.startswith(".")]
  answers = [json.loads((by_function / path).read_text()) for path in written]
  assert answers == [json.loads((by_command / path).read_text()) for path in written]
  failed = returned.pop("failed") if name == "compare" else returned[1]
  assert failed == {}
  results = [returned] if name == "compare" else [result for _, result in sorted(returned[0].items())]
  assert json.loads(json.dumps(results)) == answers and len(answers) == (1 if name == "compare" else 2)
  if "seed" in chosen:
    assert "seeds 1)" in said[0] + json.dumps(answers)


def test_the_snippet_of_the_page_runs(monkeypatch, capsys):
  """With answers that need no trained run."""
  answer = dict(score=0.5, percentile=75.0, moments=["0:01.0"])
  monkeypatch.setattr(scoring, "run", lambda *asked: ({"video": answer}, {}))
  monkeypatch.setattr(comparison, "run", lambda *asked: dict(better="a", difference=1.5, agreeing=2, moments=[]))
  (_, snippet), = (one for one in documents.read(REPO / "jaxskill/assess/README.md").blocks if one[0] == "python")
  exec(snippet, {})
  assert capsys.readouterr().out == "video 0.5 75.0 ['0:01.0']\na 1.5 2 []\n"


def test_commands_listen_before_anything_slow_is_imported():
  code = "import sys, jaxskill.compare, jaxskill.assess.__main__; print(*{'jax', 'numpy'} & set(sys.modules))"
  done = subprocess.run([sys.executable, "-c", code], cwd=REPO, text=True, capture_output=True, timeout=60, check=True)
  assert not done.stdout.strip()
