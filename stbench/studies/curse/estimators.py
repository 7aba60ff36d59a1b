"""Correlations of spots over genes, how widely they scatter between panels, and how that scales with the panel.

Edges are handled as vectors over pairs of spots i < j (with i = j for the Gram estimator), in the order of
``numpy.triu_indices``. In *isometric* coordinates off-diagonal entries are multiplied by the square root of 2, so that
the Euclidean norm is the Frobenius norm of the symmetric matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.pages.patients import LEVEL

FloatArray = NDArray[np.float64]

_TINY = 1e-9  # of a spot's mean square: rounding of a spot that is constant over its genes
_ROUNDING = 1e-9  # of slopes


def pair_products(x: FloatArray) -> FloatArray:
    """(n_genes, n_pairs) product of spots i <= j in each gene, from (n_spots, n_genes) expression."""
    i, j = np.triu_indices(len(x))
    return np.ascontiguousarray((x[i] * x[j]).T)


def pearson(products: FloatArray, means: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pearson correlation of spots over genes (Eq. 33), from moments.

    Args:
        products: (n_panels, N(N+1)/2) mean over genes of the products of spots i <= j.
        means: (n_panels, N) mean over genes of each spot.

    Returns:
        (n_panels, N(N-1)/2) correlations of spots i < j, 0 with a spot that is constant over its panel, as methods see
        it; and (n_panels, N) True for those spots.
    """
    i, j = np.triu_indices(means.shape[-1])
    covariance = products - means[:, i] * means[:, j]
    variance = covariance[:, i == j]
    constant = variance <= _TINY * products[:, i == j]
    scale = np.where(constant, 0, 1 / np.sqrt(np.where(constant, 1, variance)))
    return (covariance * scale[:, i] * scale[:, j])[:, i < j], constant


def isometric(values: FloatArray, n_spots: int) -> FloatArray:
    """Edges whose Euclidean norm is the Frobenius norm of their matrix.

    Args:
        values: (..., N(N+1)/2) with the diagonal, or (..., N(N-1)/2) without.
        n_spots: N.
    """
    if values.shape[-1] == n_spots * (n_spots - 1) // 2:
        return values * np.sqrt(2)
    i, j = np.triu_indices(n_spots)
    return values * np.where(i == j, 1, np.sqrt(2))


def edge_values(expression: FloatArray, *, by_sum: bool = False) -> FloatArray:
    """Correlation of every pair of spots over genes.

    Args:
        expression: (n_spots, n_genes); no spot constant over genes.
        by_sum: centre each spot by the sum of its genes instead of their mean, as the released code of the paper does.

    Returns:
        (n_pairs,) spots i < j.
    """
    centre = expression.sum(axis=1) if by_sum else expression.mean(axis=1)
    centred = expression - centre[:, None]
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def sharpness(edges: FloatArray) -> tuple[float, float]:
    """Largest eigenvalue of the Fisher information of a Gaussian edge law (Eq. 46), ``1 / lambda_min(Sigma_A)``.

    The smallest eigenvalue of a sample covariance is too small, so its inverse is too large. *Held out* takes the
    flattest direction from one half of the panels and its variance from the other half, both ways round: no direction
    has less variance than lambda_min, so it errs towards too small a sharpness. Both have the exponent of the truth.

    Args:
        edges: (n_panels, D) edges of independent panels, isometric.

    Returns:
        Held-out and plug-in sharpness, unit 1 / edge^2.
    """
    centred = edges - edges.mean(axis=0)
    plug_in = np.linalg.eigvalsh(centred.T @ centred)[0] / (len(centred) - 1)
    halves = centred[::2], centred[1::2]
    held_out = [_flattest_variance(*order) for order in (halves, halves[::-1])]
    return float(1 / np.mean(held_out)), float(1 / plug_in)


def _flattest_variance(fitted: FloatArray, held_out: FloatArray) -> float:
    direction = np.linalg.eigh(fitted.T @ fitted)[1][:, 0]
    return float(np.square(held_out @ direction).mean())


