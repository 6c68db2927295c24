"""Whose folder a run is in, and what is said when it cannot be written."""

import errno
import re

import ml_collections
import pytest
from etils import epath

from jaxskill import stores
from jaxskill.training import locks, packs, run_folder
from tests import strict

CONFIG = ml_collections.ConfigDict(dict(a=1, b=dict(c=(1, 2))))
BAD = {"empty": b"", "cut short": b'{"a":', "zeros": bytes(20), "no UTF-8": b"\xff\xfe", "a list": b"[1]", "a number": b"5",
       "null": b"null", "text": b'"a"', "brackets": b"[" * 100_000}


@pytest.mark.parametrize("name", BAD)
def test_damaged_config_is_named_with_the_remedy(tmp_path, name):
  (tmp_path / "config.json").write_bytes(BAD[name])
  with pytest.raises(ValueError) as refused:
    run_folder.claim(tmp_path, CONFIG)
  assert re.search(r"config\.json is damaged, .* remove the file and start again; else use another --workdir\.$",
                   str(refused.value)) and "\n" not in str(refused.value)
  assert (tmp_path / "config.json").read_bytes() == BAD[name]


def test_a_refusal_names_the_first_fields_that_differ_in_one_line(tmp_path):
  run_folder.claim(tmp_path, CONFIG)
  fields = {f"f{i}": f"{'x' * 1000}\n{i}" for i in range(9)}
  with pytest.raises(ValueError) as refused:
    run_folder.claim(tmp_path, ml_collections.ConfigDict(dict(a=2, b=dict(c=(1, 2)), **fields)))
  message = str(refused.value)
  assert "config.a is 1 there and 2 here; config.f0 is not set there and \"xxx" in message and "; 6 more." in message
  assert "config.b" not in message and "\n" not in message and len(message) < 800
  long = [ml_collections.ConfigDict(dict(a="x" * 100 + end)) for end in "yz"]           # they differ where they are cut
  run_folder.claim(tmp_path / "long", long[0])
  with pytest.raises(ValueError, match=r"config\.a is "):
    run_folder.claim(tmp_path / "long", long[1])


def test_a_run_goes_on_with_other_trackers_and_a_profile(tmp_path):
  run_folder.claim(tmp_path, CONFIG)                     # of a version without them
  fields = dict(trackers=("jsonl",), profile=dict(start=1, steps=2))
  run_folder.claim(tmp_path, ml_collections.ConfigDict(CONFIG.to_dict() | fields))
  with pytest.raises(ValueError, match=r"another config: config\.a is 1 there and 2 here\. Use"):
    run_folder.claim(tmp_path, ml_collections.ConfigDict(CONFIG.to_dict() | fields | dict(a=2)))


def test_a_run_of_a_version_that_knew_no_folds_trained_them_all(tmp_path):
  run_folder.claim(tmp_path, CONFIG)
  run_folder.claim(tmp_path, ml_collections.ConfigDict(CONFIG.to_dict() | dict(folds=())))
  with pytest.raises(ValueError, match=r"another config: config\.folds is \[\] there and \[0\] here\. Use"):
    run_folder.claim(tmp_path, ml_collections.ConfigDict(CONFIG.to_dict() | dict(folds=(0,))))


def test_config_in_another_encoding_or_order_is_the_same(tmp_path):
  run_folder.claim(tmp_path, CONFIG)
  path = tmp_path / "config.json"
  for content in ('{"b": {"c": [1, 2]}, "a": 1}'.encode("utf-16"), path.read_bytes()):
    path.write_bytes(content)
    run_folder.claim(tmp_path, CONFIG)
    assert path.read_bytes() == content


def test_a_second_is_refused_and_touches_nothing(tmp_path):
  workdir = tmp_path / "new" / "run"
  run_folder.refuse_second(workdir)
  assert not workdir.exists()
  with run_folder.occupied(workdir, CONFIG):
    before = {p: p.read_bytes() for p in workdir.iterdir()}
    with pytest.raises(ValueError, match=r"another training run is at work there \(host .*, pid \d+, since "):
      run_folder.refuse_second(workdir)
    with pytest.raises(ValueError, match="wait until it ends, or give another --workdir"):
      with run_folder.occupied(workdir, CONFIG):
        pytest.fail("held twice")
    assert {p: p.read_bytes() for p in workdir.iterdir()} == before
  with run_folder.occupied(workdir, CONFIG), locks.hold(tmp_path / ".lock", "", "", pytest.fail):
    pass


@pytest.mark.parametrize("code,words", [
    (errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EFBIG, "free some space"),
    (errno.EROFS, "make it writable"), (errno.EACCES, "make it writable"), (errno.ENOENT, "still there"),
    (errno.EIO, "still there")])
def test_what_failed_where_and_what_to_do(tmp_path, monkeypatch, code, words):
  for file in (None, str(tmp_path / "x" / "y")):
    with pytest.raises(OSError) as failed:
      with run_folder.saying_what_to_do(tmp_path):
        raise OSError(code, "said\nin lines", file)
    message = str(failed.value)
    assert message.startswith(f"writing to {tmp_path} failed (") and words in message and "\n" not in message
    assert "start the same command again" in message
  with pytest.raises(OSError, match="elsewhere"):
    with run_folder.saying_what_to_do(tmp_path):
      raise OSError(code, "features", "/elsewhere/a.npy")
  monkeypatch.chdir(tmp_path)
  with pytest.raises(OSError, match=f"writing to run failed .*{words}"), run_folder.saying_what_to_do(epath.Path("run")):
    raise OSError(code, "said", str(tmp_path / "run" / "checkpoints" / "5"))


def test_a_store_that_cannot_be_reached_is_named_in_a_line(monkeypatch):
  def fails(path):
    raise RuntimeError("Unable to locate credentials")
  for name in ("is_dir", "is_file"):
    monkeypatch.setattr(strict.StrictPath, name, fails)
  workdir = stores.place("strict://bucket/run")
  with pytest.raises(ValueError, match="^--workdir=strict://bucket/run cannot be written .*Unable to locate credentials"):
    run_folder.refuse_second(workdir)
  with pytest.raises(OSError, match="Unable to locate credentials: 'strict://bucket/run'"), packs.opened(workdir):
    pass


def test_a_reader_that_went_away_is_no_fault_of_the_folder(tmp_path):
  with pytest.raises(BrokenPipeError):
    with run_folder.saying_what_to_do(tmp_path):
      raise BrokenPipeError(errno.EPIPE, "said")
