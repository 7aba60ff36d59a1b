"""Solvers against the closed form of the probability-flow ODE on Gaussian data."""

import math

import pytest
import torch

from stbench.methods.nn.diffusion import parameterization
from stbench.methods.nn.samplers import SOLVERS, heun_times, posterior_mean, sample
from stbench.methods.nn.sde import T_MIN, VESDE

SDE = VESDE()
ENDS = {"heun": float(SDE.sigma(torch.tensor(T_MIN))), "dpmpp-2m": 0.01, "euler": 0.01, "edm-heun": 0.0}
ORDERS = {"heun": 2, "dpmpp-2m": 2, "euler": 1, "edm-heun": 2}


def noise(n=6, seed=0, dtype=torch.float64):
    return torch.randn(n, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact_end(gaussian, solver, x):
    """Where the ODE ends; all but edm-heun, which goes on to zero noise, end with one denoising (Tweedie)."""
    end = gaussian.end(x, 10.0, ENDS[solver])
    return end if solver == "edm-heun" else gaussian.denoise(end, ENDS[solver])


def error(gaussian, solver, passes):
    x = 10 * noise()
    found = SOLVERS[solver](gaussian.denoise, x, SDE, passes)
    return float((found - exact_end(gaussian, solver, x)).abs().max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_converge_to_the_closed_form_at_their_order(gaussian, solver):
    coarse, fine = error(gaussian, solver, 81), error(gaussian, solver, 161)
    assert fine < (0.05 if solver == "euler" else 0.005)
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[solver], abs=0.25)


@pytest.mark.parametrize("midpoint", ["midpoint", "heun"])
def test_flow_converges_to_the_closed_form_at_second_order_or_better(gaussian, midpoint):
    p, z = parameterization("flow", 0.01, 10.0), noise()

    def miss(passes):
        found = sample(gaussian.network("flow", p.sde), z, p, solver=midpoint, passes=passes, centre=torch.zeros(3))
        return float((found - (gaussian.mean + gaussian.spread * z)).abs().max())

    assert miss(80) < 0.002
    assert math.log2(miss(40) / miss(80)) > 1.8  # the midpoint rule gains an order on this symmetric problem


@pytest.mark.parametrize(
    ("solver", "passes", "evaluations"),
    [("heun", 201, 201), ("dpmpp-2m", 15, 15), ("euler", 10, 10), ("edm-heun", 35, 35), ("dpmpp-2m", 1, 1)],
)
def test_a_solver_makes_the_passes_it_is_given(gaussian, solver, passes, evaluations):
    levels = []

    def counted(x, sigma):
        levels.append(sigma)
        return gaussian.denoise(x, sigma)

    SOLVERS[solver](counted, noise(), SDE, passes)
    assert len(levels) == evaluations
    assert levels[0] == pytest.approx(10)
    assert min(levels) >= 0.01 - 1e-6


def test_times_are_those_of_the_paper():
    times = heun_times(100)
    assert (len(times), float(times[0]), float(times[-1])) == (101, 1.0, pytest.approx(0.01))
    torch.testing.assert_close(times.diff(), torch.full((100,), -0.0099))


@pytest.mark.parametrize(
    ("name", "solver", "passes"),
    [
        ("raw", "heun", 201),
        ("epsilon", "heun", 201),
        ("epsilon", "dpmpp-2m", 40),
        ("edm", "dpmpp-2m", 40),
        ("edm", "edm-heun", 61),
        ("flow", "midpoint", 40),
        ("flow", "heun", 40),
    ],
)
def test_draws_have_the_mean_and_the_spread_of_the_data(gaussian, name, solver, passes):
    p = parameterization(name, 0.01, 10.0)
    z = noise(4000, dtype=torch.float32)
    draws = sample(gaussian.network(name, p.sde), z, p, solver=solver, passes=passes, centre=gaussian.mean)
    kept = 1.0 if name == "flow" else 10 / (100 + gaussian.spread**2) ** 0.5  # of the spread, from a finite sigma_max
    torch.testing.assert_close(draws.mean(dim=(0, 1)), gaussian.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(draws.std(dim=(0, 1)), torch.full((3,), gaussian.spread * kept), atol=0.03, rtol=0)


def test_a_start_off_the_data_biases_the_draws(gaussian):
    """The paper's start at zero: a share spread / sqrt(spread^2 + sigma_max^2) of the mean is lost."""
    p = parameterization("epsilon", 0.01, 10.0)
    z = torch.zeros(1, 1, 3)
    found = sample(gaussian.network("epsilon", p.sde), z, p, solver="heun", passes=201, centre=torch.zeros(3))
    lost = gaussian.spread / (gaussian.spread**2 + 100) ** 0.5
    torch.testing.assert_close(found[0, 0], gaussian.mean * (1 - lost), atol=2e-3, rtol=0)


def test_solvers_agree_on_a_mixture():
    """Two modes: no closed form, but one answer."""

    def denoise(x, sigma, at=1.5, spread=0.4):
        variance = spread**2 + sigma**2
        modes = torch.tanh(at * x / variance)  # posterior of the upper mode minus that of the lower
        return (spread**2 * x + sigma**2 * at * modes) / variance

    x = 10 * noise(200)
    heun, dpm, edm = (
        SOLVERS[name](denoise, x, SDE, n) for name, n in (("heun", 801), ("dpmpp-2m", 400), ("edm-heun", 401))
    )
    torch.testing.assert_close(heun, dpm, atol=0.01, rtol=0)
    torch.testing.assert_close(edm, dpm, atol=0.02, rtol=0)
    assert float((dpm.abs() > 0.5).double().mean()) > 0.9


@pytest.mark.parametrize("name", ["edm", "flow"])
def test_the_posterior_mean_of_an_exact_network_does_not_depend_on_the_noise(gaussian, name):
    p = parameterization(name, 0.01, 10.0)
    found = posterior_mean(gaussian.network(name, p.sde), noise(dtype=torch.float32), p)
    shrunk = 1.0 if name == "flow" else 100 / (100 + gaussian.spread**2)
    torch.testing.assert_close(found, (gaussian.mean * shrunk).expand_as(found), atol=1e-4, rtol=0)
