"""BLEEP's network: an image encoder and two projection heads into one space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stbench.features.linear import Linear
from stbench.methods.bleep.settings import BleepSettings
from stbench.methods.nn.backbone import Backbone


class ProjectionHead(nn.Module):
    """``z = W_p x + b_p``, ``h = LayerNorm(z + Dropout(W_f GELU(z) + b_f))``; h is not normalised to unit length.

    Args:
        n_inputs: width of x.
        dim: width of h.
        dropout: of the branch before it is added.
    """

    def __init__(self, n_inputs: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.projection = Linear(n_inputs, dim)
        self.fc = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) embeddings of (B, n_inputs)."""
        z = self.projection(x)  # (B, dim)
        return self.layer_norm(z + self.dropout(self.fc(F.gelu(z))))


class BleepNetwork(nn.Module):
    """Embeddings of patches and of expression; parameters are named as in the released code.

    Args:
        settings: sizes and switches.
        n_genes: width of an expression vector.
        n_features: width of cached features, 0 where patches are read.
    """

    def __init__(self, settings: BleepSettings, n_genes: int, n_features: int) -> None:
        super().__init__()
        self.image_encoder: Backbone | None = None
        if settings.input == "patches":
            trained = settings.backbone_trained
            self.image_encoder = Backbone(settings.backbone, trained=trained, pixels=settings.pixels)
            n_features = self.image_encoder.dim
        self.image_projection = ProjectionHead(n_features, settings.projection_dim, settings.dropout)
        self.spot_projection = ProjectionHead(n_genes, settings.projection_dim, settings.dropout)

    def embed_images(self, spots: Tensor) -> Tensor:
        """(B, d) embeddings of (B, n) image features or (B, side, side, 3) uint8 patches."""
        if spots.dtype == torch.uint8 and self.image_encoder is not None:
            return self.image_projection(self.image_encoder(spots))  # (B, d)
        return self.image_projection(spots)  # (B, d)

    def embed_spots(self, expression: Tensor) -> Tensor:
        """(B, d) embeddings of (B, G) expression."""
        return self.spot_projection(expression)

    def forward(self, spots: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Image and spot embeddings of a batch of pairs, (B, d) each."""
        return self.embed_images(spots), self.embed_spots(expression)
