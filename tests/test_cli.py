"""What all commands share: configs and overrides, mistakes in a line, signals, exit statuses, homes."""

import io
import os
import pathlib
import subprocess
import sys
import time
import types

import jax
import pytest
from ml_collections import ConfigDict

from jaxskill import ablations, cli, host, main, train
from jaxskill.reproduce import __main__ as reproduce
from jaxskill.training import config_checks
from tests import commands
from tests.conftest import QUICK_FLAGS
from tests.places import REPO
from tests.processes import has_glibc

CONFIG = str(REPO / "configs" / "pros_cons.py")
SMALL = ["--config.model.hidden=4", "--config.data.simulated.num_videos=14", "--config.data.simulated.num_segments=6",
         "--config.data.simulated.width=4", "--config.train.epochs=1", "--config.train.batch_size=16",
         "--config.seeds=(0,)", "--config.plots=False"]


def start(*arguments, module="jaxskill.main", **more):
  options = {name: more.pop(name) for name in ("cwd", "user", "stdout") if name in more}
  kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))} | dict(
      JAX_PLATFORMS="cpu", XLA_FLAGS=QUICK_FLAGS, PYTHONPATH=str(REPO),
      JAX_COMPILATION_CACHE_DIR=os.environ["JAX_COMPILATION_CACHE_DIR"])
  environment = {k: v for k, v in (kept | more).items() if v is not None}
  return subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)], env=environment, stderr=subprocess.PIPE,
                          **dict(cwd=REPO, stdout=subprocess.PIPE) | options)


def run(*arguments, **more):
  process = start(*arguments, **more)
  out, err = process.communicate(timeout=180)
  return process.returncode, (out or b"").decode(), err.decode()


