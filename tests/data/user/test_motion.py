"""Recorded movements in the formats that people have: what is read, and every bad input by its message."""

import json

import numpy as np
import pytest

from jaxskill.data import kinematics
from jaxskill.data.user import motion, openpose, recording
from jaxskill.data.user.features import load_features
from tests import recordings
from tests.recordings import NAMES

TIMES, POINTS = recordings.squats(.5)
WHOLE = kinematics.columns(POINTS, np.ones(len(TIMES), bool), TIMES, dict(sorted(zip(NAMES, range(len(NAMES))))),
                           up=(0, 1, 0))
READERS = {"csv": recordings.write_csv, "trc": recordings.write_trc}


@pytest.mark.parametrize("kind", READERS)
def test_tables_hold_the_places_of_points(tmp_path, kind):
  """Markers in other orders, with names of other software, give the same columns."""
  order = np.random.default_rng(0).permutation(len(NAMES))
  called = {"left_shoulder": "LShoulder", "right_hip": "hip_right", "left_foot_index": "L Toe", "nose": "Nose"}
  READERS[kind](path := tmp_path / f"v.{kind}", TIMES + 100, POINTS[:, order],
                [called.get(NAMES[i], NAMES[i]) for i in order])
  arrays, names = motion.read(path)
  assert set(names) == set(WHOLE[1])
  expected = dict(zip(WHOLE[1], WHOLE[0].T))
  for name, values in zip(names, arrays["kinematics"].T):
    scale = np.abs(expected[name]).max()
    np.testing.assert_allclose(values, expected[name], atol=max(2e-2 * scale, 1e-3), err_msg=name)
  np.testing.assert_allclose(arrays["times"], TIMES, atol=1e-4)


def test_rows_in_which_nobody_is_seen_are_left_out(tmp_path):
  points = POINTS.copy()
  points[20:30] = np.nan
  points[50, NAMES.index("left_knee")] = np.nan
  recordings.write_csv(tmp_path / "v.csv", TIMES, points)
  arrays, names = motion.read(tmp_path / "v.csv")
  assert len(arrays["times"]) == 90 and arrays["times"][19:21].tolist() == pytest.approx([TIMES[19], TIMES[30]])
  assert arrays["kinematics"][40, names.index("left_knee angle")] == 0 != arrays["kinematics"][41, names.index(
      "left_knee angle")]


def test_units(tmp_path):
  recordings.write_csv(tmp_path / "v.csv", TIMES, 1000 * POINTS)
  with pytest.raises(ValueError, match="from hips to shoulders it is 499.6 m if .* set config.data.motion.units"):
    motion.read(tmp_path / "v.csv")
  made, _ = motion.read(tmp_path / "v.csv", motion.Options(units="mm"))
  np.testing.assert_allclose(made["times"], TIMES, atol=1e-4)
  recordings.write_trc(tmp_path / "v.trc", TIMES, POINTS, units="m")
  (tmp_path / "w.trc").write_text((tmp_path / "v.trc").read_text().replace("\tm\t", "\tmm\t"))
  with pytest.raises(ValueError, match="w.trc: from hips to shoulders it is 0.0004995 m"):
    motion.read(tmp_path / "w.trc")
  tools = 1000 * np.cumsum(np.random.default_rng(0).normal(size=(30, 2, 3)), axis=0)
  recordings.write_csv(tmp_path / "tools.csv", np.arange(30) / 30, tools, ("tip", "grip"))
  with pytest.raises(ValueError, match="m apart if its lengths are in m; set config.data.motion.units"):
    motion.read(tmp_path / "tools.csv")


@pytest.mark.parametrize("size", [.5, 1.0])
def test_tables_of_pixels_are_measured_by_the_trunk(tmp_path, size):
  """A csv with x and y alone gives what the same points of OpenPose give, from a film of any size."""
  recordings.write_openpose(tmp_path / "v", TIMES, POINTS)
  places = [openpose.NAMES.index(name) for name in NAMES if name in openpose.NAMES]
  pixels = recordings.picture(POINTS)[:, places, :2]
  recordings.write_csv(tmp_path / "v.csv", TIMES, size * pixels, [openpose.NAMES[place] for place in places])
  (expected, of), (found, names) = motion.read(tmp_path / "v", row_seconds=.04), motion.read(tmp_path / "v.csv")
  assert "left_wrist speed" in names and set(names) <= set(of)
  column = [of.index(name) for name in names]
  np.testing.assert_allclose(found["kinematics"], expected["kinematics"][:, column], rtol=2e-2, atol=2e-2)
  pixels = pixels / 200                                     # of a plane in metres
  recordings.write_csv(tmp_path / "m.csv", TIMES, pixels, [openpose.NAMES[place] for place in places])
  metres, _ = motion.read(tmp_path / "m.csv", motion.Options(units="m"))
  path = names.index("left_wrist path")
  trunk = .5                                                # of `squats`
  assert metres["kinematics"][-1, path] == pytest.approx(trunk * found["kinematics"][-1, path], rel=1e-2)


