"""Stem's network: one token per gene, time and image features as the condition of every block."""

from __future__ import annotations

from collections import deque

from torch import Tensor, nn

from stbench.methods.nn.backbone import Backbone
from stbench.methods.nn.dit import GeneTransformer, TimeEmbedding, image_condition, normal_weights, xavier
from stbench.methods.stem.settings import StemSettings


class StemNetwork(nn.Module):
    """Reads noise and variance off the noisy expression of each spot on its own.

    Args:
        settings: width, depth, heads.
        n_genes: G.
        n_features: d, width of the image features.

    Attributes:
        backbone: frozen network that makes the features where patches are read, None without one.
    """

    def __init__(self, settings: StemSettings, n_genes: int, n_features: int) -> None:
        super().__init__()
        D = settings.hidden_dim
        self.dropout = settings.feature_dropout
        self.time = TimeEmbedding(D, 1.0)
        self.condition = image_condition(n_features, D)
        self.genes = GeneTransformer(n_genes, D, settings.dit_layers, settings.dit_heads, settings.mlp_ratio, outputs=2)
        self.apply(xavier)
        normal_weights(self.time)
        normal_weights(self.condition)
        self.genes.reset_parameters()
        self.backbone: Backbone | None = None

    def forward(self, x: Tensor, t: Tensor, features: Tensor) -> Tensor:
        """Both outputs.

        Args:
            x: (S, G) noisy expression.
            t: (S,) steps in the numbering of training, 0 the least noisy.
            features: (S, d) image features.

        Returns:
            (S, 2, G): noise (or velocity), and where the log variance lies between its limits.
        """
        condition = self.condition(nn.functional.dropout(features, self.dropout, self.training))  # (S, D)
        return self.denoise(x, t, condition)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """:meth:`forward` with the features already mapped to conditions (S, D), which sampling does once a slide."""
        c = self.time(t) + condition  # (S, D)
        last = deque(self.genes.states(x, c), maxlen=1).pop()  # one state at a time is held without gradients
        return self.genes.head(last, c).transpose(1, 2)  # (S, 2, G)
