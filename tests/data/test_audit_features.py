"""What features show of themselves: copies, what never changes, shapes that look turned; and nothing of sound ones."""

import dataclasses

import numpy as np
import pytest

from jaxskill.data.audit import audit, describe_audit
from jaxskill.data.dataset import Fold, SkillDataset, VideoFiles
from jaxskill.data.simulation import simulated
from tests.places import SHARED

MOVEMENTS = SHARED / "data" / "ui_prmd"


def dataset(streams, lengths=None, train=None):
  count = len(next(iter(streams.values())))
  train = np.arange(count // 2) if train is None else np.array(train)
  nothing = np.zeros(0, np.int32)
  lengths = lengths or {name: np.full(count, stream.shape[1], np.int32) for name, stream in streams.items()}
  return SkillDataset(
      name="toy", source="toy", videos=tuple(f"v{i}" for i in range(count)), streams=streams, lengths=lengths,
      pairs=np.zeros((0, 2), np.int32), score=np.arange(count), features_checked=True,
      folds=(Fold("f", train, np.setdiff1d(np.arange(count), train), nothing, nothing),))


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_equal_features():
  """Copies in all streams, over their real rows; videos of equal first, middle and last rows need not be copies."""
  rgb, static = draw(8, 9, 4), draw(8, 3, 2)
  rgb[5], static[5] = rgb[0], static[0]
  rgb[6], static[6] = rgb[0], static[0]
  rgb[7] = rgb[1]                                # the other stream differs
  rgb[3], static[3] = rgb[2], static[2]
  rgb[3, 1] += 1                                 # between the rows that are looked at first
  rgb[4], static[4] = rgb[2], static[2]          # the same, but shorter
  data = dataset(dict(rgb=rgb, static=static), dict(rgb=np.array([9, 9, 9, 9, 5, 9, 9, 9], np.int32),
      static=np.full(8, 3, np.int32)))
  facts = audit(data)
  assert facts["equal_features"] == [["v0", "v5", "v6"]]
  assert facts["folds"][0]["test_videos_with_features_of_training"] == 2
  assert "equal features under several names: 3 videos in 1 group(s) (v0 = v5 = v6)" in describe_audit(facts)
  assert "2 by features equal to theirs: LEAKS" in describe_audit(facts)


def test_copies_on_one_side_are_no_leaks():
  rgb = draw(8, 9, 4)
  rgb[1] = rgb[0]
  facts = audit(dataset(dict(rgb=rgb)))
  assert facts["equal_features"] == [["v0", "v1"]] and "LEAKS" not in describe_audit(facts)


def test_copies_of_a_validation_video_are_leaks():
  rgb = draw(8, 9, 4)
  rgb[7] = rgb[3]
  data = dataset(dict(rgb=rgb))
  fold = data.folds[0]._replace(train_videos=np.arange(3), validation_videos=np.array([3]))
  assert audit(dataclasses.replace(data, folds=(fold,)))["folds"][0]["test_videos_with_features_of_training"] == 1


def test_videos_that_are_mapped(tmp_path):
  frames = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 4, 3), np.uint8)
  frames[5], frames[4] = frames[0], 7
  for number, video in enumerate(frames):
    np.save(tmp_path / f"{number}.npy", video)
  facts = audit(dataset(dict(frames=VideoFiles(tmp_path / f"{number}.npy" for number in range(6)))))
  assert facts["equal_features"] == [["v0", "v5"]] and facts["constant_videos"] == dict(frames=["v4"])


def test_videos_and_channels_that_never_change():
  rgb, static = draw(8, 9, 4), draw(8, 1, 2)
  rgb[1], rgb[2], static[3] = 0, rgb[2, :1], 0
  rgb[4, 0], rgb[4, -1], rgb[4, 4] = 1, 1, 1     # equal where one looks first
  rgb[..., 2] = 0.5
  facts = audit(dataset(dict(rgb=rgb, static=static)))
  assert facts["constant_videos"] == dict(rgb=["v1", "v2"],
      static=["v3"]) and facts["constant_channels"] == dict(rgb=[2])
  text = describe_audit(facts)
  assert "constant videos: 2 whose stream 'rgb' never changes (v1, v2)" in text
  assert "constant channels: 1 of stream 'rgb' have one value in all videos (2)" in text


def test_channels_of_maps():
  maps = draw(6, 3, 2, 2, 5)
  maps[..., 4], maps[:, :, 0, 0, 1] = 0, 0       # the last channel everywhere, another one in one place
  assert audit(dataset(dict(maps=maps)))["constant_channels"] == dict(maps=[4])


def check_both_ways(features):
  """No warning as they are, one when they are turned."""
  features = np.asarray(features, np.float32)
  facts = audit(dataset(dict(rgb=features)))
  assert not facts["turned"] and "turned" not in describe_audit(facts)
  facts = audit(dataset(dict(rgb=features.transpose(0, 2, 1))))
  assert facts["turned"] == dict(rgb=[features.shape[2], features.shape[1]])
  assert f"looks turned: every file is [{features.shape[2]}, {features.shape[1]}]" in describe_audit(facts)


@pytest.mark.parametrize("shape", [(12, 40, 64), (12, 40, 1024), (12, 10, 2048), (12, 90, 20)])
def test_turned_features(shape):
  """Neighbours in time are alike; of channels, the neighbours in number are not."""
  slow = np.cumsum(draw(*shape), axis=1) / 3 + draw(*shape, seed=1)
  check_both_ways(slow)
  check_both_ways(np.maximum(slow, 0))


def test_turned_features_without_time():
  """Where nothing follows in time, the number of channels of video networks tells."""
  check_both_ways(draw(12, 40, 1024))


def test_files_of_different_lengths_are_not_turned():
  slow = np.cumsum(draw(12, 64, 40), axis=2)
  lengths = np.full(12, 64, np.int32)
  lengths[3] = 50
  assert not audit(dataset(dict(rgb=slow), dict(rgb=lengths)))["turned"]


@pytest.mark.parametrize("name,key", [("vicon_m01_ae4_T240_quality", "x"), ("vicon_m01_angles_T60_quality", "x"),
                                      ("kinect_all_T32_f16", "xyz_cm")])
def test_recorded_movements(name, key):
  if not MOVEMENTS.is_dir():
    pytest.skip(f"there are no movements in {MOVEMENTS}; set JAXSKILL_SHARED to the folder above data/ui_prmd")
  with np.load(MOVEMENTS / f"{name}.npz") as file:
    features = file[key][:100].astype(np.float32)
  check_both_ways(features.reshape(*features.shape[:2], -1))


def test_simulated_performances_show_nothing():
  facts = audit(simulated.simulate(num_videos=40, num_segments=40, width=16, seed=0))
  assert not any(facts[name] for name in ("equal_features", "constant_videos", "constant_channels", "turned",
      "labels_out_of_line"))
  assert len(describe_audit(facts).splitlines()) == 4
