"""Draws whose spread is brought to the size of the errors on validation slides: ``--set calibrate=true``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from stbench.errors import RunFailedError, SettingError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs
from stbench.metrics.calibrated import factor

_SPOTS = 4096
FITTING_DRAWS = 4
"""Draws of a validation slide; few will do, for what is estimated from them is averaged over its spots and genes."""


class SamplerSettings(BaseModel):
    """What every sampler can be asked for; settings that inherit from it make a method calibratable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibrate: bool = Field(
        default=False,
        description="scale the spread of the draws around their mean by one number fitted on validation slides",
    )

    @model_serializer(mode="wrap")
    def _said_if_on(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out while off, so that runs from before it are the same runs."""
        said: dict[str, Any] = handler(self)
        if not self.calibrate:
            said.pop("calibrate", None)
        return said


def calibrated(method: Method) -> Method:
    """The method as its settings ask for it: inside :class:`Calibrated` with ``calibrate``, itself without."""
    return Calibrated(method) if getattr(method.settings, "calibrate", False) else method


def check_draws(settings: BaseModel, draws: int) -> None:
    """Raise SettingError where ``calibrate`` is asked of one draw, which has no spread."""
    if getattr(settings, "calibrate", False) and draws < 2:
        raise SettingError(
            f"calibrate=true: expected at least 2 draws, found {draws}, which has no spread; leave calibrate or "
            "--draws out"
        )


class Calibrated(Method):
    """A sampler whose M draws x_k become ``m + s (x_k - m)`` around their mean m.

    On validation slides, with means over all their spots and genes, E the variance of a draw around the mean of the
    sampler's law and V the squared error of that mean, r = V / E; s follows from it and from M
    (:mod:`stbench.metrics.calibrated`). Both are estimated without bias from 4 draws: E is the variance between them, V
    the squared error of their mean less E / 4.

    Draws scaled around a mean that stays are not independent, which CRPS and energy score know of and the variogram
    score does not.

    The mean stays to the bit, so nothing is set to 0: draws may fall below it though the sampler's do not.

    Args:
        method: the sampler; what is learnt, ``calibration_``, is the r above, and is kept in its model file.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method.settings)
        self.method: Any = method

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        """Fit the sampler, then r.

        Raises:
            SettingError: no validation slide, or the method predicts a point.
            RunFailedError: its draws do not differ.
        """
        if not validation:
            raise SettingError(
                "calibrate=true: expected validation slides to fit the spread on, found none; choose another --split "
                "or leave it out"
            )
        self.method.fit(train, validation, context)
        self.method.calibration_ = _fitted(self.method, validation, context.seed)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(n_draws, n_spots, n_genes) of the same mean; one draw is left as it is, and all depend on how many."""
        drawn = self.method.predict(inputs, draws, seed)
        return drawn if len(drawn) < 2 else scaled(drawn, self.factor(len(drawn)))

    def factor(self, draws: int) -> float:
        """The s of a number of draws."""
        return factor(self.calibration, draws)

    @property
    def calibration(self) -> float:
        """The r above."""
        return float(self.method.calibration_)

    def remark(self, draws: int) -> str:
        """What a record says of it."""
        return (
            f"calibrated: draws scaled around their mean by s = {self.factor(draws):.4g} with {draws} draws; fitted on "
            f"validation slides, where the mean's squared error is {self.calibration:.4g} times the variance "
            "of a draw; draws may be negative"
        )

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        mean: FloatArray | None = self.method.predict_mean(inputs, seed)
        return mean

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        reason: str | None = self.method.refuse(train, test, context)
        return reason

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        seconds: float | None = self.method.estimate_seconds(train, test, draws, context)
        return seconds

    def save(self, path: Path) -> None:
        self.method.save(path)


def _fitted(method: Method, validation: Sequence[LabelledSlide], seed: int) -> float:
    """r, at least 0."""
    between, squares, n = 0.0, 0.0, 0
    for slide in validation:
        drawn = method.predict(slide.inputs, FITTING_DRAWS, seed).astype(np.float64)
        if len(drawn) < FITTING_DRAWS:
            raise SettingError("calibrate=true: expected draws, found one point prediction; leave it out")
        between += float(drawn.var(axis=0, ddof=1).sum())
        squares += float(np.square(slide.expression - drawn.mean(axis=0)).sum())
        n += slide.expression.size
    if not between > 0:
        raise RunFailedError(f"calibrate=true: draws do not differ on any of {n} validation values; nothing to scale")
    return max(squares / between - 1 / FITTING_DRAWS, 0.0)


def scaled(draws: FloatArray, factor: float) -> FloatArray:
    """Draws with ``factor`` times their deviations, whose mean in float32 is the same to the bit.

    What rounding takes from the mean is given back to the draw nearest to 0, the finest of them. Where that does not
    meet the mean, draws of both signs all but cancelling, the values stay unscaled: of 8 draws of mean 0, doubled, 3 %,
    and of draws of one sign none.

    Args:
        draws: (n_draws, n_spots, n_genes) float32.
        factor: 0 or more.
    """
    found = np.empty_like(draws)
    for start in range(0, draws.shape[1], _SPOTS):  # elementwise: of a large slide the draws alone may fill the memory
        found[:, start : start + _SPOTS] = _scaled(draws[:, start : start + _SPOTS], factor)
    return found


def _scaled(draws: FloatArray, factor: float) -> FloatArray:
    mean = draws.mean(axis=0, dtype=np.float64)
    kept = mean.astype(np.float32)
    wide: FloatArray = np.stack([(mean + factor * (draw - mean)).astype(np.float32) for draw in draws])
    finest = np.abs(wide).argmin(axis=0)[None]
    gap = len(draws) * kept.astype(np.float64) - wide.sum(axis=0, dtype=np.float64)
    np.put_along_axis(wide, finest, (np.take_along_axis(wide, finest, 0) + gap).astype(np.float32), 0)
    met = wide.mean(axis=0, dtype=np.float64).astype(np.float32) == kept
    found: NDArray[np.float32] = np.where(met, wide, draws)
    return found
