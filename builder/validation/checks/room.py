"""What is known before a load: that a plan is no plan of the server's, or its GPUs are too full.

Such a load fails, or takes the server with it; so it is not tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builder.servers.causes import MEMORY, REBUILD, Cause
from builder.triton import plans
from builder.triton.releases import table
from builder.triton.text import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.servers.gpus import Gpu
    from builder.servers.server import Server
    from builder.validation.subject import Subject

PLAN = ".plan"
GB = 10**9


def hindrance(server: Server, subject: Subject, others: Mapping[str, Cause]) -> Cause | None:
    """Why a model would not load; None where nothing is known against it.

    Args:
        server: what would load it.
        subject: the model; of its own it is looked at where it goes onto GPUs.
        others: what is against other models: Triton loads an ensemble's members with it.

    Raises:
        OSError: its files cannot be read.
    """
    for member in subject.members:
        if member in others:
            return replace(others[member], problem=f"its member {member}: {others[member].problem}")
    if subject.on_gpu is None:
        return None
    folders = [subject.on_gpu / str(version.number) for version in subject.versions]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return _foreign(server, files) or _full(server.gpus(), subject, files)


def _foreign(server: Server, files: Sequence[Path]) -> Cause | None:
    """That a plan is of another TensorRT than the server's release has, or of none."""
    release = table().get(server.release)
    here = release.tensorrt if release else None
    for file in files:
        if file.suffix != PLAN:
            continue
        maker = plans.maker_of(file)
        name = f"{file.parent.name}/{file.name}"
        if maker and maker.library != "TensorRT":
            return Cause(
                f"{name} is no plan of TensorRT's",
                f"a plan of {maker}",
                "a plan, as the release's TensorRT writes it",
                "build again; TensorRT-RTX's plans do not load in Triton",
            )
        if maker and here and not plans.loads(here, maker.version):
            return Cause(
                f"{name} was built by another version of TensorRT",
                f"a plan of {maker}",
                f"TensorRT {here}, the server's",
                REBUILD,
            )
    return None


def _full(gpus: Sequence[Gpu], subject: Subject, files: Sequence[Path]) -> Cause | None:
    """That its weights alone are more than a GPU has left."""
    config = read(subject.config)
    named = {plan.text("key"): plan.text("value") for plan in config.all("cc_model_filenames")}
    chosen = any(group.first("gpus") for group in config.all("instance_group"))
    known = [(gpu, gpu.free) for gpu in gpus if gpu.free is not None]
    short = []
    for gpu, free in known:
        needed = _weights(files, named.get(gpu.capability or ""))
        if needed > free:
            short.append((needed - free, needed, gpu))
    # where the config names GPUs nobody tells which of these they are: one with room will do
    if not short or (chosen and len(short) < len(known)):
        return None
    _, needed, gpu = max(short, key=lambda one: one[0])
    return Cause(
        "the GPU has too little memory for the model",
        f"{_shown(gpu.free)} free of {_shown(gpu.total)} on {gpu.uuid}",
        f"at least {_shown(needed)}: what its weights take",
        MEMORY,
    )


def _weights(files: Sequence[Path], plan: str | None) -> int:
    """Bytes of what is loaded: of plans the GPU's own, or the smallest where that is not known."""
    graphs = sum(file.stat().st_size for file in files if file.suffix != PLAN)
    plans: dict[Path, list[int]] = {}
    for file in files:
        if file.suffix == PLAN and plan in {None, file.name}:
            plans.setdefault(file.parent, []).append(file.stat().st_size)
    return graphs + sum(map(min, plans.values()))


def _shown(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e9:.3g} GB" if size >= GB else f"{size / 1e6:.3g} MB"
