"""Half precision, where it loses nothing."""

import numpy as np
import pytest

from stbench.data.image import PatchSpec
from stbench.features.cache import cached
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.features.half import loses_nothing

from .test_precomputed import SPOTS, Messages, write_h5

VALUES = np.random.default_rng(0).normal(1, 1, size=(5, 4)).astype(np.float32)
SPEC = PatchSpec(um=112)


@pytest.mark.parametrize(
    ("features", "fits"),
    [
        (VALUES, True),
        (VALUES * 100, True),
        (VALUES * 1e-2, True),
        (VALUES + 10, True),
        (np.full((5, 4), 3.14159, np.float32), True),
        (np.zeros((5, 4), np.float32), True),
        (np.zeros((0, 4), np.float32), True),
        (VALUES * 1e5, False),
        (VALUES * 1e-8, False),
        (VALUES + 1000, False),
        (np.where(np.arange(4) == 2, VALUES * 1e5, VALUES), False),
        (np.where(np.arange(4) == 2, VALUES * 1e-8, VALUES), False),
        (np.full((5, 4), 1e9, np.float32), False),
        (np.full((5, 4), np.nan, np.float32), False),
    ],
)
def test_what_half_precision_holds(features, fits):
    assert loses_nothing(features.astype(np.float32)) == fits


@pytest.mark.parametrize("scale", [1e5, 1e-8, 1e30, 1e-30])
def test_features_in_other_units_are_the_same_features(tmp_path, make_slide, scale):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    write_h5(tmp_path / "one/s1.h5", VALUES)
    write_h5(tmp_path / "other/s1.h5", VALUES * np.float32(scale))

    def found(name, cache=None):
        encoder = load_encoder("precomputed", weights=tmp_path / name).of(["s1"])
        return encoder.key, slide_features(make_slide(None), encoder, SPEC, cache, Messages())

    (key, usual), (other_key, scaled) = found("one"), found("other")
    assert (key.split("/")[1], other_key.split("/")[1]) == ("1", "2")
    np.testing.assert_allclose(scaled / np.float32(scale), usual, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(scaled, VALUES * np.float32(scale))
    for _ in ("miss", "hit"):
        np.testing.assert_array_equal(found("other", tmp_path / "cache")[1], scaled)


class Far(Encoder):
    """Vectors far from zero."""

    key, dim = "far/1", 2

    def encode(self, patches, *, white_point, um_per_px):
        return (patches.mean(axis=(1, 2))[:, :2] + np.array([0, 1e5])).astype(np.float32)


def test_encoders_of_others_are_looked_at(tmp_path, make_slide, memory_image, tissue):
    slide = make_slide(memory_image(tissue(300, 0)), um_per_px=0.5)
    miss, hit = (slide_features(slide, Far(), PatchSpec(px=80), tmp_path) for _ in range(2))
    assert miss.dtype == np.float32
    np.testing.assert_array_equal(miss, hit)
    assert len(np.unique(miss[:, 1])) == len(SPOTS)  # half precision has one number for all of them


def test_entries_that_were_clipped_are_made_again(tmp_path):
    said = Messages()
    clipped = np.array([[65504.0], [1.0]], dtype=np.float16)
    cached(tmp_path, "a" * 64, lambda: clipped)
    anew = np.array([[1e9], [1.0]], dtype=np.float32)
    found = cached(tmp_path, "a" * 64, lambda: anew, said)
    np.testing.assert_array_equal(found, anew)
    assert "was clipped to the range of half precision; it is rebuilt" in said.lines[0]
    assert cached(tmp_path, "a" * 64, lambda: clipped).dtype == np.float32
