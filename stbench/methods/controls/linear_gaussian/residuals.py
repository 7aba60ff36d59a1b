"""Predictions of ridge on training spots that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import LabelledSlide, SlideInputs

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

PATIENTS, SLIDES, STRIPS = 3, 4, 5
"""Fewest patients to hold out patients, fewest slides to hold out slides, and strips per slide where there are less."""


class Sums(NamedTuple):
    """What ridge needs of some spots: their number, sums of features z and expression y, and of products.

    Args:
        n: number of spots.
        z: (d,) sum of standardised features.
        y: (n_genes,) sum of expression.
        zz: (d, d) sum of z z'.
        zy: (d, n_genes) sum of z y'.
    """

    n: int
    z: Array
    y: Array
    zz: Array
    zy: Array

    @classmethod
    def of(cls, z: Array, y: Array) -> Sums:
        """Sums over the rows of features and expression."""
        return cls(len(z), z.sum(axis=0), y.sum(axis=0), z.T @ z, z.T @ y)

    def and_with(self, other: Sums, sign: int) -> Sums:
        """With the spots of another added (sign 1) or taken away (sign -1)."""
        return Sums(
            self.n + sign * other.n,
            self.z + sign * other.z,
            self.y + sign * other.y,
            self.zz + sign * other.zz,
            self.zy + sign * other.zy,
        )

    def solve(self, alpha: float) -> tuple[Array, Array]:
        """(d, n_genes) coefficients and (n_genes,) intercept of ridge."""
        n = max(self.n, 1)
        centred = self.zz - np.outer(self.z, self.z) / n
        coefficients = np.linalg.solve(
            centred + alpha * np.eye(len(self.z)), self.zy - np.outer(self.z, self.y) / n
        )  # fmt: skip
        intercept: Array = (self.y - self.z @ coefficients) / n
        return np.asarray(coefficients), intercept


def folds_of(train: Sequence[LabelledSlide]) -> list[IntArray]:
    """Number of the fold of every training spot, slide by slide.

    Patients where at least three are known, else slides where there are four, else five strips across each slide:
    strip k of all slides is one fold, since serial sections repeat each other in place.
    """
    inputs = [slide.inputs for slide in train]
    patients = list(dict.fromkeys(one.patient for one in inputs))
    if None not in patients and len(patients) >= PATIENTS:
        return [np.full(one.n_spots, patients.index(one.patient)) for one in inputs]
    if len(train) >= SLIDES:
        return [np.full(one.n_spots, number) for number, one in enumerate(inputs)]
    return [_strips(one) for one in inputs]


def held_out(
    train: Sequence[LabelledSlide],
    folds: Sequence[IntArray],
    standardise: Callable[[SlideInputs], Array],
    alpha: float,
) -> list[Array]:
    """Predictions of every training spot by ridge on the other folds.

    Args:
        train: training slides.
        folds: (n_spots,) fold of every spot of each slide.
        standardise: gives the (n_spots, d) standardised features of a slide.
        alpha: penalty.

    Returns:
        (n_spots, n_genes) for each slide, on the scale of the expression.
    """
    level = np.concatenate([slide.expression for slide in train]).mean(axis=0, dtype=np.float64)
    total: Sums | None = None
    for slide in train:  # slide by slide and fold by fold, so that no second copy of all features is held
        own = Sums.of(standardise(slide.inputs), slide.expression - level)
        total = own if total is None else total.and_with(own, 1)
    found = [np.zeros(slide.expression.shape) for slide in train]
    for fold in np.unique(np.concatenate(folds)):
        rows = [np.flatnonzero(folds_of_slide == fold) for folds_of_slide in folds]
        parts = [(i, row, standardise(train[i].inputs)[row]) for i, row in enumerate(rows) if len(row)]
        rest = total
        for i, row, z in parts:
            rest = rest and rest.and_with(Sums.of(z, train[i].expression[row] - level), -1)
        assert rest is not None, "a fold has spots, so some slide has"
        coefficients, intercept = rest.solve(alpha)
        for i, row, z in parts:
            found[i][row] = z @ coefficients + intercept + level
    return found


def _strips(inputs: SlideInputs) -> IntArray:
    """Strips of equal size across the longer side."""
    along = inputs.xy[:, np.argmax(np.ptp(inputs.xy, axis=0))]
    strip = np.empty(inputs.n_spots, dtype=np.int64)
    strip[np.argsort(along, kind="stable")] = np.arange(inputs.n_spots) * STRIPS // inputs.n_spots
    return strip
