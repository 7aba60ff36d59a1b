"""A cohort of seconds for the tests of methods."""

from dataclasses import replace

import numpy as np
import pytest

from stbench.data.image import ImageSource, PatchSpec
from stbench.features.patches import SlidePatches
from stbench.methods.base import LabelledSlide, SlideInputs


def labelled(slide_id, seed, n_spots=40, n_genes=6):
    generator = np.random.default_rng(seed)
    xy = generator.uniform(0, 4000, (n_spots, 2)).astype(np.float32)
    features = generator.normal(size=(n_spots, 5)).astype(np.float32)
    weights = np.random.default_rng(99).normal(size=(5, n_genes))
    expression = 3 + features @ weights + 0.3 * generator.normal(size=(n_spots, n_genes))
    return LabelledSlide(SlideInputs(slide_id, None, features, xy), np.maximum(expression, 0).astype(np.float32))


@pytest.fixture(scope="module")
def cohort():
    """Training slides, validation slides and the inputs of a test slide, 6 genes."""
    return [labelled("S1", 1), labelled("S2", 2, 25)], [labelled("S3", 3)], labelled("S4", 4, 30).inputs


class Shades(ImageSource):
    """Patches whose colours and left half follow the first features of a spot, with some noise."""

    um_per_px = 1.0

    def __init__(self, features):
        self.features = features

    def digest(self):
        return "shades"

    def size(self):
        return None

    def thumbnail(self, longest_px):
        return np.full((4, 4, 3), 255, dtype=np.uint8)

    def patches(self, spot_ids, xy, spec):
        side = spec.out_px
        for spot in spot_ids:
            values = 128 + 40 * self.features[int(spot), :4]
            patch = np.full((side, side, 3), values[:3])
            patch[:, : side // 2] += 20 * values[3] / 128
            yield np.clip(patch + np.random.default_rng(int(spot)).normal(size=patch.shape), 0, 255).astype(np.uint8)


def on_array(inputs):
    """A slide with whole-numbered array positions and a picture."""
    numbers = np.arange(inputs.n_spots)
    patches = SlidePatches(
        Shades(inputs.features), [str(number) for number in numbers], inputs.xy, PatchSpec(px=64, out_px=64)
    )
    array = np.stack([3 + numbers % 6, 2 + numbers // 6], axis=1).astype(np.float32)
    return replace(inputs, array_xy=array, xy=array * 200, patches=patches)


@pytest.fixture(scope="module")
def pictured(cohort):
    """The same with array positions and pictures."""
    train, validation = ([replace(slide, inputs=on_array(slide.inputs)) for slide in part] for part in cohort[:2])
    return train, validation, on_array(cohort[2])
