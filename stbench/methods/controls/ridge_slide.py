"""Ridge with fixed effects of slides: features and expression are centred on each slide's own mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stbench.errors import SettingError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs
from stbench.methods.controls.apart import mean_features, place_of

Array = NDArray[np.float64]
Patients = list[list[LabelledSlide]]

REFERENCE_WIDTH = 153
"""Width of the features that ``alpha`` is stated for: a block of another width is weighted to the same total."""
FEW_PATIENTS = 3
"""From here on ``rho`` is chosen by leaving patients out; below, it is 1."""
MOST_RHO = 2.0
_LEARNT = ("scale_", "weight_", "coefficients_", "feature_mean_", "expression_mean_", "rho_")


class RidgeSlideSettings(BaseModel):
    """Settings of the slide-centred ridge regression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(default=1000.0, gt=0, description="penalty on squared coefficients of 153 z-scored features")
    clip: float = Field(default=5.0, gt=0, description="largest absolute z-score of a feature within its slide")
    level_clip: float = Field(default=3.0, gt=0, description="largest absolute z-score of a slide's mean feature")
    blocks: tuple[int, ...] = Field(
        default=(), description="widths of the features' blocks in order, e.g. of two patch scales; empty: one block"
    )


class RidgeSlide(Method):
    """Linear prediction from features that are centred slide by slide, fitted on training and validation slides.

    With slides s, within-slide standard deviations sigma and block weights ``w = sqrt(153 / width)``::

        z = w clip((x - mean_s x) / sigma, +-clip)
        B = (sum z z' + alpha I)^-1 sum z (y - mean_s y)'
        prediction = m + B' z + rho B' w clip((mean_t x - u) / sigma, +-level_clip)

    where m and u are the means over patients of expression and features, and t is the slide predicted. ``rho`` is the
    least-squares factor in [0, 2] of the slide levels of patients left out, 1 below three patients; it and m move the
    level of a slide alone. A patient that is unknown counts as one of its own.

    A validation slide is predicted out of sample, by a fit without it and, where its patient trains nothing, without
    that patient: residuals there are what the width of this prediction is taken from.
    """

    Settings = RidgeSlideSettings

    scale_: Array  # (d,)
    weight_: Array  # (d,)
    coefficients_: Array  # (d, n_genes)
    feature_mean_: Array  # (d,)
    expression_mean_: Array  # (n_genes,)
    rho_: float
    apart_: Sequence[str] = ()  # validation slides; what was learnt without each is in ``apart_scale_`` and so on
    apart_features_: Array  # (n_validation, d) mean features: another slide may have the same name

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        self._learn([*train, *validation])
        self.apart_ = [slide.inputs.slide_id for slide in validation]
        if validation:
            self.apart_features_ = mean_features(validation)
            twins = [self._twin(_without(slide, train, validation)) for slide in validation]
            for name in _LEARNT:
                setattr(self, f"apart_{name}", np.stack([vars(twin)[name] for twin in twins]))

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        return self._fit_for(inputs)._predicted(inputs)

    def _learn(self, slides: Sequence[LabelledSlide]) -> None:
        patients = _by_patient(slides)
        self.scale_ = _within_slide_scale(slides)
        self.weight_ = self._block_weights(len(self.scale_))
        zz, zy = self._gram(slides)
        self.coefficients_ = self._solve(zz, zy)
        self.feature_mean_, self.expression_mean_ = _patient_means(patients)
        self.rho_ = self._best_rho(patients, zz, zy) if len(patients) >= FEW_PATIENTS else 1.0

    def _twin(self, slides: Sequence[LabelledSlide]) -> RidgeSlide:
        twin = type(self)(self.settings)
        twin._learn(slides)
        return twin

    def _fit_for(self, inputs: SlideInputs) -> RidgeSlide:
        """The fit that never saw a slide: the one without it for a validation slide, this one for any other."""
        place = place_of(inputs, self.apart_, self.apart_features_) if self.apart_ else None
        if place is None:
            return self
        twin = type(self)(self.settings)
        for name in _LEARNT:
            setattr(twin, name, getattr(self, f"apart_{name}")[place])
        return twin

    def _predicted(self, inputs: SlideInputs) -> FloatArray:
        level = self._level(_mean(inputs.features), self.feature_mean_) @ self.coefficients_
        within = self._within(inputs) @ self.coefficients_
        return (self.expression_mean_ + self.rho_ * level + within).astype(np.float32)[None]

    def _block_weights(self, width: int) -> Array:
        blocks = self.settings.blocks or (width,)
        if sum(blocks) != width or min(blocks) < 1:
            raise SettingError(
                f"ridge-slide: expected blocks that add up to the {width} features, found {list(blocks)}; "
                f"leave the setting out for one block"
            )
        return np.repeat(np.sqrt(REFERENCE_WIDTH / np.array(blocks, dtype=np.float64)), blocks)

    def _within(self, inputs: SlideInputs) -> Array:
        """(n_spots, d) features around the slide's own mean."""
        z = (np.asarray(inputs.features, dtype=np.float64) - _mean(inputs.features)) / self.scale_
        return self.weight_ * np.clip(z, -self.settings.clip, self.settings.clip)

    def _level(self, slide_mean: Array, patient_mean: Array) -> Array:
        """(d,) a slide's mean features around the mean over patients."""
        z = (slide_mean - patient_mean) / self.scale_
        return self.weight_ * np.clip(z, -self.settings.level_clip, self.settings.level_clip)

    def _gram(self, slides: Iterable[LabelledSlide]) -> tuple[Array, Array]:
        """``sum z z'`` and ``sum z (y - mean_s y)'``, slide by slide so that no second copy of features is held."""
        zz: Array = np.zeros((len(self.scale_),) * 2)
        zy: Array | float = 0.0
        for slide in slides:
            z = self._within(slide.inputs)
            zz += z.T @ z
            zy = zy + z.T @ (slide.expression - _mean(slide.expression))
        return zz, np.asarray(zy)

    def _solve(self, zz: Array, zy: Array) -> Array:
        found: Array = np.linalg.solve(zz + self.settings.alpha * np.eye(len(zz)), zy)
        return found

    def _best_rho(self, patients: Patients, zz: Array, zy: Array) -> float:
        """Least squares of slide levels on what the other patients say of them."""
        along, square = 0.0, 0.0
        for number, own in enumerate(patients):
            own_zz, own_zy = self._gram(own)
            coefficients = self._solve(zz - own_zz, zy - own_zy)
            u, m = _patient_means(patients[:number] + patients[number + 1 :])
            for slide in own:
                level = self._level(_mean(slide.inputs.features), u) @ coefficients
                along += float(level @ (_mean(slide.expression) - m)) / len(own)
                square += float(level @ level) / len(own)
        return float(np.clip(along / square, 0, MOST_RHO)) if square > 0 else 1.0


