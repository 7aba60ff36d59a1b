"""Four parameterisations of one denoiser, on Gaussian data where it is known."""

import math

import pytest
import torch

from stbench.methods.nn.diffusion import parameterization

NAMES = ("raw", "epsilon", "edm", "flow")


def new(name):
    return parameterization(name, 0.01, 10.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [0.02, 0.6, 9.0])
def test_an_exact_network_gives_the_exact_denoiser(gaussian, name, sigma):
    p = new(name)
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0)) * 3
    found = p.denoise(gaussian.network(name, p.sde), x, torch.full((4,), sigma))
    torch.testing.assert_close(found, gaussian.denoise(x, sigma), atol=2e-5, rtol=1e-4)


def optimum(name, sigma, spread):
    """Expected loss of the exact denoiser: its variance spread^2 sigma^2 / (spread^2 + sigma^2), times the weight."""
    weight = {"edm": 1 + sigma**2, "flow": (1 + sigma) ** 2}.get(name, 1)
    return weight * spread**2 / (spread**2 + sigma**2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0])
def test_the_loss_is_least_at_the_exact_network(gaussian, name, sigma):
    p, generator = new(name), torch.Generator().manual_seed(1)
    y = gaussian.sample(40_000, generator)
    z = torch.randn(y.shape, generator=generator)
    exact, levels = gaussian.network(name, p.sde), torch.full((len(y),), sigma)
    least = float(p.loss(exact, y, levels, z).mean())
    assert least == pytest.approx(optimum(name, sigma, gaussian.spread), rel=0.02)
    for shift in (-0.1, 0.1):
        moved = p.loss(lambda x, t, by=shift: exact(x, t) + by, y, levels, z)
        assert float(moved.mean()) > least


def test_raw_and_epsilon_losses_are_one_loss(gaussian):
    """Algorithm 1's (sigma s + z)^2, whether the network gives s or sigma s."""
    y = gaussian.sample(5, torch.Generator().manual_seed(2))
    sigma = torch.tensor([0.02, 0.1, 0.5, 2.0, 9.0])
    found = [
        new(name).loss(gaussian.network(name, new(name).sde), y, sigma, torch.ones_like(y))
        for name in ("raw", "epsilon")
    ]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_levels_follow_their_laws():
    def levels(name):
        return new(name).levels(20_000, torch.Generator().manual_seed(3)).double()

    for name in ("raw", "epsilon"):
        t = (levels(name) / 0.01).log() / math.log(1000)
        assert (float(t.min()), float(t.max())) == pytest.approx((0.01, 1), abs=1e-3)
        assert float(t.mean()) == pytest.approx(0.505, abs=0.01)
    logs = levels("edm").log()
    assert (float(logs.mean()), float(logs.std())) == pytest.approx((-0.4, 1.2), abs=0.03)
    tau = levels("flow") / (1 + levels("flow"))
    assert (float(tau.mean()), float(tau.min())) == pytest.approx((0.5, 0), abs=0.02)
    assert float(((tau > 0.3) & (tau < 0.7)).double().mean()) == pytest.approx(0.8 * 0.603 + 0.2 * 0.4, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_levels_repeat_with_the_generator(name):
    drawn = [new(name).levels(5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
