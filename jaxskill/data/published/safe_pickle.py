"""Pickles of strangers: numbers, strings, builtin containers and arrays of numbers or strings; nothing else is read.

A pickle is a program. Here it can call nothing of NumPy: where it names a part of NumPy it gets a stand-in of ours,
which takes a shape, the name of a dtype and bytes, checks that they belong together, and only then makes an array.
Before that its instructions are looked through: some would take the memory or the stack of the machine that follows
them.
"""

from __future__ import annotations

import io
import math
import os
import pathlib
import pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.typing import DTypeLike

from jaxskill.data.arrays import refuse_stand_in

_NESTING = 100             # containers in containers: Python hashes tuples in tuples without an eye on its stack
_LARGEST = 10 ** 600        # whole number; Python writes out none of more than 4300 digits
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5}")
_LONGEST = 100              # letters of a string that is an item of an array of objects: all others take as much
_NPY = b"\x93NUMPY\x01\x00"
_INSTRUCTIONS = {instruction.code: instruction for instruction in pickletools.opcodes}
_MAKING = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "DICT", "FROZENSET", "REDUCE")
_FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")


class _Refused(Exception):
  pass


class _Named:
  """What a pickle gets for a name: it can be called, but not changed."""

  __slots__ = ("_call",)

  def __init__(self, call: Callable[..., Any] | type) -> None:
    self._call = call

  def __call__(self, *args: Any) -> _Dtype | np.ndarray:
    return self._call(*args)

  def __setstate__(self, state: tuple[None, dict[str, int]]) -> None:
    raise _Refused("to change what it calls")


class _Dtype:
  """The dtype that a pickle describes: by its name, then by the order of its bytes."""

  __slots__ = ("dtype",)
  names = _DTYPE

  def __init__(self, name: str, align: int = False, copy: int = True) -> None:
    del align, copy
    if not isinstance(name, str) or not self.names.fullmatch(name):
      raise _Refused(f"an array of dtype {name!r:.40}")
    self.dtype = np.dtype(name)

  def __setstate__(self, state: Sequence[Any]) -> None:
    version, order, *structure, size, _, _ = state
    if version != 3 or order not in tuple("<>|=") or structure != [None] * 3 or size not in (-1, self.dtype.itemsize):
      raise _Refused("an array whose items have fields, or a size of their own")
    self.dtype = self.dtype.newbyteorder(order)


class _DtypeOfObjects(_Dtype):
  """The same, of Python objects too."""

  __slots__ = ()
  names = re.compile(rf"{_DTYPE.pattern}|O[48]")


class _Array(np.ndarray):
  """An array that a pickle makes first and fills later, once."""

  def __setstate__(self, state: Sequence[Any]) -> None:
    _, shape, dtype, fortran, content = state
    filled = self.__dict__.pop("fill")(content, dtype, shape, "F" if fortran else "C")
    state = 1, filled.shape, filled.dtype, bool(fortran), filled.tobytes("A")
    super().__setstate__(state)  # type: ignore[arg-type]
    self.flags.writeable = False


def _array(content: bytes, dtype: DTypeLike, shape: Sequence[int], order: str = "C",
           axes: Any = None) -> np.ndarray:
  """Returns a read-only array of bytes that are exactly those of its shape and dtype."""
  if not isinstance(dtype, _Dtype) or dtype.dtype.hasobject or not isinstance(content, (bytes, bytearray)):
    raise _Refused("an array of Python objects")
  dtype = dtype.dtype
  if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2 ** 40 for n in shape):
    raise _Refused(f"an array of shape {shape!r:.40}")
  if len(content) != math.prod(shape) * dtype.itemsize:
    raise _Refused(f"an array of shape {shape} and dtype {dtype} from {len(content)} bytes")
  letters = np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder)) if dtype.kind == "U" else np.zeros(0)
  if (letters > 0x10FFFF).any() or (dtype.kind == "b" and set(content) - {0, 1}):
    raise _Refused("an array of bytes that are no text, or no truth values")
  array = np.ndarray(shape, dtype, bytes(content), order="F" if order == "F" else "C")
  return array if axes is None else array.transpose(axes)


def _items(content: list, once: Callable[[Any], Any], shape: Any, order: str) -> np.ndarray:
  """Returns an array of Python objects as one of what they are: numbers, short strings, or arrays of one shape."""
  kinds = {type(item) for item in content}
  if order != "C" or type(shape) is not tuple or math.prod(shape) != len(content):
    raise _Refused(f"an array of {len(content)} objects in the shape {shape!r:.40}")
  if kinds and all(issubclass(kind, np.ndarray) for kind in kinds):
    if len({(item.shape, item.dtype) for item in content}) > 1:
      raise _Refused("an array of arrays of several shapes or dtypes")
    once(range(sum(item.nbytes for item in content)))
  elif not kinds or not all(issubclass(kind, (str, bool, int, float, np.generic)) for kind in kinds):
    raise _Refused(f"an array of objects that are {', '.join(sorted(kind.__name__ for kind in kinds)) or 'none'}")
  if any(len(item) > _LONGEST for item in content if isinstance(item, str)):
    raise _Refused(f"an array of strings of more than {_LONGEST} letters")
  if any(issubclass(kind, str) for kind in kinds) and not all(issubclass(kind, str) for kind in kinds):
    raise _Refused("an array of strings and numbers")
  array = np.array(content)
  if array.dtype.hasobject:
    raise _Refused("an array of numbers beyond 64 bits")
  return array.reshape(shape + array.shape[1:])