def test_points_of_no_body_in_a_picture_stay_in_pixels(tmp_path):
  recordings.write_csv(tmp_path / "v.csv", TIMES, np.stack([100 * TIMES, 0 * TIMES], axis=1)[:, None], ("tip",))
  arrays, names = motion.read(tmp_path / "v.csv")
  np.testing.assert_allclose(arrays["kinematics"][:, names.index("tip speed")], 100, rtol=1e-3)


def test_what_is_no_body_has_speeds_of_all_its_points(tmp_path):
  recordings.write_csv(tmp_path / "v.csv", TIMES, POINTS[:, :2], ("tip", "grip"))
  _, names = motion.read(tmp_path / "v.csv")
  assert names == ("grip speed", "grip smoothness", "grip path", "tip speed", "tip smoothness", "tip path")
  _, names = motion.read(tmp_path / "v.csv", motion.Options(ends=("tip",)))
  assert names == ("tip speed", "tip smoothness", "tip path")


def test_points_are_called_by_the_config(tmp_path):
  recordings.write_csv(tmp_path / "v.csv", TIMES, POINTS[:, :3], ("A", "B", "C"))
  _, names = motion.read(tmp_path / "v.csv", motion.Options(joints=(("left_wrist", "A"), ("right_wrist", "C"))))
  assert "wrist speed asymmetry" in names and not any("B" in name for name in names)
  with pytest.raises(ValueError, match="motion.joints.*is no .landmark, name in the file. of its points A, B, C"):
    motion.read(tmp_path / "v.csv", motion.Options(joints=(("left_wrist", "D"),)))


@pytest.mark.parametrize("name,is_called", [
    ("LeftShoulder", "left_shoulder"), ("RElbow", "right_elbow"), ("knee_left", "left_knee"), ("Nose", "nose"),
    ("Left hand", "left_wrist"), ("R.BigToe", "right_foot_index"), ("LASI", "LASI"), ("shoulder", "shoulder"), ("right_foot_index",) * 2])
def test_names_of_landmarks(name, is_called):
  assert recording.landmark(name) == is_called


def test_a_hand_is_a_wrist_where_there_is_no_wrist():
  assert recording.joints_of(("left_hand", "left_wrist"), (), "f") == dict(left_wrist=1, left_hand=0)
  assert recording.joints_of(("left_hand",), (), "f") == dict(left_wrist=0)


@pytest.mark.parametrize("names,landmark", [
    (("LHand", "LWrist"), "left_wrist"), (("HandLeft", "WristLeft"), "left_wrist"), (("LFoot", "LAnkle"), "left_ankle"),
    (("RUpperArm", "R Shoulder"), "right_shoulder"), (("LToe", "LFootIndex"), "left_foot_index")])
def test_the_word_of_a_joint_comes_before_other_words_for_it(names, landmark):
  """In any order: the rest of the body part is a point of its own."""
  assert recording.joints_of(names, (), "f") == {landmark: 1, names[0]: 0}
  assert recording.joints_of(names[::-1], (), "f") == {landmark: 0, names[0]: 1}


def test_texts_of_jigsaws(tmp_path):
  recordings.write_jigsaws(tmp_path / "v.txt", TIMES, POINTS)
  arrays, names = motion.read(tmp_path / "v.txt")
  assert names[:3] == ("left_master speed", "left_master smoothness", "left_master path")
  assert names[-2:] == ("master speed asymmetry", "tool speed asymmetry")
  np.testing.assert_allclose(arrays["times"], np.arange(len(TIMES)) / 30, rtol=1e-6)
  wrist = POINTS[:, NAMES.index("right_wrist")]
  assert arrays["kinematics"][-1, names.index("right_master path")] == pytest.approx(
      np.linalg.norm(np.diff(wrist, axis=0), axis=1).sum(), rel=1e-4)


