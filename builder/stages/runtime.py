"""The release's own ONNX Runtime, in an interpreter of its own: both ends of asking it.

Here, `ask` has a script answer there. The script has NumPy and ONNX Runtime, and of `builder` only
modules that want no more, this one among them: `session` and `refusals` are for it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from builder.errors import MissingError, WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.stages.job import Job

SECONDS = 900


def ask(job: Job, script: Path, *arguments: Path, result: Path, about: str) -> dict[str, Any]:
    """What a script answers in `job.runtime`.

    Args:
        job: its parameter `onnxruntime` is the version that the interpreter should hold.
        script: what is run there.
        arguments: of the script.
        result: the JSON file that it leaves.
        about: what ONNX Runtime is asked about, for messages: `the model`.

    Raises:
        MissingError: there is no runtime.
        WorkFailedError: there is no answer: it takes too long, dies, or fails by itself.
    """
    version = job.params["onnxruntime"]
    if job.runtime is None or not job.runtime.exists():
        raise MissingError(
            "the release's runtime is not here",
            where=job.where,
            found=job.runtime,
            expected=f"an interpreter with onnxruntime=={version}",
            fix="run `triton-builder build` again; it sets the runtime up",
        )
    result.unlink(missing_ok=True)
    command = [str(job.runtime), "-I", str(script), *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # C++ may have printed anything
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkFailedError(
            f"ONNX Runtime {version} did not answer within {SECONDS} s",
            where=job.where,
            found=about,
            fix="give fewer or smaller samples",
        ) from error
    if done.returncode < 0:
        raise WorkFailedError(
            f"ONNX Runtime {version} died on {about}",
            where=job.where,
            found=f"killed by {_signal(-done.returncode)}",
            expected="exit status 0",
            fix="export with fewer special operators, or use precision: fp32; out of memory "
            "shows as SIGKILL",
            detail=done.stderr[-2000:],
        )
    if done.returncode or not result.exists():
        raise WorkFailedError(
            f"asking ONNX Runtime {version} about {about} has failed, and not by its doing",
            where=job.where,
            found=(done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1],
            expected="an answer to every sample",
            fix="if it speaks of memory or of the disk, free some; else this is a bug of the "
            "builder",
            detail=done.stderr[-2000:],
        )
    told: dict[str, Any] = json.loads(result.read_text())
    return told


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class RefusedError(Exception):
    """ONNX Runtime refuses a graph, or a sample: in its own words."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What ONNX Runtime raises within, as its refusal. Have nothing in it but a call of it.

    Its exceptions have no common root, so that only where they come from tells them.

    Raises:
        MemoryError: there is too little of it, which is nothing that a graph can help.
        OSError: likewise, of files and disks.
        RefusedError: anything else.
    """
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error


def session(model: Path) -> Any:
    """A session of the ONNX Runtime of this interpreter, on the CPU.

    Raises:
        RefusedError: it does not load the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    with refusals():
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
