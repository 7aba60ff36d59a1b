"""Data with a known denoiser."""

import pytest
import torch

SPREAD = 0.7
MEAN = torch.tensor([0.5, -1.0, 2.0])


class Gaussian:
    """Every gene is N(mean, spread^2)."""

    spread, mean = SPREAD, MEAN

    def sample(self, n, generator):
        """(n, 1, 3) clean expression of n spots."""
        return MEAN + SPREAD * torch.randn(n, 1, 3, generator=generator)

    def denoise(self, x, sigma):
        """E[clean | x] for x = clean + sigma * noise."""
        return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)

    def end(self, x, start, end):
        """Where the probability-flow ODE takes x from one noise level to another."""
        return MEAN + (x - MEAN) * ((SPREAD**2 + end**2) / (SPREAD**2 + start**2)) ** 0.5

    def network(self, name, sde):
        """The network F whose denoiser is exact, in the parameterisation of that name."""

        def raw(x, t):
            sigma = sde.sigma(t)[:, None, None]
            return (self.denoise(x, sigma) - x) / sigma**2

        def epsilon(x, t):
            return raw(x, t) * sde.sigma(t)[:, None, None]

        def edm(x_in, t):
            sigma = sde.sigma(t)[:, None, None]
            scale = (1 + sigma**2).sqrt()
            return (self.denoise(x_in * scale, sigma) - x_in / scale) * scale / sigma

        def flow(u, tau):
            tau = tau[:, None, None]
            variance = (1 - tau) ** 2 * SPREAD**2 + tau**2
            return (tau - (1 - tau) * SPREAD**2) / variance * (u - (1 - tau) * MEAN) - MEAN

        return {"raw": raw, "epsilon": epsilon, "edm": edm, "flow": flow}[name]


@pytest.fixture(scope="session")
def gaussian():
    return Gaussian()