def test_frames_of_openpose(tmp_path):
  """The unit is the trunk; the picture is turned upright; frames that are missing are gaps."""
  recordings.write_openpose(tmp_path / "v", TIMES, POINTS)
  for frame in range(30, 40):
    (tmp_path / "v" / f"film_{frame:012d}_keypoints.json").unlink()
  arrays, names = motion.read(tmp_path / "v", row_seconds=1 / recordings.HERTZ)
  np.testing.assert_allclose(np.delete(TIMES, np.s_[30:40]), arrays["times"], atol=1e-4)
  pixels = recordings.picture(POINTS) * (1, 1, 0)
  place = {name: pixels[:, openpose.NAMES.index(name)] for name in ("left_hip", "left_knee", "left_ankle")}
  bent = kinematics.angle_between(place["left_knee"] - place["left_hip"], place["left_ankle"] - place["left_knee"])
  np.testing.assert_allclose(arrays["kinematics"][:, names.index("left_knee angle")], np.delete(bent, np.s_[30:40]),
                             rtol=1e-4)
  assert "trunk_side angle" in names and "trunk_forward angle" not in names


@pytest.mark.parametrize("every", [1, 5])
def test_nothing_is_computed_across_missing_frames(tmp_path, every):
  """What is before them is as if the film ended there, and the path goes on where it was; of every fifth frame too."""
  recordings.write_openpose(tmp_path / "v", TIMES, POINTS)
  recordings.write_openpose(tmp_path / "before", TIMES[:30], POINTS[:30])
  for file in [*tmp_path.rglob("*.json")]:
    if (frame := int(file.name.split("_")[1])) % every or 30 <= frame < 40:
      file.unlink()
  whole, names = motion.read(tmp_path / "v", row_seconds=1 / 30)
  before, _ = motion.read(tmp_path / "before", row_seconds=1 / 30)
  rows = len(before["times"])
  assert rows == 30 // every and len(whole["times"]) == 90 // every
  for name in ("left_knee velocity", "left_wrist smoothness", "trunk_side velocity"):
    column = names.index(name)
    np.testing.assert_allclose(whole["kinematics"][:rows, column], before["kinematics"][:, column], rtol=1e-3, atol=1e-3)
    assert whole["kinematics"][1: rows - 1, column].any()
  path = whole["kinematics"][:, names.index("left_wrist path")]
  assert path[rows] == path[rows - 1] < path[rows + 1]


def test_one_person_of_several_is_followed(tmp_path, caplog):
  """The larger one is followed where a second one is listed first, walks past, and stays when he has left."""
  second = recordings.picture(POINTS)
  second[..., :2] = second[..., :2] * .6 + (3000 - 30 * np.arange(len(TIMES)))[:, None, None] * (1, 0)
  recordings.write_openpose(tmp_path / "v", TIMES, POINTS, [second])
  recordings.write_openpose(tmp_path / "alone", TIMES, POINTS)
  together, _ = motion.read(tmp_path / "v", row_seconds=.04)
  alone, _ = motion.read(tmp_path / "alone", row_seconds=.04)
  np.testing.assert_array_equal(together["kinematics"], alone["kinematics"])
  assert "100 of 100 frames show several persons" in caplog.text
  for frame in range(40, 50):
    file = tmp_path / "v" / f"film_{frame:012d}_keypoints.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | dict(people=content["people"][:1])))
  arrays, _ = motion.read(tmp_path / "v", row_seconds=.04)
  np.testing.assert_allclose(arrays["times"], np.delete(TIMES, np.s_[40:50]), atol=1e-4)


@pytest.mark.parametrize("visible", [("nose",), ("left_ankle",)])
def test_a_person_of_whom_one_point_is_seen_is_not_lost(tmp_path, visible):
  """Who moves on is found in the next frame; another person stays another."""
  away = recordings.picture(POINTS) + (3000, 0, 0)
  recordings.write_openpose(tmp_path / "v", TIMES, POINTS, [.5 * away * (1, 1, 2)])
  frame, hidden = tmp_path / "v" / "film_000000000005_keypoints.json", np.zeros((25, 3))
  content = json.loads(frame.read_text())
  place = [openpose.NAMES.index(name) for name in visible]
  hidden[place] = np.reshape(content["people"][1]["pose_keypoints_2d"], (25, 3))[place]
  content["people"][1]["pose_keypoints_2d"] = hidden.ravel().tolist()
  frame.write_text(json.dumps(content))
  arrays, _ = motion.read(tmp_path / "v", row_seconds=.04)
  np.testing.assert_allclose(arrays["times"], TIMES, atol=1e-4)


