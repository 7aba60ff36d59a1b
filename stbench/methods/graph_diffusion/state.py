"""The joint state as one tensor, so that every parameterisation and solver takes nodes and edges alike.

The row of spot i holds its G genes, then its N edges. A symmetric start stays symmetric under every solver: the
network's edge output is symmetric with zero diagonal, and all updates are entry by entry.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(x: Tensor, e: Tensor) -> Tensor:
    """(B, N, G + N) state of nodes (B, N, G) and edges (B, N, N)."""
    return torch.cat([x, e], dim=-1)


def unpack(state: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (B, N, G) and edges (B, N, N) of a state."""
    n_genes = state.shape[-1] - state.shape[-2]
    return state[..., :n_genes], state[..., n_genes:]


def mirrored(z: Tensor) -> Tensor:
    """(..., N, N) noise of the pairs above the diagonal, mirrored: symmetric, unit variance, zero diagonal."""
    upper = z.triu(1)
    return upper + upper.transpose(-1, -2)


def averaged(z: Tensor) -> Tensor:
    """(..., N, N) mean of noise and its transpose, zero diagonal, as released: standard deviation 0.71, not 1."""
    return mirrored((z + z.transpose(-1, -2)) / 2)
