"""Kinematics by hand: angles of known poses, movements whose derivatives are known, invariances, gaps."""

import math

import numpy as np
import pytest

from jaxskill.data import kinematics

SIDED = ("ear", "shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle", "foot_index")
NAMES = ("nose", *(f"{side}_{name}" for name in SIDED for side in ("left", "right")))
JOINTS = {name: place for place, name in enumerate(NAMES)}
Z_UP = (0.0, 0.0, 1.0)


def standing():
  """Somebody upright, x to the right, y forward, z up, arms hanging, feet forward: {name: place in metres}."""
  side = dict(ear=(.08, 0, 1.6), shoulder=(.2, 0, 1.4), elbow=(.2, 0, 1.1), wrist=(.2, 0, .85), index=(.2, 0, .75),
              hip=(.12, 0, .9), knee=(.12, 0, .5), ankle=(.12, 0, .1), foot_index=(.12, .2, .1))
  pose = {f"{name}_{joint}": np.array(place) * (sign, 1, 1) for joint, place in side.items()
          for name, sign in (("left", -1), ("right", 1))}
  return {"nose": np.array([0, .1, 1.6])} | pose


def rows_of(*poses):
  return np.array([[pose[name] for name in NAMES] for pose in poses])


def table(points, times=None, seen=None, up=Z_UP, joints=JOINTS, **options):
  """{name: [T]} of `columns`."""
  times = np.arange(len(points)) / 30 if times is None else times
  seen = np.ones(len(points), bool) if seen is None else seen
  values, names = kinematics.columns(points, seen, times, joints, up=up, **options)
  assert values.dtype == np.float32 and values.shape == (len(points), len(names)) and np.isfinite(values).all()
  return dict(zip(names, values.T))


def moving(rows=60, seed=0):
  """A person whose joints all move smoothly and differently: ([T, J, 3], uneven [T] seconds)."""
  rng = np.random.default_rng(seed)
  times = np.cumsum(rng.uniform(.02, .05, rows))
  speed, phase = rng.uniform(1, 4, (2, len(NAMES), 3))
  return rows_of(standing())[0] + .1 * np.sin(times[:, None, None] * speed + phase), times


def test_angles_of_known_poses():
  assert {name: value[0] for name, value in table(rows_of(standing())).items() if "shoulder" not in name and
          name.endswith(" angle")} == pytest.approx({name: 0 for name in (
              "left_elbow angle", "right_elbow angle", "left_wrist angle", "right_wrist angle", "left_hip angle",
              "right_hip angle", "left_knee angle", "right_knee angle", "left_ankle angle", "right_ankle angle",
              "neck angle", "trunk_forward angle", "trunk_side angle", "trunk_twist angle")} | {
                  side: math.degrees(math.atan2(.08, .5)) for side in ("left_hip angle", "right_hip angle")}, abs=1e-4)
  bent = standing()
  bent["left_wrist"] = bent["left_elbow"] + (0, .25, 0)                  # forearm forward: 90 degrees
  bent["left_index"] = bent["left_wrist"] + (0, .1, .1)                  # hand up by 45
  bent["right_ankle"] = bent["right_knee"] + (0, 0, .4)                  # folded: 180
  bent["left_foot_index"] = bent["left_ankle"] + (0, .1, .1)             # toes up by 45
  made = table(rows_of(bent))
  for name, degrees in {"left_elbow": 90, "left_wrist": 45, "right_knee": 180, "left_ankle": 45}.items():
    assert made[f"{name} angle"][0] == pytest.approx(degrees, abs=1e-3), name
  assert made["elbow asymmetry"][0] == pytest.approx(90) and made["knee asymmetry"][0] == pytest.approx(180)


