"""FLAG's alignment losses (paper Eqs. 8, 56-57 and Appendix F)."""

from __future__ import annotations

import torch
from torch import Tensor

from stbench.methods.nn.sent import sent


def gene_alignment(projected: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Negative mean cosine between projected tokens and gene embeddings over valid entries, Eq. 8; 0 if there is none.

    Args:
        projected: (S, G, z) projected tokens.
        embeddings: (S, G, z) or (G, z) gene embeddings.
        mask: (S, G) or (G,) above one half where a gene has an embedding; on the CPU, or the device is waited for.
    """
    cosine = torch.nn.functional.cosine_similarity(projected, embeddings.expand_as(projected), dim=-1, eps=1e-12)
    valid = (mask > 0.5).expand_as(cosine).flatten().nonzero().flatten()
    if not len(valid):
        return projected.sum() * 0
    return -cosine.flatten().index_select(0, sent(valid, cosine.device)).mean()


def spot_alignment(
    projected: Tensor, embeddings: Tensor, mask: Tensor | None = None, *, squared: bool = False
) -> Tensor:
    """Alignment of one vector per spot with the mean of its projected tokens; 0 if no spot has a vector.

    Args:
        projected: (S, G, z) projected tokens, or (S, 1, z) the projection of their mean (Eq. 56).
        embeddings: (S, z) spot embeddings.
        mask: (S,) above one half where a spot has an embedding, on the CPU as above; None where all have.
        squared: squared L2 distance (Eq. 57) instead of the released negative cosine.
    """
    pooled = projected.mean(dim=1)
    if mask is not None:
        valid = (mask > 0.5).nonzero().flatten()
        if not len(valid):
            return projected.sum() * 0
        pooled, embeddings = (part.index_select(0, sent(valid, part.device)) for part in (pooled, embeddings))
    if squared:
        return (pooled - embeddings).square().sum(dim=-1).mean()
    return -torch.nn.functional.cosine_similarity(pooled, embeddings, dim=-1, eps=1e-12).mean()
