"""Eight CPU devices, the golden files, a small config and small data sets, for all tests."""

import ctypes
import functools
import gc
import importlib.metadata
import importlib.util
import os

FLAGS = []
if importlib.metadata.version("jaxlib").startswith("0.10."):     # XLA stops at a flag that it does not know
  FLAGS.append("--xla_cpu_use_fusion_emitters=false")            # compiles these small programs twice as fast
QUICK_FLAGS = " ".join(["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true", *FLAGS])
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8",
                                    *FLAGS]).strip()             # before JAX is imported
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "1")    # not a hundred frames of pytest for every operation

import json
import pathlib
import shutil
import signal
import tempfile
import zlib

import jax
import numpy as np
import pytest

from jaxskill import cli, files, measured
from jaxskill.data import Fold, SkillDataset
from tests import cores
from tests.places import GOLDEN, POSE

MALLOC_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
STATM, ROOM = pathlib.Path("/proc/self/statm"), 0.5e9       # bytes that tests may gather
MOST = {"bytes": 2 * ROOM}            # that a worker may hold before it lets go of some
CACHE = "JAX_COMPILATION_CACHE_DIR"   # folder of what the tests of one call compile, commands that they start too
RUNS = "JAXSKILL_TEST_RUNS"           # folder of what they train once for all workers


def pytest_configure(config):
  for name in ("SIGINT", "SIGHUP"):       # ignored in a shell's background and under nohup, and commands inherit that
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
      signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
  config.addinivalue_line("markers", "golden(pattern, without=()): runs once for every golden file of the pattern "
                          "whose name holds no word of `without`; the test gets it as `golden_name`")
  if "not gpu" in config.option.markexpr and not os.environ.get("JAX_PLATFORMS"):
    jax.config.update("jax_platforms", "cpu")
  worker = getattr(config, "workerinput", {})
  if int(worker.get("workercount", 0)) > 1:
    cores.take_one(int(worker["workerid"].removeprefix("gw")))
  cli.keep_memory = lambda: None                    # commands in a worker leave its memory as it is
  # Many tests compile the same program again. The cache must be there before the first compilation.
  if not hasattr(config, "workerinput"):            # workers of pytest-xdist inherit it
    for name, kind in ((CACHE, "cache"), (RUNS, "runs")):
      os.environ[name] = tempfile.mkdtemp(prefix=f"jaxskill_test_{kind}_")
  jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_finish(session):
  """What is there by now stays: it is not looked through again for rubbish, which is collected less often."""
  del session
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 10, 10)


def pytest_unconfigure(config):
  if not hasattr(config, "workerinput"):
    for name in (CACHE, RUNS):
      shutil.rmtree(os.environ[name], ignore_errors=True)


def pytest_runtest_setup(item):
  if item.get_closest_marker("peers") and importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed: pip install '.[bench]'")
  if item.get_closest_marker("pose"):
    if importlib.util.find_spec("ai_edge_litert") is None:
      pytest.skip("LiteRT is not installed: pip install '.[pose]'")
    if not POSE.exists():
      pytest.skip("the networks of poses are not at hand: JAXSKILL_POSE_WEIGHTS=WHEEL says where they are")


def pytest_xdist_auto_num_workers(config):
  """At most four processes, for memory; on a GPU one, which takes most of its memory."""
  return 0 if "gpu" in config.option.markexpr.replace("not gpu", "") else min(4, os.cpu_count() or 1)


def pytest_generate_tests(metafunc):
  marker = metafunc.definition.get_closest_marker("golden")
  if marker:
    metafunc.parametrize("golden_name", golden_names(*marker.args, **marker.kwargs))


def golden_names(pattern, without=()):
  """Names of golden files; the pattern itself, for `golden` to report, where there is none."""
  found = sorted(path.stem for path in GOLDEN.glob(f"{pattern}.npz"))
  return [name for name in found if not any(word in name for word in without)] or [pattern]


