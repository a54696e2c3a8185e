"""The command where it has less than usual: no home, no streams, no network, no room to start."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import termios
import time

import pytest

from builder.cli import foreign
from builder.errors import MissingError
from builder.servers.embedded import server
from tests.projects import ECHO_MODEL, echo

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path):
    """Runs a line of shell in which `$TB` is the command on a project of one Python model."""
    echo(tmp_path / "project")

    def call(line, **environment):
        command = f"{sys.executable} -m builder -C {tmp_path / 'project'}"
        done = subprocess.run(
            ["bash", "-c", line.replace("$TB", command)],
            capture_output=True,
            text=True,
            env={**os.environ, "TRITON_BUILDER_CACHE": str(tmp_path / "cache"), **environment},
            cwd=tmp_path,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "a bug" not in done.stderr
        return done

    return call


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_builds_where_streams_are_closed(shell, tmp_path, closed):
    assert shell(f"exec $TB build --no-validate {closed}").returncode == 0
    assert (tmp_path / "project" / "repository" / "cpu" / "manifest.json").is_file()


def test_a_reader_who_has_gone_is_no_traceback(shell):
    assert shell("$TB plan --target none --json | true; exit ${PIPESTATUS[0]}").returncode == 2
    assert shell("$TB plan --target none 2>&1 | true; exit ${PIPESTATUS[0]}").returncode == 2


SMALLEST = 4096
"""Bytes of a pipe."""


def fill(pipe):
    """How many bytes wait in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_slow_reader_who_would_not_have_us_wait_gets_all_of_it():
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, SMALLEST)
    with subprocess.Popen([sys.executable, "-m", "builder", "schema"], stdout=theirs) as command:
        os.close(theirs)
        while command.poll() is None and fill(ours) < SMALLEST:
            time.sleep(0.01)
        with os.fdopen(ours) as read:
            json.load(read)
    assert command.returncode == 0


NOBODY = """
import os
from builder.errors import MissingError
from builder.store.digests import cache_folder
import pwd
os.setuid(54321)
for name in ("HOME", "XDG_CACHE_HOME", "TRITON_BUILDER_CACHE"):
    os.environ.pop(name, None)
try:
    cache_folder()
except MissingError as e:
    print(e)
"""


def test_nobody_s_home_is_told():
    if os.geteuid() != 0:
        pytest.skip("to be somebody without a home needs root")
    done = subprocess.run(
        [sys.executable, "-c", NOBODY], capture_output=True, text=True, check=True
    )
    assert "there is no place for the cache" in done.stdout
    assert "TRITON_BUILDER_CACHE" in done.stdout


def test_a_folder_that_is_gone_is_told(shell):
    command = f"{sys.executable} -m builder plan"
    done = shell(f"mkdir gone && cd gone && rmdir ../gone && {command}")
    assert done.returncode == 2
    assert "the folder that this was started in is gone" in done.stderr


def test_too_few_files_are_told(shell):
    done = shell("ulimit -n 12; $TB build")
    assert done.returncode == 3
    assert "ulimit -n: 12" in done.stderr


NO_TMP = "No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/']"


@pytest.mark.parametrize(
    ("error", "problem", "code"),
    [
        (FileNotFoundError(errno.ENOENT, NO_TMP), "there is no place for temporary files", 3),
        (OSError(errno.ENOLCK, "No locks available"), "the file system cannot", 3),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full", 1),
        (BlockingIOError(errno.EAGAIN, "Try again"), "no more processes or threads", 3),
        (RuntimeError("can't start new thread"), "no more processes or threads", 3),
        (MemoryError(), "out of memory", 1),
        (FileNotFoundError(errno.ENOENT, "No such file"), "FileNotFoundError", 1),
        (RuntimeError("other"), "RuntimeError: other", 1),
    ],
)
def test_what_the_system_says_is_told(error, problem, code):
    said = foreign.told(error)
    assert said.problem.startswith(problem)
    assert said.exit_code == code
    assert said.fix


@pytest.mark.live
class TestLive:
    @pytest.fixture(autouse=True)
    def cached(self, installation, cache, tmp_path):
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "servers").symlink_to(cache / "servers")

    def test_a_proxy_is_not_asked_for_a_server_of_ours(self, shell):
        nobody = "http://127.0.0.1:9"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), nobody)
        done = shell("$TB build", **proxies, no_proxy="")
        assert done.returncode == 0, done.stderr

    def test_a_machine_that_does_not_reach_itself_is_told_at_once(self, shell):
        if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
            pytest.skip("a network of nothing needs root, and unshare")
        done = shell("unshare -n $TB build")
        assert done.returncode == 3
        assert "this machine does not reach itself" in done.stderr

    def test_too_little_memory_to_share_is_told_at_once(self, shell):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            pytest.skip("file systems of our own need root, and unshare")
        inside = "mount -t tmpfs -o size=64k shm /dev/shm && exec $TB build"
        done = shell(f"unshare -m sh -c '{inside}'")
        assert done.returncode == 3
        assert "--shm-size" in done.stderr

    def test_a_server_that_may_not_open_its_files_blames_no_model(self, shell):
        done = shell("ulimit -n 64; $TB build")
        assert done.returncode == 3, done.stderr
        assert "tritonserver may not open as many files" in done.stderr
        assert "ulimit -n: 64, and 64 at most" in done.stderr
        assert "--ulimit nofile=1024" in done.stderr

    def test_what_the_python_backend_wants_of_tmp_is_told(
        self, installation, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(server, "TMP", str(tmp_path / "none"))
        with pytest.raises(MissingError, match="folder for temporary files"):
            server.EmbeddedServer(installation, []).__enter__()

    def test_a_terminal_that_goes_away_ends_it(self, tmp_path, shell):
        slow = "Model:\n    def initialize(self, args):\n        import time; time.sleep(60)\n\n"
        model = tmp_path / "project" / "models" / "echo" / "model.py"
        model.write_text(ECHO_MODEL.replace("Model:\n", slow))
        scratch = tmp_path / "tmp"
        scratch.mkdir()
        started = f"until ls {scratch}/triton-builder-* 2>&-; do sleep 0.1; done"
        done = shell(f"setsid $TB build & {started}; kill -HUP $!; wait $!", TMPDIR=str(scratch))
        assert done.returncode == 130
        assert "interrupted" in done.stderr
        assert not list(scratch.iterdir())
