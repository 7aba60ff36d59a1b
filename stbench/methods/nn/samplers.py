"""Solvers of the probability-flow ODE (Eq. 13). State and updates stay in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from stbench.methods.nn.precondition import Flow, Network, Parameterization
from stbench.methods.nn.sde import T_MIN, VESDE

Denoiser = Callable[[Tensor, float], Tensor]  # D(x, sigma)


def heun_times(intervals: int) -> Tensor:
    """(intervals + 1,) equally spaced times from 1 to 0.01, as released."""
    return torch.linspace(1.0, T_MIN, intervals + 1)


def heun(denoise: Denoiser, x: Tensor, sde: VESDE, passes: int) -> Tensor:
    """The paper's sampler: Heun on equally spaced times and Tweedie at the last (Algorithm 2, with dt < 0).

    Args:
        denoise: D(x, sigma).
        x: start at sigma_max.
        sde: noise schedule.
        passes: network evaluations, 2 K + 1 for K intervals; an even number wastes one.
    """
    times = heun_times((passes - 1) // 2)
    sigmas = sde.sigma(times).tolist()
    for k, dt in enumerate(times.diff().tolist()):
        # -g(t)^2 score / 2 with score = (D - x) / sigma^2
        d1 = sde.log_ratio * (x - denoise(x, sigmas[k]))
        trial = x + d1 * dt
        d2 = sde.log_ratio * (trial - denoise(trial, sigmas[k + 1]))
        x = x + 0.5 * (d1 + d2) * dt
    return denoise(x, sigmas[-1])


def dpmpp_2m(denoise: Denoiser, x: Tensor, sde: VESDE, passes: int) -> Tensor:
    """DPM-Solver++(2M) on log-linear noise levels, data prediction (Lu et al. 2022, Algorithm 2); one pass each."""
    sigmas = torch.logspace(math.log10(sde.sigma_max), math.log10(sde.sigma_min), passes).tolist()
    previous: Tensor | None = None
    for k in range(passes - 1):
        D = denoise(x, sigmas[k])
        extrapolated = D if previous is None else 1.5 * D - 0.5 * previous
        rho = sigmas[k + 1] / sigmas[k]
        x = rho * x + (1 - rho) * extrapolated
        previous = D
    return denoise(x, sigmas[-1])


def euler(denoise: Denoiser, x: Tensor, sde: VESDE, passes: int) -> Tensor:
    """First order on log-linear noise levels; shrinks the variance when passes are few."""
    sigmas = torch.logspace(math.log10(sde.sigma_max), math.log10(sde.sigma_min), passes).tolist()
    for k in range(passes - 1):
        x = x + (sigmas[k + 1] - sigmas[k]) * (x - denoise(x, sigmas[k])) / sigmas[k]
    return denoise(x, sigmas[-1])


def edm_heun(denoise: Denoiser, x: Tensor, sde: VESDE, passes: int) -> Tensor:
    """Karras et al. 2022, Algorithm 1 with rho = 7: 2 K - 1 passes for K levels."""
    levels = max(1, (passes + 1) // 2)
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    high, low = sde.sigma_max ** (1 / 7), sde.sigma_min ** (1 / 7)
    sigmas = [*((high + ramp * (low - high)) ** 7).tolist(), 0.0]
    for now, after in pairwise(sigmas):
        d1 = (x - denoise(x, now)) / now
        trial = x + (after - now) * d1
        if after == 0:
            return trial
        d2 = (trial - denoise(trial, after)) / after
        x = x + (after - now) * (d1 + d2) / 2
    return x


def flow_ode(network: Network, x: Tensor, passes: int, *, midpoint: bool) -> Tensor:
    """Second-order solver of dx/dtau = F from tau = 1 to 0; two passes per interval.

    Args:
        network: velocity F(x, tau).
        x: unit noise.
        passes: network evaluations.
        midpoint: midpoint rule, else Heun.
    """
    taus = torch.linspace(1.0, 0.0, max(1, passes // 2) + 1).tolist()

    def velocity(state: Tensor, tau: float) -> Tensor:
        return network(state, state.new_full((len(state),), tau))

    for now, after in pairwise(taus):
        step = after - now
        d1 = velocity(x, now)
        if midpoint:
            x = x + step * velocity(x + 0.5 * step * d1, now + 0.5 * step)
        else:
            x = x + 0.5 * step * (d1 + velocity(x + step * d1, after))
    return x


SOLVERS = {"heun": heun, "dpmpp-2m": dpmpp_2m, "euler": euler, "edm-heun": edm_heun}


def sample(
    network: Network, z: Tensor, parameterization: Parameterization, *, solver: str, passes: int, centre: Tensor
) -> Tensor:
    """Draw clean expression from unit noise.

    Args:
        network: F(x_in, t).
        z: (B, N, G) unit noise.
        parameterization: what F means.
        solver: name of a solver.
        passes: network evaluations.
        centre: (G,) mean of the initial noise; ignored by ``flow``, which starts from z itself.

    Returns:
        (B, N, G) on the scale the network was trained on.
    """
    if isinstance(parameterization, Flow):
        return flow_ode(network, z, passes, midpoint=solver == "midpoint")
    sde = parameterization.sde

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return parameterization.denoise(network, x, x.new_full((len(x),), sigma))

    return SOLVERS[solver](denoise, centre + sde.sigma_max * z, sde, passes)


def posterior_mean(network: Network, z: Tensor, parameterization: Parameterization) -> Tensor:
    """Direct estimate of the mean of the draws: an antithetic pair of one-step estimates from pure noise.

    Args:
        network: F(x_in, t).
        z: (B, N, G) unit noise.
        parameterization: one with ``has_mean``; with raw or epsilon the network's error is multiplied by sigma_max.
    """
    if isinstance(parameterization, Flow):
        one = z.new_ones(len(z))
        return 0.5 * ((z - network(z, one)) + (-z - network(-z, one)))
    sigma = z.new_full((len(z),), parameterization.sde.sigma_max)
    x = parameterization.sde.sigma_max * z
    return 0.5 * (parameterization.denoise(network, x, sigma) + parameterization.denoise(network, -x, sigma))
