"""Graph transformer over the spots of a window (paper Appendix D, Eqs. 23-31 and 60)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stbench.features.linear import Linear
from stbench.methods.nn.lean import GatedFeedForward, LeanDropout, Norm
from stbench.methods.nn.settings import GraphSettings

_BLOCKED = -1e9  # finite, so that a row without keys stays finite
_CACHED = 2**20  # numbers between the maps of a feed-forward that a processor's cache holds


@dataclass(frozen=True)
class GraphSizes:
    """Sizes and switches of the transformer.

    Args:
        n_genes: G, width of node input and output.
        node_condition: d, width of the image features.
        hidden: C, width of node and edge states.
        layers: number of blocks.
        heads: H attention heads.
        dropout: of attention output and feed-forward.
        channel_attention: one score per channel (as released) instead of one per head (Eq. 26).
        edge_stream: carry edge states through the blocks (Eq. 28); without it attention is static (Eq. 60).
        edge_condition: width of the edge condition, 0 to leave it out.
        adaptive_norm: condition norms on time and pooled conditions (Eqs. 23-25).
    """

    n_genes: int
    node_condition: int
    hidden: int
    layers: int
    heads: int
    dropout: float = 0.1
    channel_attention: bool = False
    edge_stream: bool = False
    edge_condition: int = 2
    adaptive_norm: bool = True


def graph_sizes(settings: GraphSettings, n_genes: int, n_features: int) -> GraphSizes:
    """Sizes of the transformer that settings ask for."""
    return GraphSizes(
        n_genes=n_genes,
        node_condition=n_features,
        hidden=settings.hidden_dim,
        layers=settings.graph_layers,
        heads=settings.graph_heads,
        dropout=settings.dropout,
        channel_attention=settings.attention == "channel",
        edge_stream=settings.edge_stream,
        edge_condition=0 if settings.edge_channels == "none" else 2,
        adaptive_norm=settings.adaptive_norm,
    )


def _piece(g: Tensor) -> int:
    """Rows of the edge states (B, N, N, C) to work on at a time: all in training, else what stays in a cache."""
    whole = torch.is_grad_enabled() or g.device.type != "cpu"
    return g.shape[1] if whole else max(1, _CACHED // (4 * g[:, 0].numel()))


def _linear(inputs: int, outputs: int) -> Linear:
    return Linear(inputs, outputs, bias=False)


class EdgeMaps(nn.Module):
    """Gate, bias and output modulation of the scores from the edge condition."""

    def __init__(self, condition: int, scores: int, *, modulate_output: bool) -> None:
        super().__init__()
        self.gate = _linear(condition, scores)
        self.bias = _linear(condition, scores)
        self.out_scale = _linear(condition, scores) if modulate_output else None
        self.out_shift = _linear(condition, scores) if modulate_output else None


class NodeMaps(nn.Module):
    """What image features add to scores and output; without them no image reaches a single spot."""

    def __init__(self, condition: int, hidden: int, scores: int) -> None:
        super().__init__()
        self.gate_query = _linear(condition, hidden)
        self.gate_key = _linear(condition, hidden)
        self.bias_query = _linear(condition, scores)
        self.bias_key = _linear(condition, scores)
        self.out_scale = _linear(condition, hidden)
        self.out_shift = _linear(condition, hidden)


class EdgeStream(nn.Module):
    """The evolving edge state: its part in the scores and its update (Eqs. 28 and 31)."""

    def __init__(self, sizes: GraphSizes, scores: int) -> None:
        super().__init__()
        C = sizes.hidden
        self.norm = Norm(C, adaptive=sizes.adaptive_norm)
        self.gate = _linear(C, scores)
        self.bias = _linear(C, scores)
        self.out = Linear(scores, C)
        self.dropout = LeanDropout(sizes.dropout)
        self.feed_norm = Norm(C, adaptive=sizes.adaptive_norm)
        self.feed = GatedFeedForward(C, sizes.dropout)

    def gate_bias(self, g: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the edge state adds to gate and bias of the scores."""
        gates, biases = zip(*(self._gate_bias(part, z) for part in torch.split(g, _piece(g), dim=1)), strict=True)
        return torch.cat(gates, dim=1), torch.cat(biases, dim=1)

    def update(self, g: Tensor, scores: Tensor, z: Tensor | None) -> Tensor:
        """Next edge state; the attention term enters the feed-forward's input only, as released."""
        size = _piece(g)
        parts = zip(torch.split(g, size, dim=1), torch.split(scores, size, dim=1), strict=True)
        return torch.cat([self._update(*part, z) for part in parts], dim=1)

    def _gate_bias(self, g: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor]:
        K, C = self.gate.weight.shape
        if K < C:
            gate, bias = self.norm.project(g, z, torch.cat([self.gate.weight, self.bias.weight])).chunk(2, dim=-1)
            return gate, bias
        normed = self.norm(g, z)
        return self.gate(normed), self.bias(normed)

    def _update(self, g: Tensor, scores: Tensor, z: Tensor | None) -> Tensor:
        return g + self.feed(self.feed_norm(g + self.dropout(self.out(scores)), z))


