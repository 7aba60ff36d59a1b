"""Draws that depend on each other are told from those that do not, whatever they look like."""

import numpy as np
import pytest

from stbench.proofs.draws import dependence

SPOTS, GENES = 24, 6
LAWS = {
    "white": lambda rng, n: rng.normal(size=(n, SPOTS, GENES)),
    "counts": lambda rng, n: np.log1p(rng.poisson(rng.gamma(0.3, 2, size=(n, SPOTS, GENES)))),
    "shared offsets": lambda rng, n: rng.normal(size=(n, 1, GENES)) + 0.3 * rng.normal(size=(n, SPOTS, GENES)),
    "one number": lambda rng, n: rng.normal(size=(n, 1, 1)) * np.ones((1, SPOTS, GENES)),
}


def drawn(law, n_draws=8, n_runs=16, seed=0):
    found = LAWS[law](np.random.default_rng(seed), n_runs * n_draws)
    return found.reshape(n_runs, n_draws, SPOTS, GENES)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n_draws", [2, 5, 20])
def test_independent_draws_pass(law, n_draws):
    assert [dependence(drawn(law, n_draws, seed=seed)).reason for seed in range(3)] == [None] * 3


@pytest.mark.parametrize("law", LAWS)
def test_mirrored_draws_and_copies_are_found(law):
    mirrored, copied = drawn(law), drawn(law)
    mirrored[:, 3] = 2 * mirrored.mean(axis=(0, 1)) - mirrored[:, 1]
    copied[:, 3] = copied[:, 1]
    assert dependence(mirrored).pair < -0.9
    assert "draws 1 and 3 correlated by -" in dependence(mirrored).reason
    assert dependence(copied).reason == "residuals of draws 1 and 3 correlated by 1.00"


def test_draws_far_apart_without_a_pair_at_fixed_places():
    """Every run mirrors other places: no pair shows it, the distances do."""
    found = drawn("white")
    for run, generator in zip(found, map(np.random.default_rng, range(16)), strict=True):
        order = generator.permutation(8)
        run[order[1::2]] = -run[order[::2]]
    assert "farther apart" in dependence(found).reason
    assert dependence(found).spread == pytest.approx((2**0.5 - 1) / 7, rel=0.1)


def test_a_part_that_draws_of_a_seed_share():
    found = drawn("white") + drawn("white", 1, seed=1)
    assert "correlated by 0." in dependence(found).reason


def test_the_same_values_in_every_run_are_no_draws():
    """Quantiles in place of draws: places mean the same under every seed."""
    ladder = np.linspace(-1.5, 1.5, 8)[None, :, None, None] + 0.01 * drawn("white")
    assert "correlated" in dependence(ladder).reason


def test_draws_that_never_differ_say_nothing():
    assert dependence(np.ones((4, 3, 5, 2), dtype=np.float32)).reason is None


def test_of_large_slides_some_values_are_enough():
    found = np.random.default_rng(0).normal(size=(4, 4, 30_000)).astype(np.float32)
    found[:, 1] = -found[:, 0]
    assert dependence(found).pair == pytest.approx(-1, abs=0.2)
