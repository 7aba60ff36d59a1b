"""Ridge fitted on validation slides too, once its penalty is chosen on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.controls.apart import mean_features, place_of
from stbench.methods.controls.ridge import Ridge

Array = NDArray[np.float64]
_LEARNT = ("feature_mean_", "feature_scale_", "coefficients_", "intercept_")


class RidgeRefit(Ridge):
    """The penalty that :class:`stbench.methods.controls.ridge.Ridge` chooses, and a fit on training and validation.

    A validation slide is predicted by ridge itself, which never saw it: residuals there are what the width of this
    prediction is taken from.
    """

    apart_: Sequence[str] = ()  # validation slides; what ridge learnt is in ``apart_coefficients_`` and so on
    apart_features_: Array  # (n_validation, d) mean features

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        super().fit(train, validation, context)
        self.apart_ = [slide.inputs.slide_id for slide in validation]
        if validation:
            self.apart_features_ = mean_features(validation)
            for name in _LEARNT:
                setattr(self, f"apart_{name}", getattr(self, name))
            self._keep(self._on([*train, *validation]))

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        if not self.apart_ or place_of(inputs, self.apart_, self.apart_features_) is None:
            return super().predict(inputs, draws, seed)
        ridge = Ridge(self.settings)
        for name in _LEARNT:
            setattr(ridge, name, getattr(self, f"apart_{name}"))
        return ridge.predict(inputs, draws, seed)
