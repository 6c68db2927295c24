"""Memory and cores of this process: the tightest limit of its control groups, as machines and containers show them."""

import pytest

from jaxskill import host
from jaxskill.host import host_bytes, host_cores

MACHINE = host_bytes("/no/such/folder")


def grouped(root, groups, files):
  """Writes what Linux shows of control groups."""
  (root / "proc/self").mkdir(parents=True)
  (root / "proc/self/cgroup").write_text(groups)
  for name, text in files.items():
    file = root / "sys/fs/cgroup" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("groups,files,limit", [
    ("0::/\n", {"memory.max": "max\n"}, None),
    ("0::/\n", {"memory.max": "1048576\n"}, 1048576),                                                # in a container
    ("0::/job/step\n", {"memory.max": "max\n", "job/memory.max": "4096\n", "job/step/memory.max": "8192\n"}, 4096),
    ("0::/docker/abc\n", {"memory.max": "4096\n"}, 4096),               # named as the machine does, seen as the top
    ("9:name=systemd:/\n4:memory:/job\n0::/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n",
                                                 "memory/job/memory.limit_in_bytes": "4096\n"}, 4096),
    ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ("1:cpu:/a:b\n", {"cpu/memory.max": "4096\n"}, None),
])
def test_the_tightest_limit_holds(tmp_path, groups, files, limit):
  grouped(tmp_path, groups, files)
  assert host_bytes(tmp_path) == (limit or MACHINE)


def test_this_machine():
  assert 2 ** 28 < host_bytes() <= MACHINE and host_cores() >= 1


@pytest.mark.parametrize("groups,files,cores", [
    ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
    ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
    ("0::/job/step\n", {"cpu.max": "max 100000\n", "job/cpu.max": "50000 100000\n"}, 1),
    ("4:cpu,cpuacct:/job\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n",
                              "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"}, 3),
    ("4:memory:/\n", {"memory/cpu.max": "100000 100000\n"}, 8),
])
def test_cores_by_quota(tmp_path, monkeypatch, groups, files, cores):
  monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
  grouped(tmp_path, groups, files)
  assert host_cores(tmp_path) == cores


def test_files_below_folders_that_hold_more_than_a_number_of_bytes(tmp_path):
  (tmp_path / "a/b").mkdir(parents=True)
  (tmp_path / "c").mkdir()
  (tmp_path / "a/b/x").write_bytes(bytes(60))
  (tmp_path / "c/y").write_bytes(bytes(40))
  (tmp_path / "c/gone").symlink_to(tmp_path / "nowhere")
  folders = [str(tmp_path / name) for name in "ac"]
  assert host.hold_more(folders, 99) and not host.hold_more(folders, 100)
  assert not host.hold_more(folders[:1], 60) and not host.hold_more([str(tmp_path / "none")], 0)
  assert host.hold_more(folders, 59, most=1) and not host.hold_more(folders, 60, most=1)
