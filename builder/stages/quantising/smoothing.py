"""How the channels of an activation are evened out before they share one scale.

A few channels of a transformer's activations are tens of times larger than the rest and
would leave the rest a handful of levels. Dividing a channel by a factor and multiplying
the weight's row by the same factor changes nothing in exact arithmetic and moves that
difficulty into the weights, whose columns have scales of their own (SmoothQuant, Xiao et
al. 2022). The few channels that stand out even so can bypass the quantised product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, Any]

STEPS = 4
"""Factors are powers of 2^(1/STEPS): coarse, so that the last bits of a calibration run,
which differ between CPUs, do not reach the artifact's bytes."""


@dataclass(frozen=True)
class Smoothing:
    """What one activation is divided by, channel by channel, and which channels bypass.

    Attributes:
        factors: float32 of one number a channel.
        outliers: indices, ascending, of the channels that are multiplied in floating point.
    """

    factors: Array
    outliers: Array

    @property
    def inverse(self) -> Array:
        """What the activation is multiplied by; 0 for channels that bypass."""
        inverse = (1.0 / self.factors.astype(np.float64)).astype(np.float32)
        inverse[self.outliers] = 0.0
        return inverse


def smooth(magnitude: Array, weights: Sequence[Array], *, alpha: float, outliers: int) -> Smoothing:
    """Chooses factors for an activation and the matrices [channels, columns] it meets.

    Args:
        magnitude: greatest absolute value of each channel, from calibration.
        weights: every matrix that the activation is multiplied by.
        alpha: share of the difficulty that moves into the weights; 0 moves none.
        outliers: how many channels may bypass; never more than an eighth of them.
    """
    channels = magnitude.shape[0]
    # Few samples leave channels that were never excited; they are taken for ordinary ones
    wide = np.maximum(magnitude.astype(np.float64), max(float(np.median(magnitude)), 1e-5))
    reach = np.maximum.reduce([np.abs(weight).max(axis=1) for weight in weights])
    exponents = alpha * np.log2(wide) - (1 - alpha) * np.log2(np.maximum(reach, 1e-5))
    exponents = exponents - np.round(exponents.mean()) if alpha else np.zeros(channels)
    factors = np.exp2(np.round(exponents * STEPS) / STEPS).astype(np.float32)
    count = min(outliers, channels // 8)
    rest = np.round(np.log2(wide / factors) * 16)  # coarse for the same reason as the factors
    chosen = np.sort(np.argsort(-rest, kind="stable")[:count])
    return Smoothing(factors, chosen.astype(np.int64))
