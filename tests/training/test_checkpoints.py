"""Checkpoints survive odd leaves, reused buffers, damaged files and a kill; what does not fit is refused by name."""
import errno
import gc
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxskill.training import checkpoints
from tests import cores
from tests.places import REPO
from tests.processes import running


@flax.struct.dataclass
class TrainState:
  step: jax.Array
  params: dict
  constants: dict
  opt_state: tuple


def random_state(seed=0, width=5):
  rng = np.random.default_rng(seed)
  params = {"head": {"kernel": jnp.asarray(rng.normal(size=(3, width)), jnp.float32),
                     "bias": jnp.asarray(rng.normal(size=width), jnp.bfloat16)}}
  odd = {"uint32": rng.integers(0, 2**32, 7, np.uint32), "bool": rng.random(4) < 0.5, "int8": np.int8([-128, 127]),
         "float64": rng.normal(size=2), "float16": np.float16([1e-7, -0.0]), "empty": np.zeros((0, 3), np.float32),
         "special": np.float32([-0.0, np.inf, np.nan, 1e-42]), "transposed": np.arange(6.).reshape(2, 3).T,
         "nothing": {}}
  return TrainState(jnp.int32(seed), params, odd, optax.chain(optax.clip(1.0), optax.adam(1e-3)).init(params))


def zeros_like(state):
  return jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), leaf.dtype), state)


def assert_identical(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected)):
    b = np.asarray(b)
    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), path


def largest_file(folder):
  return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_roundtrip(tmp_path):
  state = random_state()
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.restore(state) is None and saved.steps() == [] and saved.best_step() is None
    saved.save(3, state)
    saved.save(3, state)   # the same again: nothing to do
  with checkpoints.Checkpoints(tmp_path) as saved:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    for template in (state, zeros_like(state), shapes):
      step, restored = saved.restore(template)
      assert step == 3
      assert_identical(restored, state)
  assert checkpoints.digest(restored) == checkpoints.digest(state)


def test_digest_sees_names_dtypes_shapes_and_bytes():
  tree = {"a": np.arange(6, dtype=np.int32), "b": np.float32(1)}
  assert checkpoints.digest(dict(reversed(tree.items()))) == checkpoints.digest(tree)
  assert checkpoints.digest(jax.tree.map(jnp.asarray, tree)) == checkpoints.digest(tree)
  others = [{"a": tree["a"], "c": tree["b"]}, {**tree, "a": tree["a"].reshape(2, 3)}, {**tree, "b": np.float32(-1)},
            {**tree, "a": tree["a"].view(np.uint32)}, {"a": tree["a"]}]
  assert len({checkpoints.digest(other) for other in [tree, *others]}) == 1 + len(others)
  with pytest.raises(ValueError, match="'x/y'"):
    checkpoints.digest({"x/y": np.ones(1), "x": {"y": np.ones(1)}})


def test_keeps_the_latest_and_the_best(tmp_path):
  metrics = {1: 0.1, 2: 0.9, 3: 0.9, 4: float("nan"), 5: 0.2, 6: None}
  with checkpoints.Checkpoints(tmp_path, keep=2, best=True) as saved:
    for step, metric in metrics.items():
      saved.save(step, {"w": np.full(3, step)}, validation=metric)
    assert saved.steps() == [2, 5, 6]
    assert saved.best_step() == 2
  assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5", "6"]
  with checkpoints.Checkpoints(tmp_path, keep=2, best=True) as saved:
    saved.save(7, {"w": np.full(3, 7)}, validation=0.5)
    assert saved.steps() == [2, 6, 7] and saved.best_step() == 2
    step, state = saved.restore({"w": np.zeros(3, int)}, step=saved.best_step())
    assert step == 2 and (state["w"] == 2).all()
    saved.save(8, {"w": np.full(3, 8)}, validation=1.0)
    assert saved.steps() == [7, 8] and saved.best_step() == 8


def test_buffers_are_free_once_save_returns(tmp_path):
  state = {"numpy": np.ones(1 << 16, np.float32), "jax": jnp.ones(1 << 16)}
  expected = jax.tree.map(np.array, state)
  step = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, state)
    state["numpy"][:] = -1
    state["jax"] = step(state["jax"])
    assert_identical(saved.restore(expected)[1], expected)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "record", "shape in record", "missing", "empty"])