OVERRIDES = {
    "--config.=1": "has no field ''",
    "--config..=1": "has no field ''",
    "--config.__class__=1": "has no field '__class__'",
    "--config.keys=1": "has no field 'keys'",
    "--config.nothing=1": "has no field 'nothing', only data,",
    "--config.train={}": "config.train would lose alternation, batch_size",
    "--config.train.epochs.x=1": "config.train.epochs has no field 'x', it is a value",
    "--config.train=1": "is not a dict",
    "--config.loss.weights=1": "is not a dict",
    "--config.seeds[0]=0": "elements cannot be set one by one",
    "--config.seeds[9]=0": "elements cannot be set one by one",
    "--config.train.epochs=1e400": "train.epochs=2000",
    "--config.train.epochs=1.5": "invalid literal for int",
    "--config.train.epochs=": "invalid literal for int",
    "--config.seeds=(0,": "as tuple",
    "--config.seeds=(1 + 1j": "as tuple",
    "--config.plots=maybe": "boolean",
    "--config.variant=official": f"use --config {CONFIG}:best,official.",
    "--config.data.name=epic_skills": f"use --config {CONFIG}:epic_skills.",
    "--config.method=core": "use --config configs/core.py.",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_that_cannot_be_is_one_sentence(override):
  with pytest.raises(ValueError) as caught:
    cli.read_config(f"{CONFIG}:best", [override])
  assert override[:30] in str(caught.value) and OVERRIDES[override] in str(caught.value)
  assert "\n" not in str(caught.value)


VALUES = {
    "--config.seeds=()": "at least one seed",
    "--config.seeds=abc": "config.seeds",
    "--config.seeds=(1.5,)": "a whole number from 0 to 4294967295, not 1.5",
    "--config.seeds=(True,)": "not True",
    "--config.seeds=(-1,)": "not -1",
    "--config.seeds=(0,0)": "equal seeds",
    "--config.seeds=(99999999999999999999,)": "not 99999999999999999999",
    "--config.train.decay=(3,.1)": "each entry must be (epoch, factor)",
    "--config.train.decay=((3,'x'),)": "each entry must be (epoch, factor)",
    "--config.train.decay=(('3',.1),)": "each entry must be (epoch, factor)",
    "--config.train.decay=((3,-.1),)": "a factor of 0 or more",
    "--config.train.rates=(1,)": "each entry must be (regular expression, factor)",
    "--config.train.rates=abc": "each entry must be (regular expression, factor)",
    "--config.train.rates=((1,2),)": "not a regular expression",
    "--config.train.rates=(('(',1),)": "not a regular expression",
    "--config.train.learning_rate=-0.1": "config.train.learning_rate=-0.1 must be above 0",
    "--config.train.learning_rate=0": "must be above 0",
    "--config.train.learning_rate=nan": "not a finite number",
    "--config.train.learning_rate=inf": "not a finite number",
    "--config.loss.margin_rank=nan": "config.loss.margin_rank=nan is not a finite number",
    "--config.loss.weights.diversity=inf": "config.loss.weights.diversity=inf is not a finite number",
    "--config.train.weight_decay=-1": "0 or more",
    "--config.train.momentum=1": "from 0 to below 1",
    "--config.train.batch_size=0": "at least 1",
    "--config.train.epochs=0": "at least 1",
    "--config.data.device_budget=nan": "not a finite number",
    "--config.data.device_budget=1.5": "from 0 to 1",
    "--config.data.segment_seconds=0": "above 0",
    "--config.data.segment_seconds=-1": "above 0",
    "--config.data.segment_seconds=nan": "not a finite number",
    "--config.data.tie_margin=-1": "0 or more",
    "--config.data.seed=-1": "0 or more",
}


@pytest.mark.parametrize("override", VALUES)
def test_a_value_that_cannot_be_is_one_sentence_before_anything_is_written(override, tmp_path):
  with pytest.raises(ValueError) as caught:
    config, _ = cli.read_config(CONFIG, [override])
    train.run(config, tmp_path / "run")
  assert VALUES[override] in str(caught.value) and "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


def test_values_that_can_be():
  config, official = cli.read_config(CONFIG, ["--config.seeds=(0,4294967295)", "--config.train.decay=((3,.1),(5.5,0))",
                                              "--config.train.rates=(('^filters/',.1),)", "--config.train.learning_rate=1e-3"])
  config_checks.check(config)
  assert config.seeds == (0, 4294967295) and callable(official) and config.is_locked


@pytest.mark.parametrize("file", sorted(path.stem for path in (REPO / "configs").glob("*.py") if path.stem != "common"))
def test_every_config_file_passes_the_checks(file):
  config, _ = cli.read_config(REPO / "configs" / f"{file}.py")
  if config.evaluate.get("svr"):
    pytest.importorskip("sklearn", reason="the support vector machine among the baselines is an extra")
  for group in ablations.groups(config) if "rows" in config else [config]:
    config_checks.check(group)


FILES = {
    "text.py": ("root:x:0:0:root\n", "line 1: SyntaxError"),
    "text": ("root:x:0:0:root\n", "is not a Python file"),
    "nul.py": ("a = 1\0", "cannot be used"),
    "empty.py": ("", "defines no get_config()"),
    "raises.py": ("x = 1\nraise KeyError('k')\n", "line 2: KeyError"),
    "wrong.py": ("def get_config():\n  return nothing\n", "line 2: NameError"),
    "options.py": ("def get_config():\n  raise ValueError('use an option')\n", "use an option"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_that_is_none_is_one_sentence(name, tmp_path):
  text, said = FILES[name]
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError) as caught:
    cli.read_config(str(tmp_path / name))
  assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "nothing.py", "."])
def test_a_config_that_is_not_there(name, tmp_path):
  with pytest.raises(ValueError, match="No such file"):
    cli.read_config(str(tmp_path / name) if name else "")


