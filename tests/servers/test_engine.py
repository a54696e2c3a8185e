"""What is asked of container engines, and what their words mean. No engine is needed."""

from pathlib import Path

import pytest

from builder.errors import InputError, MissingError, WorkFailedError
from builder.servers.containers import engine as engines
from builder.servers.containers import inside, isolation
from builder.servers.containers.command import Done
from builder.servers.containers.engine import digest, find
from builder.servers.containers.isolation import NOBODY, ROOT, Wanted
from builder.servers.containers.owner import Owner
from builder.servers.containers.trouble import trouble
from builder.spec.target import Container

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ME = Owner("boot", "pid:[1]", 10, 100)


def wanted(**changed):
    values = {
        "name": "triton-builder-1",
        "image": "sha256:1",
        "labels": {"owner": "me"},
        "command": ["tritonserver", "--log-verbose=1"],
        "publish": "127.0.0.1",
        "ports": {8000: None, 8001: 18001},
        "folders": {"/repositories/0": Path("/a b")},
        "copied": False,
        "user": NOBODY,
        "limits": Container(memory="8GB", pids=100),
    }
    return Wanted(**{**values, **changed})


@pytest.mark.parametrize("kind", engines.KINDS)
def test_every_container_is_kept_in(kind):
    arguments = isolation.arguments(kind, wanted())
    assert {
        "--publish=127.0.0.1::8000",
        "--publish=127.0.0.1:18001:8001",
        "--memory=8000000000",
        "--shm-size=1000000000",
        "--pids-limit=100",
        "--read-only",
        "--tmpfs=/tmp:exec,mode=1777",
        "--user=1000:1000",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--mount=type=bind,src=/a b,dst=/repositories/0,readonly",
        "--pull=never",
    } <= set(arguments)
    assert arguments[-3:] == ["sha256:1", "tritonserver", "--log-verbose=1"]
    assert not any("gpu" in one for one in arguments)


def test_podman_passes_no_proxy_of_the_users_on():
    assert "--http-proxy=false" in isolation.arguments("podman", wanted())
    assert "--http-proxy=false" not in isolation.arguments("docker", wanted())


def test_memory_is_unlimited_unless_the_target_says_so():
    arguments = isolation.arguments("docker", wanted(limits=Container()))
    assert not any(one.startswith("--memory") for one in arguments)


@pytest.mark.parametrize(
    ("kind", "gpus", "said"),
    [
        ("docker", None, ["--gpus=all"]),
        ("nerdctl", "all", ["--gpus=all"]),
        ("docker", "0,1", ['--gpus="device=0,1"']),
        ("podman", None, ["--device=nvidia.com/gpu=all"]),
        ("podman", "0,1", ["--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=1"]),
    ],
)
def test_gpus_are_asked_for_as_each_engine_wants_it(kind, gpus, said):
    arguments = isolation.arguments(kind, wanted(gpu=True, limits=Container(gpus=gpus)))
    assert [one for one in arguments if "gpu" in one] == said


def test_what_is_copied_goes_into_a_volume():
    arguments = isolation.arguments("docker", wanted(copied=True))
    assert "--mount=type=volume,dst=/repositories" in arguments
    assert not any("type=bind" in one for one in arguments)


def test_a_path_that_no_mount_can_say_is_copied():
    assert isolation.mountable([Path("/a b:c")])
    assert not isolation.mountable([Path("/a"), Path("/b,c")])


