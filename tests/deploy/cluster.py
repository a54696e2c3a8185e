"""A generated pod, run by a real engine; what a kubelet does besides is done here.

`podman kube play` runs init containers, volumes, ConfigMaps, Secrets, users, read-only root file
systems, capabilities and memory limits as the manifests say. What Podman 4.3 does not do: it knows
no probe but liveness, and that by systemd's timers; it would publish every port of a container to
the world; a volume's name is one for all pods; memory volumes lie on disk, so /dev/shm is its own;
annotations are as short as labels; there is no preStop. It knows no sidecars either: they are
containers as the others, and whoever plays a Job starts one after the other.
"""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.containers.engine import Engine

Object = dict[str, Any]
KUBECTL = Path(sys.executable).with_name("kubectl")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of a container
KEEPS_INIT = {"io.podman.annotations.init.container.type": "always"}
"""Init containers stay when they are done, so that their log can be read."""


def kustomize(folder: Path) -> list[Object]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


class Pod:
    """One pod of a Deployment or a Job, from its creation until the block ends.

    Args:
        engine: what runs it.
        network: which it is in.
        manifests: the Deployment or the Job, and the ConfigMaps that it names.
        secrets: by name, the entries of the Secrets that it names.

    Attributes:
        readiness: what its readiness probe saw, asked from before it existed: times of the epoch
            and statuses, one for each change; None where nobody answered.
        played: how the engine took it.
    """

    def __init__(
        self,
        engine: Engine,
        network: str,
        manifests: Sequence[Object],
        secrets: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.name = engine.name()
        self.readiness: list[tuple[float, int | None]] = []
        self._engine = engine
        self._network = network
        workload = next(m for m in manifests if m["kind"] in {"Deployment", "Job"})
        self.template: Object = workload["spec"]["template"]
        configs = [m for m in manifests if m["kind"] == "ConfigMap"]
        self._secrets = secrets
        self._documents = [*map(self._config, configs), self._pod()]
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._watch_readiness)

    def __enter__(self) -> Self:
        for name, entries in self._secrets.items():
            values = {k: base64.b64encode(v.encode()).decode() for k, v in entries.items()}
            content = json.dumps(values).encode()
            self._engine("secret", "create", f"{self.name}-{name}", "-", stdin=content)
        self._watch.start()
        text = yaml.safe_dump_all(self._documents)
        start = not self._sidecars(self.template["spec"])
        play = ("kube", "play", f"--network={self._network}", f"--start={str(start).lower()}", "-")
        self.played = self._engine.attempt(*play, stdin=text.encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        self._engine.remove(self.name)

    def container(self, name: str) -> str:
        """The engine's name for one of its containers."""
        return f"{self.name}-{name}"

    def log(self, name: str) -> str:
        """What a container has written so far."""
        done = self._engine.attempt("logs", self.container(name))
        return done.stdout + done.stderr

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a container, as an exec probe does."""
        return self._engine.attempt("exec", self.container(name), *command)

    def probe(self, kind: str) -> subprocess.CompletedProcess[str]:
        """Runs an exec probe of Triton's."""
        return self.run("triton", *self._triton[kind]["exec"]["command"])

    def await_start(self) -> list[tuple[float, str]]:
        """Asks the startup probe until it agrees; what it said, and when, each change once."""
        probe = self._triton["startupProbe"]
        deadline = time.monotonic() + probe["failureThreshold"] * probe["periodSeconds"]
        said: list[tuple[float, str]] = []
        while True:
            done = self.probe("startupProbe")
            told = (done.stdout or done.stderr).strip()
            if not said or said[-1][1] != told:
                said.append((time.time(), told))
            if done.returncode == 0:
                return said
            assert time.monotonic() < deadline, self.log("triton")
            time.sleep(0.2)

    def stop(self) -> int:
        """Ends Triton as a kubelet does; its exit code."""
        grace = self.template["spec"]["terminationGracePeriodSeconds"]
        name = self.container("triton")
        self._engine("stop", f"--time={grace}", name)
        return int(self._engine("inspect", "--format={{.State.ExitCode}}", name))

    def start(self, name: str = "triton") -> None:
        """Starts a container; Triton again, as a rule: init containers have done their work."""
        self._engine("start", self.container(name))

    def ended(self, name: str) -> int:
        """Waits until a container has ended; its exit code."""
        return int(self._engine("wait", self.container(name)))

    @property
    def address(self) -> str | None:
        """Its address in the network; None while it has none."""
        found = self._engine.attempt("pod", "inspect", self.name)
        if found.returncode:
            return None
        infra = json.loads(found.stdout).get("InfraContainerID")
        done = self._engine.attempt("inspect", infra) if infra else None
        if done is None or done.returncode:
            return None
        networks = json.loads(done.stdout)[0]["NetworkSettings"]["Networks"].values()
        return next((n["IPAddress"] for n in networks if n["IPAddress"]), None)

    @property
    def _triton(self) -> Object:
        spec = self.template["spec"]
        every = (*spec["containers"], *spec["initContainers"])
        return next(one for one in every if one["name"] == "triton")

    @staticmethod
    def _sidecars(spec: Object) -> list[Object]:
        return [one for one in spec["initContainers"] if one.get("restartPolicy") == "Always"]

    def _watch_readiness(self) -> None:
        if "readinessProbe" not in self._triton:
            return
        probe = self._triton["readinessProbe"]["httpGet"]
        address = status = None
        while not self._over.wait(0.05):
            address = address if status else self.address  # another one after a restart
            status = _status(f"http://{address}:8000{probe['path']}") if address else None
            if not self.readiness or self.readiness[-1][1] != status:
                self.readiness.append((time.time(), status))

    def _config(self, config: Object) -> Object:
        return {**config, "metadata": {"name": self._own(config["metadata"]["name"])}}

    def _own(self, name: str) -> str:
        return f"{self.name}-{name}"

    def _pod(self) -> Object:
        spec = copy.deepcopy(self.template["spec"])
        spec["restartPolicy"] = "Never"  # whoever has a pod starts it again
        for volume in spec["volumes"]:
            volume["name"] = self._own(volume["name"])
            if "configMap" in volume:
                volume["configMap"]["name"] = self._own(volume["configMap"]["name"])
        for sidecar in self._sidecars(spec):
            del sidecar["restartPolicy"]
            spec["initContainers"].remove(sidecar)
            spec["containers"].insert(0, sidecar)
        for container in (*spec["initContainers"], *spec["containers"]):
            container.pop("ports", None)
            container["args"] = self._expanded(container)
            mounts = container["volumeMounts"]
            container["volumeMounts"] = [m for m in mounts if m["mountPath"] != SHARED_MEMORY]
            for mount in container["volumeMounts"]:
                mount["name"] = self._own(mount["name"])
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    key = variable["valueFrom"]["secretKeyRef"]
                    key["name"] = self._own(key["name"])
            for source in container.get("envFrom", []):
                source["secretRef"]["name"] = self._own(source["secretRef"]["name"])
        metadata: Object = {"name": self.name, "annotations": KEEPS_INIT}
        metadata["labels"] = self.template["metadata"]["labels"]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _expanded(self, container: Object) -> list[str]:
        """Its arguments with its variables put in, which a kubelet does and Podman does not."""
        known = {}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                known[f"$({variable['name']})"] = self._secrets[key["name"]][key["key"]]
        found = []
        for word in container.get("args", ()):
            for reference, value in known.items():
                word = word.replace(reference, value)  # noqa: PLW2901
            found.append(word)
        return found


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the pod's own address
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return None
