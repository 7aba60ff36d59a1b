"""Whether the draws of a sampler are independent: what every score of draws takes for granted.

Mirrored draws (x + e, x - e) lower the fair CRPS of any model, because the score takes off half the mean distance
between draws; copies raise it. Draws are looked at in runs, each under a seed of its own. Two numbers are compared with
what they are when the same draws are dealt to runs at random:

- ``pair``: of all pairs of places in a run (first and second draw, first and third ...), the largest correlation of the
  residuals around the mean over all draws, averaged over runs: -1 for mirrored draws, 1 for copies.
- ``spread``: the mean distance of two draws of one run over that of any two draws, less 1: what the fair CRPS takes
  off. Above 0 for strata and whatever else gains CRPS with no pair at fixed places, below 0 for a shared part.

Correlations of single pairs decide nothing: those of independent draws come near -1 and 1 where spots are few, genes go
together or a slide shares an offset. But independent draws are as likely to come in any order, so that the comparison
is exact whatever they look like. Dependent are draws that none of ``DEALS`` deals match, which happens to independent
ones twice in 1,000 times, and that depend on each other by an amount that matters: ``LEAST_PAIR``, or ``LEAST_SPREAD``,
an eighth of what mirrored pairs among 5 draws gain.

Found in simulations with 8 runs of 2 to 20 draws on 24 spots and 6 genes: independent draws 4 times in 1,500; mirrored
pairs and copies every time where noise is white, zero-inflated or shared by the spots of a slide, gene by gene. Where
all noise of a slide is one number, mirrored draws take 16 runs to be told from chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SEEDS_APART = 100_003  # a method may count its draws up from the seed
DEALS = 999
LEAST_PAIR = 0.3
LEAST_SPREAD = 0.01
MOST_VALUES = 20_000
_FLAT = 1e-3  # of the largest standard deviation of a value over draws: below it lies rounding


@dataclass(frozen=True)
class Dependence:
    """How far draws depend on each other.

    Args:
        pair: mean correlation of the residuals at the two places of a run that go together most.
        places: those two.
        spread: distance of draws within runs over that between any, less 1.
        pair_by_chance: share of deals with a pair at least as strong.
        spread_by_chance: share of deals with a spread at least as far from 0.
    """

    pair: float
    places: tuple[int, int]
    spread: float
    pair_by_chance: float
    spread_by_chance: float

    @property
    def reason(self) -> str | None:
        """In what they depend on each other, None where they do not."""
        if abs(self.pair) >= LEAST_PAIR and self.pair_by_chance <= 1 / (DEALS + 1):
            first, second = self.places
            return f"residuals of draws {first} and {second} correlated by {self.pair:.2f}"
        if abs(self.spread) >= LEAST_SPREAD and self.spread_by_chance <= 1 / (DEALS + 1):
            way = "farther apart" if self.spread > 0 else "nearer to each other"
            return f"draws of one seed {abs(self.spread):.1%} {way} than draws of several"
        return None


def dependence(drawn: NDArray[np.float32]) -> Dependence:
    """Compare draws of one seed with draws of several.

    Args:
        drawn: (n_runs, n_draws, ...) draws of the same spots and genes, each run under another seed; at least two
            runs of two draws.
    """
    n_runs, n_draws = drawn.shape[:2]
    residuals = _residuals(drawn.reshape(n_runs * n_draws, -1))
    alike, apart = _correlations(residuals), _distances(residuals)
    upper = np.triu_indices(n_draws, 1)
    generator = np.random.default_rng(0)
    deals = [np.arange(n_runs * n_draws)] + [generator.permutation(n_runs * n_draws) for _ in range(DEALS)]
    runs = [deal.reshape(n_runs, n_draws) for deal in deals]
    pairs = np.array([_pairs(alike, run)[upper] for run in runs])  # (deals, pairs)
    strongest = np.abs(pairs).max(axis=1)
    usual = apart.sum() / (len(apart) * (len(apart) - 1))
    spreads = np.array([_pairs(apart, run)[upper].mean() for run in runs]) / usual - 1 if usual else np.zeros(len(runs))
    place = int(np.abs(pairs[0]).argmax())
    return Dependence(
        pair=float(pairs[0, place]),
        places=(int(upper[0][place]), int(upper[1][place])),
        spread=float(spreads[0]),
        pair_by_chance=_share(strongest),
        spread_by_chance=_share(np.abs(spreads)),
    )


def _share(values: FloatArray) -> float:
    """Share of deals that come at least as far as the first, which is the order as it was drawn."""
    return float((values >= values[0] * (1 - 1e-9)).mean())


def _pairs(of_two: FloatArray, runs: NDArray[np.int64]) -> FloatArray:
    """(n_draws, n_draws) mean over runs of what is known of two draws, by their places."""
    return np.asarray(of_two[runs[:, :, None], runs[:, None, :]].mean(axis=0))


def _residuals(drawn: NDArray[np.float32]) -> FloatArray:
    """(n_draws, n_values) around the mean over all draws, in standard deviations; values that never vary left out."""
    if drawn.shape[1] > MOST_VALUES:
        drawn = drawn[:, np.random.default_rng(0).choice(drawn.shape[1], MOST_VALUES, replace=False)]
    around = drawn - drawn.mean(axis=0, dtype=np.float64)
    spread = around.std(axis=0)
    varying = spread > _FLAT * spread.max(initial=0)
    return np.asarray(around[:, varying] / spread[varying])


def _correlations(residuals: FloatArray) -> FloatArray:
    """(n_draws, n_draws) cosines of residuals; 0 for a draw that is the mean."""
    lengths = np.linalg.norm(residuals, axis=1, keepdims=True)
    unit = np.divide(residuals, lengths, out=np.zeros_like(residuals), where=lengths > 0)
    return np.asarray(unit @ unit.T)


def _distances(residuals: FloatArray) -> FloatArray:
    """(n_draws, n_draws) mean absolute differences."""
    if not residuals.shape[1]:
        return np.zeros((len(residuals),) * 2)
    return np.stack([np.abs(residuals - one).mean(axis=1) for one in residuals])
