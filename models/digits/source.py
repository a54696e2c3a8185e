"""Handwritten digits: a small convolutional network on scikit-learn's 8x8 images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

HELD_OUT = 450  # of 1,797 images
SPLIT_SEED = 8
WHITE = 16.0  # the images' levels are 0 to 16


class Digits(nn.Module):
    """Grey images float32 [batch, 1, 8, 8], 0 to 1, to logits [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(32 * 2 * 2, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class scores before softmax."""
        return self.classifier(self.features(image).flatten(1))


def load(weights: Path) -> nn.Module:
    """The network with the weights that train.py wrote."""
    from safetensors.torch import load_file

    network = Digits()
    network.load_state_dict(load_file(weights))
    return network.eval()


def split() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images and labels to train on, and those held out: the same on every machine."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / WHITE).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    held, train = order[:HELD_OUT], order[HELD_OUT:]
    return (images[train], labels[train].astype(np.int64)), (
        images[held],
        labels[held].astype(np.int64),
    )


def samples() -> list[dict[str, np.ndarray]]:
    """Training images, so that int8 ranges are not tuned on what accuracy is measured on."""
    (images, _), _ = split()
    return [{"image": images[n : n + 1]} for n in range(24)] + [
        {"image": images[n : n + 8]} for n in range(24, 88, 8)
    ]


def held_out() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All held-out images on the batch axis, and their labels, int64 [450]."""
    _, (images, labels) = split()
    return {"image": images}, labels
