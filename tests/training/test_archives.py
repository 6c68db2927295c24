"""Checkpoints on a store: whole objects, the best and the last kept, a damaged one set aside."""

import io
import zipfile

import numpy as np
import pytest

from jaxskill import stores
from jaxskill.training import archives, checkpoints
from tests import strict

pytestmark = pytest.mark.usefixtures("store")

PLACE = "strict://bucket/run/checkpoints"


def state(number):
  return dict(params=dict(kernel=np.full((3, 2), number, np.float32), none=np.zeros((0, 2))), step=np.int32(number))


def names():
  return sorted(name.removeprefix("bucket/run/checkpoints/") for name in strict.OBJECTS)


def test_the_last_and_the_best_stay_and_are_read_by_the_next_process():
  with checkpoints.Checkpoints(PLACE, keep=1, best=True) as kept:
    for step, validation in ((1, 0.5), (2, 0.9), (3, 0.1)):
      kept.save(step, state(step), validation=validation, notes=[dict(step=step)])
  assert names() == ["2.zip", "3.zip"] and archives.steps(stores.place(PLACE)) == [2, 3]
  with checkpoints.Checkpoints(PLACE, keep=1, best=True) as kept:
    assert kept.steps() == [2, 3] and kept.best_step() == 2 and kept.notes(3) == [dict(step=3)]
    step, restored = kept.restore(state(0))
    assert step == 3 and checkpoints.digest(restored) == checkpoints.digest(state(3))
  leaves = checkpoints.read(stores.place(PLACE), 2)
  np.testing.assert_array_equal(leaves["params/kernel"], state(2)["params"]["kernel"])
  with pytest.raises(ValueError, match=f"^{PLACE} has no checkpoint of step 1"):
    checkpoints.read(stores.place(PLACE), 1)


def cut(content):
  return content[: len(content) // 2]


def turned(content):
  """One bit of the longest file."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    member = max(archive.infolist(), key=lambda one: one.file_size)
  place = member.header_offset + 30 + len(member.filename) + member.file_size // 2
  return content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]


@pytest.mark.parametrize("damage", [cut, turned, lambda content: b"", lambda content: b"\xff" * 2000])
def test_a_damaged_one_is_set_aside_and_the_one_before_is_read(damage, caplog):
  with checkpoints.Checkpoints(PLACE) as kept:
    for step in (1, 2):
      kept.save(step, state(step))
  damaged = damage(strict.OBJECTS["bucket/run/checkpoints/2.zip"])
  strict.OBJECTS["bucket/run/checkpoints/2.zip"] = damaged
  with pytest.raises(ValueError, match=f"{PLACE}/2 is damaged"):
    checkpoints.read(stores.place(PLACE), 2)
  with checkpoints.Checkpoints(PLACE) as kept:
    step, restored = kept.restore(state(0))
    assert step == 1 and checkpoints.digest(restored) == checkpoints.digest(state(1))
    assert f"Checkpoint {PLACE}/2 is damaged" in caplog.text and f"moved to {PLACE}/damaged/2." in caplog.text
    assert names() == ["1.zip", "damaged/2.zip"]
    kept.save(2, state(2))
  assert names() == ["1.zip", "2.zip", "damaged/2.zip"]
  with zipfile.ZipFile(io.BytesIO(strict.OBJECTS["bucket/run/checkpoints/damaged/2.zip"])) as kept:
    assert kept.read("2.zip") == damaged
  assert checkpoints.digest(checkpoints.read(stores.place(PLACE), 2)) == checkpoints.digest(state(2))


def test_a_store_that_fails_ends_the_save_with_its_reason(monkeypatch):
  kept = checkpoints.Checkpoints(PLACE)
  kept.save(1, state(1))
  kept.wait()

  def fails(*_, **__):
    raise RuntimeError("HTTP 403")
  with monkeypatch.context() as patch:
    patch.setattr(strict.StrictPath, "open", fails)
    with pytest.raises(OSError, match=f"cannot be written to {PLACE}: .*HTTP 403.*choose another --workdir"):
      checkpoints.Checkpoints(PLACE)
    kept.save(2, state(2))
    with pytest.raises(OSError, match="the checkpoint was not written, .*HTTP 403"):
      kept.wait()
  assert names() == ["1.zip"]
  kept.close()
