"""Diffusion transformer whose tokens are the genes of one spot, shared by FLAG (Section 3.4, Eq. 7) and Stem."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from stbench.features.linear import Linear
from stbench.methods.nn.lean import gelu_linear, modulated_linear, split_heads
from stbench.methods.nn.time import sinusoid

TIME_WIDTH = 256

RELEASED_NAMES = {
    "time.maps": "time_embed.mlp",
    "genes.gene": "gene_joint_embed.gene_name_ebd",
    "genes.count_in": "gene_joint_embed.gene_count_ebd",
    "genes.blocks.*.modulation": "blocks.*.adaLN_modulation.1",
    "genes.blocks.*.qkv": "blocks.*.attn.qkv",
    "genes.blocks.*.out": "blocks.*.attn.proj",
    "genes.blocks.*.mlp_in": "blocks.*.mlp.fc1",
    "genes.blocks.*.mlp_out": "blocks.*.mlp.fc2",
    "genes.modulation": "final_layer.adaLN_modulation.1",
    "genes.out": "final_layer.linear",
}
"""Names of the released codes by ours, of a network with a ``TimeEmbedding`` time and a ``GeneTransformer`` genes."""


def released_name(ours: str, table: Mapping[str, str]) -> str:
    """Name in a released code of a parameter of ours, by the longest prefix in a table; ``*`` is a block's number."""
    number = re.search(r"blocks\.(\d+)\.", ours)
    pattern = re.sub(r"blocks\.\d+\.", "blocks.*.", ours)
    prefix = max((stem for stem in table if pattern == stem or pattern.startswith(f"{stem}.")), key=len)
    theirs = table[prefix] + pattern[len(prefix) :]
    return theirs.replace("*", number[1]) if number else theirs


class TimeEmbedding(nn.Module):
    """Sinusoid of the scaled time and a two-layer map."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.maps = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """(B, width) of times t (B,)."""
        embedded: Tensor = self.maps(sinusoid(t * self.scale, TIME_WIDTH))  # (B, width)
        return embedded


def image_condition(n_features: int, width: int) -> nn.Sequential:
    """From the features of one spot (S, d) to its condition (S, D), as Stem conditions and FLAG without a graph."""
    return nn.Sequential(nn.Linear(n_features, n_features), nn.SiLU(), nn.Linear(n_features, width))


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for a linear layer; for ``nn.Module.apply``, as released."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normal_weights(module: nn.Module) -> None:
    """Weights from N(0, 0.02^2), biases left alone, as both released codes start the maps of a condition."""
    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=0.02)


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Affine map of normed tokens (S, G, D) by per-spot vectors (S, D)."""
    return torch.addcmul(shift.unsqueeze(1), h, 1 + scale.unsqueeze(1))


class DitBlock(nn.Module):
    """adaLN-Zero transformer block over the tokens of each spot."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        inner = int(width * mlp_ratio)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.mlp_in, self.mlp_out = Linear(width, inner), Linear(inner, width)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Transform tokens h (S, G, D) under conditions c (S, D)."""
        modulation = self.modulation(nn.functional.silu(c))  # (S, 6 D)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)  # (S, D)
        attended = self._attend(modulated_linear(h, scale1, shift1, self.norm.eps, self.qkv))  # (S, G, D)
        h = torch.addcmul(h, gate1.unsqueeze(1), attended)
        return torch.addcmul(h, gate2.unsqueeze(1), self._feed(h, scale2, shift2))

    def _attend(self, qkv: Tensor) -> Tensor:
        mixed = nn.functional.scaled_dot_product_attention(*split_heads(qkv, self.heads))  # (S, H, G, D/H)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))  # (S, G, D)
        return out

    def _feed(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return gelu_linear(modulated_linear(h, scale, shift, self.norm.eps, self.mlp_in), self.mlp_out)
        out: Tensor = self.mlp_out(self.mlp_in.gelu(modulate(self.norm(h), shift, scale)))  # (S, G, D)
        return out


class GeneTransformer(nn.Module):
    """Gene tokens, blocks and head.

    Args:
        n_genes: G tokens per spot.
        width: D of tokens and condition.
        layers: blocks.
        heads: attention heads.
        mlp_ratio: feed-forward expansion.
        outputs: values per gene.
    """

    def __init__(
        self, n_genes: int, width: int, layers: int, heads: int, mlp_ratio: float, *, outputs: int = 1
    ) -> None:
        super().__init__()
        self.count_in = nn.Sequential(nn.Linear(1, width), nn.SiLU(), Linear(width, width))
        self.gene = nn.Parameter(torch.empty(n_genes, width))
        self.blocks = nn.ModuleList(DitBlock(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, outputs)
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
        embedded: Tensor = self.count_in(x.unsqueeze(-1))  # (S, G, D)
        return embedded + self.gene

    def states(self, x: Tensor, c: Tensor) -> Iterator[Tensor]:
        """The tokens (S, G, D) after each block, for noisy expression x (S, G) and conditions c (S, D)."""
        h = self.tokens(x)  # (S, G, D)
        for block in self.blocks:
            h = block(h, c)
            yield h

    def head(self, h: Tensor, c: Tensor) -> Tensor:
        """(S, G, outputs) values of the last tokens h (S, G, D) under conditions c (S, D)."""
        shift, scale = self.modulation(nn.functional.silu(c)).chunk(2, dim=-1)  # (S, D)
        values: Tensor = self.out(modulate(self.norm(h), shift, scale))  # (S, G, outputs)
        return values

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks.

        Args:
            x: (S, G) noisy expression of S spots.
            c: (S, D) conditions.

        Returns:
            (S, G) first output and the tokens (S, G, D) after each block.
        """
        states = list(self.states(x, c))
        return self.head(states[-1], c)[..., 0], states