class ContextPool(nn.Module):
    """Eq. 23: time and pooled conditions as one vector per window."""

    def __init__(self, sizes: GraphSizes) -> None:
        super().__init__()
        C = sizes.hidden
        self.nodes = _linear(sizes.node_condition, C)
        self.edges = _linear(sizes.edge_condition, C) if sizes.edge_condition else None
        self.fuse = nn.Sequential(nn.Linear(3 * C, C), nn.SiLU(), nn.Linear(C, C))
        nn.init.zeros_(self.nodes.weight)
        if self.edges is not None:
            nn.init.zeros_(self.edges.weight)

    def forward(self, t: Tensor, c: Tensor, e: Tensor, mask: Tensor) -> Tensor:
        """(B, C) of time t (B, C), features c (B, N, d), edge condition e (B, N, N, k) and mask (B, N)."""
        real = mask.unsqueeze(-1)  # (B, N, 1)
        n = mask.sum(dim=1).clamp(min=1).unsqueeze(-1)  # (B, 1)
        nodes = self.nodes(torch.where(real, c, 0)).sum(dim=1) / n  # (B, C)
        pairs = (real & mask.unsqueeze(1)).unsqueeze(-1)  # (B, N, N, 1)
        edges = torch.zeros_like(t)  # (B, C)
        if self.edges is not None:
            edges = self.edges(torch.where(pairs, e, 0).sum((1, 2)) / n**2)  # (B, C)
        fused: Tensor = self.fuse(torch.cat([t, nodes, edges], dim=-1))  # (B, C)
        return fused


