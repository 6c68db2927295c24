"""Files of networks: wheels, bundles and folders, and what is refused."""

import hashlib
import zipfile

import pytest

from jaxskill.extract.pose import networks

BODY = ("pose_detection", "pose_landmark")


def packed(path, **files):
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in files.items():
      archive.writestr(f"mediapipe/modules/{name}/{name}.tflite", content)
  return path


def test_a_wheel_a_bundle_and_a_folder(tmp_path):
  wheel = packed(tmp_path / "mediapipe-0.10.21-cp311-cp311-win_amd64.whl", pose_detection=b"a", pose_landmark_full=b"b",
                 face=b"c")
  bundle = packed(tmp_path / "pose.task", pose_detector=b"a", pose_landmarks_detector=b"b")
  (tmp_path / "folder" / "below").mkdir(parents=True)
  (tmp_path / "folder" / "pose_detection.tflite").write_bytes(b"a")
  (tmp_path / "folder" / "below" / "pose_landmark_full.tflite").write_bytes(b"b")
  for source in (wheel, bundle, tmp_path / "folder"):
    assert networks.read(source, BODY) == dict(pose_detection=b"a", pose_landmark=b"b")


@pytest.mark.parametrize("name,files,message", [
    ("mediapipe-0.10.30-py3-none-any.whl", dict(pose_detection=b""), "is a wheel of mediapipe 0.10.30, expected mediapipe 0.10.21; later"),
    ("numpy-2.0-cp312-none-any.whl", {}, "is a wheel of numpy 2.0, expected mediapipe"),
    ("face_landmarker.task", dict(face_detector=b"", face_blend=b""), "has face_detector.tflite, face_blend.tflite, but not pose_detection"),
    ("empty.task", {}, "has no networks, but not pose_detection.tflite"),
    (networks.WHEEL, dict(pose_detection=b"other"), "has the SHA-256 .*, that of this wheel is 956eb1ebc275...; it is damaged")])
def test_files_that_are_no_networks_of_poses(tmp_path, name, files, message):
  with pytest.raises(ValueError, match=message) as raised:
    networks.read(packed(tmp_path / name, **files), BODY)
  assert networks.PIP in str(raised.value)


def test_files_that_are_nothing(tmp_path):
  (tmp_path / "a.task").write_bytes(b"no archive")
  for source, message in ((tmp_path / "a.task", "is no wheel"), (tmp_path / "b.task", "there is no such file or folder")):
    with pytest.raises(ValueError, match=message):
      networks.read(source, BODY)


def test_two_networks_of_one_name(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "pose_detection.tflite").write_bytes(name.encode())
    (tmp_path / name / "other.tflite").write_bytes(b"")                   # nobody asks for it
  with pytest.raises(ValueError, match="2 files pose_detection.tflite .*a/pose_detection.*, .*b/pose_.*; keep one"):
    networks.read(tmp_path, BODY)
  (tmp_path / "b" / "pose_detection.tflite").unlink()
  assert networks.read(tmp_path, BODY[:1]) == dict(pose_detection=b"a")


def test_a_bundle_that_is_damaged(tmp_path):
  """Within a compressed network."""
  bundle = tmp_path / "pose.task"
  with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("pose_detector.tflite", bytes(range(256)) * 40)
    start = archive.infolist()[0].header_offset + 30 + len("pose_detector.tflite")
  content = bytearray(bundle.read_bytes())
  content[start: start + 8] = b"\xff" * 8
  bundle.write_bytes(content)
  with pytest.raises(ValueError, match="is no wheel, .* or is damaged"):
    networks.read(bundle, BODY)


def test_a_wheel_of_other_networks(tmp_path):
  wheel = packed(tmp_path / "mediapipe-0.10.21-cp311-cp311-win_amd64.whl", pose_detection=b"a", pose_landmark_full=b"b")
  with pytest.raises(ValueError, match=f"pose_detection.tflite has the SHA-256 {hashlib.sha256(b'a').hexdigest()[:12]}"):
    networks.Networks(wheel, BODY)


def test_without_litert(tmp_path, monkeypatch):
  monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
  bundle = packed(tmp_path / "pose.task", pose_detector=b"a", pose_landmarks_detector=b"b")
  with pytest.raises(ValueError, match=r"LiteRT, which is not installed: pip install 'jaxskill\[pose\]'"):
    networks.Networks(bundle, BODY)


def test_what_litert_cannot_read(tmp_path):
  pytest.importorskip("ai_edge_litert")
  bundle = packed(tmp_path / "pose.task", pose_detector=b"a" * 100, pose_landmarks_detector=b"b")
  with pytest.raises(ValueError, match="LiteRT cannot read pose_detection"):
    networks.Networks(bundle, BODY)
