"""A picture of any size to ResNet's input: shorter side to 256, middle 224x224, normalised.

The resize is Pillow's antialiased bilinear one. It is separable, and each output row
is a weighted sum of input rows: so it is one matrix product per side, with weights made
from the sizes alone. The graph needs no resize operator, whose antialiasing differs from runtime
to runtime, and computes no pixel that the crop throws away.
"""

from __future__ import annotations

import numpy as np
import torch

SHORTER = 256
CROP = 224


class Preprocess(torch.nn.Module):
    """uint8 [batch, height, width, 3] to float32 [batch, 3, 224, 224]."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Resizes, crops, scales to 0..1 and normalises."""
        batch, height, width, channels = image.shape
        down = torch.arange(height, dtype=torch.float32)
        across = torch.arange(width, dtype=torch.float32)
        # The sizes as tensors: Python's min() would fix which side is the shorter one.
        h, w = down[-1] + 1, across[-1] + 1
        shorter = torch.minimum(h, w)
        # Rows first: they are contiguous, so the big array is never transposed.
        flat = image.float().reshape(batch, height, width * channels)
        rows = (_weights(down, h, shorter) @ flat).reshape(batch, CROP, width, channels)
        pixels = rows.permute(0, 3, 1, 2) @ _weights(across, w, shorter).T
        return (pixels / 255 - self.mean) / self.std


def _weights(places: torch.Tensor, size: torch.Tensor, shorter: torch.Tensor) -> torch.Tensor:
    """The share of each of `size` input lines in each of the 224 cropped output lines.

    Returns:
        float32 [224, size]; every row adds up to 1.
    """
    # In float64, where the division is exact enough to round as Pillow's callers do.
    resized = torch.floor(SHORTER * size.double() / shorter.double()).float()
    first = torch.round((resized - CROP) / 2)
    scale = size / resized
    centres = (torch.arange(CROP, dtype=torch.float32) + first + 0.5) * scale
    # A triangle, widened when shrinking so that every input line counts: the antialiasing.
    reach = scale.clamp(min=1.0)
    distance = (places + 0.5 - centres.unsqueeze(1)).abs() / reach
    triangle = (1 - distance).clamp(min=0.0)
    return triangle / triangle.sum(dim=1, keepdim=True)


def load() -> torch.nn.Module:
    """No weights: what it computes is all in the code."""
    return Preprocess().eval()


def samples() -> list[dict[str, np.ndarray]]:
    """Photographs: landscape, portrait, square, already fitting, tiny (enlarged), a panorama."""
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    pictures = [
        china[None],
        np.stack([china[::-1], flower]),
        flower[None, :, 120:400],
        china[None, 10:266, 100:356],
        flower[None, 100:196, 200:296],
        china[None, 200:264, 300:333],
        flower[None, 150:250],
        np.stack([china[:224, :300], flower[:224, :300], flower[100:324, 300:600]]),
    ]
    return [{"image": np.array(picture, order="C")} for picture in pictures]