@pytest.fixture(scope="module", autouse=True)
def release_memory():
  """Lets compiled programs go, which would stay to the end of a worker; those that come again are on disk.

  Where the system does not say how much is held, after every file.
  """
  yield
  if not 0 < resident() <= 2 * ROOM:
    release()


@pytest.fixture(autouse=True)
def release_much_memory():
  """The same where tests of one file have gathered much since it was done last."""
  yield
  if resident() > MOST["bytes"]:
    release()
    MOST["bytes"] = resident() + ROOM


@pytest.fixture(scope="session", autouse=True)
def operands_of_this_machine():
  """Tests compute in float32 also where bfloat16 is faster, as do the commands that they start."""
  files.save_json(pathlib.Path(os.environ[CACHE]) / measured.OPERANDS, {measured.kind(jax.devices()[0]): 0.5})


def resident():
  """Bytes of memory that this process holds; 0 where the system does not say."""
  try:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
  except OSError:
    return 0


def release():
  gc.collect()
  jax.clear_caches()
  if MALLOC_TRIM:          # what was freed goes back to the machine
    MALLOC_TRIM(0)


@pytest.fixture(scope="session")
def golden():
  """golden(name) -> {key: array} of a file, "params" its list of names and shapes."""

  def load(name):
    if not (GOLDEN / f"{name}.npz").is_file():
      pytest.fail(f"there is no golden file {GOLDEN / name}.npz; unset JAXSKILL_GOLDEN to use those of the project")
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
      result = dict(file)
    listed = GOLDEN / f"{name}_params.json"
    return result | (dict(params=json.loads(listed.read_text())) if listed.exists() else {})
  return load


def _by_recipe(name, shape, salt, gain):
  """One parameter of a golden file as a function of its name, see the README there."""
  seed, last = zlib.crc32((salt + name).encode()), name.split(".")[-1]
  normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, np.float32)
  if last == "running_mean" or last.startswith("bias"):
    return np.float32(0.1) * normal
  if len(shape) > 1:
    return normal * np.float32(gain / np.sqrt(np.prod(shape[1:])))
  return 1 + np.float32(0.1) * (np.abs(normal) if last == "running_var" else normal)


@pytest.fixture(scope="session")
def golden_weights():
  """golden_weights(file, gain=None, params=None) -> {state_dict name: weights} that a golden file does not store."""

  def make(file, gain=None, params=None):
    stored = float(file.get("gain_f64", 1)) if gain is None else gain
    weights = {name: _by_recipe(name, tuple(shape), str(file["salt"]), stored)
               for name, shape in params or file["params"] if not name.endswith("num_batches_tracked")}
    fingerprint = "weight_fingerprint_f64" if gain is None else f"weight_fingerprint_gain{gain:g}_f64"
    if fingerprint in file:
      assert sorted(weights) == sorted(file["weight_names"])
      sums = [[w.sum(dtype=np.float64), np.abs(w).sum(dtype=np.float64)] for w in map(weights.get, file["weight_names"])]
      np.testing.assert_allclose(sums, file[fingerprint], rtol=1e-10, atol=1e-9)
    return weights
  return make


def small_config(file="pros_cons", options="simulated", changes=None):
  """The config of configs/<file>.py on 14 simulated videos of 12 x 10, with values changed."""
  config = importlib.import_module(f"configs.{file}").get_config(options)
  config.data.simulated.update(num_videos=14, num_segments=12, width=10)
  config.seeds, config.model.hidden = (0,), 4
  config.train.update(batch_size=8, epochs=2, steps_per_call=4, learning_rate=1e-2)
  config.update_from_flattened_dict(changes or {})
  return config.lock()


@pytest.fixture
def load_config():
  """load_config(file, options, {"train.epochs": 1, ...}), see `small_config`."""
  return small_config


@pytest.fixture
def config(load_config):
  """configs/pros_cons.py on 14 simulated videos of 12 x 10."""
  return load_config()


