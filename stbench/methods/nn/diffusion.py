"""Training noise and sampling on windows of a slide, shared by the diffusion methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from stbench.methods.base import draw_seed
from stbench.methods.nn.precondition import EDM_LOG_MEAN, PARAMETERIZATIONS, Edm, Parameterization
from stbench.methods.nn.sde import VESDE
from stbench.methods.nn.sent import sent
from stbench.methods.nn.windows import WindowBatch
from stbench.training.memory import in_halves

Solver = Callable[[WindowBatch, Tensor, Sequence[int]], Tensor]


def parameterization(
    name: str, sigma_min: float, sigma_max: float, noise_log_mean: float = EDM_LOG_MEAN
) -> Parameterization:
    """The parameterisation of that name with its noise limits; the mean of ln sigma in training is for ``edm``."""
    sde = VESDE(sigma_min, sigma_max)
    return Edm(sde, noise_log_mean) if name == "edm" else PARAMETERIZATIONS[name](sde)


def training_noise(
    p: Parameterization, shape: tuple[int, int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(B,) levels, one per window, and (B, N, G) unit noise, drawn on the CPU so that devices agree."""
    return p.levels(shape[0], generator), torch.randn(shape, generator=generator)


def slide_noise(seed: int, slide_id: str, draws: Sequence[int], n_spots: int, n_genes: int) -> Tensor:
    """(n_draws, n_spots, n_genes) unit noise; draw k depends on seed, slide and k alone."""
    noise = torch.empty(len(draws), n_spots, n_genes)
    for part, draw in zip(noise, draws, strict=True):
        generator = torch.Generator().manual_seed(draw_seed(seed, slide_id, draw))
        torch.randn(n_spots, n_genes, generator=generator, out=part)
    return noise


@torch.no_grad()
def on_windows(
    batches: Iterable[WindowBatch], noise: Tensor, solve: Solver, at_once: Callable[[WindowBatch], int] = lambda _: 1
) -> Tensor:
    """Apply a sampler to every window and put the spots back in their places.

    Where the device has no memory for all windows and draws of a batch, half of them are solved at a time.

    Args:
        batches: windows that cover the slide, every spot in one.
        noise: (n_draws, n_spots, G) unit noise of the slide; the answer takes its place.
        solve: maps a batch, its noise (B, N, G) and, for each window, the position of the draw to clean expression
            (B, N, G).
        at_once: how many draws of a batch go through the network together.

    Returns:
        (n_draws, n_spots, G) on the CPU.
    """
    for batch in batches:
        size = at_once(batch)
        for k in range(0, len(noise), size):
            _solve(batch, noise, range(k, min(k + size, len(noise))), solve)
    return noise


def _solve(batch: WindowBatch, noise: Tensor, draws: Sequence[int], solve: Solver) -> None:
    """Put some draws of a batch in the places of their noise."""
    repeated = batch.repeated(len(draws))
    draw_of = [k for k in draws for _ in batch.spots]
    z = sent(torch.cat([_gather(batch, noise[k]) for k in draws]), batch.features.device)
    clean = in_halves(lambda some: solve(repeated.part(some), z[some], draw_of[some]), len(draw_of)).cpu()
    for row, (k, spots) in enumerate(zip(draw_of, repeated.spots, strict=True)):
        noise[k, torch.from_numpy(spots)] = clean[row, : len(spots)]


def _gather(batch: WindowBatch, values: Tensor) -> Tensor:
    padded = values.new_zeros(*batch.mask.shape, values.shape[-1])
    for row, spots in enumerate(batch.spots):
        padded[row, : len(spots)] = values[torch.from_numpy(spots)]
    return padded
