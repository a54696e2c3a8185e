"""The container that a target's models are proven in: which engine, which image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.servers.containers import engine as engines
from builder.servers.containers.plans import Plans
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
            MissingError: as `identity`.
        """
        engine, image = self._found(say)
        return ContainerServer(
            engine,
            image,
            self._release,
            repositories,
            launch,
            limits=self._target.container,
            gpu=self._gpu,
            plans=self._plans,
            where=self._where,
            say=say,
        )

    @property
    def _plans(self) -> Plans | None:
        if not self._target.compiles:
            return None
        return Plans(
            self._release.need("tensorrt"),
            self._target.tensorrt.version_compatible,
            self._target.compute_capabilities,
            self._where.rpartition(" ")[0],
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