def test_damaged_checkpoint_is_set_aside(tmp_path, damage, caplog):
  state = {"w": np.random.default_rng(0).normal(size=(64, 64)), "step": np.int32(1)}
  with checkpoints.Checkpoints(tmp_path) as saved:
    for step in (1, 2):
      saved.save(step, state)
  newest = tmp_path / "2"
  victim = largest_file(newest / ("record" if "record" in damage else "state"))
  content = bytearray(victim.read_bytes())
  if damage == "truncated":
    victim.write_bytes(content[:len(content) // 2])
  elif damage in ("flipped", "record"):
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
  elif damage == "shape in record":   # must not be taken for a template that does not fit
    victim.write_bytes(content.replace(b"64, 64", b"64, 65"))
  elif damage == "missing":
    victim.unlink()
  else:
    shutil.rmtree(newest)
    newest.mkdir()
    (newest / "commit_success.txt").touch()
  with checkpoints.Checkpoints(tmp_path) as saved:
    step, restored = saved.restore(zeros_like(state))
    assert step == 1 and saved.steps() == [1]
    assert_identical(restored, state)
    saved.save(2, state)
    assert saved.restore(state)[0] == 2
  assert (tmp_path / "damaged" / "2").is_dir()
  errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
  assert any(str(newest) in error and "damaged (" in error for error in errors), errors


def test_nothing_good_is_none(tmp_path):
  state = {"w": np.ones(9)}
  for name in ("2", "2.1"):
    with checkpoints.Checkpoints(tmp_path) as saved:
      saved.save(2, state)
      saved.wait()
      largest_file(tmp_path / "2" / "record").write_text("{")
      assert saved.restore(state) is None
    assert (tmp_path / "damaged" / name).is_dir()


@pytest.mark.parametrize("change,words", [
    (lambda state: state.replace(params={"head": {**state.params["head"], "kernel": np.zeros((3, 6), np.float32)}}),
     ["params/head/kernel", "[3, 5]", "[3, 6]"]),
    (lambda state: state.replace(params={"head": {**state.params["head"], "bias": np.zeros(5, np.float32)}}),
     ["params/head/bias", "bfloat16[5]", "float32[5]"]),
    (lambda state: state.replace(constants={**state.constants, "more": np.zeros(2)}),
     ["constants/more", "nothing"]),
    (lambda state: state.replace(constants={}), ["constants/bool", "nothing"]),
])
def test_template_that_does_not_fit(tmp_path, change, words):
  state = random_state()
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(4, state)
    with pytest.raises(ValueError) as error:
      saved.restore(change(state))
    assert all(word in str(error.value) for word in [str(tmp_path / "4"), *words]), error.value
    assert saved.restore(state)[0] == 4   # not taken for damage


def test_refusals(tmp_path):
  with pytest.raises(ValueError, match="keep=0"):
    checkpoints.Checkpoints(tmp_path, keep=0)
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="cannot be written to .*file/run"):
    checkpoints.Checkpoints(tmp_path / "file" / "run")
  with checkpoints.Checkpoints(tmp_path / "run") as saved:
    saved.save(5, {"w": np.ones(2)})
    for step in (4, 5):
      with pytest.raises(ValueError, match=f"step {step} .* holds step 5"):
        saved.save(step, {"w": np.zeros(2)})
    with pytest.raises(ValueError, match=r"no checkpoint of step 6; it has \[5\]"):
      saved.restore({"w": np.ones(2)}, step=6)


def test_failed_save_is_raised_and_forgotten(tmp_path):
  with checkpoints.Checkpoints(tmp_path / "run") as saved:
    saved.save(1, {"w": np.ones(2)})
    saved.wait()
    (tmp_path / "run").rename(tmp_path / "away")
    (tmp_path / "run").touch()   # the disk is gone
    with pytest.raises(Exception):
      saved.save(2, {"w": np.ones(2)})
      saved.wait()
    (tmp_path / "run").unlink()
    (tmp_path / "away").rename(tmp_path / "run")
  with checkpoints.Checkpoints(tmp_path / "run") as saved:
    assert saved.steps() == [1]


@pytest.fixture
def small_files():
  """small_files(bytes): no file may grow beyond, as on a full disk; the system's own limit."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_full_disk_is_one_error_of_one_line(tmp_path, small_files, capfd, caplog, size):
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  state = {"w": np.random.default_rng(0).normal(size=20_000)}
  threads = set(threading.enumerate())
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, state)
    saved.wait()
    small_files(size)
    with pytest.raises(OSError) as failed:
      saved.save(2, state)
      saved.wait()
    assert saved.steps() == [1]                       # said once; not again on leaving
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    gc.collect()
  assert failed.value.errno == errno.EFBIG and failed.value.filename == str(tmp_path / "2")
  assert str(failed.value).count("\n") == 0 and "File too large" in str(failed.value)
  assert "".join(capfd.readouterr()) == "" and caplog.records == []
  for thread in set(threading.enumerate()) - threads:
    if not thread.daemon:
      thread.join(timeout=10)                          # it may be about to end
      assert not thread.is_alive(), thread
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.restore(state)[0] == 1
    saved.save(2, state)
    assert saved.steps() == [1, 2]


def test_a_failed_save_is_known_before_the_next(tmp_path, small_files):
  with checkpoints.Checkpoints(tmp_path) as saved:
    small_files(100)
    saved.save(1, {"w": np.ones(20_000)})
    with pytest.raises(OSError, match="File too large"):
      while True:
        saved.check()
        time.sleep(0.01)
    saved.check()


def test_notes_belong_to_their_step(tmp_path):
  notes = {1: [], 2: [dict(step=2, value=[0.1, None])], 3: None}
  with checkpoints.Checkpoints(tmp_path, keep=3) as saved:
    for step, value in notes.items():
      saved.save(step, {"w": np.ones(2)}, notes=value)
  with checkpoints.Checkpoints(tmp_path, keep=3) as saved:
    assert {step: saved.notes(step) for step in saved.steps()} == notes and saved.notes(4) is None


@pytest.mark.parametrize("kind", ["file", "link"])
def test_damaged_checkpoint_beside_what_is_called_damaged(tmp_path, capfd, kind):
  state = {"w": np.ones(9)}
  with checkpoints.Checkpoints(tmp_path) as saved:
    for step in (1, 2):
      saved.save(step, state)
  if kind == "file":
    (tmp_path / "damaged").write_text("mine")
  else:
    (tmp_path / "damaged").symlink_to("nowhere")
  largest_file(tmp_path / "2" / "record").write_text("{")
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.restore(state)[0] == 1
  assert (tmp_path / "damaged" / "2").is_dir()
  kept, = tmp_path.glob("damaged-*")
  assert kept.is_symlink() if kind == "link" else kept.read_text() == "mine"
  assert "Traceback" not in capfd.readouterr().err


SAVE_FOREVER = """
import sys, numpy as np
from jaxskill.training import checkpoints
with checkpoints.Checkpoints(sys.argv[1], keep=2) as saved:
  for step in range(1, 10**6):
    saved.save(step, {"step": np.int64(step), "w": np.full((500, 500), step)})
    print(step - 1, flush=True)   # one behind: `save` waits for the one before
"""


def test_kill_leaves_a_complete_checkpoint(tmp_path):
  template = {"step": np.int64(0), "w": np.zeros((500, 500), int)}
  rng = np.random.default_rng(0)
  script = [sys.executable, "-c", SAVE_FOREVER, str(tmp_path / "run")]
  with running(script, stdout=subprocess.PIPE, text=True) as saving:
    for _ in range(5):   # freeze the run at odd moments, and look at a copy: what a kill there would leave
      done = int(saving.stdout.readline())
      time.sleep(rng.uniform(0, 0.05))
      saving.send_signal(signal.SIGSTOP)
      os.waitpid(saving.pid, os.WUNTRACED)   # until it has stopped
      copy = tmp_path / f"copy{done}"
      shutil.copytree(tmp_path / "run", copy)
      saving.send_signal(signal.SIGCONT)
      check_after_kill(copy, template, done)
    done = int(saving.stdout.readline())
  check_after_kill(tmp_path / "run", template, done)


def check_after_kill(folder, template, done):
  with checkpoints.Checkpoints(folder, keep=2) as saved:
    restored = saved.restore(template)
    assert restored or done == 0
    if restored:
      step, state = restored
      assert step >= done and state["step"] == step and (state["w"] == step).all()
      for old in saved.steps():
        assert saved.restore(template, step=old)[0] == old
    saved.save(done + 10, template)   # and the run goes on
    steps = saved.steps()
  assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, steps))   # no leftovers, nothing damaged


def test_makes_no_noise(tmp_path, caplog, capfd):
  from absl import logging  # pylint: disable=g-import-not-at-top
  before = logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  try:
    with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
      for step in range(3):
        saved.save(step, {"w": np.ones(2)})
      assert saved.restore({"w": np.ones(2)})[0] == 2
  finally:
    logging.set_verbosity(before)
  assert [record.getMessage() for record in caplog.records] == []
  assert "".join(capfd.readouterr()) == ""


PROCESS = """
import sys, jax, numpy as np
port, rank, folder = sys.argv[1:]
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(f"localhost:{port}", 2, int(rank))
from jaxskill.training import checkpoints
mesh = jax.sharding.Mesh(jax.devices(), "device")
value = np.float32([-0.0, 1e-42, np.nan, 3])
replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
everywhere = jax.make_array_from_callback(value.shape, replicated, lambda index: value[index])
with checkpoints.Checkpoints(f"{folder}/{rank}", keep=1) as saved:   # no common disk
  for step in (1, 2):
    saved.save(step, {"w": everywhere, "b": np.arange(3)})
  assert saved.steps() == [2]
  step, state = saved.restore({"w": np.zeros(4, np.float32), "b": np.zeros(3, int)})
  assert step == 2 and state["w"].tobytes() == value.tobytes() and (state["b"] == np.arange(3)).all()
  try:
    saved.restore({"w": np.zeros(5, np.float32), "b": np.zeros(3, int)})
  except ValueError as error:
    assert "[5]" in str(error)
  else:
    raise AssertionError("a template that does not fit was accepted")
"""


def test_two_processes(tmp_path):
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  (tmp_path / "1").touch()   # process 1 could not write if it tried
  env = {**os.environ, "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
  with cores.every_one():
    runs = [subprocess.Popen([sys.executable, "-c", PROCESS, str(port), str(rank), str(tmp_path)], cwd=REPO, env=env,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in range(2)]
  try:
    outputs = [run.communicate(timeout=50)[0] for run in runs]
  finally:
    for run in runs:
      run.kill()
  assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
