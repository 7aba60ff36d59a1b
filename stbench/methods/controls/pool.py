"""Training spots and the patients they come from, shared by the controls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.methods.base import LabelledSlide, SlideInputs


def number_patients(train: Sequence[LabelledSlide]) -> tuple[list[str], NDArray[np.int64]]:
    """Name the known patients and number every training spot with its patient's.

    Returns:
        Patient names in order of appearance, and (n_training_spots,) their numbers, -1 where the patient is unknown.
    """
    patients = list(dict.fromkeys(slide.inputs.patient for slide in train if slide.inputs.patient is not None))
    numbers = [-1 if slide.inputs.patient is None else patients.index(slide.inputs.patient) for slide in train]
    return patients, np.repeat(np.array(numbers, dtype=np.int64), [slide.inputs.n_spots for slide in train])


def spots_of(patient: str | None, patients: Sequence[str], number_of_spot: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the training spots of a patient; of all spots if the patient is unknown or not in training."""
    if patient is None or patient not in patients:
        return np.arange(len(number_of_spot))
    return np.flatnonzero(number_of_spot == patients.index(patient))


def stack_expression(train: Sequence[LabelledSlide]) -> NDArray[np.float32]:
    """(n_training_spots, n_genes) expression of all training slides, on their scale."""
    return np.concatenate([slide.expression for slide in train]).astype(np.float32)


def pitches_from_centroid(inputs: SlideInputs) -> NDArray[np.float64]:
    """(n_spots, 2) positions around their mean in pitches, the median distance to the nearest spot."""
    xy = np.asarray(inputs.xy, dtype=np.float64)
    away = xy - xy.mean(axis=0)
    if len(xy) < 2:
        return away
    pitch = float(np.median(cKDTree(xy).query(xy, k=[2])[0]))
    return away / pitch if pitch > 0 else away
