"""Skeletons as bytes: where joints are, gaps, rows that are left out of long videos, and how large that is."""

import base64

import numpy as np
import pytest

from jaxskill.assess.page import skeleton
from jaxskill.extract.pose.body import LANDMARKS
from tests.assess.page import samples


def unpacked(packed):
  """(`[T, joints, 2]` shares of the picture, `[T, joints]` faint, `[T]` whether anybody is there) as the script reads."""
  rows = np.frombuffer(base64.b64decode(packed["rows"]), np.uint8).reshape(-1, packed["joints"], 3).astype(np.uint32)
  value = rows[..., 0] | rows[..., 1] << 8 | rows[..., 2] << 16
  begin, wide = packed["reach"]
  shares = np.stack([(value & 4095) / 4094, (value >> 12 & 2047) / 2046], axis=-1) * wide + begin
  return shares, value >> 23, (value != 0xFFFFFF).any(axis=1)


def test_joints_are_where_they_are_and_gaps_are_gaps():
  person = samples.person(size=(640, 360), gap=range(30, 40))
  person.visibility[:, LANDMARKS.index("left_wrist")] = 0.2
  person.places[5, LANDMARKS.index("nose")] = (900, -400)      # far outside: where the range ends
  packed = skeleton.pack(person)
  shares, faint, there = unpacked(packed)
  chosen = [LANDMARKS.index(name) for name in skeleton.JOINTS]
  expected = np.clip(person.places[:, chosen] / person.size, -0.25, 1.25)
  np.testing.assert_allclose((shares * person.size)[person.seen], (expected * person.size)[person.seen], atol=0.15)
  assert (there == person.seen).all() and packed["times"] == person.times.tolist()
  assert [name for name, hidden in zip(skeleton.JOINTS, faint[0]) if hidden] == ["left_wrist"]
  lines = {(skeleton.JOINTS[one], skeleton.JOINTS[other]): side for one, other, side in packed["lines"]}
  assert lines["left_hip", "left_knee"] == "left" and lines["left_hip", "right_hip"] == "middle"
  assert packed["step"] == packed["longest"] == pytest.approx(0.15)


@pytest.mark.parametrize("most", [skeleton.MOST_BYTES, skeleton.MOST_BYTES // 2])
def test_half_an_hour_is_thinned_and_shows_nothing_in_gaps(most):
  """5 of 25 rows a second on a page of one video, joined by straight lines; a stretch with a gap shows nobody."""
  person = samples.person(1800.0, fps=25, gap=range(20_001, 20_004))
  packed = skeleton.pack(person, most)
  shares, _, there = unpacked(packed)
  every = round(45_000 / len(shares))
  assert every == (5 if most == skeleton.MOST_BYTES else 10)
  assert len(base64.b64decode(packed["rows"])) <= most and packed["times"][1] == pytest.approx(every / 25)
  assert np.flatnonzero(~there).tolist() == sorted({row // every for row in (20_001, 20_002, 20_003)})
  assert packed["longest"] == pytest.approx(1.5 * every / 25, abs=0.002) and packed["step"] == 0.06
