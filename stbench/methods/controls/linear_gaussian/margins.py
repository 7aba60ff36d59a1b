"""How large residuals of a gene are: one spread, or a table of quantiles that depends on the mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

WINDOWS = 32
WIDTH_FACTOR = 8  # a window holds this many times the root of the number of spots


class Normal(NamedTuple):
    """Residuals of a gene are normal with one standard deviation.

    Args:
        scale: (n_genes,) standard deviation of held-out residuals.
    """

    scale: Array

    @classmethod
    def fit(cls, mean: Array, residuals: Array) -> Normal:
        """From (n_spots, n_genes) held-out means and residuals."""
        return cls(residuals.std(axis=0))

    def scores(self, mean: Array, residuals: Array) -> Array:
        """(n_spots, n_genes) residuals in standard deviations, 0 for genes without any."""
        return np.divide(residuals, self.scale, out=np.zeros(residuals.shape), where=self.scale > 0)

    def residuals(self, mean: Array, scores: Array) -> Array:
        """(n_spots, n_genes) residuals of standard normal scores."""
        found: Array = self.scale * scores
        return found


class Table(NamedTuple):
    """Residuals of a gene have the quantiles of those training spots whose held-out mean is alike.

    Args:
        centres: (n_genes, windows) held-out mean in the middle of every window, ascending.
        quantiles: (n_genes, windows, width) sorted residuals of a window, minus their mean.
        shift: (n_genes, windows) their mean, which is no part of a draw.
    """

    centres: Array
    quantiles: Array
    shift: Array

    @classmethod
    def fit(cls, mean: Array, residuals: Array) -> Table:
        """From (n_spots, n_genes) held-out means and residuals."""
        n = len(mean)
        width = min(n, round(WIDTH_FACTOR * np.sqrt(n)))
        starts = np.linspace(0, n - width, WINDOWS).astype(np.int64)
        order = np.argsort(mean, axis=0, kind="stable")
        windows = np.take_along_axis(residuals, order, axis=0).T[:, starts[:, None] + np.arange(width)]
        middles = np.take_along_axis(mean, order, axis=0).T[:, starts + width // 2]
        windows.sort(axis=2)
        shift = windows.mean(axis=2)
        return cls(middles, windows - shift[..., None], shift)

    def scores(self, mean: Array, residuals: Array) -> Array:
        """(n_spots, n_genes) normal scores of the rank of a residual in its window, 0 for genes without any."""
        found = np.zeros(residuals.shape)
        for gene, (window, levels) in enumerate(self._windows(mean)):
            if np.ptp(levels) == 0:
                continue
            around = residuals[:, gene] - self.shift[gene, window]
            rank = np.empty(len(mean))
            for one in np.unique(window):
                here = window == one
                below = np.searchsorted(levels[one], around[here], side="left")
                upto = np.searchsorted(levels[one], around[here], side="right")
                rank[here] = (below + upto - 1) / 2
            width = levels.shape[1]
            found[:, gene] = ndtri((np.clip(rank, 0, width - 1) + 0.5) / width)
        return found

    def residuals(self, mean: Array, scores: Array) -> Array:
        """(n_spots, n_genes) residuals of standard normal scores, quantiles interpolated between ranks."""
        found, width = np.empty(scores.shape), self.quantiles.shape[2]
        place = np.clip(ndtr(scores) * width - 0.5, 0, width - 1)
        low = np.minimum(place.astype(np.int64), max(width - 2, 0))
        share, high = place - low, np.minimum(low + 1, width - 1)
        for gene, (window, levels) in enumerate(self._windows(mean)):
            lower, upper = levels[window, low[:, gene]], levels[window, high[:, gene]]
            found[:, gene] = lower + share[:, gene] * (upper - lower)
        return found

    def _windows(self, mean: Array) -> list[tuple[NDArray[np.int64], Array]]:
        """For every gene the window of every spot, the one whose centre is nearest, and the gene's levels."""
        borders = (self.centres[:, 1:] + self.centres[:, :-1]) / 2
        return [
            (np.searchsorted(border, column), levels)
            for border, column, levels in zip(borders, mean.T, self.quantiles, strict=True)
        ]  # fmt: skip
