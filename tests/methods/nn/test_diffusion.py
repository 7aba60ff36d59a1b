"""Noise of a slide, windows put back together, and the two scales of expression."""

import numpy as np
import pytest
import torch

from stbench.methods.base import SlideInputs
from stbench.methods.nn.diffusion import on_windows, parameterization, slide_noise, training_noise
from stbench.methods.nn.scaling import Scale
from stbench.methods.nn.windows import WindowGeometry, grid_batches, real


@pytest.fixture
def slide():
    generator = np.random.default_rng(0)
    xy = generator.uniform(0, 6000, (50, 2)).astype(np.float32)
    return SlideInputs("S", None, generator.normal(size=(50, 4)).astype(np.float32), xy)


def test_a_draw_depends_on_seed_slide_and_its_number_alone():
    many, one = slide_noise(3, "S", range(4), 10, 5), slide_noise(3, "S", [2], 10, 5)
    assert torch.equal(many[2], one[0])
    assert not torch.equal(many[1], many[2])
    assert not torch.equal(one, slide_noise(4, "S", [2], 10, 5))
    assert not torch.equal(one, slide_noise(3, "T", [2], 10, 5))
    assert float(slide_noise(0, "S", range(8), 100, 20).std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("max_spots", [1, 12, 1000])
def test_windows_are_put_back_whatever_the_batch(slide, max_spots):
    noise = slide_noise(0, "S", range(3), slide.n_spots, 5)
    batches = list(grid_batches(slide, slide.features, WindowGeometry(2048, 224), max_spots))
    found = on_windows(batches, noise.clone(), lambda batch, z, draw: z * 2 + batch.features[..., :1])
    torch.testing.assert_close(found, noise * 2 + torch.from_numpy(slide.features[:, :1]))


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_draws_that_go_together_keep_their_noise_and_their_number(slide, at_once):
    noise, seen = slide_noise(0, "S", range(3), slide.n_spots, 5), []

    def solve(batch, z, draws):
        seen.append(len(z))
        return z * 2 + batch.features[..., :1] + torch.tensor(draws)[:, None, None]

    batches = list(grid_batches(slide, slide.features, WindowGeometry(2048, 224), 12))
    found = on_windows(batches, noise.clone(), solve, lambda _: at_once)
    own = torch.arange(3.0)[:, None, None]
    torch.testing.assert_close(found, noise * 2 + torch.from_numpy(slide.features[:, :1]) + own)
    assert max(seen) == max(len(batch.spots) for batch in batches) * min(at_once, 3)


def test_windows_repeated_for_draws_are_the_same_windows(slide):
    batch = next(grid_batches(slide, slide.features, WindowGeometry(2048, 224), 1000))
    twice = batch.repeated(2)
    assert twice.spots == batch.spots * 2
    for part in (slice(0, len(batch.spots)), slice(len(batch.spots), None)):
        assert torch.equal(twice.part(part).edges, batch.edges)
    assert torch.equal(real(twice.features, twice.mask, twice.rows), real(twice.features, twice.mask, None))


def test_training_noise_repeats_and_has_one_level_per_window():
    p = parameterization("edm", 0.01, 10.0)
    first, again = (training_noise(p, (3, 4, 5), torch.Generator().manual_seed(0)) for _ in range(2))
    assert [tuple(tensor.shape) for tensor in first] == [(3,), (3, 4, 5)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_standardising_is_undone_and_leaves_constant_genes_finite():
    y = np.random.default_rng(1).normal(3, [0.5, 2, 0], (40, 3)).astype(np.float32)
    scale = Scale(y.mean(axis=0), y.std(axis=0) * [1, 1, 0], standardized=True)
    inner = scale.inward(y)
    np.testing.assert_allclose(inner[:, :2].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(inner.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scale.outward(inner), y, rtol=1e-5, atol=1e-5)


def test_without_standardising_nothing_changes():
    y = np.random.default_rng(1).normal(3, 2, (40, 3)).astype(np.float32)
    scale = Scale(y.mean(axis=0), y.std(axis=0), standardized=False)
    np.testing.assert_array_equal(scale.inward(y), y)
    np.testing.assert_array_equal(scale.outward(y), y)
    np.testing.assert_array_equal(scale.mean, y.mean(axis=0))
