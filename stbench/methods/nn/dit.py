"""Diffusion transformer whose tokens are the genes of one spot (paper Section 3.4, Eq. 7)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Affine map of normed tokens (S, G, D) by per-spot vectors (S, D)."""
    return h * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class DitBlock(nn.Module):
    """adaLN-Zero transformer block over the tokens of each spot."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        inner = int(width * mlp_ratio)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Transform tokens h (S, G, D) under conditions c (S, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(nn.functional.silu(c)).chunk(6, dim=-1)
        h = h + gate1.unsqueeze(1) * self._attend(modulate(self.norm(h), shift1, scale1))
        inner = nn.functional.gelu(self.mlp_in(modulate(self.norm(h), shift2, scale2)), approximate="tanh")
        return h + gate2.unsqueeze(1) * self.mlp_out(inner)

    def _attend(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (S, H, G, D/H)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return out


class GeneTransformer(nn.Module):
    """Gene tokens, blocks and head.

    Args:
        n_genes: G tokens per spot.
        width: D of tokens and condition.
        layers: blocks.
        heads: attention heads.
        mlp_ratio: feed-forward expansion.
    """

    def __init__(self, n_genes: int, width: int, layers: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.count_in = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.gene = nn.Parameter(torch.empty(n_genes, width))
        self.blocks = nn.ModuleList(DitBlock(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero modulations and output, uniform gene table: the output is 0 and blocks are identities at the start."""
        bound = 1 / math.sqrt(self.gene.shape[1])
        nn.init.uniform_(self.gene, -bound, bound)
        zero = [block.modulation for block in self.blocks if isinstance(block, DitBlock)]
        for parameter in nn.ModuleList([*zero, self.modulation, self.out]).parameters():
            nn.init.zeros_(parameter)

    def tokens(self, x: Tensor) -> Tensor:
        """(S, G, D) tokens of noisy expression x (S, G)."""
        embedded: Tensor = self.count_in(x.unsqueeze(-1))
        return embedded + self.gene

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks.

        Args:
            x: (S, G) noisy expression of S spots.
            c: (S, D) conditions.

        Returns:
            (S, G) output and the tokens (S, G, D) after each block.
        """
        h = self.tokens(x)
        states = []
        for block in self.blocks:
            h = block(h, c)
            states.append(h)
        shift, scale = self.modulation(nn.functional.silu(c)).chunk(2, dim=-1)
        return self.out(modulate(self.norm(h), shift, scale)).squeeze(-1), states
