"""Linear maps of many rows on a CPU through oneDNN, which torch itself asks only for other types.

torch's own single-precision products come from MKL, which on an AMD processor leaves half of its vector width unused:
there oneDNN is 2.2 times as fast (benchmarks/README.md). Values agree up to the order of summation. Everywhere else,
and below a few hundred rows, the maps are torch's own.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_IS_HERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
_FEWEST_ROWS = 512  # below, the call costs what the product saves


class Linear(nn.Linear):
    """``torch.nn.Linear`` by name, shape and start of its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU (tanh form) of the map."""
        if torch.is_grad_enabled() or not _suits(x, self.weight):
            return nn.functional.gelu(self(x), approximate="tanh")
        return _product(x, self.weight, self.bias, "gelu", "tanh")


def quicken(network: Network) -> Network:
    """Have the plain linear maps of somebody else's network computed so as well; its parameters stay what they are."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., i) times the transpose of weight (o, i), plus bias (o,): (..., o)."""
    if not _suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    mapped: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return mapped


def weight_gradient(rows: Tensor, grad: Tensor) -> Tensor:
    """(o, i) gradient of a weight from the map's input rows (n, i) and the gradient of its output (n, o)."""
    if not _suits(rows, grad):
        return grad.T @ rows
    if grad.shape[1] > rows.shape[1]:  # the shorter side as rows is the faster of the two
        return _product(rows.T, grad.T).T
    return _product(grad.T, rows.T)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _product(grad, weight.T) if of_x else None,
            weight_gradient(x.flatten(0, -2), rows) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, after: str = "none", form: str = "") -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], form)
    return found


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= _FEWEST_ROWS * x.shape[-1]
        and _IS_HERE
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )
