"""Look-ups: expression of training spots, drawn at random or nearest by position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs, draw_seed
from stbench.methods.controls.pool import number_patients, pitches_from_centroid, spots_of, stack_expression


class RandomSpot(Method):
    """Every draw copies to each spot the expression of a random training spot of the same patient.

    All training spots are drawn from if the patient is unknown or not in training. Real profiles, so the gene-gene
    structure is right while nothing is known of the spot.
    """

    expression_: FloatArray
    patients_: list[str]
    patient_of_spot_: NDArray[np.int64]

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        self.expression_ = stack_expression(train)
        self.patients_, self.patient_of_spot_ = number_patients(train)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        pool = spots_of(inputs.patient, self.patients_, self.patient_of_spot_)
        generators = [np.random.default_rng(draw_seed(seed, inputs.slide_id, draw)) for draw in range(draws)]
        return np.stack([self.expression_[generator.choice(pool, inputs.n_spots)] for generator in generators])


class NeighbourSettings(BaseModel):
    """Settings of the look-up by position."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(default=8, ge=1, description="training spots averaged per spot; 1 copies the nearest one")


class SpatialNeighbours(Method):
    """Mean of the ``k`` training spots of the same patient that are nearest by position, over all its slides.

    Positions are array positions. If the slide or a training slide it is compared with has none, positions in pitches
    from the centroid of each slide stand in. All training slides are used if the patient is unknown or not in training.
    """

    Settings = NeighbourSettings

    expression_: FloatArray
    patients_: list[str]
    patient_of_spot_: NDArray[np.int64]
    array_: NDArray[np.float64]  # (n_training_spots, 2), NaN where unknown
    centred_: NDArray[np.float64]  # (n_training_spots, 2) pitches

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        slides = [slide.inputs for slide in train] + list(test)
        if all(slide.array_xy is None for slide in slides):
            return "no slide has array positions, and pixels of different images cannot be compared"
        return None

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        self.expression_ = stack_expression(train)
        self.patients_, self.patient_of_spot_ = number_patients(train)
        self.array_ = np.concatenate([_array_positions(slide.inputs) for slide in train])
        self.centred_ = np.concatenate([pitches_from_centroid(slide.inputs) for slide in train])

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        pool = spots_of(inputs.patient, self.patients_, self.patient_of_spot_)
        known, wanted = self.array_[pool], _array_positions(inputs)
        if np.isnan(known).any() or np.isnan(wanted).any():
            known, wanted = self.centred_[pool], pitches_from_centroid(inputs)
        k = min(self.settings.k, len(pool))
        nearest = cKDTree(known).query(wanted, k=np.arange(1, k + 1))[1]
        mean: FloatArray = self.expression_[pool[nearest]].mean(axis=1, dtype=np.float64).astype(np.float32)
        return mean[None]


def _array_positions(inputs: SlideInputs) -> NDArray[np.float64]:
    if inputs.array_xy is None:
        return np.full((inputs.n_spots, 2), np.nan)
    return np.asarray(inputs.array_xy, dtype=np.float64)
