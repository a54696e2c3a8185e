"""What control groups leave us, whichever version they are, and however deep we are in them."""

import pytest

from builder.engine.cgroup import Groups

MB = 1 << 20


@pytest.fixture
def groups(tmp_path):
    """Groups as `own` tells, with files of some content."""

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "mount" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return Groups(tmp_path / "mount", tmp_path / "own")

    return make


def test_no_limit_is_none(groups):
    found = groups("0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert (found.memory(), found.free(), found.cores()) == (None, None, None)


def test_a_container_s_own_group_is_the_root(groups):
    files = {
        "memory.max": f"{512 * MB}\n",
        "memory.current": f"{300 * MB}\n",
        "memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
        "cpu.max": "150000 100000\n",
    }
    found = groups("0::/\n", files)
    assert found.memory() == 512 * MB
    assert found.free() == 312 * MB
    assert found.cores() == 2


def test_what_a_service_is_in_counts_as_well(groups):
    files = {
        "user.slice/memory.max": f"{100 * MB}\n",
        "user.slice/memory.current": f"{10 * MB}\n",
        "user.slice/build.scope/memory.max": "max\n",
        "user.slice/build.scope/cpu.max": "400000 100000\n",
        "user.slice/cpu.max": "50000 100000\n",
    }
    found = groups("0::/user.slice/build.scope\n", files)
    assert (found.memory(), found.free(), found.cores()) == (100 * MB, 90 * MB, 1)


FIRST = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n"


@pytest.mark.parametrize("place", ["", "docker/abc/"])
def test_version_1_is_as_good(groups, place):
    """In a container the path is the host's, and what is mounted begins at the container's own."""
    files = {
        f"memory/{place}memory.limit_in_bytes": f"{512 * MB}\n",
        f"memory/{place}memory.usage_in_bytes": f"{300 * MB}\n",
        f"memory/{place}memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MB}\n",
        f"cpu,cpuacct/{place}cpu.cfs_quota_us": "100000\n",
        f"cpu,cpuacct/{place}cpu.cfs_period_us": "100000\n",
    }
    found = groups(FIRST, files)
    assert (found.memory(), found.free(), found.cores()) == (512 * MB, 312 * MB, 1)


def test_version_1_says_no_quota_as_minus_one(groups):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert groups(FIRST.replace("cpu,cpuacct", "cpu"), files).cores() is None


@pytest.mark.parametrize("own", ["", "garbage\n", "0::/nowhere\n"])
def test_what_cannot_be_read_is_no_limit(groups, own):
    found = groups(own, {"memory.max": "garbage\n", "cpu.max": "\n"})
    assert (found.memory(), found.free(), found.cores()) == (None, None, None)
