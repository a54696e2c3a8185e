"""A real container engine: podman with runc, with storage and settings of its own.

Installed from Debian's packages where it is missing. Images stay in the user's cache, so that they
are made once; containers, pods and networks are the run's own. What a killed run has left behind
is removed by the next one. A test module that wants an engine says
`pytest_plugins = ["tests.containers.fixture"]` and takes the fixture `engine`; the images are in
`images`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

from tests import debian

PACKAGES = ("podman", "runc", "catatonit", "iptables", "containernetworking-plugins")
PROGRAMS = ("podman", "runc", "catatonit", "iptables")
PREFIX = "tb"
"""Of all that runs have made, before the process id of the run."""
KINDS = (
    (("pod", "ps", "--format={{.Name}}"), ("pod", "rm", "--force", "--time=0")),
    (("ps", "--all", "--format={{.Names}}"), ("rm", "--force", "--time=0", "--volumes")),
    (("volume", "ls", "--format={{.Name}}"), ("volume", "rm", "--force")),
    (("secret", "ls", "--format={{.Name}}"), ("secret", "rm")),
    (("network", "ls", "--format={{.Name}}"), ("network", "rm", "--force")),
)
"""How what runs make is listed by name, and removed, in this order."""
PATIENCE = 300.0
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
static_dir = "{data}/storage/libpod"
volume_path = "{data}/storage/volumes"
tmp_dir = "{volatile}/tmp"
[network]
network_config_dir = "{data}/networks"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{data}/storage"
runroot = "{volatile}/run"
"""


def install() -> None:
    """Podman and what it needs, where they are missing.

    Raises:
        pytest.skip.Exception: they cannot be had here.
    """
    debian.provide(PROGRAMS, PACKAGES)


class EngineError(Exception):
    """The engine said no; the message is its own."""


class Engine:
    """The engine, as one run of the tests uses it.

    Attributes:
        data: images and settings.
        environment: what a client's environment says, so that its `podman` is this engine.
        run: how the names begin of what this run makes.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = f"{PREFIX}{os.getpid()}x"
        volatile = Path("/run") / f"triton-builder-{_short(str(data))}"
        places = {"data": data, "volatile": volatile}
        for folder in (data / "storage", data / "networks", volatile):
            folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",  # iptables
            "CONTAINERS_CONF": _settings(data / "containers.conf", CONFIGURATION, places),
            "CONTAINERS_STORAGE_CONF": _settings(data / "storage.conf", STORAGE, places),
        }
        self._forget_earlier_boots(volatile)

    def __call__(self, *command: str, stdin: bytes | None = None) -> str:
        """Runs `podman COMMAND`; gives what it wrote to its standard output.

        Raises:
            EngineError: it failed.
        """
        done = self.attempt(*command, stdin=stdin)
        if done.returncode:
            raise EngineError(f"podman {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def attempt(
        self, *command: str, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `podman COMMAND`, which may fail."""
        done = subprocess.run(
            ["podman", *command],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **self.environment},
        )
        out, err = (_clean(text.decode(errors="replace")) for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def name(self) -> str:
        """A new name for something of this run."""
        return f"{self.run}{secrets.token_hex(4)}"

    def has(self, image: str) -> bool:
        """Whether the image is there."""
        return self.attempt("image", "exists", image).returncode == 0

    def address(self, container: str) -> str:
        """Where a container, or the pod that it is in, is reached from this machine."""
        found = json.loads(self("inspect", container))[0]
        pod = found.get("Pod")
        if pod:
            infra = json.loads(self("pod", "inspect", pod))["InfraContainerID"]
            found = json.loads(self("inspect", infra))[0]
        networks = found["NetworkSettings"]["Networks"].values()
        return next(n["IPAddress"] for n in networks if n["IPAddress"])

    def network(self) -> tuple[str, str]:
        """Makes a network for containers; its name, and where they reach this machine in it."""
        name = self.name()
        self("network", "create", name)
        found = json.loads(self("network", "inspect", name))[0]
        return name, found["subnets"][0]["gateway"]

    def remove(self, run: str) -> None:
        """Removes everything whose name starts so."""
        for listing, removal in KINDS:
            for name in self(*listing).split():
                if name.startswith(run):
                    self.attempt(*removal, name)

    def collect(self) -> None:
        """Removes what runs have left that are no more."""
        names = " ".join(self(*listing) for listing, _ in KINDS)
        for number in set(re.findall(rf"\b{PREFIX}(\d+)x", names)):
            if not Path(f"/proc/{number}").exists():
                self.remove(f"{PREFIX}{number}x")

    def _forget_earlier_boots(self, volatile: Path) -> None:
        """/run is no memory file system everywhere: podman would see containers of before."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        mark = volatile / "boot"
        if not mark.exists() or mark.read_text() != boot:
            for part in ("run", "tmp"):
                shutil.rmtree(volatile / part, ignore_errors=True)
            mark.write_text(boot)


def _settings(file: Path, text: str, places: dict[str, Path]) -> str:
    wanted = text.format(**places)
    if not file.exists() or file.read_text() != wanted:
        file.write_text(wanted)
    return str(file)


def _clean(text: str) -> str:
    """Without what podman says about timers: where there is no systemd, nobody wants them."""
    return "".join(
        line for line in text.splitlines(keepends=True) if "systemd connection" not in line
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
