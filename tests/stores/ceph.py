"""A real S3 server: Ceph's object gateway, in a Debian root file system of its own.

The file system is made once, in the user's cache. Each server runs there in namespaces of its
own, on free ports of the loopback interface and with its data in a folder of its own, so that
several can run at once. A test module that wants one says
`pytest_plugins = ["tests.stores.ceph"]` and takes the fixture `s3`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from filelock import FileLock

from tests import debian

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
SUITE = "sid"  # Ceph 20; the stable suites' older ones break conditions on ETags
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
TOOLS = ("unshare", "nsenter", "mount", "chroot")
PATIENCE = 60.0
CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:{host}:{monitor}
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = {host}
cluster_addr = {host}
ms_bind_ipv6 = false
ms_mon_client_mode = crc
run_dir = /ceph
admin_socket = /ceph/$name.asok
pid_file = /ceph/$name.pid
log_file = /ceph/$name.log
mon_data = /ceph/mon
osd_data = /ceph/osd
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data_avail_warn = 1
mon_pg_warn_min_per_osd = 0
mon_osd_prime_pg_temp = false
osd_mon_heartbeat_interval = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_client_watch_timeout = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[osd]
osd_objectstore = memstore
memstore_device_bytes = 8589934592
[client.rgw]
rgw_frontends = beast endpoint={listen}:{gateway} tcp_nodelay=1
rgw_data = /ceph
rgw_crypt_require_ssl = false
rgw_enable_usage_log = false
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 3
rgw_gc_processor_max_time = 3
"""
"""One monitor, one object store in memory, one gateway; short intervals, for speed."""


