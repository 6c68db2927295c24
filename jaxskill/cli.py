"""What all commands share: configs and their overrides, mistakes said in a line, signals, exit statuses.

| exit status | meaning |
|---|---|
| 0 | finished |
| 1 | finished, but some of the inputs failed; they were listed with the reason |
| 2 | a command line, config, file or machine that cannot be used; the message says what to do |
| 128 + n | stopped by signal n (130 SIGINT, 143 SIGTERM, 129 SIGHUP), after what was done had been saved |

Imports nothing but the standard library at the top: a command listens for signals before anything slow is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import logging
import os
import pathlib
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jaxskill.overrides import with_override

if TYPE_CHECKING:
  from ml_collections import ConfigDict

CONFIGS, RECIPES = "configs", "configs/features"     # folders of files that come with the package
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Settings of glibc's mallopt that keep freed memory: one heap (M_ARENA_MAX), no block mapped by itself (M_MMAP_MAX),
# and bytes at the end of the heap that stay (M_TRIM_THRESHOLD).
_KEEP = ((-8, 1), (-4, 0), (-1, 2 ** 30))
_at_end = []         # what `at_end` has been given


def keep_memory() -> None:
  """Lets this process use memory again that it has freed, where the C library is glibc: for steps on streamed features.

  On a CPU each call of a compiled program takes its temporary memory anew, up to hundreds of megabytes. By itself glibc
  gives them back to the system in between, which clears each page when it is touched again. With this, up to 1 GiB at
  the end of the one heap stays, and all that lies below memory in use; programs compile more slowly, since threads that
  compile then wait for one another. benchmark/README.md has figures of both. Must be called before a thread has taken
  memory, which would get a heap of its own. Any variable that tunes glibc's memory (MALLOC_..., glibc.malloc in
  GLIBC_TUNABLES) switches it off.
  """
  if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name.startswith("MALLOC_") for name in os.environ):
    return
  try:
    if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
      return
    import ctypes
    library = ctypes.CDLL(None)
  except (AttributeError, ValueError, OSError, ImportError):         # another system, or another library
    return
  for number, value in _KEEP:
    library.mallopt(number, value)


def listen(thread: bool = True) -> None:
  """Makes the signals that ask a program to end do so at once, with a line and status 128 + n; training saves first.

  A thread ends the process. Raised in the main thread, as Python does with KeyboardInterrupt, an exception is lost in
  a finalizer, crashes the import of a compiled module, and waits until a compiler has ended. Every file is written
  whole or not at all, so nothing is lost.

  Args:
    thread: False starts none yet, for what comes before `keep_memory` and is short: until it is called again the main
      thread ends the process, as soon as it is between two instructions of Python.
  """
  if os.name == "nt":                                      # Python's own way there
    return
  heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]       # nohup ignores SIGHUP
  if not thread:
    def end_here(number: int, _: object) -> None:
      for other in heeded:
        signal.signal(other, signal.SIG_IGN)               # the first one ends it
      _end(number)
    for number in heeded:
      signal.signal(number, end_here)
    return
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)        # first, or a signal between these would be lost
  for number in heeded:
    signal.signal(number, lambda *_: None)

  def wait() -> None:
    while (number := os.read(reader, 1)[0]) not in heeded:
      pass
    _end(number)
  threading.Thread(target=wait, daemon=True).start()


def _end(number: int) -> None:
  """Ends the process because of a signal."""
  with contextlib.suppress(RuntimeError):                  # no thread can be started
    threading.Timer(5, os._exit, (128 + number,)).start()  # should one of these wait for the main thread
  words = f"\njaxskill: stopped by {signal.Signals(number).name}\n".encode()
  for function in (*reversed(_at_end), _end_children, lambda: os.write(2, words)):
    with contextlib.suppress(Exception):                   # e.g. a terminal that closed
      function()
  os._exit(128 + number)


def _end_children() -> None:
  """Ends the processes that this one has started, if it has imported what starts them."""
  active = getattr(sys.modules.get("multiprocessing"), "active_children", list)       # or is just importing it
  for child in active():
    child.kill()


@contextlib.contextmanager
def at_end(function: Callable[[], object]) -> Iterator[None]:
  """Has `function` called if a signal ends the process, see `listen`, while the body runs."""
  _at_end.append(function)
  try:
    yield
  finally:
    _at_end.remove(function)


@contextlib.contextmanager
def command() -> Iterator[None]:
  """Runs the body as a command: says mistakes in a line, and ends with the exit statuses of this module.

  Raises:
    SystemExit: with status 2 if the body raises what a user can mend.
  """
  for stream in (sys.stdout, sys.stderr):                  # an output that knows few letters gets others in their place
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="replace", line_buffering=True)
  logging.getLogger("jax").setLevel(logging.WARNING)       # not which accelerators it looks for in vain
  gc.set_threshold(20_000, 10, 10)                         # JAX makes 200 000 objects that stay: look through them less
  try:
    yield
  except BrokenPipeError:                                  # the reader of our output is gone: `| head`
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + 13)
  except MemoryError as error:
    _refuse(f"out of memory{f': {error}' if str(error) else ''}; use fewer or shorter videos at once, smaller sizes, "
            "or a machine with more memory.")
  except (ValueError, OSError, FloatingPointError) as error:
    _refuse(error)
  except RuntimeError as error:                            # of XLA: jax.errors.JaxRuntimeError
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    _refuse(f"the device is out of memory ({str(error).splitlines()[0][:200]}); lower config.train.batch_size or "
            "config.data.device_budget, or use more devices.")


def _refuse(message: Any) -> None:
  print(f"\njaxskill: {plain(message, keep=chr(10))}", file=sys.stderr)
  sys.exit(2)


def use_compilation_cache() -> None:
  """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder; without one, not."""
  import jax
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    try:
      folder = pathlib.Path.home() / ".cache" / "jaxskill" / "xla"
      folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):                        # there is no home, or nobody may write there
      return
    if not os.access(folder, os.W_OK | os.X_OK):
      return
    jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def path(text: str | os.PathLike[str]) -> str:
  """Returns `text` with a leading `~` or `~user` as that home folder.

  Raises:
    ValueError: if there is no home folder.
  """
  text = os.fspath(text)
  expanded = os.path.expanduser(text)
  if expanded == "~" or expanded.startswith(("~/", "~" + os.sep)):
    raise ValueError(f"{text}: this machine knows no home folder for ~; set HOME, or give the whole path.")
  return expanded


def weights(text: str) -> str:
  """Returns a value of --weights, FILE or STREAM=FILE, with `~` in the file's name as in `path`."""
  stream, equals, file = text.partition("=")
  return stream + equals + path(file) if equals and stream.isidentifier() else path(text)


