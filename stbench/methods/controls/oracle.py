"""An oracle that sees the true depth of every test spot: what knowing only the total counts is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs


class TotalCounts(Method):
    """Per gene a line in ``log1p(total counts)``, by least squares on the training spots.

    It reads a part of the truth, so it is never ranked. Its prediction has rank one: gene-gene structure and Moran's I
    say nothing about it.
    """

    slope_: NDArray[np.float64]  # (n_genes,)
    intercept_: NDArray[np.float64]  # (n_genes,)

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        slides = [slide.inputs for slide in train] + list(test)
        without = [slide.slide_id for slide in slides if slide.total_counts is None]
        return f"total counts were not given for slide {without[0]}; only oracles receive them" if without else None

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        depth = np.concatenate([_log_depth(slide.inputs) for slide in train])
        expression = np.concatenate([slide.expression for slide in train]).astype(np.float64)
        away = depth - depth.mean()
        mean, variation = expression.mean(axis=0), float(away @ away)
        self.slope_ = away @ (expression - mean) / variation if variation > 0 else np.zeros_like(mean)
        self.intercept_ = mean - self.slope_ * depth.mean()

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        prediction = _log_depth(inputs)[:, None] * self.slope_ + self.intercept_
        return prediction.astype(np.float32)[None]


def _log_depth(inputs: SlideInputs) -> NDArray[np.float64]:
    if inputs.total_counts is None:
        raise DataError(
            f"slide {inputs.slide_id}: expected total counts, found none; register the method with kind oracle"
        )
    return np.log1p(np.asarray(inputs.total_counts, dtype=np.float64))
