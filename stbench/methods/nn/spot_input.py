"""How a method reads the spots of a slide: cached features, patches, or patches through a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.methods.base import FloatArray, LabelledSlide, SlideInputs
from stbench.methods.nn.backbone import Backbone, without_weights
from stbench.methods.nn.patch_settings import PatchSettings
from stbench.methods.nn.scaling import feature_moments, standardized

Spots = NDArray[Any]  # (n, d) float32 vectors or (n, side, side, 3) uint8 patches


class SpotReader:
    """Reads the spots of a slide as a method's settings say.

    Args:
        settings: what is read.
        mean: (d,) training mean of cached features; empty where patches are read.
        std: (d,) their standard deviation.
        backbone: what the method sends patches through, None without one; a frozen one turns the patches of a slide
            into vectors once and for all.
    """

    def __init__(self, settings: PatchSettings, mean: FloatArray, std: FloatArray, backbone: Backbone | None) -> None:
        self.settings, self.mean, self.std = settings, mean, std
        self.frozen = None if backbone is None or backbone.trained else backbone

    def __call__(self, inputs: SlideInputs) -> Spots:
        """(n_spots, d) float32 vectors, or (n_spots, side, side, 3) uint8 patches, perhaps mapped from a file.

        Raises:
            DataError: the slide has no picture, its features have another width than in training, or its picture
                cannot be decoded.
        """
        if self.settings.input == "features":
            return self._features(inputs)
        if inputs.patches is None:
            raise DataError(_without_picture(inputs))
        if self.frozen is not None:
            return self.frozen.encode(inputs.patches, self.settings.patch_px)
        return inputs.patches.array(self.settings.patch_px)

    def _features(self, inputs: SlideInputs) -> FloatArray:
        if inputs.features.shape[1] != len(self.mean):
            raise DataError(
                f"slide {inputs.slide_id}: expected features of width {len(self.mean)} as in training, found "
                f"{inputs.features.shape[1]}; use the encoder the method was fitted with"
            )
        if not self.settings.standardize_features:
            return inputs.features
        return standardized(inputs.features, self.mean, self.std)


def input_moments(settings: PatchSettings, train: Sequence[LabelledSlide]) -> tuple[FloatArray, FloatArray]:
    """(d,) mean and (d,) standard deviation of the training features, empty where patches are read."""
    if settings.input == "features":
        return feature_moments(train)
    return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32)


def why_unreadable(settings: PatchSettings, backbone: str | None, slides: Iterable[SlideInputs]) -> str | None:
    """The reason why a method cannot read the slides, None if it can.

    Args:
        settings: what the method reads.
        backbone: timm architecture the patches go through, None without one.
        slides: every slide of the task.
    """
    for inputs in slides:
        if settings.input == "features" and inputs.features.shape[1] == 0:
            return f"slide {inputs.slide_id}: there are no image features to read"
        if settings.input == "patches" and inputs.patches is None:
            return _without_picture(inputs)
    if settings.input == "patches" and backbone is not None and settings.backbone_weights is None:
        return without_weights(backbone) + "; --set input=features reads the features of the task's encoder instead"
    return None


def _without_picture(inputs: SlideInputs) -> str:
    return (
        f"slide {inputs.slide_id}: expected a picture to cut patches from, found none; "
        "--set input=features reads the features of the task's encoder instead"
    )
