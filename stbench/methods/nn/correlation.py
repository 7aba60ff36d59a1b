"""Correlation of spots over genes, the edge state of joint node-edge diffusion (paper Eq. 2 and 33)."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-6  # of the largest value, root mean square over genes: float32 rounding of a constant spot


def spot_correlation(x: Tensor, mask: Tensor | None = None, *, by_sum: bool = False) -> Tensor:
    """Correlation of every pair of spots over genes.

    Args:
        x: (..., N, G) expression.
        mask: (..., N) True for real spots; all if left out.
        by_sum: centre each spot by the sum of its genes instead of their mean, as released; for expression without
            negative values the result is then close to 1 everywhere.

    Returns:
        (..., N, N) symmetric, 0 on the diagonal, for masked spots and for spots constant over genes.
    """
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round a correlation by 0.004
        total = x.sum(dim=-1, keepdim=True)
        centred = x - (total if by_sum else total / x.shape[-1])
        lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        constant = lengths <= _TINY * x.shape[-1] ** 0.5 * x.abs().amax(dim=-1, keepdim=True)
        unit = torch.where(constant, 0, centred / torch.where(constant, 1, lengths))
        if mask is not None:
            unit = unit * mask.unsqueeze(-1)
        off_diagonal = 1 - torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
        return (unit @ unit.transpose(-1, -2)) * off_diagonal