@dataclass(frozen=True)
class Slope:
    """Slope of a quantity against panel size on logarithmic scales; an exponent where the curve is a power law.

    Args:
        value: mean over units of their least-squares slopes.
        low: lower end of the 95 % t interval over units.
        high: upper end.
        n_units: units, each with a slope of its own.
    """

    value: float
    low: float
    high: float
    n_units: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def slope(genes: tuple[int, ...], values: FloatArray, what: str) -> Slope:
    """Average slope of a curve, the exponent of a power law, and its 95 % t interval over independent units.

    Args:
        genes: panel sizes.
        values: (n_units, n_sizes) positive.
        what: name of the quantity, for the error.

    Raises:
        DataError: a value is not positive.
    """
    if not (values > 0).all():
        size = genes[int(np.argmin((values > 0).all(axis=0)))]
        raise DataError(f"{what}: expected edges that vary between panels of {size} genes, found none that do; the "
                        "counts are too sparse for so small a panel, leave it out of --genes")  # fmt: skip
    x = np.log(np.asarray(genes, dtype=float))
    x -= x.mean()
    slopes = np.log(values) @ x / (x @ x)
    half = float(_half(slopes, 1 - LEVEL))
    return Slope(float(slopes.mean()), float(slopes.mean() - half), float(slopes.mean() + half), len(slopes))


def _half(values: FloatArray, error: float) -> FloatArray:
    """Half the width of the t interval of a mean over the first axis that errs with this probability."""
    from scipy.stats import t

    sd: FloatArray = values.std(axis=0, ddof=1)
    return np.asarray(t.ppf(1 - error / 2, len(values) - 1) * sd / np.sqrt(len(values)))


@dataclass(frozen=True)
class Bend:
    """Whether a curve bends.

    Args:
        seen: whether two of its local slopes differ by more than their noise.
        excluded: the smallest difference of two local slopes that is excluded for every pair of them.
    """

    seen: bool
    excluded: float


def bend(genes: tuple[int, ...], values: FloatArray) -> Bend:
    """Whether local slopes differ by more than their noise, so that no one exponent describes the curve.

    They do where the difference of two slopes between neighbouring sizes, taken unit by unit, is further from 0 than
    its t interval; an interval errs with 5 % over all pairs of slopes (Bonferroni). Slopes of one unit share a size and
    so are not independent, which differences per unit respect.

    Args:
        genes: panel sizes.
        values: (n_units, n_sizes) positive.
    """
    steps = np.diff(np.log(values), axis=1) / np.diff(np.log(np.asarray(genes, dtype=float)))
    first, second = np.triu_indices(steps.shape[1], 1)
    if not len(first):
        return Bend(False, 0.0)
    apart = steps[:, first] - steps[:, second]
    size, half = np.abs(apart.mean(axis=0)), _half(apart, (1 - LEVEL) / len(first))
    return Bend(bool((size > half + _ROUNDING).any()), float((size + half).max()))


@dataclass(frozen=True)
class Curve:
    """A quantity against panel size.

    Args:
        title: what it is.
        genes: panel sizes.
        values: (n_units, n_sizes), one row per independent unit.
        theory: exponent the paper's appendix gives, None where it gives none.
    """

    title: str
    genes: tuple[int, ...]
    values: FloatArray
    theory: float | None = None

    @property
    def mean(self) -> FloatArray:
        """(n_sizes,) mean over units."""
        return self.values.mean(axis=0)

    @property
    def std(self) -> FloatArray:
        """(n_sizes,) sample standard deviation over units."""
        return self.values.std(axis=0, ddof=1)

    @property
    def slope(self) -> Slope:
        """Least-squares slope over all sizes, an average where the curve bends."""
        return slope(self.genes, self.values, self.title)

    @property
    def local_slopes(self) -> list[Slope]:
        """Slopes between neighbouring sizes."""
        pairs = (slice(place, place + 2) for place in range(len(self.genes) - 1))
        return [slope(self.genes[pair], self.values[:, pair], self.title) for pair in pairs]

    @property
    def bend(self) -> Bend:
        """Whether local slopes differ by more than their noise: its slope is then no exponent."""
        return bend(self.genes, self.values)


def with_noise(curve: Curve, sigma: float) -> Curve:
    """Sharpness after adding independent noise to the edges: ``1 / (lambda_min + sigma^2)``.

    Args:
        curve: sharpness without noise.
        sigma: standard deviation of the noise of a variance-exploding diffusion (Eq. 10).
    """
    return Curve(f"{curve.title}, noise {sigma:g} added", curve.genes, 1 / (1 / curve.values + sigma**2))
