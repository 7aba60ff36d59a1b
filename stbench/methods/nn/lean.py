"""Parts of the transformers that keep little for the backward pass and form the rest anew.

Values and gradients are those of the plain composition to the last bit, but for GELU's tanh form, which rounds
otherwise. Edge states are N^2 times the width and gene tokens G times it, so what is kept of them decides how large a
window fits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stbench.features.linear import Linear, gelu, gelu_backward_, linear, weight_gradient
from stbench.training.together import parts_of_batch

_PIECE = 2**18  # entries that dropout scales at a time; torch makes floats of the mask first, best in a cache


class Norm(nn.Module):
    """LayerNorm, adaptive (Eqs. 24-25) when a context is used."""

    def __init__(self, width: int, *, adaptive: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not adaptive)
        self.scale_shift = nn.Linear(width, 2 * width) if adaptive else None
        if self.scale_shift is not None:
            nn.init.zeros_(self.scale_shift.weight)
            nn.init.zeros_(self.scale_shift.bias)

    def forward(self, h: Tensor, z: Tensor | None) -> Tensor:
        """(B, ..., C) of states h (B, ..., C) under a context z (B, C), or under none."""
        if self.scale_shift is None or z is None:
            plain: Tensor = self.norm(h)
            return plain
        scale, shift = self._modulation(self.scale_shift, z)  # (B, C)
        for _ in range(h.dim() - 2):
            scale, shift = scale.unsqueeze(1), shift.unsqueeze(1)  # (B, ..., C)
        modulated: Tensor = _Modulated.apply(h, scale, shift, self.norm.eps)  # type: ignore[no-untyped-call]
        return modulated

    def project(self, h: Tensor, z: Tensor | None, weight: Tensor) -> Tensor:
        """Linear map of the normalised h, (B, ..., C) to (B, ..., K), for K far below C.

        Scale and shift go into the weights, so that the wide state is passed over once.
        """
        if self.scale_shift is None or z is None:
            return nn.functional.linear(self.norm(h), weight)
        scale, shift = self._modulation(self.scale_shift, z)
        own = (weight * (1 + scale).unsqueeze(1)).transpose(1, 2)  # (B, C, K)
        offset = nn.functional.linear(shift, weight).unsqueeze(1)  # (B, 1, K)
        return torch.baddbmm(offset, self.norm(h).flatten(1, -2), own).reshape(*h.shape[:-1], -1)  # (B, ..., K)

    def _modulation(self, scale_shift: nn.Linear, z: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = scale_shift(nn.functional.silu(z)).chunk(2, dim=-1)
        return scale, shift


class GatedFeedForward(nn.Module):
    """Eq. 29, behind a LayerNorm of its own as released: value times GELU of the gate."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.value_gate = Linear(width, 4 * width)
        self.dropout = dropout
        self.out = nn.Linear(2 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(..., C) to the same."""
        value_gate = self.value_gate(self.norm(h))  # (..., 4 C)
        keep = kept_entries(value_gate[..., : self.out.in_features], self.dropout, training=self.training)  # (..., 2 C)
        out: Tensor = _GatedLinear.apply(value_gate, keep, self.dropout, self.out.weight, self.out.bias)  # type: ignore[no-untyped-call]
        return out


def kept_entries(like: Tensor, p: float, *, training: bool) -> Tensor | None:
    """Which entries dropout keeps, as booleans of a tensor's shape; None where it does nothing.

    Micro-steps in one batch (:func:`stbench.training.together.apart`) each draw their own, as (B, N, ...) or
    (B, N, N, ...). p is rounded to 16 bits: ``bernoulli_`` takes 6 ns an entry on a CPU, a tenth of a step on edge
    states.
    """
    if not training or p == 0:
        return None
    parts = parts_of_batch()
    if parts is None:
        return _drawn(like, p, None)
    keep = torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    for part in parts:
        own = keep[(part.windows, *[slice(part.size)] * (like.dim() - 2))]
        own.copy_(_drawn(own, p, part.chance))
    return keep


def _drawn(like: Tensor, p: float, chance: torch.Generator | None) -> Tensor:
    size = (-(-like.numel() // 4),)
    # the bits of random_(-(2**63), None), which a compiled graph cannot hold, but for one word in 2^64
    words = torch.randint(-(2**63), 2**63 - 1, size, device=like.device, generator=chance).bitwise_xor_(-(2**63))
    draws = words.view(torch.int16)[: like.numel()].reshape(like.shape)  # four of 16 bits per word
    return draws >= round(p * 2**16) - 2**15


def dropped(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Dropout that keeps a boolean per entry for the backward pass, a quarter of what torch's own keeps on a CPU."""
    keep = kept_entries(x, p, training=training)
    if keep is None:
        return x
    found: Tensor = _Dropped.apply(x, keep, p)  # type: ignore[no-untyped-call]
    return found


class LeanDropout(nn.Module):
    """:func:`dropped` as a layer."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return dropped(x, self.p, training=self.training)


def scale_kept_(x: Tensor, keep: Tensor | None, p: float) -> Tensor:
    """What dropout makes of a tensor, in its place."""
    if keep is None:
        return x
    if not (x.is_cpu and x.is_contiguous()):
        return x.mul_(keep).mul_(1 / (1 - p))
    for part, kept in zip(torch.split(x.view(-1), _PIECE), torch.split(keep.view(-1), _PIECE), strict=True):
        part.mul_(kept).mul_(1 / (1 - p))
    return x


class _Modulated(torch.autograd.Function):
    """(1 + scale) * LayerNorm(h) + shift; keeps h and its moments, not the normalised copy."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(widened(h), h.shape[-1:], None, None, eps)
        ctx.save_for_backward(h, mean, rstd, scale)
        ctx.eps = eps
        return (1 + scale) * normed + shift

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        h, mean, rstd, scale = ctx.saved_tensors
        wide = widened(h)
        normed, _, _ = torch.native_layer_norm(wide, h.shape[-1:], None, None, ctx.eps)
        grad_scale = (grad * normed).sum_to_size(scale.shape)
        del normed
        grad_h, _, _ = torch.ops.aten.native_layer_norm_backward(
            grad * (1 + scale), wide, h.shape[-1:], mean, rstd, None, None, [True, False, False]
        )
        grad_shift = grad.sum_to_size(scale.shape)
        return grad_h.to(h.dtype), grad_scale.to(scale.dtype), grad_shift.to(scale.dtype), None


def widened(h: Tensor) -> Tensor:
    """What a norm computes on: float32 where the input is a half type."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.p = p
        return scale_kept_(x.clone(), keep, p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return scale_kept_(grad.clone(), ctx.saved_tensors[0], ctx.p), None, None


class _GatedLinear(torch.autograd.Function):
    """Linear map of dropout(value * GELU(gate)); keeps value, gate and mask alone, and forms the product anew."""

    @staticmethod
    def forward(ctx: Any, value_gate: Tensor, keep: Tensor | None, p: float, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(value_gate, keep, weight)
        ctx.p = p
        value, gate = value_gate.chunk(2, dim=-1)  # (..., 2 C)
        product = scale_kept_(value * nn.functional.gelu(gate), keep, p)  # (..., 2 C)
        return linear(product, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor]:
        value_gate, keep, weight = ctx.saved_tensors
        value, gate = value_gate.chunk(2, dim=-1)
        activated, rows = nn.functional.gelu(gate), grad.flatten(0, -2)
        product = scale_kept_(value * activated, keep, ctx.p)
        grad_weight = weight_gradient(product.flatten(0, -2).to(grad.dtype), rows).to(weight.dtype)
        del product
        inner = scale_kept_(linear(grad, weight.T.to(grad.dtype)), keep, ctx.p).to(value_gate.dtype)
        grad_input = torch.empty_like(value_gate)
        grad_value, grad_gate = grad_input.chunk(2, dim=-1)
        grad_value.copy_(inner).mul_(activated)
        del activated
        torch.ops.aten.gelu_backward.grad_input(inner.mul_(value), gate, grad_input=grad_gate)
        return grad_input, None, None, grad_weight, rows.sum(dim=0).to(weight.dtype)


def modulated_linear(h: Tensor, scale: Tensor, shift: Tensor, eps: float, layer: nn.Linear) -> Tensor:
    """(S, G, o) linear map of (1 + scale) LayerNorm(h) + shift, for tokens h (S, G, D), scale and shift (S, D)."""
    out: Tensor = _ModulatedLinear.apply(h, scale.unsqueeze(1), shift.unsqueeze(1), eps, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """(..., o) linear map of GELU (tanh form) of x (..., i)."""
    out: Tensor = _GeluLinear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out


class PackedDropout(nn.Dropout):
    """Torch's dropout, draw for draw, that keeps a boolean per entry for the backward pass instead of a factor."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        factor = self.factor(x)
        if factor is None:
            return x
        dropped: Tensor = _Packed.apply(x, factor, self.p)  # type: ignore[no-untyped-call]
        return dropped

    def factor(self, like: Tensor) -> Tensor | None:
        """What each entry of a tensor is to be multiplied with; None where nothing is dropped."""
        if not self.training or self.p == 0:
            return None
        return torch.empty_like(like).bernoulli_(1 - self.p).div_(1 - self.p)


def gelu_dropped_linear(x: Tensor, dropout: PackedDropout, layer: nn.Linear) -> Tensor:
    """(..., o) linear map of dropout of GELU of x (..., i)."""
    out: Tensor = _GeluDroppedLinear.apply(x, dropout.factor(x), dropout.p, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (S, H, G, D/H) of their joint map (S, G, 3 D)."""
    query, key, value = _Heads.apply(qkv, heads)  # type: ignore[no-untyped-call]
    return query, key, value


class _ModulatedLinear(torch.autograd.Function):
    """Keeps h and its moments, not what was normalised and modulated."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, scale: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(widened(h), h.shape[-1:], None, None, eps)
        ctx.save_for_backward(h, mean, rstd, scale, shift, weight)
        ctx.eps = eps
        return linear(torch.addcmul(shift, normed, 1 + scale, out=normed), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, mean, rstd, scale, shift, weight = ctx.saved_tensors
        wide, rows = widened(h), grad.flatten(0, -2)
        normed, _, _ = torch.native_layer_norm(wide, h.shape[-1:], None, None, ctx.eps)
        modulated = torch.addcmul(shift, normed, 1 + scale).to(grad.dtype)
        grad_weight = weight_gradient(modulated.flatten(0, -2), rows).to(weight.dtype)
        del modulated
        inner = linear(grad, weight.T.to(grad.dtype)).to(wide.dtype)
        grad_shift = inner.sum_to_size(shift.shape).to(shift.dtype)
        grad_scale = normed.mul_(inner).sum_to_size(scale.shape).to(scale.dtype)
        del normed
        grad_h, _, _ = torch.ops.aten.native_layer_norm_backward(
            inner.mul_(1 + scale), wide, h.shape[-1:], mean, rstd, None, None, [True, False, False]
        )
        return grad_h.to(h.dtype), grad_scale, grad_shift, None, grad_weight, rows.sum(dim=0).to(weight.dtype)


class _GeluLinear(torch.autograd.Function):
    """Keeps x, not its GELU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(gelu(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        inner = linear(grad, weight.T.to(grad.dtype))
        activated = gelu_backward_(inner, x)
        grad_weight = weight_gradient(activated.flatten(0, -2).to(grad.dtype), rows).to(weight.dtype)
        return inner.to(x.dtype), grad_weight, rows.sum(dim=0).to(weight.dtype)


class _Heads(torch.autograd.Function):
    """Its gradient is laid out at once as the joint map wants it; torch's own copies it three times."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
        return qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()  # type: ignore[no-untyped-call]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.stack([grad.transpose(1, 2) for grad in grads], dim=2).flatten(-3), None  # (S, G, 3 D)


def _unpacked(keep: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    return keep.to(dtype).div_(1 - p)


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(factor.bool())
        ctx.p = p
        return factor.mul_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _unpacked(ctx.saved_tensors[0], ctx.p, grad.dtype).mul_(grad), None, None


class _GeluDroppedLinear(torch.autograd.Function):
    """Keeps x and the booleans, neither its GELU nor what dropout leaves of that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor | None, p: float, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, None if factor is None else factor.bool(), weight)
        ctx.p = p
        activated = nn.functional.gelu(x)
        return linear(activated if factor is None else factor.mul_(activated), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor]:
        x, keep, weight = ctx.saved_tensors
        rows, activated = grad.flatten(0, -2), nn.functional.gelu(x)
        inner = linear(grad, weight.T.to(grad.dtype)).to(x.dtype)
        if keep is not None:
            factor = _unpacked(keep, ctx.p, x.dtype)
            activated, inner = activated.mul_(factor), inner.mul_(factor)
        grad_weight = weight_gradient(activated.flatten(0, -2).to(grad.dtype), rows).to(weight.dtype)
        grad_x = torch.ops.aten.gelu_backward(inner, x)
        return grad_x, None, None, grad_weight, rows.sum(dim=0).to(weight.dtype)
