"""$name: where its weights come from, and what real inputs look like."""

import numpy as np
import torch


class Classifier(torch.nn.Module):
    """Replace this by your model. Argument names are the spec's input names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def load() -> torch.nn.Module:
    return Classifier()


def samples() -> list[dict[str, np.ndarray]]:
    """A handful of real inputs, in batches of several sizes."""
    random = np.random.default_rng(0)
    return [{"x": random.normal(size=(rows, 4)).astype(np.float32)} for rows in (1, 1, 2, 4)]
