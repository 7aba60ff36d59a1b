"""Constant predictions: the mean of training spots, over all patients or over the test slide's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs
from stbench.methods.controls.pool import number_patients, stack_expression


def _everywhere(mean: NDArray[np.float64], inputs: SlideInputs) -> FloatArray:
    return np.tile(mean.astype(np.float32), (1, inputs.n_spots, 1))


class TrainingMean(Method):
    """Every spot gets the mean over all training spots of each gene."""

    mean_: NDArray[np.float64]

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        self.mean_ = stack_expression(train).mean(axis=0, dtype=np.float64)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        return _everywhere(self.mean_, inputs)


class SamePatientMean(Method):
    """Every spot gets the mean over the training spots of its patient, over all training spots if there are none.

    A patient that is unknown counts as not in training.
    """

    mean_: NDArray[np.float64]
    patients_: list[str]
    patient_means_: NDArray[np.float64]  # (n_patients, n_genes)

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        expression = stack_expression(train)
        self.patients_, numbers = number_patients(train)
        self.mean_ = expression.mean(axis=0, dtype=np.float64)
        means = [expression[numbers == number].mean(axis=0, dtype=np.float64) for number in range(len(self.patients_))]
        self.patient_means_ = np.reshape(means, (-1, expression.shape[1]))

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        if inputs.patient is None or inputs.patient not in self.patients_:
            return _everywhere(self.mean_, inputs)
        return _everywhere(self.patient_means_[self.patients_.index(inputs.patient)], inputs)
