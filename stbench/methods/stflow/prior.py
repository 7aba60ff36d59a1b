"""Where STFlow's flow starts: a zero-inflated negative binomial per gene, on the scale ln(1 + count)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import nbinom

Array = NDArray[np.float64]

_THETA = (1e-2, 1e3)  # of a fitted gene; at the upper end it is a Poisson law for all purposes


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial:
    """Counts that are 0 with some probability, else Poisson with a gamma-distributed rate.

    Args:
        theta: (G,) inverse dispersion, variance mean + mean^2 / theta.
        mean: (G,) mean of the negative binomial in counts, 0 for genes that are never seen.
        zero: (G,) probability of an excess zero.
    """

    theta: Array
    mean: Array
    zero: Array

    def sample(self, n_spots: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """(n_spots, G) of ln(1 + count)."""
        rate = generator.gamma(self.theta, self.mean / self.theta, size=(n_spots, len(self.theta)))
        counts = generator.poisson(rate)
        counts[generator.random(counts.shape) < self.zero] = 0
        return np.log1p(counts).astype(np.float32)

    def probability(self, counts: ArrayLike) -> Array:
        """(n, G) probability of each of n counts for each gene."""
        k = np.asarray(counts)[:, None]
        plain = nbinom.pmf(k, self.theta, self.theta / (self.theta + self.mean))
        return self.zero * (k == 0) + (1 - self.zero) * plain


def fixed_prior(n_genes: int, total_count: float, logits: float, zi_logit: float) -> ZeroInflatedNegativeBinomial:
    """The released constants: theta = total_count, mean = theta exp(logits), P(excess zero) = sigmoid(zi_logit)."""
    theta = np.full(n_genes, total_count)
    return ZeroInflatedNegativeBinomial(theta, theta * np.exp(logits), np.full(n_genes, 1 / (1 + np.exp(-zi_logit))))


def fitted_prior(expression: NDArray[np.float32]) -> ZeroInflatedNegativeBinomial:
    """By moments, gene by gene: mean and variance first, then the zeros that they leave unexplained.

    Args:
        expression: (n_spots, G) training expression; ``expm1`` of it counts as counts.
    """
    counts = np.expm1(np.maximum(expression.astype(np.float64), 0))
    mean, variance = counts.mean(axis=0), counts.var(axis=0)
    spread = np.maximum(variance - mean, mean**2 / _THETA[1])
    theta = np.clip(mean**2 / np.where(spread > 0, spread, 1), *_THETA)
    zeros = (counts < 0.5).mean(axis=0)
    expected = (theta / (theta + mean)) ** theta
    excess = np.where(expected < 1, (zeros - expected) / np.where(expected < 1, 1 - expected, 1), 0)
    zero = np.clip(excess, 0, 1 - 1 / (len(counts) + 1))
    return ZeroInflatedNegativeBinomial(theta, mean / (1 - zero), zero)
