"""STFlow's network: spots attend to their neighbours under image, geometry and difference of expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stbench.features.linear import Linear
from stbench.methods.nn.dit import TimeEmbedding
from stbench.methods.nn.lean import LeanDropout
from stbench.methods.nn.sent import sent
from stbench.methods.stflow.gated import GatedMap
from stbench.methods.stflow.geometry import SpotGraph
from stbench.methods.stflow.settings import StFlowSettings

_CHUNK = 2**19  # spots x neighbours x heads x width that attention works on at a time; fits a processor's cache
_KEPT = 2**24  # the same, above which training computes a chunk's inner states again instead of keeping them
_NOWHERE = -1e30  # logit of a neighbour that is none; finite, so that a spot without neighbours gives no NaN
_SIGNS = ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))
_TURNS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


@dataclass(frozen=True)
class BlockOutput:
    """What a block makes of N spots.

    Args:
        attended: (N, d) what attention adds to the tokens.
        tokens: (N, d).
        expression: (N, G) the block's estimate of the clean expression.
    """

    attended: Tensor
    tokens: Tensor
    expression: Tensor


class LocalAttention(nn.Module):
    """Attention over a spot's neighbours; the score of a pair is a small network, not a product.

    Args:
        settings: widths, heads, dropout, activation.
        n_genes: G.
    """

    def __init__(self, settings: StFlowSettings, n_genes: int) -> None:
        super().__init__()
        d, e, self.heads = settings.hidden_dim, settings.edge_dim, settings.heads
        self.edge_distance = settings.edge_distance
        make = partial(GatedMap, activation=settings.activation, dropout=settings.dropout)
        self.norm = nn.LayerNorm(d)
        self.qkv = Linear(d, 3 * d)
        self.edge = make(2 + settings.edge_distance, e, e)
        self.parts = [d // self.heads, d // self.heads, e // self.heads, n_genes]
        scoring = "swiglu" if settings.activation == "swiglu" else "gelu"  # never relu, as released
        self.score = GatedMap(sum(self.parts), d, 1, scoring, settings.dropout)
        self.out = make(d + e, d, d)
        self.dropout = LeanDropout(settings.attention_dropout)

    def forward(self, h: Tensor, y: Tensor, graph: SpotGraph, edges: Tensor | None = None) -> Tensor:
        """(N, d) of tokens h (N, d), expression y (N, G) and a graph of N spots.

        The first map of the score is linear, so the spots' parts of it are computed once per spot, not once per pair.
        """
        q, k, v = self.qkv(self.norm(h)).chunk(3, dim=-1)  # (N, d)
        of_query, of_key, of_edge, of_genes = torch.split(self.score.first.weight, self.parts, dim=1)
        level = (y @ of_genes.T).unsqueeze(1)  # (N, 1, d)
        own = (self._by_head(q) @ of_query.T + self.score.first.bias).sub_(level)  # (N, H, d)
        other = (self._by_head(k) @ of_key.T).add_(level)  # (N, H, d)
        found = []
        cost = max(1, graph.width * self.heads * h.shape[1])
        again = _again(len(graph), cost)
        size = max(1, (_KEPT if again else _CHUNK) // cost)
        for start in range(0, len(graph), size):
            rows = slice(start, start + size)
            given = None if edges is None else edges[rows]
            attend = partial(self._attend, graph.rows(start, start + size), given, of_edge)
            if again:
                found.append(checkpoint(attend, own[rows], other, v, use_reentrant=False))
            else:
                found.append(attend(own[rows], other, v))
        return torch.cat(found)  # (N, d)

    def edge_states(self, graph: SpotGraph) -> Tensor:
        """(N, K, e) embeddings of the pairs, the same however the slide is turned or mirrored.

        Where the axes of a neighbourhood mean something, the average over both signs of both axes. In a round
        neighbourhood they do not; there each neighbour is looked at along and across its own direction, forwards and
        backwards, which is the average over a circle at four points.
        """
        N, K = graph.neighbours.shape
        radius = torch.linalg.vector_norm(graph.frame, dim=-1, keepdim=True)  # (N, K, 1)
        found = graph.frame.new_zeros(N, K, self.edge.second.out_features)  # (N, K, e)
        for side, places, frames in ((graph.elongated, graph.frame, _SIGNS), (graph.round, radius, _TURNS)):
            turned = places[side.rows].unsqueeze(2) * sent(torch.tensor(frames), places.device)  # (n, K, 4, 2)
            mean = self._averaged(turned, graph.distance[side.rows])  # (n, K, e)
            found = found.index_add(0, side.rows, side.share * mean.float())
        return found

    def _averaged(self, places: Tensor, distance: Tensor) -> Tensor:
        """(n, K, e) mean of the edge map over the frames of places (n, K, frames, 2)."""
        if self.edge_distance:
            places = torch.cat([places, distance[..., None, None].expand(*places.shape[:3], 1)], dim=-1)  # (n, K, 4, 3)
        inner = self.edge.inner(self.edge.first(places))  # (n, K, 4, inner)
        if not self.training:
            inner = inner.mean(dim=2, keepdim=True)  # the second map is linear; training drops parts frame by frame
        return self.edge.outer(inner).mean(dim=2)  # (n, K, e)

    def _attend(
        self, graph: SpotGraph, edges: Tensor | None, of_edge: Tensor, own: Tensor, other: Tensor, v: Tensor
    ) -> Tensor:
        E = self._by_head(self.edge_states(graph) if edges is None else edges)  # (n, K, H, e/H)
        hidden = own.unsqueeze(1) + _gathered(other, graph.neighbours) + E @ of_edge.T  # (n, K, H, d)
        logits = self.score.outer(self.score.inner(hidden)).squeeze(-1)  # (n, K, H)
        there = (graph.weight > 0).unsqueeze(-1)  # (n, K, 1)
        bias = torch.where(there, graph.weight.unsqueeze(-1).clamp_min(1e-30).log(), _NOWHERE)  # (n, K, 1)
        a = self.dropout(torch.softmax(logits + bias, dim=1) * there).unsqueeze(-1)  # (n, K, H, 1)
        values = (a * self._by_head(_gathered(v, graph.neighbours))).sum(dim=1).flatten(1)  # (n, d)
        pairs = (a * E).sum(dim=1).flatten(1)  # (n, e)
        return self.out(torch.cat([values, pairs], dim=-1))  # (n, d)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)  # (..., H, width/H)


def _again(spots: int, cost: int) -> bool:
    """Whether training computes inner states again, for so many spots of so many numbers each."""
    return torch.is_grad_enabled() and spots * cost > _KEPT


def _gathered(values: Tensor, neighbours: Tensor) -> Tensor:
    """(n, K, ...) values (N, ...) of the neighbours (n, K); its gradient is quicker than that of plain indexing."""
    return values.index_select(0, neighbours.flatten()).view(*neighbours.shape, *values.shape[1:])


class Block(nn.Module):
    """Attention, feed-forward map, and a head that gives a new estimate of the expression."""

    def __init__(self, settings: StFlowSettings, n_genes: int) -> None:
        super().__init__()
        d, p = settings.hidden_dim, settings.dropout
        self.attention = LocalAttention(settings, n_genes)
        self.feed = GatedMap(d, 4 * d, d, settings.activation, p)
        last = p if settings.output_dropout else 0.0
        self.head = nn.Sequential(
            nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d), LeanDropout(p), nn.Linear(d, n_genes), LeanDropout(last)
        )

    def forward(self, h: Tensor, y: Tensor, graph: SpotGraph, edges: Tensor | None = None) -> BlockOutput:
        """Tokens and estimate of N spots.

        Args:
            h: (N, d) tokens.
            y: (N, G) expression that neighbours compare.
            graph: neighbours of the spots.
            edges: (N, K, e) what :meth:`LocalAttention.edge_states` gave for this graph; computed if left out.
        """
        attended = self.attention(h, y, graph, edges)  # (N, d)
        cost = self.feed.first.out_features
        if not _again(len(graph), cost):
            return BlockOutput(attended, *self._finish(h, attended))
        size = max(1, _KEPT // cost)
        parts = zip(torch.split(h, size), torch.split(attended, size), strict=True)
        tokens, expression = zip(*(checkpoint(self._finish, *part, use_reentrant=False) for part in parts), strict=True)
        return BlockOutput(attended, torch.cat(tokens), torch.cat(expression))

    def _finish(self, h: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, d) and expression (n, G) of some spots, given what attention adds to their tokens."""
        h = h + attended
        h = h + self.feed(h)
        return h, self.head(h)  # (n, d), (n, G)