@pytest.mark.parametrize(
    ("ours", "rootless", "copied", "readable", "user"),
    [
        ((1001, 1002), False, False, False, "1001:1002"),
        ((1001, 1002), True, False, False, ROOT),
        ((0, 0), False, False, True, NOBODY),
        ((0, 0), False, False, False, ROOT),
        ((0, 0), False, True, False, NOBODY),
        ((1001, 1002), True, True, True, NOBODY),
    ],
)
def test_the_server_is_not_root_where_it_can_be(ours, rootless, copied, readable, user):
    found = isolation.user(ours, rootless=rootless, copied=copied, readable=readable)
    assert found == user


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        (f"nvcr.io/nvidia/tritonserver@{A}", [f"nvcr.io/nvidia/tritonserver@{B}"], A),
        ("nvcr.io/nvidia/tritonserver:24.10-py3", [f"nvcr.io/nvidia/tritonserver@{B}"], B),
        ("host:5000/t/tritonserver:1", [f"a/other@{A}", f"host:5000/t/tritonserver@{B}"], B),
        ("mine:1", [], A),
    ],
)
def test_an_image_is_named_by_its_registry_or_by_itself(name, others, found):
    assert digest(name, A, others) == found
    assert digest(name, A.removeprefix("sha256:"), others) == found