class Ceph:
    """A server with one user.

    Attributes:
        endpoint: its address, `http://host:port`.
        port: the port of that address.
        key: the user's access key.
        secret: the user's secret key.
    """

    key = "test-key"
    secret = "test-secret"  # noqa: S105 - of a server that lives as long as the test

    def __init__(self, root: Path, data: Path, listen: str = HOST) -> None:
        self._data = data
        self._fsid = str(uuid.uuid4())
        self._monitor, self.port = _free_ports()
        self.endpoint = f"http://{HOST}:{self.port}"
        (data / "ceph.conf").write_text(
            CONFIGURATION.format(
                fsid=self._fsid,
                host=HOST,
                monitor=self._monitor,
                gateway=self.port,
                listen=listen,
            )
        )
        self._init = _namespaces(root, data)
        self._target = _child(self._init)
        self._gateway: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Makes the cluster and its user, and starts the gateway."""
        address = f"v2:{HOST}:{self._monitor}"
        disk = str(uuid.uuid4())
        for command in (
            f"monmaptool --create --fsid {self._fsid} --addv a {address} /ceph/monmap",
            "ceph-mon -i a --mkfs --monmap /ceph/monmap",
            "ceph-mon -i a",
            f"ceph osd new {disk} 0",
            f"ceph-osd -i 0 --mkfs --osd-uuid {disk}",
            "ceph osd crush add osd.0 1.0 root=default host=localhost",
            "ceph-osd -i 0",
        ):
            self._run(command)
        deadline = time.monotonic() + PATIENCE
        while '"num_up_osds":1' not in self._run("ceph osd stat --format json"):
            if time.monotonic() > deadline:
                raise RuntimeError("the object store does not come up")
        self.start()
        self._run(
            "radosgw-admin -n client.rgw user create --uid=test --display-name=test "
            f"--access-key={self.key} --secret-key={self.secret}"
        )

    def start(self) -> None:
        """Starts the gateway, and waits until it answers."""
        with (self._data / "gateway.out").open("ab") as out:
            self._gateway = subprocess.Popen(
                self._inside("radosgw -n client.rgw -f"), stdout=out, stderr=out, env=_env()
            )
        deadline = time.monotonic() + PATIENCE
        while not _answers(self.endpoint):
            if self._gateway.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._data / "gateway.out").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Kills the gateway; what it had stored is there again after `start`."""
        if self._gateway and self._gateway.poll() is None:
            os.kill(_child(self._gateway), signal.SIGKILL)
            self._gateway.wait()

    def close(self) -> None:
        """Ends every process of the server: they cannot outlive their namespace."""
        self._init.kill()
        self._init.communicate()
        if self._gateway:
            self._gateway.wait()

    def cpu(self) -> float:
        """Seconds of processor time that all of its processes have taken so far."""
        gateway = [psutil.Process(_child(self._gateway))] if self._gateway else []
        inside = psutil.Process(self._target).children(recursive=True)
        times = [process.cpu_times() for process in (*gateway, *inside)]
        return sum(t.user + t.system for t in times)

    def bucket(self) -> str:
        """Makes a bucket, and gives its name."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self._run(
            f"curl -sSf -X PUT --user {self.key}:{self.secret} --aws-sigv4 aws:amz:us-east-1:s3 "
            f"{self.endpoint}/{name}"
        )
        return name

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client's environment says, to reach the server or a proxy before it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }

    def _inside(self, command: str) -> list[str]:
        """A command that enters the server's namespaces and runs another there."""
        enter = ["nsenter", f"--target={self._target}", "--mount", "--pid", "--root", "--wd"]
        return [*enter, *shlex.split(command)]

    def _run(self, command: str) -> str:
        done = subprocess.run(
            self._inside(command),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=_env(),
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout


def _namespaces(root: Path, data: Path) -> subprocess.Popen[bytes]:
    """Namespaces for mounts and processes, which live as long as a `cat` that reads from us.

    When this process ends, however it ends, so does the `cat`, the first process in there; and
    with that one the kernel kills all others and drops the mounts.
    """
    script = 'mount --rbind /dev "$0/dev" && mount --bind "$1" "$0/ceph" && exec chroot "$0" cat'
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc"]
    init = subprocess.Popen(
        [*unshare, "sh", "-c", script, str(root), str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_env(),
    )
    assert init.stdin
    assert init.stdout
    init.stdin.write(b"ready\n")
    init.stdin.flush()
    if init.stdout.readline() != b"ready\n":
        raise RuntimeError(f"no namespaces: unshare ended with {init.wait()}")
    return init


def _child(parent: subprocess.Popen[bytes]) -> int:
    """The only child of a process that we started: what runs in the namespaces, as seen here."""
    return int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=1).close()  # noqa: S310 - our own server
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((HOST, 0))
        other.bind((HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _env() -> dict[str, str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LC_ALL": "C.UTF-8", "CEPH_CONF": "/ceph/ceph.conf"}


# --- the root file system ------------------------------------------------------------------


def root_file_system(cache: Path) -> Path:
    """A Debian with Ceph in it; made where there is none yet, in one or two minutes.

    Raises:
        pytest.skip.Exception: it cannot be made here.
    """
    folder = cache / "test-stores"
    root = folder / f"ceph-{SUITE}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{root.name}.lock"):  # two test runs make one
        if not root.exists():
            _make(root)
    return root


def _make(root: Path) -> None:
    unfinished = root.with_name(f"{root.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    debian.bootstrap(unfinished, SUITE, ("ca-certificates", "curl", "python3-minimal"))
    (unfinished / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # starts no services
    (unfinished / "usr/sbin/policy-rc.d").chmod(0o755)
    (unfinished / "ceph").mkdir()
    options = "--yes --no-install-recommends"
    install = f"DEBIAN_FRONTEND=noninteractive apt-get install {options} {' '.join(PACKAGES)}"
    script = f'mount --rbind /dev "$0/dev" && chroot "$0" sh -c "{install} && apt-get clean"'
    mounts = ("unshare", "--mount", "--pid", "--fork", f"--mount-proc={unfinished}/proc")
    debian.run(*mounts, "sh", "-c", script, str(unfinished))
    unfinished.rename(root)


@contextmanager
def serving(cache: Path, data: Path, listen: str = HOST) -> Iterator[Ceph]:
    """A server with its data in a folder, which is made.

    Args:
        cache: where its programs are kept.
        data: the folder.
        listen: the address that it answers on; with `0.0.0.0` on this machine's others, too.
    """
    root = root_file_system(cache)
    for name in ("mon", "osd"):
        (data / name).mkdir(parents=True)
    server = Ceph(root, data, listen)
    try:
        server.boot()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def s3(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """An S3 server for the whole run. Whoever stops it starts it again."""
    if os.geteuid() != 0:
        pytest.skip("Ceph in a root file system of its own needs root")
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacking:
        pytest.skip(f"Ceph in a root file system of its own needs {', '.join(lacking)}")
    with serving(cache, tmp_path_factory.mktemp("ceph")) as server:
        yield server
