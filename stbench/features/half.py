"""Half precision on disk, where it loses nothing that matters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
StoredArray = NDArray[np.float16] | NDArray[np.float32]

_LOST = 0.02  # of a feature's spread over the spots, as root mean square: R2 of that feature falls by 0.0004
_CONSTANT = 1e-6  # of a feature's size: a smaller spread is the rounding of float32
_MOST = float(np.finfo(np.float16).max)


def loses_nothing(features: FloatArray) -> bool:
    """Whether float16 keeps what tells spots apart, whatever the unit of the features is.

    Args:
        features: (n_spots, d). A feature of 0 to 1 passes, the same times 1e5 leaves the range, times 1e-8 is rounded
            to nothing, and plus 1000 loses its differences.

    Returns:
        Whether the rounding error of every feature is at most 2 % of its standard deviation over the spots.
    """
    exact = np.asarray(features, dtype=np.float64)
    if not in_range(features):
        return False
    error = (
        np.sqrt(np.square(exact.astype(np.float16) - exact).mean(axis=0)) if len(exact) else np.zeros(exact.shape[1])
    )
    spread, size = (exact.std(axis=0), np.abs(exact).max(axis=0)) if len(exact) else (error, error)
    varies = spread > _CONSTANT * size
    return bool((error[varies] <= _LOST * spread[varies]).all())


def in_range(features: FloatArray) -> bool:
    """Whether no number is larger than float16 holds."""
    return bool((np.abs(features) <= _MOST).all())


def was_clipped(stored: StoredArray) -> bool:
    """Whether numbers of an entry of half precision lie at the end of its range, where larger ones used to be put."""
    return stored.dtype == np.float16 and bool((np.abs(stored) >= _MOST).any())
