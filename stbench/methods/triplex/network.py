"""TRIPLEX's network: target, neighbour and global encoder, fusion and four heads (arXiv:2403.07592)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stbench.features.linear import Linear
from stbench.methods.nn.backbone import Backbone
from stbench.methods.nn.sent import sent
from stbench.methods.triplex.blocks import Block, CrossAttention, SlideAttention, WindowAttention
from stbench.methods.triplex.positions import SIDE
from stbench.methods.triplex.settings import TriplexSettings


@dataclass(frozen=True)
class Heads:
    """One prediction of each view, (B, G) each.

    Args:
        fusion: of the fused token, the prediction proper.
        target: of the mean target token.
        neighbour: of the mean neighbour token, masked ones included.
        slide: of the spot's token among all spots of its slide.
    """

    fusion: Tensor
    target: Tensor
    neighbour: Tensor
    slide: Tensor

    def clamped(self) -> Heads:
        """Negative outputs set to 0; they get no gradient."""
        return Heads(*(value.clamp(min=0) for value in (self.fusion, self.target, self.neighbour, self.slide)))


@dataclass(frozen=True)
class Tokens:
    """What the heads read.

    Args:
        target: (B, T, D) of the spot's own patch.
        neighbours: (B, 25, D) of the tiles around it.
        slide: (B, D) of the spot among all spots.
        fusion: (B, D) of all three.
    """

    target: Tensor
    neighbours: Tensor
    slide: Tensor
    fusion: Tensor


class NeighbourEncoder(nn.Module):
    """Transformer over the tiles of a neighbourhood with a bias per offset.

    Args:
        dim: width D of the tokens.
        depth: blocks.
        heads: attention heads.
        hidden: width of the feed-forward parts.
        dropout: of the blocks.
        rows: tiles from top to bottom.
        columns: tiles from left to right.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, hidden: int, dropout: float, rows: int = SIDE, columns: int = SIDE
    ) -> None:
        super().__init__()
        layers = (WindowAttention(dim, heads, dropout, rows, columns) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(layer, dim, hidden, dropout) for layer in layers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, n, D) tokens from (B, n, D) features; ``mask`` (B, n) is True for usable tiles."""
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.norm(x)


class PositionEncoding(nn.Module):
    """Atypical position encoding: a depthwise convolution over the grid of a slide's spots, read at each spot.

    Args:
        dim: width of the tokens.
        kernel: side of the convolution.
        residual: add its input.
    """

    def __init__(self, dim: int, kernel: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.residual = residual

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """(N, D) from (N, D) and (N, 2) column and row of each spot; spots of one cell are averaged, holes are 0.

        Cells are best on the CPU: the size of the grid is read off them.
        """
        columns, rows = (int(size) + 1 for size in cells.amax(dim=0))
        n_cells, D = rows * columns, x.shape[1]
        numbers = cells[:, 1] * columns + cells[:, 0]  # (N,)
        counts = sent(torch.bincount(numbers, minlength=n_cells).clamp(min=1), x.device)  # (n_cells,)
        place = sent(numbers, x.device)
        sums = x.new_zeros(n_cells, D).index_add(0, place, x)  # (n_cells, D)
        grid = (sums / counts[:, None]).T.reshape(1, D, rows, columns)  # (1, D, rows, columns)
        found = self.conv(grid).flatten(2)[0].T[place]  # (N, D)
        return x + found if self.residual else found


class GlobalEncoder(nn.Module):
    """Transformer over all spots of a slide, positions encoded after its first block.

    Args:
        dim: width D of the tokens.
        depth: blocks, at least 2.
        heads: attention heads.
        hidden: width of the feed-forward parts.
        dropout: of the blocks.
        weight_dropout: of the attention weights, in training.
        kernel: side of the position encoding.
        residual: whether the position encoding is added to the tokens or replaces them.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        *,
        weight_dropout: float = 0.0,
        kernel: int = 3,
        residual: bool = False,
    ) -> None:
        super().__init__()
        layers = (SlideAttention(dim, heads, dropout, weight_dropout) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(layer, dim, hidden, dropout) for layer in layers)
        self.position = PositionEncoding(dim, kernel, residual)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """(N, D) tokens from (N, D) features and (N, 2) grid cells of one slide."""
        return self.norm(self.states(x, cells)[-1])

    def states(self, x: Tensor, cells: Tensor) -> list[Tensor]:
        """(N, D) after the first block, after the position encoding, and after each further block."""
        first, *rest = self.blocks
        found = [first(x)]
        found.append(self.position(found[0], cells))
        for block in rest:
            found.append(block(found[-1]))
        return found


