"""Draws scaled around their own mean: by how much, and what fair scores make of them.

Of M draws x_k around their mean m a calibrated sampler issues ``y_k = m + s (x_k - m)``. With E the variance of a draw
around the mean of the sampler's law, V the squared error of that mean and r = V / E::

    s^2 = (r M + 1) / (M + 1)

makes the truth spread around m as one more y would, (1 + 1/M) times the variance between them. Without end M, s^2 = r.

Fair scores say of M independent draws what any number of them would have: the mean distance to the truth, less half
that between draws. The y are not independent, for they have m in common, and as they stand a sampler whose draws all
but agree would gain a factor sqrt(M / (M + 1)) for having few: .82 with 2, .91 with 5, though it predicts no better. So
both distances are taken as those of the law without end M, with deviations y_k - m that are a / s times as long before
the truth and sqrt(r) / s times between each other::

    a^2 = (r M - 1) / (M - 1)

Then the second moments of both are that law's: V + r E and 2 r E. For normal laws the score is so without bias, and
with r = 1 all factors are 1. Draws that were narrowed, r < 1, are taken as they stand, which is rather too high (.63
for .56 with 8 draws and r = .3): r is the word of whoever made them, and one below 1 said of draws that are independent
would lower their score. One above 1 raises it.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError


class Lengths(NamedTuple):
    """By what deviations of calibrated draws from their mean are multiplied in a fair score.

    Args:
        to_truth: in the distance of a draw to the truth.
        apart: in that between two draws.
    """

    to_truth: float
    apart: float


def factor(calibration: float, draws: int) -> float:
    """The s of a number of draws whose r is ``calibration``."""
    return sqrt((calibration * draws + 1) / (draws + 1))


def lengths(calibration: float | None, draws: int) -> Lengths:
    """What a fair score of calibrated draws multiplies their deviations by; 1 and 1 for draws that were not widened.

    Args:
        calibration: the r above, which is what they were calibrated with; None for draws as they were drawn.
        draws: two or more.

    Raises:
        DataError: r is negative or not finite.
    """
    if calibration is not None and not (np.isfinite(calibration) and calibration >= 0):
        raise DataError(f"expected a calibration of 0 or more, found {calibration}")
    if calibration is None or calibration <= 1:
        return Lengths(1.0, 1.0)
    scaled = factor(calibration, draws)
    return Lengths(sqrt((calibration * draws - 1) / (draws - 1)) / scaled, sqrt(calibration) / scaled)


def lengthened(draws: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """(n_draws, ...) draws with deviations from their mean ``by`` times as long; the same array for 1."""
    if by == 1:
        return draws
    mean = draws.mean(axis=0)
    return np.asarray(mean + by * (draws - mean))