@pytest.fixture
def make_dataset():
  """make_dataset(folds=((training videos, test videos), ...), ...) -> random videos of random lengths."""

  def make(*, videos=11, segments=12, width=5, folds=((range(8), range(8, 11)),), seed=0, **fields):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=videos).astype(np.float32)
    features = rng.normal(size=(videos, segments, width)).astype(np.float32)
    lengths = rng.integers(1, segments + 1, videos).astype(np.int32)
    lengths[0] = segments
    features[np.arange(segments) >= lengths[:, None]] = 0
    pairs = np.array([(i, j) for i in range(videos) for j in range(videos) if score[i] > score[j]], np.int32)
    rows = lambda ids: np.flatnonzero(np.isin(pairs, list(ids)).all(axis=1))
    made = tuple(Fold(f"fold{i}", np.array(train), np.array(test), rows(train), rows(test))
                 for i, (train, test) in enumerate(folds))
    return SkillDataset(**dict(name="random", source="random", videos=tuple(f"v{i}" for i in range(videos)),
                               streams=dict(rgb=features), lengths=dict(rgb=lengths), pairs=pairs, folds=made,
                               score=score) | fields)
  return make


@pytest.fixture
def coarse_pictures(monkeypatch):
  """Figures of few pixels: for tests that draw many and do not measure them."""
  from matplotlib.figure import Figure
  save = Figure.savefig
  monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: save(self, file, **options | dict(dpi=50)))


@pytest.fixture
def blank_pictures(monkeypatch):
  """Figures are built and their files are there, but nothing is rendered: for tests that look at no pixel."""
  from matplotlib.figure import Figure
  monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"blank"))


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory):
  """A PYTHONPATH for commands: training needs no PyTorch, but what writes for TensorBoard takes it along (over a second)."""
  folder = tmp_path_factory.mktemp("without_torch")
  (folder / "torch.py").write_text("raise ImportError('tests of commands leave it out')\n")
  return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def quick_compile():
  """Compiles with few optimisations: for tests that run a program for a moment."""
  before = jax.config.read("jax_disable_most_optimizations")
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", before)


def undrawn(init, keys, videos, constants):
  """The state that `init` makes, with zeros in place of what a program draws."""
  state = jax.eval_shape(init, keys, videos, constants)
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
  return zeros.replace(constants={name: constants[name] for name in state.constants})


@pytest.fixture
def nothing_drawn(monkeypatch):
  """Trainers begin with zeros, which no program draws: for tests that look at programs or tables, and train nothing."""
  from jaxskill import train
  make = train.make_step

  def begin_with_zeros(*given, **sizes):
    made = make(*given, **sizes)
    return made._replace(init=functools.partial(undrawn, made.init))
  monkeypatch.setattr(train, "make_step", begin_with_zeros)


@pytest.fixture
def here(capsys, monkeypatch, quick_training):
  """here(config, *arguments) -> (exit code, stdout, stderr) of `jaxskill.main`, or another command, in this process."""
  del quick_training
  from jaxskill import main
  from tests import commands

  def here(config, *arguments, program=main.main):
    return commands.run_here(program, capsys, monkeypatch, *(["--config", config] if config else []), *arguments)
  return here


@pytest.fixture
def store():
  """The objects of the store `strict://`, none at first."""
  from tests import strict
  strict.OBJECTS.clear()
  yield strict.OBJECTS
  strict.OBJECTS.clear()


@pytest.fixture
def quick_training(monkeypatch, quick_compile):
  """Trains and assesses on one device; `tests/assess/own_videos.py` trains within it."""
  del quick_compile
  from jaxskill import train
  from jaxskill.training import finished_run, parallel
  for module in (train, finished_run):
    monkeypatch.setattr(module, "Parallel", lambda *_: parallel.Parallel(1))


@pytest.fixture(scope="module")
def known():
  """Compiled functions that runs of one config share in a file."""
  from tests.known_programs import Known
  return Known()


@pytest.fixture
def quick_answers(quick_training, monkeypatch, known):
  """`quick_training`, and nothing is traced anew for a run of a config that was trained or asked before."""
  del quick_training
  known.patch(monkeypatch)
