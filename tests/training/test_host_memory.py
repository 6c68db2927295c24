"""Memory of this process: the tightest limit of its control groups, as machines and containers show them."""

import pytest

from jaxskill.training.host_memory import host_bytes

MACHINE = host_bytes("/no/such/folder")


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
  (tmp_path / "proc/self").mkdir(parents=True)
  (tmp_path / "proc/self/cgroup").write_text(groups)
  for name, text in files.items():
    file = tmp_path / "sys/fs/cgroup" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
  assert host_bytes(tmp_path) == (limit or MACHINE)


def test_this_machine():
  assert 2 ** 28 < host_bytes() <= MACHINE
