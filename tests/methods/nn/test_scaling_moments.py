"""Moments of the training slides, summed slide by slide."""

import numpy as np
import pytest

from stbench.methods.nn import scaling


@pytest.mark.parametrize("width", [1, 2, 7, 200])
@pytest.mark.parametrize("lengths", [(3,), (40, 1, 25), (700, 31)])
def test_moments_have_the_bits_of_one_array(width, lengths, monkeypatch):
    monkeypatch.setattr(scaling, "_ROWS", 16)
    generator = np.random.default_rng(width)
    scale = generator.lognormal(sigma=3, size=width)
    parts = [(generator.normal(3, size=(n, width)) * scale).astype(np.float32) for n in lengths]
    whole = np.concatenate(parts)
    mean, std = scaling.moments(parts)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_array_equal(mean, whole.mean(axis=0, dtype=np.float64).astype(np.float32))
    np.testing.assert_array_equal(std, whole.std(axis=0, dtype=np.float64).astype(np.float32))
