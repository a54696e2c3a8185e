"""What Triton, TensorRT and CUDA mean by what they say of a load that failed. Pure.

Their words are those of 24.10 and of the TensorRT and ONNX Runtime inside; where an error of
TensorRT's stands in the server's log alone, `evidence` finds it there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOADING = '"loading: {model}:'
ERROR = re.compile(r"E\d{4} ")
OTHER = re.compile(r"[IWF]\d{4} ")
UNSAID = "?"
CAPABILITIES = (
    "name the GPU's in the target's `compute-capabilities` (nvidia-smi "
    "--query-gpu=compute_cap --format=csv), and build again"
)
REBUILD = (
    "build with the TensorRT of the target's release (triton-builder releases --triton), or set "
    "the target's `triton` to the release that the server is"
)
MEMORY = (
    "load less at once (fewer instances or models), let `dims` be smaller, take fp16 or int8, or a "
    "GPU with more memory, which nobody else uses"
)


@dataclass(frozen=True)
class Cause:
    """Why a load failed.

    Attributes:
        problem: a sentence.
        found: the offending value.
        expected: what would have been right.
        fix: what to do.
    """

    problem: str
    found: str
    expected: str
    fix: str


@dataclass(frozen=True)
class _Known:
    """Words, and what they mean: the groups of `words` are filled into `found` and `expected`."""

    words: str
    problem: str
    found: str
    expected: str
    fix: str

    def read(self, said: str) -> Cause | None:
        """The cause, where these are the words."""
        match = re.search(self.words, said)
        if match is None:
            return None
        parts = {name: (value or UNSAID).strip() for name, value in match.groupdict().items()}
        found, expected = self.found.format(**parts), self.expected.format(**parts)
        return Cause(self.problem, found, expected, self.fix)


_KNOWN = (
    _Known(
        r"generated on an incompatible device, expecting compute (?P<gpu>[\d.]+\d) "
        r"got compute (?P<plan>[\d.]+\d)",
        "the plan was built for a GPU of another compute capability",
        "a plan for compute capability {plan}",
        "{gpu}, the GPU's",
        CAPABILITIES,
    ),
    _Known(
        r"generated on an incompatible device",
        "the plan was built for a GPU of another kind",
        "a plan for another GPU",
        "one for the GPU that serves it",
        CAPABILITIES,
    ),
    _Known(
        r"unable to find '(?P<file>[^']*/model\.plan)' for model instance",
        "the model has no plan for the GPU's compute capability",
        "none, and no {file} either",
        "a plan for each GPU that the server has",
        CAPABILITIES,
    ),
    _Known(
        r"not compatible with this version of TensorRT, expecting library version "
        r"(?P<here>[\d.]+\d)(?: got (?P<plan>[\d.]+\d))?",
        "the plan was built by another version of TensorRT",
        "a plan of TensorRT {plan}",
        "TensorRT {here}, the server's",
        REBUILD,
    ),
    _Known(
        r"(?i:version tag does not match)(?:\. Note: Current Version: (?P<here>\d+), "
        r"Serialized Engine Version: (?P<plan>\d+))",
        "the plan was built by another version of TensorRT",
        "a plan of format {plan}",
        "format {here}, the server's",
        REBUILD,
    ),
    _Known(
        r"(?i:version tag does not match)",
        "the plan was built by another version of TensorRT",
        "a plan of another format",
        "the format of the server's TensorRT",
        REBUILD,
    ),
    _Known(
        r"(?i:magic ?tag)",
        "the file is no plan of TensorRT's",
        "other bytes, or a plan of TensorRT-RTX",
        "a plan, as the release's TensorRT writes it",
        "build again; TensorRT-RTX's plans do not load in Triton",
    ),
    _Known(
        r"unable to find backend library for backend '(?P<backend>[^']+)'",
        "the server has not the model's backend",
        "no backend `{backend}`",
        "a server that has it",
        "choose an image with that backend (NVIDIA's -py3 has TensorRT, ONNX Runtime and "
        "Python), or leave its format out of the target's `formats`",
    ),
    _Known(
        r"has kind KIND_GPU but (?P<none>no GPUs are available|server does not support GPUs)",
        "the model is to run on a GPU, and the server has none",
        "KIND_GPU, and {none}",
        "a server with a GPU, or KIND_CPU",
        "prove it on a target with device = 'gpu'; or leave `instance_group` out of the "
        "model's `config`",
    ),
    _Known(
        r"specifies invalid or unsupported gpu id (?:of )?(?P<id>\d+)\. [^\n]*?"
        r"compatibility of (?P<least>[\d.]+) are: ?(?P<has>[\d, ]*)",
        "the model asks for a GPU that the server has not",
        "GPU {id}, of those that the server can use: {has}",
        "a GPU that is there, of compute capability {least} or higher",
        "correct `gpus` in the model's `instance_group`, or give the server that GPU "
        "(`gpus` of the target's `container`)",
    ),
    _Known(
        r"(?P<said>CUDA driver version is insufficient for CUDA runtime version)",
        "the server cannot use a GPU: no driver, or one that is too old for its CUDA",
        "{said}",
        "a driver of the branch that the release asks for (triton-builder releases --triton)",
        "see whether `nvidia-smi` shows the GPU on the server's machine, and in the container; "
        "then update its driver",
    ),
    _Known(
        r"(?P<said>no CUDA-capable device is detected|libcuda\.so\.1: cannot open shared object)",
        "the server has no GPU",
        "{said}",
        "a GPU, and its driver",
        "see whether `nvidia-smi` shows the GPU on the server's machine, and in the container",
    ),
    _Known(
        r"(?P<said>no kernel image is available for execution on the device)",
        "the GPU is older, or newer, than what the server's code was built for",
        "{said}",
        "a GPU that the release runs on (triton-builder releases --triton)",
        "serve on another GPU, or set the target's `triton` to a release that has it",
    ),
    _Known(
        r"(?P<said>Requested amount of GPU memory \(\d+ bytes\) could not be allocated"
        r"|CUDA out of memory\.[^\n\"]{0,80}"
        r"|(?:(?i:cuda|cublas|cudnn)[^\n]{0,80}?(?:: | \()out of memory\)?)"
        r"|(?:CUDA|CUBLAS|cudaError|cuda)\w*_(?:ALLOC_FAILED|OUT_OF_MEMORY)"
        r"|cudaErrorMemoryAllocation|(?i:outofmemory)[^\n]{0,80})",
        "the GPU has too little memory for the model",
        "{said}",
        "GPU memory for the model beside all that is loaded",
        MEMORY,
    ),
    _Known(
        r"(?P<said>Too many open files)",
        "the server may not open any more files",
        "{said}",
        "one for each instance and client, beside the server's own hundred",
        "raise the limit where it starts: ulimit -n, LimitNOFILE= of a systemd unit, a container's "
        "--ulimit nofile; or load less at once",
    ),
)


def of(said: str) -> Cause | None:
    """What an error's words mean; None where they are not known, and speak for themselves."""
    return next((cause for known in _KNOWN if (cause := known.read(said))), None)


def evidence(log: str, model: str) -> str:
    """The errors in a server's log since it began to load a model: all of their lines."""
    _, begun, since = log.rpartition(LOADING.format(model=model))
    kept, error = [], False
    for line in since.splitlines() if begun else ():
        if ERROR.match(line):
            error = True
        elif OTHER.match(line):
            error = False
        if error:
            kept.append(line)
    return "\n".join(kept)