class StFlowNetwork(nn.Module):
    """Predicts the clean expression of all spots of a slide from a noisy one.

    Args:
        settings: widths, depths and switches.
        n_genes: G.
        n_features: F, width of the image features.
    """

    def __init__(self, settings: StFlowSettings, n_genes: int, n_features: int) -> None:
        super().__init__()
        self.settings = settings
        self.image = Linear(n_features, settings.hidden_dim)
        self.time = TimeEmbedding(settings.hidden_dim, settings.time_scale)
        self.blocks = nn.ModuleList(Block(settings, n_genes) for _ in range(settings.layers))

    def forward(
        self, x: Tensor, t: Tensor, features: Tensor, graph: SpotGraph, edges: Sequence[Tensor] | None = None
    ) -> Tensor:
        """(N, G) estimate of the clean expression, the mean over blocks; linear, so possibly negative.

        Args:
            x: (N, G) noisy expression of all spots of one or several slides.
            t: (n_slides,) flow time in [0, 1].
            features: (N, F) image features.
            graph: neighbours of the N spots.
            edges: per block, what :meth:`edge_states` gave for this graph; computed on the way if left out.
        """
        estimates = torch.stack([out.expression for out in self.states(x, t, features, graph, edges)])  # (layers, N, G)
        return estimates.mean(dim=0)  # (N, G)

    def states(
        self, x: Tensor, t: Tensor, features: Tensor, graph: SpotGraph, edges: Sequence[Tensor] | None = None
    ) -> Iterator[BlockOutput]:
        """The outputs of the blocks, one after the other."""
        h, y = self.tokens(t, features, graph), x  # (N, d), (N, G)
        for number, block in enumerate(self.blocks):
            out: BlockOutput = block(h, y, graph, None if edges is None else edges[number])
            yield out
            h = out.tokens
            y = out.expression if self.settings.layer_expression == "previous" else x

    def tokens(self, t: Tensor, features: Tensor, graph: SpotGraph) -> Tensor:
        """(N, d) first tokens: image plus flow time."""
        tokens: Tensor = self.image(features) + self.time(t)[graph.slide]  # (N, d)
        return tokens

    @torch.no_grad()
    def edge_states(self, graph: SpotGraph) -> list[Tensor]:
        """Per block (N, K, e) embeddings of the pairs, which depend on neither expression nor time."""
        size = max(1, _CHUNK // max(1, len(_SIGNS) * graph.width * self.settings.edge_dim))
        parts = [graph.rows(start, start + size) for start in range(0, len(graph), size)]
        attentions = [block.attention for block in self.blocks if isinstance(block, Block)]
        return [torch.cat([attention.edge_states(part) for part in parts]) for attention in attentions]
