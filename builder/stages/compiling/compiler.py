"""Builds a plan out of an ONNX graph, with `tensorrt` or `tensorrt_rtx`: it comes as an argument.

Both have one Python API. A network is strongly typed: what is fp16 or int8 stands in the graph,
and the library takes no liberty with it. What the library has against a graph is told by
`refusals`; which profiles there are is `builder.triton.profiles`' to say.
"""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.stages.compiling import refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    Profile = Mapping[str, Sequence[Sequence[int]]]
    """Least, best and most shape by input."""


@dataclass(frozen=True)
class Options:
    """What a plan is built with.

    Attributes:
        capabilities: compute capabilities to build for, as the library calls them (`SM80`); none
            where it builds for the GPU at hand, as TensorRT always does.
        workspace: most bytes of GPU memory that a layer may use while it works; the whole GPU's
            if None.
        tf32: whether fp32 products may be rounded to TF32's ten bits.
        version_compatible: whether later versions of TensorRT may load the plan.
        hardware_compatible: whether all GPUs from Ampere on may.
        timings: what an earlier build measured; b"" for nothing. None where none are kept.
    """

    capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    tf32: bool = True
    version_compatible: bool = False
    hardware_compatible: bool = False
    timings: bytes | None = None


@dataclass(frozen=True)
class Plan:
    """A plan that was built.

    Attributes:
        content: its bytes; no two builds give the same.
        layers: how many the parser made of the graph.
        timings: what this build measured, and the earlier ones; None where none are kept.
    """

    content: bytes
    layers: int
    timings: bytes | None = None


def build(
    library: ModuleType, model: Path, profiles: Sequence[Profile], options: Options, where: str
) -> Plan:
    """Parses a graph and builds it.

    Args:
        library: `tensorrt` or `tensorrt_rtx`.
        model: an ONNX file; its weights lie beside it where they are not inside.
        profiles: the shapes that the plan takes; inputs that the graph has not are left out.
        options: how it is built.
        where: for messages.

    Raises:
        WorkFailedError: the parser or the builder refuses the graph.
    """
    with _nothing_collected():
        return _built(library, model, profiles, options, where)


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """No garbage is collected meanwhile.

    The library calls our log while it holds a lock that freeing a builder takes too. Python may
    collect there, and a builder that an earlier refusal's traceback held would wait for ever.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _built(
    library: ModuleType, model: Path, profiles: Sequence[Profile], options: Options, where: str
) -> Plan:
    log = _log(library)
    builder = library.Builder(log)
    typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = library.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        raise refusals.unparsed(_name(library), model, errors, where)
    config = builder.create_builder_config()
    _configure(library, config, options)
    timings = None
    if options.timings is not None:
        timings = config.create_timing_cache(options.timings)
        config.set_timing_cache(timings, ignore_mismatch=False)
    for profile in profiles:
        config.add_optimization_profile(_profile(builder, network, profile, where))
    layers = network.num_layers
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise refusals.unbuilt(_name(library), model, log.errors, where)
    kept = None if timings is None else bytes(timings.serialize())
    return Plan(bytes(content), layers, kept)


def names(library: ModuleType, wanted: Sequence[str]) -> dict[str, str]:
    """The library's names of those compute capabilities that it builds for: `8.0` is `SM80`."""
    made = {c: f"SM{c.replace('.', '')}" for c in wanted}
    return {c: name for c, name in made.items() if name in library.ComputeCapability.__members__}


def _configure(library: ModuleType, config: Any, options: Options) -> None:
    if options.capabilities:
        config.num_compute_capabilities = len(options.capabilities)
        for place, name in enumerate(options.capabilities):
            config.set_compute_capability(library.ComputeCapability.__members__[name], place)
    if options.workspace is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace)
    if not options.tf32:
        config.clear_flag(library.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        level = library.HardwareCompatibilityLevel.AMPERE_PLUS
        config.hardware_compatibility_level = level


def _profile(builder: Any, network: Any, profile: Profile, where: str) -> Any:
    made = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        name = network.get_input(place).name
        if name not in profile:
            raise WorkFailedError(
                f"the graph has an input `{name}` that the spec has not",
                where=where,
                expected=", ".join(profile),
                fix="declare it under `inputs` in model.yaml",
            )
        made.set_shape(name, *(tuple(shape) for shape in profile[name]))
    return made


def _name(library: ModuleType) -> str:
    kind = "TensorRT-RTX" if library.__name__.endswith("rtx") else "TensorRT"
    return f"{kind} {library.__version__}"


def _log(library: ModuleType) -> Any:
    class Log(library.ILogger):  # type: ignore[misc, name-defined]
        """Keeps the library's errors."""

        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= library.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Log()