def csv(text):
  return lambda folder: (folder / "v.csv").write_text(text)


def trc(*changes):
  def make(folder):
    recordings.write_trc(folder / "v.trc", TIMES, POINTS)
    text = (folder / "v.trc").read_text()
    for old, new in changes:
      assert old in text
      text = text.replace(old, new, 1)
    (folder / "v.trc").write_text(text)
  return make


def frame(content):
  def make(folder):
    (folder / "v").mkdir()
    (folder / "v" / "a_000000000000_keypoints.json").write_text(content)
  return make


def two_names(folder):
  for number in ("1", "01"):
    frame_of = folder / "v"
    frame_of.mkdir(exist_ok=True)
    (frame_of / f"a_{number}_keypoints.json").write_text('{"people": []}')


FAULTS = {
    "no time": (csv("a_x,a_y,a_z\n1,2,3\n"), "v.csv: column 'time' is not in the first line .a_x,a_y,a_z."),
    "semicolons": (csv("time;a_x;a_y;a_z\n0;1;2;3\n"), "separated by semicolons"),
    "lacking column": (csv("time,a_x,a_y,a_z,b_x,b_z\n0,1,2,3,4,5\n"), "column 'b_y' is not in the first line"),
    "no points": (csv("time,speed\n0,1\n"), "no column is a coordinate"),
    "twice": (csv("time,a_x,a_y,a_x\n0,1,2,3\n"), "column 'a_x' appears more than once"),
    "back": (csv("time,a_x,a_y\n0,1,2\n\n.1,1,2\n.05,1,2\n"), "line 5: its time, 0.05 s, does not come after 0.1 s"),
    "empty time": (csv("time,a_x,a_y\n0,1,2\n,1,2\n"), "v.csv, line 3: its time is no finite number"),
    "word": (csv("time,a_x,a_y\n0,1,2\n1,1,two\n"), "v.csv, line 3: a_y is 'two', no number"),
    "infinite": (csv("time,a_x,a_y\n0,1,inf\n"), "v.csv, line 2: a_y is infinite"),
    "short row": (csv("time,a_x,a_y\n0,1\n"), "line 2: 2 cells but the first line has 3"),
    "no trunk": (csv("time,LHip_x,LHip_y,RHip_x,RHip_y,LShoulder_x,LShoulder_y,R Shoulder_x,R Shoulder_y\n"
                     "0,1,2,3,4,,,,\n"),
                 "v.csv: no frame shows both shoulders and both hips"),
    "nobody": (csv("time,a_x,a_y\n0,,\n1,,\n"), "no row has the place of any point"),
    "no rows": (csv("time,a_x,a_y\n"), "no lines below the first"),
    "slow": (csv("time,a_x,a_y\n0,1,2\n5,1,2\n"), "no two rows are within 1 s .*or give their times in seconds where"),
    "head": (trc(("PathFileType", "Path")), "does not begin as a .trc file does"),
    "unit": (trc(("\tmm\t", "\tparsec\t")), "Units is 'parsec'; expected mm, cm or m"),
    "trc time": (trc(("\tTime\t", "\tSeconds\t")), "column 'Time' is not the second"),
    "markers": (trc(("left_ear", "right_ear")), "names one twice"),
    "axes": (trc(("Z19", "")), "names 19 markers but 56 coordinates"),
    "cut": (trc(("\t100\t19", "\t200\t19")), "announces 200 frames .NumFrames. but holds 100"),
    "trc word": (trc(("\t0.0800\t", "\t0.08\tfar")), "line 9: X of marker nose is 'far"),
    "jigsaws": (lambda folder: (folder / "v.txt").write_text("1 2 3\n"), "expected 76 columns"),
    "no json": (frame("{"), "is no frame of OpenPose .JSONDecodeError"),
    "no people": (frame("{}"), "is no frame of OpenPose .KeyError"),
    "coco": (frame(json.dumps(dict(people=[dict(pose_keypoints_2d=[1.0] * 54)]))), "is of shape .54.; expected 75 numbers"),
    "nobody there": (frame('{"people": []}'), "no frame shows both shoulders and both hips"),
    "numbers": (two_names, "there is another file of frame 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused(tmp_path, fault):
  make, message = FAULTS[fault]
  make(tmp_path)
  path, = tmp_path.iterdir()
  with pytest.raises(ValueError, match=message):
    motion.read(path)


@pytest.mark.parametrize("field,value", [("units", "inch"), ("up", "north")])
def test_options_that_are_unknown(field, value):
  with pytest.raises(ValueError, match=f"config.data.motion.{field}='{value}' is unknown"):
    motion.options(type("Config", (), dict(motion={field: value})))


@pytest.mark.parametrize("kind", recordings.FORMATS)
def test_a_folder_of_recordings_is_a_data_set(tmp_path, kind):
  recordings.write_folder(tmp_path, kind, 8)
  data = load_features(tmp_path, seconds_per_segment=1 / recordings.HERTZ)
  assert set(data.streams) == set(data.row_times) == {"kinematics"}
  rows = 97 if kind == "npz" else 100                      # some rows of these show nobody
  assert data.lengths["kinematics"].tolist() == [rows] * 8
  rate = 30 if kind == "txt" else recordings.HERTZ
  np.testing.assert_allclose(data.row_seconds["kinematics"], 1 / rate, rtol=1e-5)
  assert data.seconds("kinematics", 0)[-1] == pytest.approx(99 / rate, rel=1e-5)


def test_other_points_in_one_of_the_files(tmp_path):
  recordings.write_folder(tmp_path, "csv", 8)
  (tmp_path / "v3.csv").write_text((tmp_path / "v3.csv").read_text().replace("left_elbow", "left_cheek"))
  with pytest.raises(ValueError, match="v3.csv: its kinematics have other columns than those of a file before .elbow as"):
    load_features(tmp_path)


def test_points_in_the_names_of_folders_are_no_endings(tmp_path):
  for take in ("P01.take1", "P01.take2"):
    recordings.write_openpose(tmp_path / "a" / take, TIMES[:2], POINTS[:2])
  recordings.write_csv(tmp_path / "a" / "P01.csv", TIMES, POINTS)
  recordings.write_csv(tmp_path / "._b.csv", TIMES, POINTS)
  assert set(motion.recordings_in(tmp_path)[0]) == {"a/P01", "a/P01.take1", "a/P01.take2"}
  recordings.write_trc(tmp_path / "a" / "P01.trc", TIMES, POINTS)
  with pytest.raises(ValueError, match=r"P01.csv and .*P01.trc are two recordings of one name \('a/P01'\); remove"):
    motion.recordings_in(tmp_path)


NO_RECORDINGS = {"README.txt": "Of Monday.\n", "empty.txt": "", "labels.csv": "video,category\na,1\n"}
DAMAGED = {"a.csv": "hip_x,hip_y\n1,2\n", "b.csv": "Time;hip_x;hip_y\n0;1;2\n", "c.txt": "\n  -1.5e-3 2\n",
           "d.trc": "Path"}


def test_other_tables_and_texts_are_no_recordings(tmp_path):
  """Damaged recordings are: whoever reads them says what is wrong."""
  for name, text in (NO_RECORDINGS | DAMAGED).items():
    (tmp_path / name).write_text(text)
  found, left_out = motion.recordings_in(tmp_path)
  assert set(found) == {"a", "b", "c", "d"} and set(left_out) == set(NO_RECORDINGS)


def test_two_recordings_of_a_video(tmp_path):
  recordings.write_folder(tmp_path, "csv", 8)
  recordings.write_trc(tmp_path / "v0.trc", TIMES, POINTS)
  with pytest.raises(ValueError, match="video 'v0' has both a .csv and a .trc file"):
    load_features(tmp_path)
  np.save(tmp_path / "v0.npy", np.ones((3, 2), np.float32))            # features come first
  with pytest.raises(ValueError, match="other streams|streams"):
    load_features(tmp_path)


SEEN = {
    "kind": (dict(seen=np.ones(5)), "`seen` is float64 .5.; expected one bool"),
    "length": (dict(seen=np.ones(4, bool)), "`seen` is bool .4."),
    "nobody": (dict(seen=np.zeros(5, bool)), "no row shows anybody"),
    "times": (dict(times=np.zeros(5)), "must be finite and increase"),
    "rows": (dict(times=np.arange(4.0)), "no stream has the 4 rows"),
}


@pytest.mark.parametrize("fault", SEEN)
def test_times_and_seen_rows_of_own_features(tmp_path, fault):
  change, message = SEEN[fault]
  np.savez(tmp_path / "a.npz", **dict(kinematics=np.ones((5, 2)), times=np.arange(5.0)) | change)
  (tmp_path / "scores.csv").write_text("video,score\na,1\n")
  with pytest.raises(ValueError, match=message):
    load_features(tmp_path, split="all", make_pairs=False)
