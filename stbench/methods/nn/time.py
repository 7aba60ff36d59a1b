"""Features of a noise level, before any learned map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FOURIER_PI = 3.14159  # truncated in the released code; the phase of the highest frequency depends on it


def sinusoid(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines and sines of ``t`` at geometrically falling frequencies, as FLAG uses them.

    Args:
        t: (B,) noise times, any scale.
        width: number of features; an odd one ends with a zero.

    Returns:
        (B, width) float32, cosines first.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies  # (B, half)
    features = torch.cat([angles.cos(), angles.sin()], dim=-1)  # (B, 2 half)
    return torch.nn.functional.pad(features, (0, width % 2))


def fourier(t: Tensor, width: int) -> Tensor:
    """Sines and cosines at frequencies from 1 to e^6 cycles over [0, 1], as the graph-diffusion methods use them.

    Args:
        t: (B,) noise times in [0, 1].
        width: number of features, even.

    Returns:
        (B, width) float32, sines first.
    """
    half = width // 2
    step = 6.0 / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * step)
    angles = t.float()[:, None] * frequencies * 2.0 * FOURIER_PI  # (B, half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