@pytest.mark.parametrize("among", [cli.CONFIGS, cli.RECIPES])
def test_a_name_is_a_file_of_the_package_whatever_the_working_folder_holds(among, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for decoy in ("pros_cons", "pros_cons.py", "action_net.py"):
    (tmp_path / decoy).write_text("raise KeyError('this is another')")
  by_path, by_name = (cli.read_config(name, among=among)[0] for name in (f"{among}/pros_cons.py", "pros_cons"))
  assert by_name.to_dict() == by_path.to_dict()
  with pytest.raises(ValueError, match="pros_cons.py cannot be used"):
    cli.read_config("pros_cons.py", among=among)
  with pytest.raises(ValueError, match=r"--config=\w+: there is no config of this name, only action_net, .*\./mine\.py"):
    cli.read_config("mine", among=among)


def test_a_name_has_options_and_overrides_as_a_path_has():
  config, official = cli.read_config("pros_cons:best,official", ["--config.seeds=(5,)"])
  assert config.data.name == "best" and config.variant == "official" and config.seeds == (5,) and callable(official)
  with pytest.raises(ValueError, match="use --config pros_cons:epic_skills"):
    cli.read_config("pros_cons", ["--config.data.name=epic_skills"])
  with pytest.raises(ValueError, match="only action_net, action_net_ablations, .*, whos_better;") as caught:
    cli.read_config("pros_con:best")
  assert "\n" not in str(caught.value)


def test_home_is_expanded_wherever_a_path_is_given(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cli.path("~/x") == str(tmp_path / "x") and cli.path("~") == str(tmp_path)
  assert [cli.path(text) for text in ("", "a/~/b", "~nobody-of-this-name", "$x.mp4")] == [
      "", "a/~/b", "~nobody-of-this-name", "$x.mp4"]
  assert cli.weights("rgb=~/a.pt") == f"rgb={tmp_path}/a.pt" and cli.weights("~/a.pt") == f"{tmp_path}/a.pt"
  config, _ = cli.read_config(f"{CONFIG}:features", ["--config.data.dir=~/features", "--config.data.prepared_dir=~/p"])
  assert (config.data.dir, config.data.prepared_dir) == (f"{tmp_path}/features", f"{tmp_path}/p")


def test_one_run_in_one_folder_however_its_home_is_written(tmp_path, capsys, monkeypatch, quick_training):
  """A tilde that the shell has left is the home folder, from any working directory.

  An output of few letters, as PYTHONIOENCODING=ascii makes it, gets others in their place.
  """
  del quick_training
  home, elsewhere, written = tmp_path / "home", tmp_path / "elsewhere", io.BytesIO()
  output = io.TextIOWrapper(written, "ascii", write_through=True)           # closes the bytes as it goes
  for folder in (home, elsewhere):
    folder.mkdir()
  monkeypatch.setenv("HOME", str(home))
  words = ["--config", "configs/whos_better.py", *SMALL, "--config.seeds=(0,1)", "--config.data.simulated.num_videos=60"]
  with monkeypatch.context() as patch:
    patch.chdir(elsewhere)
    patch.setattr(sys, "stdout", output)
    main.main([*words, "--workdir=~/runs/x"])
  out = written.getvalue().decode("ascii")
  assert "last step" in out and " ? " in out
  assert not list(elsewhere.iterdir()) and (home / "runs/x/results.json").exists()
  assert (home / "runs/x/checkpoints").is_dir() and (home / "runs/x/config.json").exists()
  monkeypatch.chdir(REPO)
  code, _, err = commands.run_here(main.main, capsys, monkeypatch, *words, "--config.seeds=(1,)", "--workdir", "~/runs/x")
  assert code == 2 and "another config" in err
  assert not (REPO / "~").exists()


def test_no_home_means_no_cache(monkeypatch, tmp_path):
  def none():
    raise RuntimeError("Could not determine home directory.")
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  before = jax.config.jax_compilation_cache_dir
  monkeypatch.setattr(pathlib.Path, "home", none)
  cli.use_compilation_cache()
  (tmp_path / ".cache").write_text("a file where a folder should be")
  monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
  cli.use_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == before
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.setattr(os.path, "expanduser", lambda text: text)
  with pytest.raises(ValueError, match="no home folder"):
    cli.path("~/runs")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs the right to become another user")
def test_a_user_without_an_entry_and_without_a_home_trains(tmp_path):
  tmp_path.chmod(0o777)
  for folder in tmp_path.parents:
    if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1:
      pytest.skip(f"{folder} is closed to other users")
  code, out, err = run("--config", CONFIG, *SMALL, "--workdir", tmp_path / "run", HOME=None, user=54321, cwd=tmp_path,
                       XLA_FLAGS=None, JAX_COMPILATION_CACHE_DIR=None, PYTHONDONTWRITEBYTECODE="1")
  if "Permission denied" in err and not (tmp_path / "run").exists():
    pytest.skip("this interpreter is closed to other users")
  assert code == 0 and "last step" in out, err


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="looks into /proc")
@pytest.mark.parametrize("kind", cli.SIGNALS)
def test_a_signal_before_training_ends_the_command_without_a_traceback(kind, tmp_path):
  process = start("--config", CONFIG, *SMALL, "--config.train.epochs=1000000", "--workdir", tmp_path / "run")
  mapped, patience = pathlib.Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
  while "jaxlib" not in mapped.read_text() and time.monotonic() < patience:         # JAX is being imported
    time.sleep(0.01)
  process.send_signal(kind)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 128 + kind and "Traceback" not in err.decode()
  assert err.decode().splitlines()[-1] == f"jaxskill: stopped by {kind.name}" and out == b""


def test_a_signal_is_heeded_in_a_finalizer_and_ends_the_processes_that_were_started():
  program = """if True:
    import multiprocessing, os, signal, time
    from jaxskill import cli
    class Loses:
      def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
    if __name__ == "__main__":
      cli.listen()
      with cli.command(), cli.at_end(lambda: print("kept")):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        Loses()
        time.sleep(60)
  """
  done = subprocess.run([sys.executable, "-c", program], env=os.environ | dict(PYTHONPATH=str(REPO)), capture_output=True,
                        check=False, timeout=50)          # waits until the child, too, has closed our end of its output
  assert done.returncode == 143 and done.stderr == b"\njaxskill: stopped by SIGTERM\n" and done.stdout == b"kept\n"


def test_a_signal_before_the_thread_that_heeds_them_ends_a_command_in_the_same_way():
  program = """if True:
    import signal, threading, time
    from jaxskill import cli
    cli.listen(thread=False)
    assert threading.active_count() == 1
    with cli.command(), cli.at_end(lambda: print("kept", flush=True)):
      signal.raise_signal(signal.SIGTERM)
      time.sleep(60)
  """
  done = subprocess.run([sys.executable, "-c", program], env=os.environ | dict(PYTHONPATH=str(REPO)), capture_output=True,
                        check=False, timeout=50)
  assert done.returncode == 143 and done.stderr == b"\njaxskill: stopped by SIGTERM\n" and done.stdout == b"kept\n"


def test_a_signal_ends_a_command_whose_terminal_closed():
  program = """if True:
    import os, signal, threading, time
    from jaxskill import cli
    threading.Timer.start = lambda self: None              # nothing else ends it
    cli.listen()
    os.close(2)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)
  """
  done = subprocess.run([sys.executable, "-c", program], env=os.environ | dict(PYTHONPATH=str(REPO)), check=False)
  assert done.returncode == 143


def test_a_signal_while_processes_are_being_imported_has_no_children_to_end(monkeypatch):
  monkeypatch.setitem(sys.modules, "multiprocessing", types.ModuleType("multiprocessing"))      # as in mid-import
  cli._end_children()
  monkeypatch.delitem(sys.modules, "multiprocessing")
  cli._end_children()


def test_command_ends_with_the_status_of_what_happened(capsys):
  def ends(raised):
    with pytest.raises(SystemExit) as end, cli.command():
      raise raised
    return end.value.code
  assert ends(ValueError("a is wrong")) == 2 and "jaxskill: a is wrong\n" in capsys.readouterr().err
  assert ends(OSError(28, "No space left on device", "x")) == 2 and "No space" in capsys.readouterr().err
  assert ends(MemoryError()) == 2 and "out of memory" in capsys.readouterr().err
  assert ends(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore")) == 2
  assert capsys.readouterr().err.count("\n") == 2
  assert ends(SystemExit(1)) == 1
  with pytest.raises(RuntimeError, match="a fault of ours"), cli.command():
    raise RuntimeError("a fault of ours")


def test_overrides_in_both_forms_and_other_words():
  parser = __import__("argparse").ArgumentParser()
  cli.add_config(parser, "config file")
  options, overrides = cli.parse(parser, ["--config", "c.py", "--config.a.b", "5", "--config.c=-1", "--config.d", "-2"])
  assert options.config == "c.py" and overrides == ["--config.a.b=5", "--config.c=-1", "--config.d=-2"]
  for wrong in (["--wokdir=x"], ["train"], ["--config.a"], ["--config.a=1", "word"]):
    with pytest.raises(SystemExit) as end:
      cli.parse(parser, ["--config", "c.py", *wrong])
    assert end.value.code == 2


@pytest.mark.parametrize("command", ["main --config pros_cons", "reproduce --table core-table-3 --data ."])
def test_training_begins_before_anything_is_imported_that_starts_threads(command):
  program = """if True:
    import runpy, sys
    from jaxskill import cli
    calls = []
    def listen(thread=True):
      calls.append(thread)
      if len(calls) == 2:
        raise ValueError(f"{calls} {sorted({'jax', 'numpy'} & set(sys.modules))}")
    cli.listen, (name, *sys.argv) = listen, sys.argv[1:]
    sys.argv.insert(0, name)
    runpy.run_module(f"jaxskill.{name}", run_name="__main__")
  """
  done = subprocess.run([sys.executable, "-c", program, *command.split()], env=os.environ | dict(PYTHONPATH=str(REPO)), capture_output=True,
                        text=True, check=False, timeout=50)
  assert done.returncode == 2 and done.stderr == "\njaxskill: [False, True] []\n"


KEEPS = """
import resource, sys, threading
import numpy as np
from ml_collections import ConfigDict
from jaxskill import cli, main

def pages():
  before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
  np.ones(25_000_000, np.float32)
  return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

def work(place):
  both.wait()
  found[place] = [pages() for _ in range(4)][-1]
  both.wait()

if __name__ == "__main__":
  cli.listen(thread=False)
  main.begin(ConfigDict(dict(data=dict(dir=sys.argv[1], device_budget=float(sys.argv[2])))))
  both, found = threading.Barrier(2), [0, 0]
  threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
  with cli.command():
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(*found)
"""


@pytest.mark.parametrize("sizes,linked,files,kept", [
    ([100, 60], True, 99, False), ([100, 110, 40], True, 99, True), ([60, 60], False, 99, True),
    ([104], False, 99, False), (None, False, 99, False), ([110, 40], False, 3, True), ([40, 110], False, 3, True)])
def test_tables_keep_memory_where_data_are_likely_to_stream(sizes, linked, files, kept, monkeypatch, tmp_path):
  """All below --data, which may be one data set, is held against the memory, and each folder or link there by itself.

  In the last cases one file of each is looked at, whichever comes first.
  """
  begun = []
  monkeypatch.setattr(cli, "listen", lambda: begun.append(True))
  monkeypatch.setattr(cli, "keep_memory", lambda: begun.append(False))
  monkeypatch.setattr(host, "host_bytes", lambda: 210)
  monkeypatch.setattr(reproduce, "FILES", files)
  (tmp_path / "links").mkdir()
  for number, size in enumerate(sizes or ()):
    (tmp_path / "sets" / f"{number}").mkdir(parents=True)
    (tmp_path / "sets" / f"{number}" / "a.npy").write_bytes(bytes(size))
    (tmp_path / "links" / f"{number}").symlink_to(tmp_path / "sets" / f"{number}")
  reproduce.begin(str(tmp_path / ("links" if linked else "sets")) if sizes else None)
  assert begun == [False] * kept + [True]
  assert reproduce.BUDGET == cli.read_config("pros_cons", [])[0].data.device_budget


@pytest.mark.parametrize("config", [
    {}, {"data": "simulated"}, {"data": {"dir": 5, "device_budget": 0.0}}, {"data": {"dir": "x", "device_budget": "a"}}])
def test_a_config_that_is_wrong_begins_and_is_refused_by_those_who_read_it(config, monkeypatch):
  begun = []
  monkeypatch.setattr(cli, "listen", lambda: begun.append(True))
  monkeypatch.setattr(cli, "keep_memory", lambda: begun.append(False))
  main.begin(ConfigDict(config))
  assert begun == [True]


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
@pytest.mark.parametrize("place, budget, said, keeps", [
    ("data", 0.0, {}, True), ("data", 0.5, {}, False), ("nothing", 0.0, {}, False),
    ("data", 0.0, {"MALLOC_TOP_PAD_": "131072"}, False),
    ("data", 0.0, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}, False)])
def test_freed_memory_is_used_again_where_features_stream_unless_the_environment_says_otherwise(
    place, budget, said, keeps, tmp_path):
  """In every thread, also that which waits for signals; a page is cleared whenever it is touched for the first time."""
  (tmp_path / "keeps.py").write_text(KEEPS)
  (tmp_path / "data" / "features").mkdir(parents=True)
  (tmp_path / "data" / "features" / "a.npy").write_bytes(bytes(100))
  kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
  done = subprocess.run([sys.executable, str(tmp_path / "keeps.py"), str(tmp_path / place), str(budget)],
                        capture_output=True, text=True, timeout=60, check=True,
                        env=kept | {"PYTHONPATH": str(REPO), "NUMPY_MADVISE_HUGEPAGE": "0"} | said)
  pages = [int(word) for word in done.stdout.split()]      # that are cleared for 100 MB
  assert len(pages) == 2 and (max(pages) < 100 if keeps else min(pages) > 10_000), pages
