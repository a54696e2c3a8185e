"""Logits to the five likeliest classes and their probabilities."""

from __future__ import annotations

import numpy as np
import torch


class Top5(torch.nn.Module):
    """float32 [batch, 1000] to int64 [batch, 5] and float32 [batch, 5], likeliest first."""

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes and their softmax probabilities."""
        scores, indices = torch.softmax(logits, dim=1).topk(5, dim=1)
        return indices, scores


def load() -> torch.nn.Module:
    """No weights."""
    return Top5().eval()


def samples() -> list[dict[str, np.ndarray]]:
    """Logits from unsure to certain; no two classes of a row tie, so the order is defined."""
    random = np.random.default_rng(5)
    steps = np.linspace(-1, 1, 1000, dtype=np.float32)
    rows = [random.permutation(steps) * peak for peak in (0.5, 2, 8, 30, 100, 300)]
    batches = [[row] for row in rows] + [rows[:2], rows[1:5]]
    return [{"logits": np.stack(batch).astype(np.float32)} for batch in batches]