class GraphBlock(nn.Module):
    """Edge-modulated attention over spots and its feed-forward (Eqs. 26-31)."""

    def __init__(self, sizes: GraphSizes) -> None:
        super().__init__()
        self.sizes = sizes
        C = sizes.hidden
        scores = C if sizes.channel_attention else sizes.heads
        self.context = ContextPool(sizes) if sizes.adaptive_norm else None
        self.norm = Norm(C, adaptive=sizes.adaptive_norm)
        self.query, self.key, self.value = _linear(C, C), _linear(C, C), _linear(C, C)
        self.edge: EdgeMaps | None = None
        if sizes.edge_condition:
            self.edge = EdgeMaps(sizes.edge_condition, scores, modulate_output=sizes.edge_stream)
        self.node = NodeMaps(sizes.node_condition, C, scores)
        self.stream = EdgeStream(sizes, scores) if sizes.edge_stream else None
        self.alpha, self.beta, self.gamma, self.delta = (nn.Parameter(torch.tensor(0.1)) for _ in range(4))
        self.out = Linear(C, C)
        self.dropout = LeanDropout(sizes.dropout)
        self.feed_norm = Norm(C, adaptive=sizes.adaptive_norm)
        self.feed = GatedFeedForward(C, sizes.dropout)

    def forward(
        self, h: Tensor, g: Tensor | None, t: Tensor, c: Tensor, e: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Next node states and, with an edge stream, edge states.

        Args:
            h: (B, N, C) node states.
            g: (B, N, N, C) edge states, or None.
            t: (B, C) time.
            c: (B, N, d) image features.
            e: (B, N, N, k) edge condition.
            mask: (B, N) True for real spots.
        """
        z = None if self.context is None else self.context(t, c, e, mask)  # (B, C)
        normed = self.norm(h, z)  # (B, N, C)
        stream = None if self.stream is None or g is None else self.stream.gate_bias(g, z)
        S = self.scores(normed, stream, c, e)  # (B, N, N, K)
        weights = S.masked_fill(~mask[:, None, :, None], _BLOCKED).softmax(dim=2)  # (B, N, N, K)
        attended = self._gather(weights, self.value(normed))  # (B, N, C)
        attended = (1 + self.node.out_scale(c)) * attended + self.node.out_shift(c)
        h = h + self.dropout(self.out(attended))
        h = h + self.feed(self.feed_norm(h, z))
        if self.stream is None or g is None:
            return h, None
        return h, self.stream.update(g, self._modulated(S, e), z)

    def scores(self, normed: Tensor, stream: tuple[Tensor, Tensor] | None, c: Tensor, e: Tensor) -> Tensor:
        """(B, N, N, K) S of Eq. 26 (Eq. 60 without stream) and the released terms of the node condition; K: C or H."""
        raw = self._pair(self.query(normed), self.key(normed)) * (self.sizes.hidden // self.sizes.heads) ** -0.5
        gate = 1 + self.beta * self._pair(self.node.gate_query(c), self.node.gate_key(c), mean=True)
        bias = self.delta * (self.node.bias_query(c).unsqueeze(2) + self.node.bias_key(c).unsqueeze(1))
        if self.edge is not None:
            gate = gate + self.alpha * self.edge.gate(e)
            bias = bias + self.gamma * self.edge.bias(e)
        if stream is not None:
            gate, bias = gate + stream[0], bias + stream[1]
        return raw * gate + bias  # (B, N, N, K)

    def _pair(self, a: Tensor, b: Tensor, *, mean: bool = False) -> Tensor:
        """Products of query and key: per channel, or summed (averaged) over the channels of each head."""
        if self.sizes.channel_attention:
            return a.unsqueeze(2) * b.unsqueeze(1)  # (B, N, N, C)
        H = self.sizes.heads
        per_head = torch.einsum("bihd,bjhd->bijh", _heads(a, H), _heads(b, H))  # (B, N, N, H)
        return per_head / (self.sizes.hidden // H) if mean else per_head

    def _gather(self, weights: Tensor, v: Tensor) -> Tensor:
        if self.sizes.channel_attention:
            return (weights * v.unsqueeze(1)).sum(dim=2)  # (B, N, C)
        return torch.einsum("bijh,bjhd->bihd", weights, _heads(v, self.sizes.heads)).flatten(-2)  # (B, N, C)

    def _modulated(self, S: Tensor, e: Tensor) -> Tensor:
        if self.edge is None or self.edge.out_scale is None or self.edge.out_shift is None:
            return S
        modulated: Tensor = (1 + self.edge.out_scale(e)) * S + self.edge.out_shift(e)
        return modulated


class GraphTransformer(nn.Module):
    """Scores nodes, and edges when it carries an edge stream, of fully connected windows of spots.

    A batch of padded windows equals single runs: padded keys get no weight and pooled means see real spots only.
    """

    def __init__(self, sizes: GraphSizes) -> None:
        super().__init__()
        self.sizes = sizes
        C, G = sizes.hidden, sizes.n_genes
        self.nodes_in = nn.Sequential(Linear(G, C), nn.GELU(), Linear(C, C))
        self.nodes_out = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, G))
        self.time_in = nn.Sequential(nn.Linear(C, C), nn.SiLU(), nn.Linear(C, C)) if sizes.adaptive_norm else None
        self.edges_in = nn.Sequential(nn.Linear(1, C), nn.GELU(), Linear(C, C)) if sizes.edge_stream else None
        self.edges_out = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, 1)) if sizes.edge_stream else None
        self.blocks = nn.ModuleList(GraphBlock(sizes) for _ in range(sizes.layers))

    def forward(
        self, x: Tensor, e: Tensor | None, t: Tensor, node_condition: Tensor, edge_condition: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Run the blocks.

        Args:
            x: (B, N, G) noisy expression.
            e: (B, N, N, 1) noisy edges; None or zeros where edges are not diffused.
            t: (B, C) time embedding.
            node_condition: (B, N, d) image features.
            edge_condition: (B, N, N, 2) distance kernel and cosine.
            mask: (B, N) True for real spots.

        Returns:
            (B, N, G) node output, 0 for padding, and (B, N, N, 1) symmetric edge output with zero diagonal or None.
        """
        states = self.states(x, e, t, node_condition, edge_condition, mask)
        h, g = states[-1]
        nodes = torch.where(mask.unsqueeze(-1), self.nodes_out(h), 0)  # (B, N, G)
        return nodes, self._edge_output(g, mask)

    def states(
        self, x: Tensor, e: Tensor | None, t: Tensor, node_condition: Tensor, edge_condition: Tensor, mask: Tensor
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Node states (B, N, C) and edge states (B, N, N, C) or None: after the input maps, then after each block."""
        B, N, _ = x.shape
        h = self.nodes_in(x)  # (B, N, C)
        g = None
        if self.edges_in is not None:
            noisy = x.new_zeros(B, N, N, 1) if e is None else e * _off_diagonal(N, x.device)  # (B, N, N, 1)
            g = self.edges_in(noisy)  # (B, N, N, C)
        context = t if self.time_in is None else self.time_in(t)  # (B, C)
        states = [(h, g)]
        for block in self.blocks:
            h, g = block(h, g, context, node_condition, edge_condition, mask)
            states.append((h, g))
        return states

    def _edge_output(self, g: Tensor | None, mask: Tensor) -> Tensor | None:
        if g is None or self.edges_out is None:
            return None
        s = self.edges_out(g)  # (B, N, N, 1)
        s = (s + s.transpose(1, 2)) / 2 * _off_diagonal(mask.shape[1], mask.device)
        return torch.where((mask.unsqueeze(1) & mask.unsqueeze(2)).unsqueeze(-1), s, 0)


def _off_diagonal(n: int, device: torch.device) -> Tensor:
    return (1 - torch.eye(n, device=device)).unsqueeze(-1)  # (n, n, 1)


def _heads(a: Tensor, n_heads: int) -> Tensor:
    return a.reshape(*a.shape[:-1], n_heads, -1)