def _mean(values: FloatArray) -> Array:
    mean: Array = values.mean(axis=0, dtype=np.float64)
    return mean


def _without(
    slide: LabelledSlide, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide]
) -> list[LabelledSlide]:
    """Training slides and those validation slides that say no more of a slide than training slides do of a test slide.

    A patient who trains is known to test slides too; one who only validates stands for test patients, who are new.
    """
    patient = slide.inputs.patient
    new = patient is not None and patient not in {other.inputs.patient for other in train}
    others = [other for other in validation if other is not slide and not (new and other.inputs.patient == patient)]
    return [*train, *others]


def _by_patient(slides: Sequence[LabelledSlide]) -> Patients:
    found: dict[tuple[bool, str], list[LabelledSlide]] = {}
    for slide in slides:
        known = slide.inputs.patient
        found.setdefault((known is None, known or slide.inputs.slide_id), []).append(slide)
    return list(found.values())


def _patient_means(patients: Patients) -> tuple[Array, Array]:
    """Mean over patients of the mean over their slides of a slide's mean: (d,) features, (n_genes,) expression."""
    features = [np.mean([_mean(slide.inputs.features) for slide in own], axis=0) for own in patients]
    expression = [np.mean([_mean(slide.expression) for slide in own], axis=0) for own in patients]
    return np.mean(features, axis=0), np.mean(expression, axis=0)


def _within_slide_scale(slides: Sequence[LabelledSlide]) -> Array:
    """(d,) standard deviation of features around the means of their slides; 1 for those that do not vary."""
    n = sum(slide.inputs.n_spots for slide in slides)
    means = [_mean(slide.inputs.features) for slide in slides]
    squares = [np.square(slide.inputs.features - mean).sum(axis=0) for slide, mean in zip(slides, means, strict=True)]
    scale = np.sqrt(np.sum(squares, axis=0) / n)
    return np.where(scale > 1e-7 * np.max(np.abs(means), axis=0), scale, 1.0)