class FusionEncoder(nn.Module):
    """Cross-attention of a spot's global token with its target tokens and, by the same weights, with its neighbours.

    Args:
        dim: width D of the tokens.
        depth: blocks.
        heads: attention heads.
        hidden: width of the feed-forward parts.
        dropout: of the blocks.
    """

    def __init__(self, dim: int, depth: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layers = (CrossAttention(dim, heads, dropout) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(layer, dim, hidden, dropout) for layer in layers)
        self.norm = nn.LayerNorm(dim)

    def forward(self, slide: Tensor, target: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """(B, D) from (B, D) global, (B, T, D) target and (B, n, D) neighbour tokens with their mask (B, n)."""
        return self.norm(self.branch(slide, target) + self.branch(slide, neighbours, mask))

    def branch(self, slide: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, D) the global token after attending to one kind of token."""
        x = slide.unsqueeze(1)  # (B, 1, D)
        for block in self.blocks:
            x = block(x, keys, mask)
        return x.squeeze(1)  # (B, D)


class TriplexNetwork(nn.Module):
    """TRIPLEX.

    Args:
        settings: sizes and switches.
        n_genes: genes G predicted.
        n_target: width of a target token's features; 0 where the network reads the patch itself.
        n_context: width of a tile's and of a spot's features among the slide; 0 where the network's frozen extractor
            makes them.
    """

    def __init__(self, settings: TriplexSettings, n_genes: int, n_target: int, n_context: int) -> None:
        super().__init__()
        s, dim = settings, settings.emb_dim
        trained = s.backbone_trained
        self.backbone = Backbone(s.backbone, trained=trained) if s.input == "patches" else None
        self.extractor = Backbone(s.backbone, trained=False) if s.neighbours == "patches" else None
        n_context = self.extractor.dim if self.extractor is not None else n_context
        self.target_in = Linear(self.backbone.dim if self.backbone is not None else n_target, dim)
        self.neighbour_in, self.slide_in = _projection(n_context, dim), _projection(n_context, dim)
        self.neighbour_encoder = NeighbourEncoder(
            dim, s.neighbour_depth, s.neighbour_heads, int(dim * s.neighbour_mlp), s.neighbour_dropout
        )
        self.global_encoder = GlobalEncoder(
            dim,
            s.global_depth,
            s.global_heads,
            int(dim * s.global_mlp),
            s.global_dropout,
            weight_dropout=s.global_dropout if s.attention_dropout else 0.0,
            kernel=s.kernel,
            residual=s.position_residual,
        )
        self.fusion_encoder = FusionEncoder(
            dim, s.fusion_depth, s.fusion_heads, int(dim * s.fusion_mlp), s.fusion_dropout
        )
        self.head, self.target_head = Linear(dim, n_genes), Linear(dim, n_genes)
        self.neighbour_head, self.slide_head = Linear(dim, n_genes), Linear(dim, n_genes)

    def slide_tokens(self, context: Tensor, cells: Tensor) -> Tensor:
        """(N, D) a token per spot of a slide from all (N, d) features and (N, 2) grid cells of it."""
        return self.global_encoder(self.slide_in(context), cells)

    def tokens(self, target: Tensor, neighbours: Tensor, mask: Tensor, slide: Tensor) -> Tokens:
        """Tokens of B spots.

        Args:
            target: (B, T, d) features, or (B, side, side, 3) uint8 patches where the network reads them.
            neighbours: (B, 25, d) features of the tiles, row by row.
            mask: (B, 25) True for usable tiles.
            slide: (B, D) the spots' rows of :meth:`slide_tokens`.
        """
        own = self.target_in(target if self.backbone is None else self.backbone.tokens(target))  # (B, T, D)
        around = self.neighbour_encoder(self.neighbour_in(neighbours), mask)  # (B, 25, D)
        return Tokens(own, around, slide, self.fusion_encoder(slide, own, around, mask))

    def heads(self, tokens: Tokens) -> Heads:
        """The four predictions, not clamped."""
        return Heads(
            self.head(tokens.fusion),  # (B, G), as all four
            self.target_head(tokens.target.mean(dim=1)),
            self.neighbour_head(tokens.neighbours.mean(dim=1)),
            self.slide_head(tokens.slide),
        )

    def forward(self, target: Tensor, neighbours: Tensor, mask: Tensor, slide: Tensor) -> Heads:
        """The four predictions of B spots; see :meth:`tokens`."""
        return self.heads(self.tokens(target, neighbours, mask, slide))


def _projection(width: int, dim: int) -> nn.Module:
    """To the width of the tokens; nothing where it is theirs, as released."""
    return nn.Identity() if width == dim else Linear(width, dim)
