"""Files of weights that PyTorch wrote: read without running what they hold, and written as the published code does."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import files
from jaxskill.data.arrays import refuse_stand_in

_SHARED = 4          # times the size of a file, of tensors that share their numbers: tied layers do, once or twice
# What pickles call a number of NumPy, which a training leaves beside the weights: the best result so far.
_NUMPY_NUMBERS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")


def read_weights(file: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the tensors of a file of PyTorch weights: {state_dict name: array}.

  Args:
    file: .safetensors, or .pth, .pt, .pkl, .tar as torch.save writes them (nothing but tensors is unpickled). A dict
      with the key "state_dict" is looked into; a leading "module." of all names is dropped.

  Raises:
    ValueError: if the file cannot be read, or the package that reads it is missing.
  """
  return _read(file, lambda path: _state_dict(_load(path), path.stat().st_size))


def read_networks(file: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the tensors of a checkpoint of a training that PyTorch did: {name: array}, or {network: {name: array}}.

  What the training keeps beside the networks, as numbers and the state of its optimizer, is left out.

  Args:
    file: see `read_weights`. Dicts may lie within dicts, and each may stand in a tuple of its own.

  Raises:
    ValueError: see `read_weights`.
  """
  def networks(path: pathlib.Path) -> dict[str, Any]:
    import torch
    with torch.serialization.safe_globals([(_Number, name) for name in _NUMPY_NUMBERS]):
      content = _load(path)
    found = _Tensors(path.stat().st_size).within(content)
    return found if isinstance(found, dict) else {}
  return _read(file, networks)


def write_networks(file: pathlib.Path, networks: Mapping[str, Any]) -> None:
  """Writes a checkpoint as `read_networks` reads it, whole or not at all.

  Args:
    file: its path.
    networks: {name: array}, or {network: {name: array}, or a tuple of one}.

  Raises:
    ValueError: if PyTorch is missing.
  """
  _need("torch", file, "writing")
  import torch

  def tensors(node: Mapping[str, Any] | np.ndarray | tuple[dict[str, Any]]) -> Any:
    if isinstance(node, dict):
      return {name: tensors(value) for name, value in node.items()}
    if isinstance(node, tuple):
      return tuple(map(tensors, node))
    return torch.from_numpy(np.array(node))
  with files.writing(pathlib.Path(file)) as opened:
    torch.save(tensors(networks), opened)


def _need(package: str, file: pathlib.Path, what: str) -> None:
  if importlib.util.find_spec(package) is None:
    raise ValueError(f"{file}: {what} it needs the package {package}, which is not installed: pip install "
                     "'jaxskill[weights]'.")


def _read(file: str | os.PathLike[str], read_torch: Callable[..., Any]) -> dict[str, Any]:
  """Returns what `read_torch`, or safetensors, reads of a file, without the "module." before names."""
  file = pathlib.Path(file)
  if not file.is_file():
    raise ValueError(f"{file}: there is no such file of weights.")
  package = "safetensors" if file.suffix == ".safetensors" else "torch"
  _need(package, file, "reading")
  refuse_stand_in(file)
  try:
    if package == "safetensors":
      from safetensors.numpy import load_file
      state = load_file(file)
    else:
      state = read_torch(file)
  except _Refused as error:
    raise ValueError(f"{file}: {error}") from None
  except Exception as error:      # a damaged file can fail in any way
    message = str(error).splitlines()[0] if str(error) else ""
    if "weights_only" in str(error) or isinstance(error, pickle.UnpicklingError):
      found = re.search(r"GLOBAL (\S+)", str(error))       # PyTorch's own advice is to trust the file
      wanted = f" ({found[1]})" if found else ""
      raise ValueError(f"{file}: holds more than tensors{wanted}, which is refused, for it could run any program, or "
                       "is damaged; expected a state_dict alone, as torch.save(network.state_dict(), FILE) writes it."
                       ) from None
    raise ValueError(f"{file}: cannot be read as weights ({type(error).__name__}: {message}); download it again."
                     ) from error
  if not state:
    raise ValueError(f"{file}: holds no tensors; expected the state_dict of a network.")
  return _without_module(state)


def _without_module(node: Mapping[str, Any] | np.ndarray) -> Any:
  """Returns nested dicts without the "module." that PyTorch's parallel training puts before names."""
  if not isinstance(node, dict):
    return node
  return {name.removeprefix("module."): _without_module(value) for name, value in node.items()}


class _Refused(Exception):
  """What the message says after the name of the file."""


class _Number:
  """Stands for a number of NumPy, and for its type; what it is made of is not looked at."""

  def __init__(self, *parts: Any) -> None:
    pass

  def __setstate__(self, state: Sequence[Any]) -> None:
    pass


def _load(file: pathlib.Path) -> Any:
  """Returns what torch.save wrote, of which nothing but tensors and plain values is unpickled."""
  import torch
  if zipfile.is_zipfile(file):
    with zipfile.ZipFile(file) as packed:
      if sum(member.file_size for member in packed.infolist()) > file.stat().st_size:
        raise _Refused("is compressed, which torch.save never does; unpack it, and download it again from its authors.")
  return torch.load(file, map_location="cpu", weights_only=True)


def _state_dict(state: Mapping[Any, Any] | Sequence[Any], size: int) -> dict[str, np.ndarray]:
  """Returns {name: float32 array} of the one network in a file of `size` bytes."""
  import torch
  state = state.get("state_dict", state) if isinstance(state, dict) else state
  if not isinstance(state, dict):
    raise _Refused(f"holds a {type(state).__name__}; expected a state_dict, names and tensors.")
  unnamed = [name for name, value in state.items() if isinstance(value, torch.Tensor) and not isinstance(name, str)]
  if unnamed:
    raise _Refused(f"a tensor is called {unnamed[0]!r:.40}; expected a state_dict, with the names of layers.")
  tensors = _Tensors(size)
  return {name: tensors.array(name, value) for name, value in state.items() if isinstance(value, torch.Tensor)}


class _Tensors:
  """Makes arrays of the tensors of one file, every one backed by the bytes of the file."""

  def __init__(self, size: int) -> None:
    self._size, self._total = size, 0

  def within(self, node: Any, name: str = "") -> dict[str, Any] | np.ndarray | None:
    """Returns the arrays in a dict, or in a tuple of one, by name; None where there is none."""
    import torch
    if isinstance(node, tuple) and len(node) == 1:
      node = node[0]
    if isinstance(node, torch.Tensor):
      return self.array(name, node)
    if not isinstance(node, dict):
      return None
    found = {key: self.within(value, key) for key, value in node.items() if isinstance(key, str)}
    return {key: value for key, value in found.items() if value is not None} or None

  def array(self, name: str, tensor: Any) -> np.ndarray:
    """Returns a tensor as a float32 array."""
    import torch
    numbers = tensor.numel() * tensor.element_size()
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex() or (
        numbers > self._size):
      raise _Refused(f"the tensor {name!r:.80} is sparse, quantized, complex or without numbers of its own; expected "
                     "plain numbers.")
    self._total += numbers
    if self._total > _SHARED * self._size:
      raise _Refused("its tensors share the same numbers again and again; download it again from its authors.")
    return tensor.detach().float().numpy()
