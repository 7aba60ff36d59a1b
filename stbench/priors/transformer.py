"""The post-norm transformer encoder that Geneformer and scGPT share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of a stack.

    Args:
        width: of the states.
        heads: attention heads.
        feed: width of the feed-forward.
        layers: number of layers.
        eps: of every LayerNorm.
    """

    width: int
    heads: int
    feed: int
    layers: int
    eps: float


class PostNormLayer(nn.Module):
    """x + attention, norm, + ReLU feed-forward, norm."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.norm1 = nn.LayerNorm(sizes.width, eps=sizes.eps)
        self.feed = nn.Sequential(nn.Linear(sizes.width, sizes.feed), nn.ReLU(), nn.Linear(sizes.feed, sizes.width))
        self.norm2 = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (a.unflatten(-1, (self.heads, -1)).transpose(1, 2) for a in self.qkv(x).chunk(3, dim=-1))
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.norm1(x + self.out(attended.transpose(1, 2).flatten(2)))
        out: Tensor = self.norm2(x + self.feed(x))
        return out


class PostNormEncoder(nn.Module):
    """The stack."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormLayer(sizes) for _ in range(sizes.layers))

    def forward(self, x: Tensor, mask: Tensor, *, layers: int | None = None) -> Tensor:
        """States after the first ``layers`` layers, all when None.

        Args:
            x: (B, L, width) embedded tokens.
            mask: (B, L) True for real tokens.
            layers: how many to apply.
        """
        for layer in self.layers[:layers]:
            x = layer(x, mask)
        return x


@torch.inference_mode()
def in_batches(
    sequences: list[Tensor], pad: int, run: Callable[[Tensor, Tensor, list[int]], None], budget: int = 2**14
) -> None:
    """Hand sequences of tokens to ``run`` in padded batches, those of like length together.

    Args:
        sequences: token ids, each (L,); empty ones are left out.
        pad: id that fills up.
        run: takes (B, L) ids, (B, L) mask, and the positions of the batch in ``sequences``.
        budget: tokens per batch.
    """
    order = sorted((i for i, ids in enumerate(sequences) if len(ids)), key=lambda i: len(sequences[i]))
    while order:
        size = len(order)
        # sorted by length: the last of a batch is its longest
        while size > 1 and size * len(sequences[order[size - 1]]) > budget:
            size = max(1, min(size - 1, budget // len(sequences[order[size - 1]])))
        chosen, order = order[:size], order[size:]
        ids = nn.utils.rnn.pad_sequence([sequences[i] for i in chosen], batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(sequences[i]) for i in chosen])
        run(ids, torch.arange(ids.shape[1]) < lengths[:, None], chosen)
