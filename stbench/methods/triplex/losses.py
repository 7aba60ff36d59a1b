"""TRIPLEX's loss: every head sees the label, every single view is pulled towards the fused prediction."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from stbench.methods.triplex.network import Heads


def loss_terms(heads: Heads, label: Tensor, alpha: float) -> dict[str, Tensor]:
    """``L = MSE(P_F, y) + sum_m (1 - alpha) MSE(P_m, y) + alpha MSE(P_F, P_m)``, m = target, neighbour, slide.

    The fused prediction is not detached in the last terms: it is pulled towards the single views as well.

    Args:
        heads: the four predictions, (B, G) each.
        label: (B, G) expression.
        alpha: weight of the distillation terms.

    Returns:
        ``total``, and before their weights ``label_fusion``, ``label_m`` and ``distill_m``.
    """
    views = {"target": heads.target, "neighbour": heads.neighbour, "slide": heads.slide}
    terms = {"label_fusion": mse_loss(heads.fusion, label)}
    terms |= {f"label_{name}": mse_loss(value, label) for name, value in views.items()}
    terms |= {f"distill_{name}": mse_loss(heads.fusion, value) for name, value in views.items()}
    total = terms["label_fusion"]
    for name in views:
        total = total + (1 - alpha) * terms[f"label_{name}"] + alpha * terms[f"distill_{name}"]
    return {"total": total, **terms}
