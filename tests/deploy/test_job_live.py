"""The Job that validates, run for real: its verdicts are everybody's."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.containers import images
from tests.containers.relay import relay
from tests.deploy.cluster import Pod
from tests.projects import TARGET, echo

pytest_plugins = ["tests.containers.fixture", "tests.stores.ceph"]
pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_a_job_proves_what_was_built_where_no_server_is(engine, installation, s3, tmp_path):
    project, out = tmp_path / "project", tmp_path / "kubernetes"
    echo(project)
    cache = f"s3://{s3.bucket()}/results"
    (project / "pyproject.toml").write_text(
        TARGET.replace("[tool.triton-builder]", f'[tool.triton-builder]\nremote-cache = "{cache}"')
        + 'server = "remote"\n'
    )

    def run(place, *arguments):
        """A machine of its own: it has nothing but the project and the remote cache."""
        environment = {"PATH": "/usr/bin:/bin", "TRITON_BUILDER_CACHE": str(tmp_path / place)}
        done = subprocess.run(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment | s3.environment(),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    image = images.project(engine, project)  # as it is checked out, with nothing built
    run("one", "build", "--no-validate")
    network, gateway = engine.network()
    with relay(gateway, s3.port) as address:
        environment = s3.environment(f"http://{address}")
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        credentials = {name: environment.pop(name) for name in names}
        settings = tmp_path / "deploy.yaml"
        settings.write_text(
            yaml.safe_dump(
                {
                    "image": images.tritonserver(engine, installation),
                    "credentials": "store",
                    "environment": environment,
                }
            )
        )
        run("one", "manifests", f"--job={image}", f"--settings={settings}", f"--out={out}")
        job = yaml.safe_load((out / "job.yaml").read_text())
        with Pod(engine, network, [job], {"store": credentials}) as pod:
            assert pod.played.returncode == 0, pod.played.stderr
            pod.start("triton")
            pod.await_start()
            pod.start("build")
            assert pod.ended("build") == 0, pod.log("build")
            assert "echo 1.0: passed" in pod.log("build")
            assert pod.run("triton", "ls", "-A", "/models").stdout == ""
    said = run("two", "build")
    assert "validating" not in said
    manifest = json.loads((project / "repository" / "cpu" / "manifest.json").read_text())
    verdict = manifest["models"]["echo"]["versions"]["1.0"]["verdict"]
    assert verdict["passed"]
    assert verdict["server"] == "tritonserver 2.51.0 (24.10), remote"
