"""The variance-exploding process (paper Appendix B, Eqs. 10-13)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

T_MIN = 0.01  # training and sampling stop here, as released


def training_time(u: Tensor) -> Tensor:
    """Time in [0.01, 1] of a uniform draw u in [0, 1], as released (the paper: uniform in (0, 1))."""
    return T_MIN + (1 - T_MIN) * u


@dataclass(frozen=True)
class VESDE:
    """Log-linear noise from ``sigma_min`` at t = 0 to ``sigma_max`` at t = 1, in units of the diffused variable."""

    sigma_min: float = 0.01
    sigma_max: float = 10.0

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of sigma_max / sigma_min."""
        return math.log(self.sigma_max / self.sigma_min)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise level at time t."""
        return self.sigma_min * torch.exp(self.log_ratio * t)

    def time(self, sigma: Tensor) -> Tensor:
        """Time of a noise level, the inverse of :meth:`sigma`."""
        return torch.log(sigma / self.sigma_min) / self.log_ratio

    def g(self, t: Tensor) -> Tensor:
        """Diffusion coefficient, Eq. 11."""
        return self.sigma(t) * math.sqrt(2 * self.log_ratio)