@pytest.mark.parametrize(
    ("command", "said", "kind", "problem"),
    [
        (
            "info",
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            MissingError,
            "no engine answers",
        ),
        (
            "info",
            "permission denied while trying to connect to the Docker daemon socket at unix:///v",
            MissingError,
            "no engine answers",
        ),
        (
            "start",
            'could not select device driver "" with capabilities: [[gpu]]',
            MissingError,
            "no GPU",
        ),
        (
            "start",
            "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all",
            MissingError,
            "no GPU",
        ),
        (
            "start",
            "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1",
            MissingError,
            "no GPU",
        ),
        (
            "start",
            "failed to discover GPU vendor from CDI: no known GPU vendor found",
            MissingError,
            "no GPU to give",
        ),
        (
            "create",
            'exec: "nvidia-container-cli": executable file not found in $PATH',
            MissingError,
            "no GPU to give",
        ),
        (
            "create",
            "Error: stat nvidia.com/gpu=all: no such file or directory",
            MissingError,
            "no GPU to give",
        ),
        ("start", "unknown or invalid runtime name: nvidia", MissingError, "no GPU to give"),
        (
            "start",
            "nvidia-container-cli: device error: 7: unknown device: unknown",
            MissingError,
            "has not the GPU that was asked for",
        ),
        (
            "start",
            (
                "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.6, "
                "please update your driver to a newer version, or use an earlier cuda container: "
                "unknown"
            ),
            MissingError,
            "driver is too old",
        ),
        (
            "start",
            "Bind for 127.0.0.1:8000 failed: port is already allocated",
            InputError,
            "a port is taken",
        ),
        (
            "start",
            "OCI runtime create failed: container init was OOM-killed (memory limit too low?)",
            WorkFailedError,
            "out of memory",
        ),
        ("pull", "write /var/lib/x: no space left on device", MissingError, "disk is full"),
        ("pull", "manifest for x/y:1 not found: manifest unknown", MissingError, "cannot be pull"),
        ("pull", "unauthorized: authentication required", MissingError, "cannot be pulled"),
        (
            "start",
            'exec: "tritonserver": executable file not found in $PATH',
            InputError,
            "holds no tritonserver",
        ),
        (
            "start",
            "crun: executable file `tritonserver` not found in $PATH: No such file or directory",
            InputError,
            "holds no tritonserver",
        ),
        ("start", "something new", WorkFailedError, "the container engine refused"),
    ],
)
def test_what_an_engine_says_is_translated(command, said, kind, problem):
    error = trouble("docker", Done(("docker", command), 125, "", said), image="x/y:1")
    assert type(error) is kind
    assert problem in error.problem
    assert error.fix
    assert said in (error.detail or "")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Writes a program that behaves as some engine's does, on a PATH with nothing else of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("TRITON_BUILDER_ENGINE", raising=False)

    def write(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


DOWN = """
case $1 in
  --version) echo 'Docker version 28.2.2, build e6534b4';;
  *) echo 'Cannot connect to the Docker daemon at unix:///x. Is it running?' >&2; exit 1;;
esac
"""
UP = """
case "$1 $2" in
  --version*) echo 'Docker version 28.2.2, build e6534b4';;
  info*) echo '["name=seccomp,profile=builtin","name=rootless"]';;
  context*) echo "${DOCKER_HOST:-unix:///var/run/docker.sock}";;
esac
"""


def test_an_engine_that_does_not_answer_is_passed_over(program):
    program("docker", DOWN)
    program("nerdctl", UP.replace("Docker", "nerdctl"))
    found = find({})
    assert (found.kind, found.host) == ("nerdctl", "")
    assert found.rootless


def test_an_engine_whose_daemon_is_down_is_named(program):
    program("docker", DOWN)
    with pytest.raises(MissingError, match="docker: installed, but no engine answers") as caught:
        find({})
    assert "Cannot connect" in (caught.value.detail or "")


def test_the_variable_names_the_engine(program):
    path = program("my-docker", UP)
    program("docker", DOWN)
    assert find({"TRITON_BUILDER_ENGINE": str(path)}).program == str(path)
    with pytest.raises(MissingError, match="no container engine") as caught:
        find({"TRITON_BUILDER_ENGINE": "no-such-engine"})
    assert caught.value.found == "no-such-engine"
    assert "apt-get install podman" in caught.value.fix


def test_podman_under_dockers_name_is_podman(program):
    program("docker", UP.replace("Docker", "podman"))
    assert find({}).kind == "podman"


@pytest.mark.parametrize(
    ("host", "elsewhere", "address"),
    [
        ("unix:///run/docker.sock", "", "127.0.0.1"),
        ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375", "127.0.0.1"),
        ("tcp://docker:2376", "tcp://docker:2376", "docker"),
    ],
)
def test_an_engine_elsewhere_is_known_by_its_address(
    program, monkeypatch, host, elsewhere, address
):
    program("docker", UP)
    monkeypatch.setenv("DOCKER_HOST", host)
    found = find()
    assert (found.host, found.address) == (elsewhere, address)


def test_an_engine_whose_ports_nobody_reaches_is_refused(program, monkeypatch):
    program("docker", UP)
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    with pytest.raises(MissingError, match="cannot be reached"):
        _ = find().address


@pytest.mark.parametrize(
    ("owner", "started", "gone"),
    [
        (Owner("boot", "pid:[1]", 11, 50), 50, False),
        (Owner("boot", "pid:[1]", 11, 50), None, True),
        (Owner("boot", "pid:[1]", 11, 50), 60, True),  # the id is another process's by now
        (Owner("other", "pid:[1]", 11, 50), None, False),  # another machine, or an earlier boot
        (Owner("boot", "pid:[2]", 11, 50), None, False),  # a container of this machine
    ],
)
def test_only_who_is_certainly_gone_is_gone(owner, started, gone):
    assert owner.gone(ME, lambda _: started) is gone


def test_a_label_says_whose_a_container_is():
    me = Owner.me()
    assert Owner.read(me.label) == me
    assert Owner.read("") is None
    assert Owner.read("a/b/c/d") is None


TOLD = """\
Rss:               51200 kB
Pss:               40000 kB
Pss_Anon:          30000 kB
Pss_File:           8000 kB
Pss_Shmem:          2000 kB
Pss:                9000 kB
Pss_Anon:           6000 kB
Pss_File:           2000 kB
Pss_Shmem:          1000 kB
Filesystem     1024-blocks  Used Available Capacity Mounted on
shm                1000000 {shm}    999000       1% /dev/shm
tmpfs             16000000  4000  15996000       1% /tmp
"""


@pytest.mark.parametrize(("shm", "kilobytes"), [(1000, 51000), (0, 50000)])
def test_a_container_holds_what_its_processes_do_and_what_lies_in_its_memory(shm, kilobytes):
    assert inside.held(TOLD.format(shm=shm)) == kilobytes << 10


@pytest.mark.parametrize(
    ("told", "killed"),
    [
        ("low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("", 0),
    ],
)
def test_what_the_kernel_killed_is_read_of_both_kinds_of_control_groups(told, killed):
    assert inside.killed(told) == killed
