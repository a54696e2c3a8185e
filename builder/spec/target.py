"""Targets: named deployments, out of `[tool.triton-builder]` in pyproject.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from builder.spec.model import Name
from builder.spec.size import Size
from builder.spec.tensor import Frozen

ImageName = Annotated[str, Field(min_length=1, pattern=r"^[^\s-]\S*$")]
"""With tag or digest."""

Format = Literal["onnx", "tensorrt", "python", "vllm"]


class _Kebab(Frozen):
    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )


UNSERVED = {
    "strip-weights": "its TensorRT backend loads a plan as it is and refits none, so that one "
    "without weights has nothing to answer with; expected plans with their weights",
    "weight-streaming": "its TensorRT backend sets no budget, and without one TensorRT keeps all "
    "weights on the GPU; expected a GPU with room for them, or fp16 or int8",
}
"""What TensorRT can do and Triton's backend has no way to use (tensorrt_backend, loader.cc, to
mid-2026: no IRefitter and no setWeightStreamingBudgetV2, whose default streams nothing)."""


class Plans(_Kebab):
    """How TensorRT's plans are built.

    Attributes:
        workspace: most bytes of GPU memory that a layer may use while it works.
        version_compatible: whether later versions of TensorRT may load them.
        hardware_compatible: whether all GPUs from Ampere on may: one plan then does for all.
        builder_image: the image whose TensorRT builds them; True for NVIDIA's of the release. In no
            key: whichever TensorRT it has, it must be the release's.
    """

    workspace: Size | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    builder_image: bool | ImageName = False

    @model_validator(mode="before")
    @classmethod
    def _served(cls, value: object) -> object:
        for name, why in UNSERVED.items():
            if isinstance(value, dict) and value.get(name):
                raise ValueError(f"{name} makes plans that Triton does not serve as such: {why}")
        return value


class Graphs(_Kebab):
    """How ONNX Runtime runs graphs on a GPU.

    Attributes:
        accelerator: what of ONNX Runtime runs them; its CUDA provider if None.
        workspace: most bytes of GPU memory that TensorRT may use while it works.
    """

    accelerator: Literal["tensorrt"] | None = None
    workspace: Size | None = None


class Container(_Kebab):
    """What the container of a target's server may have.

    Attributes:
        memory: most bytes of memory, Python models and /tmp included; None for all there is.
        shm_size: bytes of /dev/shm, through which Python models and the server talk.
        pids: most processes and threads at once.
        gpus: which ones: `all`, or their numbers or UUIDs, separated by commas; None where it has
            none.
    """

    memory: Size | None = None
    shm_size: Size = 10**9
    pids: Annotated[int, Field(ge=64)] = 4096
    gpus: Annotated[str, Field(pattern=r"^(all|[\w-]+(,[\w-]+)*)$")] | None = None


class Target(_Kebab):
    """One deployment: what runs where, and on which server it is proven."""

    triton: Annotated[str, Field(pattern=r"^\d{2}\.\d{2}$")]
    device: Literal["cpu", "gpu"]
    server: Literal["embedded", "container", "remote"] = "embedded"
    url: str | None = None
    image: ImageName | None = None
    container: Container = Container()
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = ("onnx", "python")
    compute_capabilities: tuple[Annotated[str, Field(pattern=r"^\d+\.\d$")], ...] = ()
    preflight: bool = True
    tensorrt: Plans = Plans()
    onnxruntime: Graphs = Graphs()

    @property
    def compiles(self) -> bool:
        """Whether graphs become plans: the first of the two formats is the one."""
        formats = [name for name in self.formats if name in {"onnx", "tensorrt"}]
        return formats[:1] == ["tensorrt"]

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if self.server == "embedded" and self.device == "gpu":
            raise ValueError(
                "the embedded server has no GPU; expected server = container or remote"
            )
        if "tensorrt" in self.formats and self.device != "gpu":
            raise ValueError("format tensorrt needs a GPU; expected device = gpu")
        if self.container.gpus and self.device != "gpu":
            raise ValueError("a cpu target's container gets no GPU; expected device = gpu")
        if self.onnxruntime.accelerator and self.device != "gpu":
            raise ValueError("onnxruntime.accelerator works on a GPU; expected device = gpu")
        if self.onnxruntime.accelerator and self.compiles:
            raise ValueError(
                "onnxruntime.accelerator has no graph to run where all become plans; "
                'expected "onnx" before "tensorrt" in formats, or no accelerator'
            )
        return self


CPU = Target(triton="24.10", device="cpu")
"""The target of a project that names none."""


class Settings(_Kebab):
    """`[tool.triton-builder]`."""

    default_target: str = "cpu"
    remote_cache: str | None = None
    remote_cache_read_only: bool = False
    release_store: str | None = None
    targets: dict[Name, Target] = Field(default_factory=lambda: {"cpu": CPU})
