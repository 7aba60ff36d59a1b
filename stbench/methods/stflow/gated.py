"""STFlow's map of two layers with a nonlinearity and a norm between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stbench.features.linear import Linear
from stbench.methods.nn.lean import LeanDropout, kept_entries, scale_kept_, widened


class GatedMap(nn.Module):
    """Two linear maps with a nonlinearity and a norm between them.

    Args:
        n_in: width of the input.
        n_hidden: width after the first map; ``swiglu`` gates one half of it with the other.
        n_out: width of the output.
        activation: ``swiglu``, ``gelu`` or ``relu``.
        dropout: after the nonlinearity and after the second map.
    """

    def __init__(self, n_in: int, n_hidden: int, n_out: int, activation: str, dropout: float) -> None:
        super().__init__()
        inner = n_hidden // 2 if activation == "swiglu" else n_hidden
        self.activation = activation
        self.first = Linear(n_in, n_hidden)
        self.norm = nn.LayerNorm(inner)
        self.second = Linear(inner, n_out)
        self.dropout = LeanDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) to (..., n_out)."""
        return self.outer(self.inner(self.first(x)))  # (..., n_out)

    def inner(self, hidden: Tensor) -> Tensor:
        """From the first map's output to the second map's input."""
        if self.activation == "swiglu":
            keep = kept_entries(hidden[..., : hidden.shape[-1] // 2], self.dropout.p, training=self.training)
            gated: Tensor = _GatedNorm.apply(  # type: ignore[no-untyped-call]
                hidden, keep, self.dropout.p, self.norm.weight, self.norm.bias, self.norm.eps
            )
            return gated
        hidden = nn.functional.gelu(hidden) if self.activation == "gelu" else nn.functional.relu(hidden)
        return self.norm(self.dropout(hidden))

    def outer(self, inner: Tensor) -> Tensor:
        """(..., n_out) of the second map's input (..., inner)."""
        return self.dropout(self.second(inner))


class _GatedNorm(torch.autograd.Function):
    """LayerNorm of dropout(SiLU(gate) * value); keeps gate, value, mask and moments alone, and forms the rest anew."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, keep: Tensor | None, p: float, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        gate, value = hidden.chunk(2, dim=-1)
        product = scale_kept_(nn.functional.silu(gate).mul_(value), keep, p)
        normed, mean, rstd = torch.native_layer_norm(widened(product), product.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(hidden, keep, mean, rstd, weight, bias)
        ctx.p = p
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, keep, mean, rstd, weight, bias = ctx.saved_tensors
        gate, value = hidden.chunk(2, dim=-1)
        activated = nn.functional.silu(gate)
        product = widened(scale_kept_(activated * value, keep, ctx.p))
        inner, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
            grad, product, product.shape[-1:], mean, rstd, weight, bias, [True, True, True]
        )
        inner = scale_kept_(inner, keep, ctx.p).to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_gate, grad_value = grad_hidden.chunk(2, dim=-1)
        grad_value.copy_(inner).mul_(activated)
        torch.ops.aten.silu_backward.grad_input(inner.mul_(value), gate, grad_input=grad_gate)
        return grad_hidden, None, None, grad_weight, grad_bias, None
