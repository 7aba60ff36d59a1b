"""The score network of nodes and edges (paper Appendix D): a graph transformer under Fourier features of the time."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from stbench.methods.graph_diffusion.settings import NodeSettings
from stbench.methods.nn.graph_transformer import GraphTransformer, graph_sizes
from stbench.methods.nn.time import fourier

_EDGE_CONDITIONS = 3  # distance, image similarity, the oracle's correlation


class GraphNetwork(nn.Module):
    """Output for every spot and, with an edge stream, for every pair of spots.

    Args:
        settings: widths, depths and switches.
        n_genes: G.
        n_features: d, width of the image features.
    """

    def __init__(self, settings: NodeSettings, n_genes: int, n_features: int) -> None:
        super().__init__()
        sizes = graph_sizes(settings, n_genes, n_features)
        self.graph = GraphTransformer(
            replace(sizes, edge_condition=_EDGE_CONDITIONS) if settings.oracle_edges else sizes
        )

    def forward(
        self, x: Tensor, e: Tensor | None, t: Tensor, features: Tensor, edges: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """One pass.

        Args:
            x: (B, N, G) noisy expression as the parameterisation scales it.
            e: (B, N, N) noisy edges, None where edges are not diffused.
            t: (B,) noise time in [0, 1].
            features: (B, N, d) image features.
            edges: (B, N, N, 2) edge condition, one channel more for oracles.
            mask: (B, N) True for real spots.

        Returns:
            (B, N, G) for the spots and (B, N, N) for the pairs, symmetric with zero diagonal; None without edge stream.
        """
        time = fourier(t, self.graph.sizes.hidden)  # (B, C)
        wide = None if e is None else e.unsqueeze(-1)  # (B, N, N, 1)
        nodes, pairs = self.graph(x, wide, time, features, edges, mask)  # (B, N, G), (B, N, N, 1)
        return nodes, None if pairs is None else pairs.squeeze(-1)  # (B, N, G), (B, N, N)
