"""BLEEP's contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def logits(image: Tensor, spot: Tensor, temperature: float) -> Tensor:
    """(B, B) similarities ``S I^T / T``; rows are spots, columns images.

    Args:
        image: (B, d) image embeddings I, not normalised.
        spot: (B, d) spot embeddings S.
        temperature: T.
    """
    return spot @ image.T / temperature


def soft_targets(image: Tensor, spot: Tensor, factor: float) -> Tensor:
    """(B, B) targets ``softmax_rows(factor (I I^T + S S^T) / 2)``, through which gradients flow.

    Args:
        image: (B, d) image embeddings.
        spot: (B, d) spot embeddings.
        factor: 1 / T, or T in the paper's formula.
    """
    return torch.softmax((image @ image.T + spot @ spot.T) / 2 * factor, dim=1)


def contrastive_loss(similarity: Tensor, targets: Tensor) -> Tensor:
    """Mean over both directions of the cross-entropy with soft targets.

    The direction from images to spots uses the transpose of the targets, whose rows do not sum to one, as released.

    Args:
        similarity: (B, B) of :func:`logits`.
        targets: (B, B) of :func:`soft_targets`.
    """
    spots = -(targets * F.log_softmax(similarity, dim=1)).sum(dim=1)
    images = -(targets.T * F.log_softmax(similarity.T, dim=1)).sum(dim=1)
    return ((spots + images) / 2).mean()