@pytest.mark.parametrize("name,shift", [("trunk_forward", (0, .5, -.5 + .5)), ("trunk_side", (.5, 0, 0))])
def test_the_trunk_leans_with_the_sign_of_the_table(name, shift):
  """Both are seen from a person who faces forward and whose shoulders are half a metre above the hips."""
  pose = standing()
  for joint in pose:
    if any(part in joint for part in ("ear", "shoulder", "nose")):
      pose[joint] = pose[joint] + shift
  made = table(rows_of(pose))
  assert made[f"{name} angle"][0] == pytest.approx(45, abs=1e-3)
  assert all(made[f"{other} angle"][0] == pytest.approx(0, abs=1e-3)
             for other in {"trunk_forward", "trunk_side", "trunk_twist"} - {name})


def test_who_leans_towards_the_camera_leans_forward():
  """The default axes, those of a film: x to the right of the picture, y down, z away from the camera."""
  pose = {name: np.array((-place[0], -place[2], -place[1])) for name, place in standing().items()}
  for joint in pose:
    if any(part in joint for part in ("ear", "shoulder", "nose")):
      pose[joint] = pose[joint] + (0, 0, -.5)
  values, names = kinematics.columns(rows_of(pose), np.ones(1, bool), np.zeros(1), JOINTS)
  assert values[0, names.index("trunk_forward angle")] == pytest.approx(45, abs=1e-3)
  assert values[0, names.index("trunk_side angle")] == pytest.approx(0, abs=1e-3)


def test_a_turn_to_the_left_is_a_positive_twist():
  pose = standing()
  for side, sign in (("left", -1), ("right", 1)):
    pose[f"{side}_shoulder"] = np.array([0, sign * .2, 1.4])             # the right shoulder comes forward
  assert table(rows_of(pose))["trunk_twist angle"][0] == pytest.approx(90, abs=1e-3)


def test_elevation_of_the_arm():
  pose = standing()
  for joint in ("elbow", "wrist", "index"):
    pose[f"left_{joint}"] = pose["left_shoulder"] + (pose["left_shoulder"] - pose["left_hip"])      # along the trunk
  assert table(rows_of(pose))["left_shoulder angle"][0] == pytest.approx(180, abs=1e-3)


def test_bones_without_length_are_finite():
  made = table(np.zeros((5, len(NAMES), 3)) + (0, 0, 1e-12))
  assert all(np.isin(np.abs(values), (0, 90)).all() for values in made.values())


@pytest.mark.parametrize("change", ["moved", "turned"])
def test_where_somebody_stands_and_faces_changes_nothing(change):
  points, times = moving()
  turn = np.array([[.6, -.8, 0], [.8, .6, 0], [0, 0, 1]])
  other = points + (30, -20, 5) if change == "moved" else points @ turn.T
  first, second = table(points, times), table(other, times)
  for name in first:
    np.testing.assert_allclose(second[name], first[name], rtol=1e-5, atol=2e-4, err_msg=name)


