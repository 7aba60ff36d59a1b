"""Attention blocks of TRIPLEX's encoders: within a neighbourhood, over a slide, and from one token to many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from stbench.features.linear import Linear
from stbench.methods.nn.lean import PackedDropout, gelu_dropped_linear

MASKED = -65504.0  # replaces the logit of a masked key, so that a row without any valid key is uniform, as released
_ROWS = 512  # queries at a time where attention weights have to exist


class Block(nn.Module):
    """Pre-norm residual block: ``x += Attention(LN(x)); x += FF(LN(x))``.

    Args:
        attention: takes normalised tokens, normalised keys or None (the tokens themselves), and a mask or None.
        dim: width D of the tokens.
        hidden: width of the feed-forward part.
        dropout: after each of its two maps.
    """

    def __init__(self, attention: nn.Module, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), attention
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden, dropout)

    def forward(self, x: Tensor, keys: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, n, D) of tokens x (B, n, D), keys (B, m, D) or None, mask (B, m) or None; without B over a slide."""
        x = self.attended(x, keys, mask)
        return x + self.mlp(self.mlp_norm(x))

    def attended(self, x: Tensor, keys: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The block without its feed-forward part; queries and keys share one norm."""
        return x + self.attention(self.norm(x), None if keys is None else self.norm(keys), mask)


class FeedForward(nn.Sequential):
    """Two maps, GELU between them, dropout after each; of what lies between the first map's output alone is kept."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        first, second = Linear(dim, hidden), Linear(hidden, dim)  # in the order of their random weights
        super().__init__(first, nn.GELU(), PackedDropout(dropout), second, PackedDropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        first, _, inner, second, outer = self
        assert isinstance(inner, PackedDropout)
        assert isinstance(second, Linear)
        dropped: Tensor = outer(gelu_dropped_linear(first(x), inner, second))
        return dropped


class WindowAttention(nn.Module):
    """Self-attention over the tiles of a neighbourhood, with a bias per absolute offset of rows and columns.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        dropout: after the output map.
        rows: tiles from top to bottom.
        columns: tiles from left to right.
    """

    index: Tensor

    def __init__(self, dim: int, heads: int, dropout: float, rows: int, columns: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Linear(dim, 3 * dim, bias=False), _out(dim, heads, dropout)
        self.table = nn.Parameter(torch.zeros(heads, rows * columns))
        self.register_buffer("index", offset_index(rows, columns), persistent=False)

    def forward(self, x: Tensor, keys: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, n, D) of normalised tiles x (B, n, D) and mask (B, n), True for usable ones; ``keys`` is None."""
        q, k, v = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))  # (B, H, n, D/H)
        return self.out(_joined(_attend(q, k, v, mask, self.bias())))  # (B, n, D)

    def bias(self) -> Tensor:
        """(heads, n, n) added to the logits."""
        return self.table[:, self.index]


def offset_index(rows: int, columns: int) -> Tensor:
    """(n, n) number of the absolute offset between two tiles of a grid, ``columns * |dr| + |dc|``."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack([r.flatten(), c.flatten()])  # (2, n)
    dr, dc = (places[:, :, None] - places[:, None, :]).abs()  # (n, n)
    return dr * columns + dc


class SlideAttention(nn.Module):
    """Self-attention over all spots of a slide in memory linear in their number.

    Query, key and value of a channel are neighbours in the projection: channel ``(head * d + j) * 3 + {0, 1, 2}``.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        dropout: after the output map.
        weight_dropout: on the attention weights, in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float, weight_dropout: float) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, weight_dropout
        self.qkv, self.out = Linear(dim, 3 * dim, bias=False), _out(dim, heads, dropout)

    def forward(self, x: Tensor, keys: Tensor | None, mask: Tensor | None) -> Tensor:
        """(N, D) of the normalised spots x (N, D) of one slide; ``keys`` and ``mask`` are None."""
        channels = self.qkv(x).reshape(*x.shape, 3)  # (N, D, 3)
        q, k, v = (_split(part, self.heads) for part in channels.unbind(-1))  # (H, N, D/H)
        return self.out(_joined(_over_slide(q, k, v, self.weight_dropout if self.training else 0.0)))  # (N, D)


class CrossAttention(nn.Module):
    """Attention from one token to many.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        dropout: after the output map.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = Linear(dim, dim, bias=False), Linear(dim, 2 * dim, bias=False)
        self.out = _out(dim, heads, dropout)

    def forward(self, x: Tensor, keys: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, 1, D) of normalised x (B, 1, D), keys (B, m, D) (x itself for None) and mask (B, m) or None."""
        kv = self.kv(x if keys is None else keys)  # (B, m, 2 D)
        k, v = (_split(part, self.heads) for part in kv.chunk(2, dim=-1))  # (B, H, m, D/H)
        q = _split(self.q(x), self.heads)  # (B, H, 1, D/H)
        return self.out(_joined(_attend(q, k, v, mask)))  # (B, 1, D)


def _out(dim: int, heads: int, dropout: float) -> nn.Module:
    """Output map; a single head has none, as released."""
    return nn.Identity() if heads == 1 else nn.Sequential(Linear(dim, dim), PackedDropout(dropout))


def _split(x: Tensor, heads: int) -> Tensor:
    """(..., n, D) to (..., heads, n, D / heads)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def _joined(x: Tensor) -> Tensor:
    """(..., heads, n, D / heads) to (..., n, D)."""
    return x.transpose(-2, -3).flatten(-2)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None = None) -> Tensor:
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, n, m)
    if bias is not None:
        logits = logits + bias
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None, :], MASKED)
    return logits.softmax(dim=-1) @ v  # (B, H, n, D/H)


def _over_slide(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    q, k, v = (part.unsqueeze(0).contiguous() for part in (q, k, v))  # the fused kernels take nothing else
    if dropout == 0 or not q.is_cpu:
        return scaled_dot_product_attention(q, k, v, dropout_p=dropout)[0]
    parts = torch.split(q, _ROWS, dim=-2)  # a CPU has no fused attention with dropout
    return torch.cat([checkpoint(_dropped, part, k, v, dropout, use_reentrant=False)[0] for part in parts], dim=-2)


def _dropped(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    return scaled_dot_product_attention(q, k, v, dropout_p=dropout)
