"""One tile tells encoders apart, whatever they are called."""

import numpy as np
import pytest

from stbench.features.calibration import calibration, is_same, tile
from stbench.features.encoders import MeanRgb, load_encoder


def test_the_tile_is_the_same_everywhere():
    assert tile().tobytes() == tile().tobytes()
    assert tile().shape == (224, 224, 3)
    assert tile().astype(float).sum() == 21_212_512


@pytest.mark.parametrize("name", ["handcrafted-v1", "handcrafted-v1-ctx", "mean-rgb"])
def test_an_encoder_is_itself_and_no_other(name, tmp_path):
    encoder = load_encoder(name)
    vector = calibration(encoder)
    assert len(vector) == encoder.dim
    assert is_same(vector, calibration(encoder, tmp_path))
    assert not is_same(vector, [1.05 * value for value in vector])
    assert not is_same(vector, vector[:-1])


def test_a_network_is_asked_once(tmp_path):
    class Counted(MeanRgb):
        asked = 0

        def encode(self, patches, **facts):
            Counted.asked += 1
            return super().encode(patches, **facts)

    first, again = calibration(Counted(), tmp_path), calibration(Counted(), tmp_path)
    assert (first, Counted.asked) == (again, 1)
    np.testing.assert_allclose(first, tile().mean(axis=(0, 1)) / 255, rtol=1e-3)