def test_scale_changes_lengths_alone():
  points, times = moving()
  first, second = table(points, times), table(points * 2, times)
  for name in first:
    factor = 2 if name.endswith((" path", "wrist speed", "ankle speed")) else 1
    np.testing.assert_allclose(second[name], first[name] * factor, rtol=1e-5, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("flat", [False, True])
def test_facing_left_gives_the_same_numbers_by_an_option(flat):
  """Somebody who faces the positive x, as a picture has it (y down, z away), and the mirrored picture."""
  points, times = moving()
  points = points[..., [1, 2, 0]] * (1, -1, -1)                          # forward is x, up is -y, to the right is -z
  points = points * (1, 1, 0) if flat else points
  swapped = [JOINTS[name.replace("left", "?").replace("right", "left").replace("?", "right")] for name in NAMES]
  mirrored = (points * (-1, 1, 1))[:, swapped]
  up = (0, -1, 0)
  first = table(points, times, up=up, face_right=True)
  second = table(mirrored, times, up=up, face_right=True)
  for name, values in table(points, times, up=up).items():
    np.testing.assert_array_equal(values, first[name])
    np.testing.assert_allclose(second[name], first[name], atol=1e-4, err_msg=name)
  plain = table(mirrored, times, up=up)
  np.testing.assert_allclose(plain["left_elbow angle"], first["right_elbow angle"], atol=1e-4)
  assert np.abs(plain["left_elbow angle"] - first["left_elbow angle"]).max() > 1
  assert ("trunk_twist angle" in first) is not flat


def test_derivatives_at_uneven_times():
  """Quadratic movements: central differences for uneven times are exact within, one-sided ones at the ends are not."""
  times = np.cumsum(np.random.default_rng(1).uniform(.01, .1, 30))
  points = np.zeros((30, 2, 3))
  points[:, 0, 0] = times ** 2
  made = table(points, times, joints=dict(tool=0, other=1))
  np.testing.assert_allclose(made["tool speed"][1:-1], 2 * times[1:-1], rtol=1e-5)
  np.testing.assert_allclose(made["tool path"], times ** 2 - times[0] ** 2, rtol=1e-5, atol=1e-6)
  assert not made["other speed"].any() and not made["other smoothness"].any()


def naive_smoothness(velocity, times, window):
  """The definition, row by row, in plain loops."""
  acceleration = np.gradient(velocity, times, axis=0)
  jerk = np.gradient(acceleration, times, axis=0)
  found = []
  for now in times:
    inside = [i for i, t in enumerate(times) if abs(t - now) <= window / 2]
    speeds = [math.sqrt(sum(v * v for v in velocity[i])) for i in inside]
    area = sum((times[j] - times[i]) * (sum(jerk[i] ** 2) + sum(jerk[j] ** 2)) / 2 for i, j in zip(inside, inside[1:]))
    found.append(-math.log(max((times[inside[-1]] - times[inside[0]]) ** 3 / max(speeds) ** 2 * area, 1.0)))
  return found


def test_smoothness_is_its_definition():
  points, times = moving()
  velocity = np.gradient(points[:, 0], times, axis=0)
  np.testing.assert_allclose(kinematics.smoothness(velocity, times, .5, 1.0), naive_smoothness(velocity, times, .5),
                             rtol=1e-9)


def test_the_smoothest_reach_and_a_trembling_one():
  """A movement of least jerk has 204.8 = 720 / 1.875^2 (unit time and distance); trembling has more."""
  times = np.linspace(0, 1, 1001)
  place = np.zeros((1001, 1, 3))
  place[:, 0, 0] = 10 * times ** 3 - 15 * times ** 4 + 6 * times ** 5
  made = table(place, times, joints=dict(hand=0), window=2.0)["hand smoothness"]
  np.testing.assert_allclose(made, -math.log(720 / 1.875 ** 2), rtol=2e-2)
  place[:, 0, 1] = .01 * np.sin(50 * times)
  assert (table(place, times, joints=dict(hand=0), window=2.0)["hand smoothness"] < made - 2).all()


def test_gaps_are_not_bridged():
  """Each side of a gap is what it would be alone, and unseen rows are zero whatever they hold."""
  points, times = moving()
  seen = np.ones(60, bool)
  seen[20:25] = False
  points[20:25] = 1e6
  made = table(points, times, seen)
  for rows in (slice(0, 20), slice(25, 60)):
    alone = table(points[rows], times[rows])
    for name in made:
      offset = made[name][rows.start] if name.endswith("path") else 0
      np.testing.assert_allclose(made[name][rows] - offset, alone[name], atol=1e-4, err_msg=name)
  assert not any(values[20:25].any() for values in made.values())
  points[20:25] = np.nan
  assert all(np.array_equal(made[name], values) for name, values in table(points, times, seen).items())


def test_a_step_in_time_is_a_gap_too():
  points, times = moving()
  times[30:] += 5
  made = table(points, times)
  alone = table(points[30:], times[30:])
  np.testing.assert_allclose(made["left_wrist speed"][30:], alone["left_wrist speed"], rtol=1e-6)


def test_a_missing_point_is_a_gap_of_its_own_columns():
  points, times = moving()
  whole = table(points, times)
  points[10, JOINTS["left_wrist"]] = np.nan
  made = table(points, times)
  for name in ("left_elbow angle", "left_elbow velocity", "left_wrist speed", "wrist speed asymmetry",
               "elbow asymmetry"):
    assert made[name][10] == 0 != whole[name][10], name
  np.testing.assert_array_equal(made["right_elbow velocity"], whole["right_elbow velocity"])
  assert made["left_elbow velocity"][11] != whole["left_elbow velocity"][11]              # one-sided at the gap


def test_a_turn_through_180_degrees_is_no_jump():
  """Somersaults forward, one turn a second: the angle jumps from 180 to -180, its velocity does not."""
  times, pose = np.arange(60) / 30, rows_of(standing())[0]
  angle = 2 * np.pi * times
  zero, one = np.zeros(60), np.ones(60)
  turn = np.array([[one, zero, zero], [zero, np.cos(angle), np.sin(angle)], [zero, -np.sin(angle), np.cos(angle)]])
  made = table(np.einsum("ijt,kj->tki", turn, pose), times)
  assert np.ptp(made["trunk_forward angle"]) > 300
  np.testing.assert_allclose(made["trunk_forward velocity"], 360, rtol=1e-3)


def test_the_faster_side_is_the_sign_of_an_asymmetry():
  """The left hand moves three times as fast as the right one, then neither does."""
  times = np.arange(20) / 30
  points = np.zeros((20, 2, 3))
  points[:10, 0, 0], points[:10, 1, 1] = 3 * times[:10], times[:10]
  points[10:] = points[9]
  made = table(points, times, joints=dict(left_wrist=0, right_wrist=1))["wrist speed asymmetry"]
  np.testing.assert_allclose(made[:9], .5, atol=1e-6)
  assert not made[12:].any()


def test_speeds_are_those_against_the_hips():
  points, times = moving()
  walking = points + times[:, None, None] * np.array([0, 1.5, 0])
  np.testing.assert_allclose(table(walking, times)["left_wrist speed"], table(points, times)["left_wrist speed"],
                             atol=1e-5)


FAULTS = {
    "shape": (dict(points=np.zeros((4, 3))), r"shape \[4, 3\]; expected \[rows, joints, 3\]"),
    "seen": (dict(seen=np.ones(3, bool)), r"seen is bool \[3\]"),
    "back": (dict(times=np.array([0, .1, .05, .2])), "row 2: its time, 0.05 s, does not come after 0.1 s"),
    "time": (dict(times=np.array([0, np.nan, .05, .2])), "row 1: its time is no finite number"),
    "slow": (dict(times=np.arange(4) * 2.0), "no two rows are within 1 s"),
    "joint": (dict(joints=dict(nose=99)), "none of the 19 points"),
    "empty": (dict(joints={}), "at least one"),
    "inf": (dict(points=np.full((4, 19, 3), np.inf)), "row 0 is seen but holds no finite"),
    "end": (dict(ends=("hand",)), "no point 'hand'"),
    "up": (dict(up=(0, 0, 0)), "is no direction"),
    "window": (dict(window=0), "must be positive"),
    "facing": (dict(face_right=True, up=(0, 0, 1), joints=dict(nose=0)), "needs the nose and both shoulders"),
    "across": (dict(face_right=True, up=(1, 0, 0)), "no part along x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused(fault):
  change, message = FAULTS[fault]
  given = dict(points=np.zeros((4, 19, 3)), seen=np.ones(4, bool), times=np.arange(4) / 30, joints=JOINTS) | change
  with pytest.raises(ValueError, match=message):
    kinematics.columns(**given)
