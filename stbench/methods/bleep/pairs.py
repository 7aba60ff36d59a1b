"""Pairs of patch and expression from several slides, in shuffled batches of one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import FloatArray
from stbench.methods.nn.spot_input import Spots


class Pairs:
    """The pairs of some slides; patches stay where they are until a batch asks for them.

    Args:
        spots: (n, d) vectors or (n, side, side, 3) patches of each slide.
        expression: (n, G) of each slide, on the task's scale.
        batch: pairs per batch; all where there are fewer.
    """

    def __init__(self, spots: Sequence[Spots], expression: Sequence[FloatArray], batch: int) -> None:
        self.spots, self.expression = spots, expression
        self._starts = np.cumsum([0, *(len(part) for part in expression)])
        self.n_spots = int(self._starts[-1])
        self.size = min(batch, self.n_spots)

    @property
    def n_batches(self) -> int:
        """Full batches in one pass; what is left over waits for the next order."""
        return self.n_spots // self.size

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """(n_spots,) shuffled numbers of the pairs."""
        return np.random.default_rng([seed, epoch]).permutation(self.n_spots)

    def batch(self, order: NDArray[np.int64], place: int) -> tuple[Spots, FloatArray]:
        """Spots and expression of one batch, slide by slide; a loss over all pairs of a batch has no order."""
        numbers = np.sort(order[place * self.size : (place + 1) * self.size])
        cuts = np.searchsorted(numbers, self._starts)
        rows = [numbers[a:b] - start for a, b, start in zip(cuts, cuts[1:], self._starts, strict=False)]
        spots = np.concatenate([part[chosen] for part, chosen in zip(self.spots, rows, strict=True)])
        expression = np.concatenate([part[chosen] for part, chosen in zip(self.expression, rows, strict=True)])
        return spots, expression