class _Unpickler(pickle.Unpickler):

  def __init__(self, data: bytes, objects: bool) -> None:
    super().__init__(io.BytesIO(data), encoding="latin1")   # the arrays of Python 2
    room = 2 * len(data)      # before protocol 3, bytes are copied to text and back

    def once(content: Any) -> Any:
      """What is copied out of a pickle is in it: no content is copied again and again."""
      nonlocal room
      room -= len(content)
      if room < 0:
        raise _Refused("to copy the same content again and again")
      return content

    def fill(content: Any, *about: Any) -> np.ndarray:
      if objects and type(content) is list:
        return _items(content, once, *about[1:])
      content = content.encode("latin1") if isinstance(content, str) else content      # str: of Python 2
      return _array(once(content), *about)

    def reconstruct(*_: Any) -> np.ndarray:
      array = np.zeros(0).view(_Array)
      array.fill = fill  # type: ignore[method-assign, assignment]
      return array

    def refuse(*_: Any) -> None:
      raise _Refused("an array that it makes itself")
    self._calls: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): refuse, ("numpy", "dtype"): _DtypeOfObjects if objects else _Dtype,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "scalar"): lambda dtype, content: fill(content, dtype, ())[()],
        ("numpy._core.numeric", "_frombuffer"): fill,
        ("_codecs", "encode"): lambda text, code: once(text).encode("latin1"),      # bytes in protocols before 3
        ("builtins", "bytes"): lambda: b"",
        ("builtins", "set"): lambda items=(): set(once(items)),
        ("builtins", "frozenset"): lambda items=(): frozenset(once(items)),
    }

  def find_class(self, module: str, name: str) -> _Named:
    known = module.replace("numpy.core.", "numpy._core.").replace("__builtin__", "builtins"), name
    if known not in self._calls:
      raise _Refused(f"{module}.{name}")
    return _Named(self._calls[known])


def _check_instructions(data: bytes) -> None:
  """Raises unless a pickle is whole, nests few containers, and asks for no more memory than it has content."""
  file, stack, memo = io.BytesIO(data), [], {}     # of what is on the stack: how deep it nests; None is a mark
  while True:
    start, code = file.tell(), file.read(1).decode("latin1")
    if not (instruction := _INSTRUCTIONS.get(code)):
      raise EOFError(f"there is no instruction {code!r}, at byte {start}")
    name = instruction.name
    argument: Any = file.readline() if name == "STRING" else instruction.arg.reader(file) if instruction.arg else None
    if name == "STOP":
      return
    if isinstance(argument, int) and not -_LARGEST < argument < _LARGEST:
      raise _Refused("a number of more than 600 digits")
    if name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= argument <= len(data):
      raise _Refused(f"a place {argument} to remember something, which is beyond its {len(data)} bytes")
    if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
      memo[len(memo) if argument is None else argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    else:
      _follow(instruction, stack)


def _follow(instruction: Any, stack: list) -> None:
  """Does to the depths on the stack what an instruction does to the objects there."""
  before = list(instruction.stack_before)
  if instruction.name == "DUP":
    stack.append(stack[-1])
    return
  taken = []
  if pickletools.markobject in before:
    while (depth := stack.pop()) is not None:
      taken.append(depth)
    before = before[:before.index(pickletools.markobject)]
  taken += [stack.pop() for _ in before]
  depth = max((depth for depth in taken if depth is not None), default=0)
  depth += bool(taken) and instruction.name in _MAKING
  if instruction.name in _FILLING:
    depth = max(taken[-1], 1 + max(taken[:-1], default=-1))
  if depth > _NESTING:
    raise _Refused(f"containers in containers, more than {_NESTING} deep")
  stack += [None if made is pickletools.markobject else depth for made in instruction.stack_after]


def load(path: str | os.PathLike[str]) -> dict[Any, Any] | list[tuple[int, int]]:
  """Reads a pickle without running anything that it names.

  Args:
    path: the file.

  Returns:
    Its content; arrays are read-only.

  Raises:
    ValueError: if it wants anything but arrays of numbers or strings, numbers, strings and builtin containers, or is
      damaged.
  """
  refuse_stand_in(path)
  return _read(path, pathlib.Path(path).read_bytes())


def load_objects(path: str | os.PathLike[str]) -> np.ndarray | None:
  """Reads a `.npy` file whose array is one of Python objects, which NumPy pickles, without running what it names.

  Returns:
    The array of what the objects are, read-only: numbers, strings of at most 100 letters, or arrays of one shape, whose
    axes come last; None for a file of plain numbers or strings.

  Raises:
    ValueError: if the objects are others, or the file is damaged.
  """
  with open(path, "rb") as file:
    head = file.read(len(_NPY) + 2)
    header = file.read(int.from_bytes(head[-2:], "little"))
    if not head.startswith(_NPY) or not re.search(rb"'descr':\s*'\|O'", header):
      return None
    data = file.read()
  found: Any = _read(path, data, objects=True)
  if not isinstance(found, np.ndarray):
    raise ValueError(f"{path}: holds a {type(found).__name__}, not an array; download it again.")
  return found


def _read(path: str | os.PathLike[str], data: bytes, objects: bool = False) -> Any:
  """The content of a pickle, of which `path` is named in errors; `objects`: whether arrays of objects are read too."""
  try:
    _check_instructions(data)
    return _Unpickler(data, objects).load()
  except _Refused as error:
    raise ValueError(f"{path}: wants {error}, which is refused: only arrays of numbers or strings, numbers, strings "
                     "and builtin containers are read. Download it again from its authors, and do not open this file "
                     "with pickle.load.") from None
  except Exception as error:   # a damaged pickle can fail in any way
    why = " ".join(f"{type(error).__name__}: {error}".split())
    raise ValueError(f"{path}: is no readable pickle ({why:.200}); download it again.") from error
