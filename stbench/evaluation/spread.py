"""How far predictions lie from the truth of validation slides: what point predictions are dressed with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stbench.evaluation.predictions import FloatArray, SlidePrediction

SpreadArray = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the residuals of a run on all spots of its validation slides, on the scale of the task.

    Args:
        prediction: (n_genes,) of the declared prediction, the mean of the draws; None without validation slides.
        posterior_mean: (n_genes,) of the direct posterior mean; None where the method offers none.
    """

    prediction: SpreadArray | None = None
    posterior_mean: SpreadArray | None = None


UNKNOWN = Spread()


@dataclass
class _Moments:
    n: int = 0
    total: SpreadArray = field(default_factory=lambda: np.zeros(1))
    squares: SpreadArray = field(default_factory=lambda: np.zeros(1))

    def add(self, residuals: SpreadArray) -> None:
        self.n += len(residuals)
        self.total = self.total + residuals.sum(axis=0)
        self.squares = self.squares + np.einsum("ij,ij->j", residuals, residuals)

    def sd(self) -> SpreadArray | None:
        if not self.n:
            return None
        variance: SpreadArray = self.squares / self.n - (self.total / self.n) ** 2
        return np.sqrt(np.maximum(variance, 0.0))


class Residuals:
    """Collects the residuals of a run slide by slide; holds no prediction."""

    def __init__(self) -> None:
        self._prediction, self._posterior_mean = _Moments(), _Moments()

    def add(self, truth: FloatArray, prediction: SlidePrediction) -> None:
        """Add a validation slide.

        Args:
            truth: (n_spots, n_genes) expression on the scale of the task.
            prediction: what the method said of it.
        """
        expression = truth.astype(np.float64)
        self._prediction.add(expression - prediction.mean)
        if prediction.posterior_mean is not None:
            self._posterior_mean.add(expression - prediction.posterior_mean)

    def spread(self) -> Spread:
        """Per gene, over all spots added so far."""
        return Spread(self._prediction.sd(), self._posterior_mean.sd())
