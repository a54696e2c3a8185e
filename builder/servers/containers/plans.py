"""Whether a container loads the plans that it is to get: its TensorRT and its GPUs are asked first.

A plan loads in the TensorRT that built it, on GPUs of the compute capability that it was built for;
Triton puts a model on all of its server's GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError, MissingError
from builder.triton import plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.servers.gpus import Gpu


@dataclass(frozen=True)
class Plans:
    """What a target's plans ask of their server.

    Attributes:
        tensorrt: the version that builds them.
        compatible: whether later ones load them.
        capabilities: the compute capabilities that they are for.
        where: the target's place in the settings, for messages.
    """

    tensorrt: str
    compatible: bool
    capabilities: Sequence[str]
    where: str

    def check(self, tensorrt: str | None, gpus: Sequence[Gpu], image: str) -> None:
        """Raises where a server would refuse them.

        Args:
            tensorrt: its version; "" where it has none, None where nobody tells.
            gpus: its GPUs, as far as they can be seen.
            image: the image's name, for messages.

        Raises:
            InputError: the image has another TensorRT, or none.
            MissingError: one of the GPUs has no plan.
        """
        if tensorrt == "":
            raise InputError(
                "the image has no TensorRT backend, and the target has plans",
                where=f"{self.where} image",
                found=f"{image} without /opt/tritonserver/backends/tensorrt",
                expected=f"TensorRT {self.tensorrt}",
                fix='set `image` to one that has it (NVIDIA\'s -py3), or put "onnx" first in '
                "`formats`",
            )
        if tensorrt and not plans.loads(tensorrt, self.tensorrt, compatible=self.compatible):
            raise InputError(
                "the image has another TensorRT than the target's release, which builds the plans",
                where=f"{self.where} image",
                found=f"TensorRT {tensorrt} in {image}",
                expected=f"TensorRT {self.tensorrt}",
                fix="set `image` to one with the release's own, or `triton` to the release that "
                "has the image's (triton-builder releases --triton)",
            )
        without = sorted({g.capability for g in gpus if g.capability} - set(self.capabilities))
        if without:
            raise MissingError(
                "a GPU of the server has no plan among the target's",
                where=f"{self.where} compute-capabilities",
                found=f"compute capability {', '.join(without)}",
                expected=", ".join(self.capabilities),
                fix="name it in `compute-capabilities`, give the container other GPUs (`gpus` of "
                "`container`), or prove the target on a machine that has its GPUs",
            )
