"""Stem's process: what the network's two outputs mean, the hybrid loss, and the DDPM and DDIM samplers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stbench.methods.nn.discrete import Schedule
from stbench.methods.nn.sent import sent

Network = Callable[[Tensor, Tensor], Tensor]
"""(S, G) noisy expression and (S,) steps in the numbering of training to (S, 2, G) outputs."""

_BIN = 1 / 255  # half-width of a bin of the likelihood at step 0, made for pictures in [-1, 1], as released
_EDGE = 0.999
_FLOOR = 1e-12


@dataclass(frozen=True)
class Reverse:
    """p(x_{k-1} | x_k) as the network sees it, all (S, G).

    Args:
        mean: of the step before.
        log_variance: natural logarithm, between those of the posterior (second output -1) and of beta (1).
        clean: estimate of x_0.
        noise: estimate of the noise in x_k.
    """

    mean: Tensor
    log_variance: Tensor
    clean: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Losses:
    """Loss terms of each spot, all (S,).

    Args:
        mse: squared error of the first output, mean over genes.
        vb: variational bound in bits, mean over genes; trains the variance alone.
    """

    mse: Tensor
    vb: Tensor

    @property
    def total(self) -> Tensor:
        """(S,) both terms."""
        return self.mse + self.vb


class Diffusion:
    """Reads the network's outputs on one schedule.

    Args:
        schedule: its steps, all or respaced.
        prediction: the first output is the noise (``"epsilon"``, the paper), or ``"velocity"``,
            sqrt(a) noise - sqrt(1 - a) x_0 with a = alpha_bar (Salimans and Ho 2022).
    """

    def __init__(self, schedule: Schedule, prediction: str = "epsilon") -> None:
        self.schedule, self.velocity = schedule, prediction == "velocity"
        s, a = schedule, schedule.alpha_bar
        self._tables = {
            "keep": np.sqrt(a),
            "add": np.sqrt(1 - a),
            "grow": np.sqrt(1 / a),
            "take": np.sqrt(1 / a - 1),
            "clean": s.clean_weight,
            "noisy": s.noisy_weight,
            "log_beta": np.log(s.betas),
            "log_posterior": s.posterior_log_variance,
        }
        self._held: dict[torch.device, dict[str, Tensor]] = {}

    def noised(self, clean: Tensor, k: Tensor, noise: Tensor) -> Tensor:
        """x_k (S, G) of clean expression (S, G), steps (S,) and unit noise (S, G)."""
        keep, add = self._amplitudes(k)
        return keep * clean + add * noise

    def reverse(self, out: Tensor, x: Tensor, k: Tensor) -> Reverse:
        """What outputs (S, 2, G) say about the step before k (S,) of x (S, G)."""
        first, second = out.unbind(dim=1)
        if self.velocity:
            keep, add = self._amplitudes(k)
            clean, noise = keep * x - add * first, add * x + keep * first
        else:
            clean = self._at("grow", k) * x - self._at("take", k) * first
            noise = first
        mean = self._at("clean", k) * clean + self._at("noisy", k) * x
        u = (second + 1) / 2
        log_variance = u * self._at("log_beta", k) + (1 - u) * self._at("log_posterior", k)
        return Reverse(mean, log_variance, clean, noise)

    def losses(self, network: Network, clean: Tensor, k: Tensor, noise: Tensor) -> Losses:
        """Squared error plus variational bound, without a factor between them, as released.

        Args:
            network: two outputs.
            clean: (S, G) expression on the network's scale.
            k: (S,) steps of the whole schedule.
            noise: (S, G) unit noise.
        """
        x = self.noised(clean, k, noise)
        out = network(x, k)
        keep, add = self._amplitudes(k)
        target = keep * noise - add * clean if self.velocity else noise
        mse = (target - out[:, 0]).square().mean(dim=1)
        only_variance = torch.stack([out[:, 0].detach(), out[:, 1]], dim=1)
        return Losses(mse, self._bound(self.reverse(only_variance, x, k), clean, x, k))

    def _bound(self, found: Reverse, clean: Tensor, x: Tensor, k: Tensor) -> Tensor:
        mean = self._at("clean", k) * clean + self._at("noisy", k) * x
        kl = _divergence(mean, self._at("log_posterior", k), found.mean, found.log_variance)
        likelihood = discretised_likelihood(clean, found.mean, 0.5 * found.log_variance)
        return torch.where(k == 0, -likelihood.mean(dim=1), kl.mean(dim=1)) / math.log(2)

    def _amplitudes(self, k: Tensor) -> tuple[Tensor, Tensor]:
        return self._at("keep", k), self._at("add", k)

    def _at(self, name: str, k: Tensor) -> Tensor:
        """(S, 1) float32 entries of a float64 table at steps (S,); a device gets the tables once."""
        if k.device not in self._held:
            tables = {name: torch.from_numpy(table).float() for name, table in self._tables.items()}
            self._held[k.device] = {name: sent(table, k.device) for name, table in tables.items()}
        return self._held[k.device][name][k].unsqueeze(1)


def _divergence(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL divergence of two normal distributions, in nats."""
    ratio = log_variance - other_log_variance
    return 0.5 * (torch.exp(ratio) - ratio - 1 + (mean - other).square() * torch.exp(-other_log_variance))


def discretised_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Natural logarithm of a normal's mass within 1/255 of x, with open ends beyond +-0.999, as released.

    Made for data in [-1, 1]: expression above 0.999 falls into the upper end. Only the variance at step 0 sees it.
    """
    below = _normal_cdf((x - mean - _BIN) * torch.exp(-log_scale))
    above = _normal_cdf((x - mean + _BIN) * torch.exp(-log_scale))
    mass = torch.where(x < -_EDGE, above, torch.where(x > _EDGE, 1 - below, above - below))
    return mass.clamp(min=_FLOOR).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def trajectory(
    process: Diffusion, network: Network, x: Tensor, noise: Callable[[], Tensor], *, sampler: str, eta: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """States and estimates of x_0 after each reverse step, the noisiest first; nothing is clipped.

    Args:
        process: a schedule, all steps or respaced.
        network: two outputs; it is given steps in the numbering of training.
        x: (S, G) unit noise to start from.
        noise: gives the unit noise (S, G) of the next step, where the sampler needs any.
        sampler: ``"ddpm"``, or ``"ddim"`` (Song et al. 2021).
        eta: share of DDPM's noise in DDIM; 0 follows the probability flow.
    """
    for k in reversed(range(len(process.schedule))):
        steps = torch.full((len(x),), k, device=x.device)
        given = torch.full_like(steps, int(process.schedule.steps[k]))
        found = process.reverse(network(x, given), x, steps)
        if sampler == "ddim":
            x = _ddim(process.schedule, found, k, eta, noise)
        else:
            x = found.mean + torch.exp(0.5 * found.log_variance) * noise() if k > 0 else found.mean
        yield x, found.clean


def _ddim(schedule: Schedule, found: Reverse, k: int, eta: float, noise: Callable[[], Tensor]) -> Tensor:
    a, before = float(schedule.alpha_bar[k]), float(schedule.alpha_bar_before[k])
    sigma = eta * math.sqrt((1 - before) / (1 - a) * (1 - a / before))
    x = math.sqrt(before) * found.clean + math.sqrt(1 - before - sigma**2) * found.noise
    return x + sigma * noise() if sigma > 0 and k > 0 else x
