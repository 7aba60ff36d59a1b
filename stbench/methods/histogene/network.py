"""HisToGene's network: tokens of image and position, a pre-norm transformer over the slide, a linear head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stbench.features.linear import Linear
from stbench.methods.histogene.settings import PIXELS, HisToGeneSettings
from stbench.methods.nn.backbone import Backbone
from stbench.methods.nn.lean import PackedDropout, gelu_dropped_linear

_COLOURS = 3
_CHUNK = 2**21  # pixel values made numbers at a time, which are four times as large


class Block(nn.Module):
    """One pre-norm block; attention is computed blockwise, so that no (N, N) matrix is stored.

    Args:
        settings: widths and dropout.
    """

    def __init__(self, settings: HisToGeneSettings) -> None:
        super().__init__()
        dim, inner = settings.dim, settings.heads * settings.head_dim
        hidden = round(settings.mlp_ratio * dim)
        self.heads, self.head_dim = settings.heads, settings.head_dim
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = Linear(dim, 3 * inner, bias=False)
        self.out = Linear(inner, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp_in = Linear(dim, hidden)
        self.mlp_out = Linear(hidden, dim)
        self.dropout = PackedDropout(settings.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) to the same."""
        x = x + self.dropout(self.out(self._attend(self.attention_norm(x))))
        hidden = self.mlp_in(self.mlp_norm(x))  # (B, N, hidden)
        return x + self.dropout(gelu_dropped_linear(hidden, self.dropout, self.mlp_out))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )  # (B, H, N, head_dim)
        # four dimensions: with three, torch falls back to storing the scores
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, N, H head_dim)


class HisToGeneNetwork(nn.Module):
    """Expression of every spot from all spots of the slide.

    ``token = W x + b + E_x[i] + E_y[j]``; blocks; ``LayerNorm`` and a linear map to genes. The map is equivariant under
    permutations of the spots.

    Args:
        settings: sizes and switches.
        n_genes: genes predicted.
        n_features: width of cached features, 0 where patches are read.
        n_x: rows of the table of x positions.
        n_y: rows of the table of y positions.
    """

    def __init__(self, settings: HisToGeneSettings, n_genes: int, n_features: int, n_x: int, n_y: int) -> None:
        super().__init__()
        dim = settings.dim
        self.image_encoder: Backbone | None = None
        n_inputs = n_features or _COLOURS * settings.patch_px**2
        if settings.input == "patches" and settings.backbone != PIXELS:
            self.image_encoder = Backbone(settings.backbone, trained=settings.backbone_trained)
            n_inputs = self.image_encoder.dim
        self.pixel_scale = 1 / 255 if settings.pixel_scale == "unit" else 1.0
        self.patch_embedding = Linear(n_inputs, dim)
        self.x_embed = nn.Embedding(n_x, dim)
        self.y_embed = nn.Embedding(n_y, dim)
        self.dropout = PackedDropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.gene_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_genes))

    def image_tokens(self, spots: Tensor) -> Tensor:
        """(B, N, dim) image part of the tokens.

        Args:
            spots: (B, N, n) vectors, or (B, N, P, P, 3) uint8 patches.
        """
        if spots.dtype != torch.uint8:
            return self.patch_embedding(spots)  # (B, N, dim)
        B, N = spots.shape[:2]
        patches = spots.flatten(0, 1)  # (B N, P, P, 3)
        if self.image_encoder is not None:
            vectors = self.image_encoder.in_chunks(patches)  # (B N, n)
            return self.patch_embedding(vectors).view(B, N, -1)  # (B, N, dim)
        layer = self.patch_embedding
        embedded: Tensor = _Embedded.apply(patches, self.pixel_scale, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
        return embedded.view(B, N, -1)  # (B, N, dim)

    def position_tokens(self, positions: Tensor) -> Tensor:
        """(B, N, dim) position part of the tokens at (B, N, 2) rows of the tables."""
        return self.x_embed(positions[..., 0]) + self.y_embed(positions[..., 1])  # (B, N, dim)

    def tokens(self, spots: Tensor, positions: Tensor) -> Tensor:
        """(B, N, dim) what enters the transformer, before dropout."""
        return self.image_tokens(spots) + self.position_tokens(positions)

    def hidden(self, tokens: Tensor) -> Tensor:
        """(B, N, dim) after the last block."""
        x = self.dropout(tokens)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, spots: Tensor, positions: Tensor) -> Tensor:
        """(B, N, G) expression; see :meth:`image_tokens` and :meth:`position_tokens` for the arguments."""
        tokens = self.tokens(spots, positions)  # (B, N, dim)
        return self.gene_head(self.hidden(tokens))  # (B, N, G)


class _Embedded(torch.autograd.Function):
    """Linear map of pixel values; keeps the patches as bytes, and makes numbers of a few of their columns at a time."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, scale: float, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(patches)
        ctx.scale, ctx.weight = scale, (weight.shape, weight.dtype)
        out = bias.expand(len(patches), -1)
        for values, inputs in _columns(patches, scale):
            out = torch.addmm(out, values.to(weight.dtype), weight[:, inputs].T)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        shape, dtype = ctx.weight
        found, grad = grad.new_empty(shape, dtype=dtype), grad.to(dtype)
        for values, inputs in _columns(ctx.saved_tensors[0], ctx.scale):
            torch.mm(grad.T, values.to(dtype), out=found[:, inputs])
        return None, None, found, grad.sum(dim=0)


def _columns(patches: Tensor, scale: float) -> Iterator[tuple[Tensor, slice]]:
    """(b, k) pixel values of some columns and their places among all, x slowest, then y, then colour, as released."""
    column = patches[0, :, 0].numel()
    size = max(1, _CHUNK // (len(patches) * column))
    for first in range(0, patches.shape[2], size):
        values = patches[:, :, first : first + size].transpose(1, 2).flatten(1).float()
        yield (values if scale == 1 else values.mul_(scale)), slice(first * column, (first + size) * column)
