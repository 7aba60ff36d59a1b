"""FLAG's network: graph encoder, condition, gene transformer, projector (paper Sections 3.4-3.5, Appendix G)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stbench.methods.flag.settings import FlagSettings
from stbench.methods.nn.dit import GeneTransformer, TimeEmbedding, image_condition, normal_weights, xavier
from stbench.methods.nn.graph_transformer import GraphTransformer, graph_sizes
from stbench.methods.nn.windows import real_rows

_VALUES_AT_ONCE = 2**25  # of tokens in the gene transformer: 128 MB, 436 spots of 200 genes at the paper's width


@dataclass(frozen=True)
class FlagOutput:
    """What one forward pass gives.

    Args:
        value: (B, N, G) output F, 0 for padding.
        projected: (S, G, z) projected tokens of the S real spots, or (S, 1, z) the projection of their mean where
            ``align`` is ``spot-l2``; None unless asked for.
    """

    value: Tensor
    projected: Tensor | None


class FlagNetwork(nn.Module):
    """Denoises every spot of a window under its spatial context.

    Args:
        settings: widths, depths and switches.
        n_genes: G.
        n_features: d, width of the image features.
        prior_dim: z, width of the gene prior; 0 builds no projector.
    """

    def __init__(self, settings: FlagSettings, n_genes: int, n_features: int, prior_dim: int = 0) -> None:
        super().__init__()
        D = settings.hidden_dim
        self.settings = settings
        self.time = TimeEmbedding(D, settings.time_scale)
        self.graph: GraphTransformer | None = None
        if settings.graph:
            self.graph = GraphTransformer(graph_sizes(settings, n_genes, n_features))
            self.condition = nn.Sequential(
                nn.Linear(n_genes, settings.gene_dim), nn.SiLU(), nn.Linear(settings.gene_dim, D)
            )
        else:
            self.condition = image_condition(n_features, D)
        self.genes = GeneTransformer(n_genes, D, settings.dit_layers, settings.dit_heads, settings.mlp_ratio)
        self.projector = _projector(D, settings.projector_dim, prior_dim) if prior_dim else None
        self.apply(xavier)  # over the backbone too, as released: it overwrites the zeros of the adaptive norms
        normal_weights(self.time)
        self.genes.reset_parameters()

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        features: Tensor,
        edges: Tensor,
        mask: Tensor,
        *,
        rows: Tensor | None = None,
        project: bool = False,
    ) -> FlagOutput:
        """One pass.

        Args:
            x: (B, N, G) noisy expression as the parameterisation scales it.
            t: (B,) noise time in [0, 1].
            features: (B, N, d) image features.
            edges: (B, N, N, 2) edge condition.
            mask: (B, N) True for real spots.
            rows: (S,) their places, see :class:`stbench.methods.nn.windows.WindowBatch`.
            project: also return the projected tokens of block ``align_layer``; training alone needs them.
        """
        rows = real_rows(mask) if rows is None else rows
        c = self.spot_condition(x, t, features, edges, mask).flatten(0, 1).index_select(0, rows)  # (S, D)
        seen = x.flatten(0, 1).index_select(0, rows)  # (S, G)
        if not project or self.projector is None:
            return FlagOutput(_laid(self._denoised(seen, c), x, rows), None)
        out, states = self.genes(seen, c)  # (S, G)
        tokens = states[self.settings.align_layer - 1]  # (S, G, D)
        if self.settings.align == "spot-l2":
            tokens = tokens.mean(dim=1, keepdim=True)  # Eq. 56 pools before it projects; the released code after
        return FlagOutput(_laid(out, x, rows), self.projector(tokens).float())

    def _denoised(self, x: Tensor, c: Tensor) -> Tensor:
        """(S, G) of spots that do not see each other any more: some at a time, one block's tokens of them held."""
        found, size = [], max(1, _VALUES_AT_ONCE // self.genes.gene.numel())
        for some, under in zip(torch.split(x, size), torch.split(c, size), strict=True):
            last = deque(self.genes.states(some, under), maxlen=1).pop()
            found.append(self.genes.head(last, under)[..., 0])
        return torch.cat(found)

    def spot_condition(self, x: Tensor, t: Tensor, features: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) time plus projected spatial context (Eq. 61), or plus the spot's own image without a graph."""
        tau = self.time(t)  # (B, D)
        if self.graph is None:
            return tau.unsqueeze(1) + self.condition(features)  # (B, N, D)
        spatial, _ = self.graph(x, None, tau, features, edges, mask)  # (B, N, G)
        return tau.unsqueeze(1) + self.condition(spatial)  # (B, N, D)


def _laid(values: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """(B, N, G) with the values (S, G) of real spots in their places, 0 for padding."""
    return x.new_zeros(x.shape).flatten(0, 1).index_copy(0, rows, values.to(x.dtype)).view_as(x)


def _projector(width: int, inner: int, prior_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner), nn.SiLU(), nn.Linear(inner, prior_dim)
    )
