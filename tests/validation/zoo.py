"""Small Python models for a live server: a sound one, and ones with one fault each."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np

from builder.spec.tensor import Dim, Tensor
from builder.spec.tolerance import DEFAULTS
from builder.stages.goldens import Golden
from builder.triton import probe, wire
from builder.triton.probe import Expected, Probe
from builder.validation.subject import Subject, VersionSubject

TENSORS = """max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 }
output { name: "Y" data_type: TYPE_FP32 dims: 4 }
instance_group { count: 1 kind: KIND_CPU }
"""
BATCHING = "dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 5000 }\n"
QUEUE = """dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 5000
  default_queue_policy { default_timeout_microseconds: 5000000 allow_timeout_override: true } }
"""
ALL = "version_policy { all {} }\n"

MODEL = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.factor = np.float32(int(args["model_version"]) + 1)
        self.calls = 0
        self.kept = []
        START

    def execute(self, requests):
        self.calls += 1
        arrays = [pb_utils.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        rows = sum(len(a) for a in arrays)
        answers = [self.answer(a, rows) for a in arrays]
        return [
            pb_utils.InferenceResponse([], a)
            if isinstance(a, pb_utils.TritonError)
            else pb_utils.InferenceResponse([pb_utils.Tensor("Y", a.astype(np.float32))])
            for a in answers
        ]

    def answer(self, x, rows):
        FAULT
        return x * self.factor
"""


def warmup(*sizes: int) -> str:
    return "".join(
        f'model_warmup {{ name: "batch {size}" batch_size: {size} inputs {{ key: "X" '
        "value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }\n"
        for size in sizes
    )


def goldens(factor: float, count: int = 6) -> tuple[Golden, ...]:
    inputs = [
        np.random.default_rng(seed).standard_normal((1, 4)).astype(np.float32)
        for seed in range(count)
    ]
    return tuple(Golden({"X": x}, {"Y": x * np.float32(factor)}) for x in inputs)


def probe_of(name: str, number: int) -> Probe:
    """What a version of the zoo is asked by whoever has nothing but its tree."""
    (golden, *_) = goldens(number + 1)
    x, y = golden.inputs["X"], golden.outputs["Y"]
    header, body = wire.request([wire.Tensor("X", "FP32", x.shape, x.tobytes())], ["Y"])
    expected = Expected(wire.Tensor("Y", "FP32", y.shape, y.tobytes()), {"cosine": 0.9999})
    path = probe.path(name, number)
    return Probe(path, number, header, body, batched=True, outputs=(expected,))


def subject(name: str, config: str, *, versions: tuple[int, ...] = (1,), **changes) -> Subject:
    bounds = {"Y": DEFAULTS["fp32"]}
    return dataclasses.replace(
        Subject(
            name=name,
            config=config,
            inputs={"X": Tensor(dtype="float32", shape=("batch", 4))},
            outputs={"Y": Tensor(dtype="float32", shape=("batch", 4))},
            dims={"batch": Dim(max=8)},
            batched=True,
            max_batch=8,
            versions=tuple(
                VersionSubject(f"{n}.0", n, "fp32", goldens(n + 1), bounds, probe=probe_of(name, n))
                for n in versions
            ),
            default=max(versions),
        ),
        **changes,
    )


class Zoo:
    """Writes models into a repository that a running server looks at."""

    def __init__(self, root) -> None:
        self.root = root
        root.mkdir()

    def add(
        self,
        name: str,
        *,
        fault: str = "pass",
        start: str = "pass",
        config: str = "",
        versions=(1,),
        **changes,
    ):
        """Writes a model; gives the subject that describes it truly, but for `changes`."""
        for version in versions:
            folder = self.root / name / str(version)
            folder.mkdir(parents=True)
            (folder / "model.py").write_text(MODEL.replace("FAULT", fault).replace("START", start))
        text = f'name: "{name}"\nbackend: "python"\n{TENSORS}{config}'
        (self.root / name / "config.pbtxt").write_text(text)
        return subject(name, text, versions=versions, **changes)

    def add_ensemble(self, name: str, member: str) -> Subject:
        (self.root / name / "1").mkdir(parents=True)
        tensors = TENSORS.partition("instance_group")[0]
        text = f'name: "{name}"\nplatform: "ensemble"\n{tensors}ensemble_scheduling {{ step {{ '
        text += f'model_name: "{member}" model_version: 1 input_map {{ key: "X" value: "X" }} '
        text += 'output_map { key: "Y" value: "Y" } } }\n'
        (self.root / name / "config.pbtxt").write_text(text)
        return subject(name, text, ensemble=True, members=(member,))

    def remove(self, name: str) -> None:
        shutil.rmtree(self.root / name)
