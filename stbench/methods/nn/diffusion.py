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

Solver = Callable[[WindowBatch, Tensor, int], Tensor]


def parameterization(
    name: str, sigma_min: float, sigma_max: float, noise_log_mean: float = EDM_LOG_MEAN
) -> Parameterization:
    """The parameterisation of that name with its noise limits; the mean of ln sigma in training is for ``edm``."""
    sde = VESDE(sigma_min, sigma_max)
    return Edm(sde, noise_log_mean) if name == "edm" else PARAMETERIZATIONS[name](sde)


def training_noise(p: Parameterization, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B,) levels, one per window, and (B, N, G) unit noise, drawn on the CPU so that devices agree."""
    sigma = p.levels(len(clean), generator)
    z = torch.randn(clean.shape, generator=generator)
    return sent(sigma, clean.device), sent(z, clean.device)


def slide_noise(seed: int, slide_id: str, draws: Sequence[int], n_spots: int, n_genes: int) -> Tensor:
    """(n_draws, n_spots, n_genes) unit noise; draw k depends on seed, slide and k alone."""
    noise = torch.empty(len(draws), n_spots, n_genes)
    for part, draw in zip(noise, draws, strict=True):
        generator = torch.Generator().manual_seed(draw_seed(seed, slide_id, draw))
        torch.randn(n_spots, n_genes, generator=generator, out=part)
    return noise


@torch.no_grad()
def on_windows(batches: Iterable[WindowBatch], noise: Tensor, solve: Solver) -> Tensor:
    """Apply a sampler to every window and put the spots back in their places.

    Where the device has no memory for all windows of a batch, half of them are solved at a time.

    Args:
        batches: windows that cover the slide, every spot in one.
        noise: (n_draws, n_spots, G) unit noise of the slide; the answer takes its place.
        solve: maps a batch, its noise (B, N, G) and the position of the draw to clean expression (B, N, G).

    Returns:
        (n_draws, n_spots, G) on the CPU.
    """
    for batch in batches:
        device = batch.features.device
        for k in range(len(noise)):
            clean = _solved(batch, sent(_gather(batch, noise[k]), device), k, solve).cpu()
            for row, spots in enumerate(batch.spots):
                noise[k, torch.from_numpy(spots)] = clean[row, : len(spots)]
    return noise


def _solved(batch: WindowBatch, z: Tensor, k: int, solve: Solver) -> Tensor:
    return in_halves(lambda some: solve(batch.part(some), z[some], k), len(batch.spots))


def _gather(batch: WindowBatch, values: Tensor) -> Tensor:
    padded = values.new_zeros(*batch.mask.shape, values.shape[-1])
    for row, spots in enumerate(batch.spots):
        padded[row, : len(spots)] = values[torch.from_numpy(spots)]
    return padded
