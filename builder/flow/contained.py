"""The container that a target's models are proven in: which engine, which image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.engine import machine
from builder.errors import InputError, MissingError
from builder.servers.containers import engine as engines
from builder.servers.containers.server import ContainerServer
from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from builder.servers.containers.engine import Engine, Image
    from builder.servers.launch import Launch
    from builder.spec.target import Target

    Say = Callable[[str], None]


class Contained:
    """What is run where. The engine is asked when it must be, and once.

    Args:
        target: it says the image, or its release does.
        where: the target's place in the settings, for messages.
    """

    def __init__(self, target: Target, where: str) -> None:
        self._target = target
        self._release = release(target.triton)
        self._where = f"{where} {'image' if target.image else 'triton'}"
        self._asked: tuple[Engine, Image] | None = None

    def identity(self, say: Say) -> Mapping[str, str]:
        """What can change an answer. Where the image is pinned by its digest no engine is asked.

        Raises:
            MissingError: no engine, or no such image.
        """
        image = engines.pin(self._name) or self._found(say)[1].digest
        # the same image on a CPU proves nothing of a GPU, even where the tree is the same
        return {"image": image, **({"device": "gpu"} if self._gpu else {})}

    def server(self, repositories: Sequence[Path], launch: Launch, say: Say) -> ContainerServer:
        """The server, not started yet.

        Raises:
            MissingError: as `identity`; or a GPU here is none that plans are built for.
        """
        engine, image = self._found(say)
        if self._gpu and self._target.compiles and not engine.host:
            self._check_capabilities([gpu.capability for gpu in machine.this().gpus])
        return ContainerServer(
            engine,
            image,
            self._release,
            repositories,
            launch,
            limits=self._target.container,
            gpu=self._gpu,
            where=self._where,
            say=say,
        )

    def _check_capabilities(self, gpus: Sequence[str]) -> None:
        """Raises MissingError where a GPU that the container gets has no plan: no load would do."""
        wanted = self._target.compute_capabilities
        without = unplanned(gpus, self._target.container.gpus or "all", wanted)
        if without:
            raise MissingError(
                "a GPU of this machine has no plan among the target's",
                where=f"{self._where.rpartition(' ')[0]} compute-capabilities",
                found=f"compute capability {', '.join(without)}",
                expected=", ".join(wanted),
                fix="name it in `compute-capabilities`, give the container other GPUs (`gpus` of "
                "`container`), or prove the target on a machine that has its GPUs",
            )

    @property
    def _gpu(self) -> bool:
        return self._target.device == "gpu"

    @property
    def _name(self) -> str:
        name = self._target.image or self._release.images.get("py3")
        if name is None:
            raise InputError(
                "no image is known for this release",
                where=self._where,
                found=self._release.name,
                fix="name one: image = '…'",
            )
        return name

    def _found(self, say: Say) -> tuple[Engine, Image]:
        if self._asked is None:
            engine = engines.find()
            self._asked = engine, engine.image(self._name, say, self._where)
        return self._asked


def unplanned(gpus: Sequence[str], given: str, planned: Sequence[str]) -> list[str]:
    """The compute capabilities that a container has and no plan is for: Triton loads on every GPU.

    Args:
        gpus: those of the machine's GPUs, by number; none where it does not tell.
        given: which of them the container gets: `all`, or their numbers; UUIDs say nothing here.
        planned: those that plans are built for.
    """
    numbers = range(len(gpus)) if given == "all" else [n for n in given.split(",") if n.isdigit()]
    has = {gpus[int(number)] for number in numbers if int(number) < len(gpus)}
    return sorted(has - set(planned))
