"""What a network's output means: four parameterisations of one denoiser D(x, sigma) = E[clean | x].

``raw`` and ``epsilon`` work on expression as it is, ``edm`` and ``flow`` on genes standardised with training data.
Every network is called as ``F(x_in, t)`` with x_in (B, N, G) and t (B,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from stbench.methods.nn.sde import VESDE, training_time

Network = Callable[[Tensor, Tensor], Tensor]

EDM_LOG_MEAN, _EDM_LOG_SD = -0.4, 1.2  # of sigma in training, Karras et al. 2022, Table 1


def _wide(level: Tensor) -> Tensor:
    return level[:, None, None]


class Parameterization(ABC):
    """One way to train and read a denoising network.

    Args:
        sde: noise limits.
    """

    standardized = False
    has_mean = False

    def __init__(self, sde: VESDE) -> None:
        self.sde = sde

    @abstractmethod
    def levels(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) noise levels sigma for training."""

    @abstractmethod
    def loss(self, network: Network, y: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """(B, N, G) weighted squared error for clean y, levels (B,) and unit noise z (B, N, G)."""

    @abstractmethod
    def denoise(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, N, G) estimate of the clean expression behind ``x = clean + sigma * noise``."""


class Raw(Parameterization):
    """The output is the score itself, as released; loss (sigma F + z)^2 (Algorithm 1)."""

    def levels(self, n: int, generator: torch.Generator) -> Tensor:
        """sigma(t) at uniform times in [0.01, 1] (paper Appendix B)."""
        return self.sde.sigma(training_time(torch.rand(n, generator=generator)))

    def loss(self, network: Network, y: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """(sigma F + z)^2, Algorithm 1."""
        s = _wide(sigma)
        return (s * network(y + s * z, self.sde.time(sigma)) + z).square()

    def denoise(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """x + sigma^2 F, Tweedie's formula."""
        return x + _wide(sigma).square() * network(x, self.sde.time(sigma))


class Epsilon(Raw):
    """The output is sigma times the score, so that its target has unit size; loss (F + z)^2 (Algorithm 1)."""

    def loss(self, network: Network, y: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """(F + z)^2."""
        return (network(y + _wide(sigma) * z, self.sde.time(sigma)) + z).square()

    def denoise(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """x + sigma F."""
        return x + _wide(sigma) * network(x, self.sde.time(sigma))


class Edm(Parameterization):
    """Karras et al. 2022, Section 5, with sigma_data = 1.

    Args:
        sde: noise limits.
        log_mean: mean of ln sigma in training.
    """

    standardized = True
    has_mean = True

    def __init__(self, sde: VESDE, log_mean: float = EDM_LOG_MEAN) -> None:
        super().__init__(sde)
        self.log_mean = log_mean

    def levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Log-normal, Karras et al. 2022, Table 1."""
        return torch.exp(self.log_mean + _EDM_LOG_SD * torch.randn(n, generator=generator))

    def loss(self, network: Network, y: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """(D - y)^2 weighted by (1 + sigma^2) / sigma^2: the error of F then counts alike at every level."""
        s = _wide(sigma)
        return (self.denoise(network, y + s * z, sigma) - y).square() * (1 + s**2) / s**2

    def denoise(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """c_skip x + c_out F(c_in x), Karras et al. 2022, Eq. 7."""
        s = _wide(sigma)
        c_in = (1 + s**2).rsqrt()
        return c_in**2 * x + s * c_in * network(c_in * x, self.sde.time(sigma))


class Flow(Parameterization):
    """Straight paths x = (1 - tau) y + tau z with velocity z - y; sigma = tau / (1 - tau)."""

    standardized = True
    has_mean = True
    _logit_normal = 0.8  # share of levels from the sigmoid of a normal, the rest uniform

    def levels(self, n: int, generator: torch.Generator) -> Tensor:
        """tau / (1 - tau), tau mostly logit-normal and sometimes uniform."""
        bell = torch.sigmoid(torch.randn(n, generator=generator))
        flat = torch.rand(n, generator=generator)
        tau = torch.where(torch.rand(n, generator=generator) < self._logit_normal, bell, flat)
        return tau / (1 - tau)

    def loss(self, network: Network, y: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """(F - (z - y))^2."""
        tau = sigma / (1 + sigma)
        return (network(y + _wide(tau) * (z - y), tau) - (z - y)).square()

    def denoise(self, network: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """u - tau F(u, tau) with u = x / (1 + sigma) on the straight path."""
        tau = sigma / (1 + sigma)
        u = x / _wide(1 + sigma)
        return u - _wide(tau) * network(u, tau)


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {"raw": Raw, "epsilon": Epsilon, "edm": Edm, "flow": Flow}
