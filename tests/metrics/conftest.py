from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture
def slide() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Truth, prediction and positions of a made-up slide on a square grid."""

    def make(n_genes: int = 12, side: int = 11, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * 290.0
        fields = np.sin(xy / 500) @ generator.normal(size=(2, n_genes))
        true = np.log1p(generator.poisson(np.exp(1 + fields + 0.3 * generator.normal(size=fields.shape))))
        pred = 0.6 * true + 0.3 * fields + 0.5 * generator.normal(size=fields.shape)
        return true.astype(np.float32), pred.astype(np.float32), xy.astype(np.float32)

    return make
