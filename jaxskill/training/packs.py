"""Packs: one file with what a finished run answers from, proved whole before anything of it is used.

A pack is a zip without compression. Its `manifest.json` names the other files in it, each with its SHA-256, and no
other is read. They are those of a run's folder, but for the parameters, which are in `finished_files.PARAMETERS`.
`jaxskill.export` decides what goes in.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping

from etils import epath

from jaxskill import files, stores

ENDING = ".jaxskill"
FORMAT = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"[a-z0-9_]+\.(json|npz)")          # of a file in a pack: it leads to no other folder
_AGAIN = "copy it again, or write it again with python -m jaxskill.export --pack"


def write(path: epath.Path, members: Mapping[str, bytes]) -> None:
  """Writes a pack, whole or not at all; of the same content the same bytes.

  Args:
    members: {name: content} of the files in it.
  """
  digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
  manifest = files.to_json(dict(format=FORMAT, sha256=digests), indent=1).encode()
  with files.writing(path) as opened, zipfile.ZipFile(opened, "w") as packed:
    for name, content in {MANIFEST: manifest, **members}.items():
      packed.writestr(zipfile.ZipInfo(name), content)                      # of 1980, by nobody


@contextlib.contextmanager
def opened(path: epath.Path) -> Iterator[epath.Path]:
  """Gives the folder of a finished run; of a pack a passing one, with its files.

  Raises:
    ValueError: if a pack is damaged, or none.
    OSError: if the place cannot be reached.
    OtherFormat: if another version of the software wrote it.
  """
  with stores.as_os_error(path):               # e.g. no credentials for a store
    packed = path.is_file()
  if not packed:
    yield path
    return
  with files.passing_folder() as folder:
    for name, content in _read(path).items():
      (folder / name).write_bytes(content)
    try:
      yield epath.Path(folder)
    except ValueError as error:                            # tells of the file that was given
      kind = files.OtherFormat if isinstance(error, files.OtherFormat) else ValueError
      raise kind(str(error).replace(str(folder), str(path))) from error


def _read(path: epath.Path) -> dict[str, bytes]:
  """Returns {name: content} of a pack."""
  try:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as packed:
      if any(member.compress_type != zipfile.ZIP_STORED for member in packed.infolist()):       # may unpack to anything
        raise ValueError("it is compressed, which a pack never is")
      manifest = json.loads(packed.read(MANIFEST))
      files.check_format(path, manifest, FORMAT, _AGAIN, oldest=FORMAT)
      content = {name: packed.read(name) for name in manifest["sha256"] if _NAME.fullmatch(name)}
    for name, digest in manifest["sha256"].items():
      if hashlib.sha256(content[name]).hexdigest() != digest:
        raise ValueError(f"{name} differs from its digest")
  except files.OtherFormat:
    raise
  except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
          NotImplementedError, RuntimeError) as error:
    why = next(iter(str(error.args[0] if error.args else error).splitlines()), type(error).__name__)
    raise ValueError(f"{path}: is no pack of a finished run, or is damaged ({why}); {_AGAIN}, or give the folder of a "
                     "run.") from error
  return content