def add_config(parser: argparse.ArgumentParser, what: str) -> None:
  """Adds --config to an argparse parser; `parse` takes its overrides."""
  parser.add_argument("--config", required=True, metavar="FILE[:OPTIONS]",
                      help=f"{what}; those of the package by their names too, without folder and ending; "
                      "--config.FIELD=VALUE overrides a field, all of them stand in that file")


def parse(parser: argparse.ArgumentParser,
          arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
  """Returns (options, overrides --config.FIELD=VALUE) of a command line; ends with status 2 at anything else."""
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  options, others = parser.parse_known_args(arguments)
  overrides = []
  for word in others:
    if word.startswith("--config."):
      overrides.append(word)
    elif overrides and "=" not in overrides[-1] and not word.startswith("--"):
      overrides[-1] += f"={word}"                          # --config.FIELD VALUE
    else:
      kind = "option" if word.startswith("-") else "word"
      parser.error(f"unknown {kind} {word!r}; fields of the config are given as --config.FIELD=VALUE")
  for word in overrides:
    if "=" not in word:
      parser.error(f"{word} needs a value: {word}=VALUE")
  return options, overrides


def read_config(file: str, overrides: Sequence[str] | tuple = (),
                among: str = CONFIGS) -> tuple[ConfigDict, Callable[..., Any] | None]:
  """Returns (config, its file's function official() or None).

  Args:
    file: path or name of a config file, see `find_config`, with `:OPTIONS` for its get_config; `~` is the home folder.
    overrides: --config.FIELD=VALUE, each.
    among: folder of the package where names are looked up, `CONFIGS` or `RECIPES`.

  Raises:
    ValueError: for a file that is no config, options or fields that it has not, a value of another type, or of a field
      that only the file and its options may set.
  """
  given, colon, options = path(file).partition(":")
  name = find_config(given, among)
  module = _load(name)
  if not callable(getattr(module, "get_config", None)):
    raise ValueError(f"--config={file}: {name} defines no get_config(); give one of configs/, e.g. "
                     "configs/pros_cons.py.")
  try:
    config = module.get_config(options) if colon else module.get_config()
  except ValueError as error:                              # in the file's own words
    raise ValueError(f"--config={file}: {error}") from error
  except Exception as error:   # pylint: disable=broad-except   a config file is anybody's code
    raise ValueError(_fault_of(name, error)) from error
  for override in overrides:
    config = with_override(config, override, given)
  _expand_home(config)
  return config.lock(), getattr(module, "official", None)


def beside(file: str | os.PathLike[str], name: str) -> types.ModuleType:
  """Loads the config file `name`.py from the folder of another: their folder is no package.

  Args:
    file: `__file__` of the one that asks.
    name: of the other, without its ending.
  """
  return _module(name, pathlib.Path(file).with_name(f"{name}.py"))


def find_config(name: str, among: str = CONFIGS) -> str:
  """Returns the path of a config file.

  Args:
    name: a word, as "best", is a file of the package, whatever the working folder holds; a path is taken as it is, or,
      "configs/...", from the package where the working folder has none.
    among: folder of the package where words are looked up, `CONFIGS` or `RECIPES`.

  Raises:
    ValueError: for a word that the package has no file of, with those that it has.
  """
  package = pathlib.Path(__file__).parent
  root = package if (package / CONFIGS).is_dir() else package.parent           # installed, or a checkout
  is_word = bool(name) and name == pathlib.Path(name).name and not pathlib.Path(name).suffix
  found = root / (f"{among}/{name}.py" if is_word else name)
  if is_word and not found.is_file():
    known = sorted(file.stem for file in (root / among).glob("*.py") if file.stem != "common")
    raise ValueError(f"--config={name}: there is no config of this name, only {', '.join(known)}; a file of your own "
                     f"is given by its path, e.g. ./{name}.py.")
  if is_word or not pathlib.Path(name).is_file() and pathlib.Path(name).parts[:1] == (CONFIGS,) and found.is_file():
    return str(found)
  return name


def _load(name: str) -> types.ModuleType:
  """Returns the module of a config file."""
  if not name or not pathlib.Path(name).is_file():
    raise ValueError(f"--config={name}: No such file; give a config file, e.g. --config configs/pros_cons.py.")
  if not name.endswith(".py"):
    raise ValueError(f"--config={name} is not a Python file (NAME.py); give one of configs/.")
  try:
    return _module("config_file", name)
  except Exception as error:   # pylint: disable=broad-except   a config file is anybody's code
    raise ValueError(_fault_of(name, error)) from error


def _module(name: str, path_of: str | os.PathLike[str]) -> types.ModuleType:
  spec = importlib.util.spec_from_file_location(name, path_of)
  assert spec and spec.loader            # of a path
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _fault_of(name: str, error: Exception) -> str:
  """Returns where the code of a config file failed, in a line."""
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(name)]
  line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
  return (f"--config={name} cannot be used: {f'line {line}: ' if line else ''}{type(error).__name__}: "
          f"{str(error).splitlines()[0] if str(error) else 'no message'}.")


def _expand_home(config: ConfigDict) -> None:
  """Puts the home folder in place of `~` in the texts of a config that begin with it: they are paths."""
  for name, value in config.items():
    if hasattr(value, "items"):
      _expand_home(value)
    elif isinstance(value, str) and value.startswith("~"):
      config[name] = path(value)


def plain(text: object, keep: str = "") -> str:
  """Returns text that a terminal, a log or a picture shows as it is: no line breaks, colours, marks of direction.

  Args:
    text: a name that others chose, or anything that holds one.
    keep: characters that stay although they cannot be printed, e.g. a line break.
  """
  return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in str(text))


def say(text: str) -> None:
  """Prints text of several lines in which names of others may stand, see `plain`."""
  print(plain(text, keep="\n"))


def short(name: str, length: int = 40) -> str:
  """Returns a name as `plain` text of at most `length` characters; what is left out of the middle is an ellipsis."""
  name = plain(name)
  return name if len(name) <= length else name[: length - length // 3 - 1] + "…" + name[-(length // 3):]
