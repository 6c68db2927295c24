"""A store of objects in memory, `strict://`, as strict as can be: no folders, nothing renamed, nothing appended to."""

import io
import os

import fsspec
from etils import epath

OBJECTS = {}          # {name without strict://: bytes}


def _forbidden(*_, **__):
  raise NotImplementedError("a store of objects cannot do that")


class _Writing(io.BytesIO):
  """An object that is there once it is closed."""

  def __init__(self, name):
    super().__init__()
    self.name = name

  def close(self):
    if not self.closed:
      OBJECTS[self.name] = self.getvalue()
    super().close()


@epath.register_path_cls("strict://")
class StrictPath(epath.Path):
  """A path of the store; what it does not know raises an error."""

  def __fspath__(self):
    return "strict://" + self._name()

  __str__ = __fspath__

  def _name(self):
    return "/".join(self.parts[1:])

  def exists(self):
    return self._name() in OBJECTS or self.is_dir()

  def is_dir(self):
    return any(name.startswith(self._name() + "/") for name in OBJECTS)

  def iterdir(self):
    start = self._name() + "/"
    return (self / part for part in {name[len(start):].split("/")[0] for name in OBJECTS if name.startswith(start)})

  def open(self, mode="r", encoding=None, errors=None):
    if mode.strip("b") not in ("r", "w"):
      _forbidden()
    if "w" in mode:
      raw = _Writing(self._name())
    elif self._name() in OBJECTS:
      raw = io.BytesIO(OBJECTS[self._name()])
    else:
      raise FileNotFoundError(2, "there is no such object", os.fspath(self))
    return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

  def unlink(self, missing_ok=False):
    if OBJECTS.pop(self._name(), None) is None and not missing_ok:
      raise FileNotFoundError(2, "there is no such object", os.fspath(self))

  mkdir = rmdir = rmtree = rename = replace = copy = touch = _forbidden
  stat = glob = rglob = walk = resolve = expanduser = _forbidden


class StrictStore(fsspec.AbstractFileSystem):
  """The same for what creates an object only if there is none; it lists and opens nothing."""

  protocol, cachable = "strict", False

  def cat_file(self, path, start=None, end=None, **_):
    if path not in OBJECTS:
      raise FileNotFoundError(path)
    return OBJECTS[path]

  def pipe_file(self, path, value, mode="overwrite", **_):
    if mode == "create" and OBJECTS.setdefault(path, value) is not value:
      raise FileExistsError(path)
    OBJECTS[path] = value

  def rm_file(self, path):
    if OBJECTS.pop(path, None) is None:
      raise FileNotFoundError(path)

  ls = _open = mv = _forbidden


fsspec.register_implementation("strict", StrictStore, clobber=True)
