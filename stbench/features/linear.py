"""Linear maps of many rows on a CPU through oneDNN, which torch itself asks only for other types.

torch's own single-precision products come from MKL, which on an AMD processor leaves half of its vector width unused:
there oneDNN is 2.2 times as fast (benchmarks/details.md). On Intel's it is slower but for a map that ends in GELU,
which alone goes through it there. Values agree up to the order of summation. On other devices and where a product is
small, the maps are torch's own.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_PROCESSOR = Path("/proc/cpuinfo")
_LEAST_WORK = 2**21  # multiplications; below, the call costs what the product saves
_PIECE = 2**16  # entries an elementwise chain works on at a time, so that they stay in a cache
_LINEAR, _CUBIC = (2 * math.sqrt(2 / math.pi) * factor for factor in (1.0, 0.044715))


def _intel() -> bool:
    described = _PROCESSOR.read_text(encoding="utf-8") if _PROCESSOR.is_file() else platform.processor()
    return "GenuineIntel" in described


_IS_HERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
_WINS = not _intel()


class Linear(nn.Linear):
    """``torch.nn.Linear`` by name, shape and start of its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU (tanh form) of the map; oneDNN joins the two."""
        if torch.is_grad_enabled() or not _suits(x, self.weight, self.out_features):
            return gelu(self(x))
        return _product(x, self.weight, self.bias, "gelu", "tanh")


def quicken(network: Network) -> Network:
    """Have the plain linear maps of somebody else's network computed so as well; its parameters stay what they are."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., i) times the transpose of weight (o, i), plus bias (o,): (..., o)."""
    if not (_WINS and _suits(x, weight, weight.shape[0])):
        return nn.functional.linear(x, weight, bias)
    mapped: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return mapped


def weight_gradient(rows: Tensor, grad: Tensor) -> Tensor:
    """(o, i) gradient of a weight from the map's input rows (n, i) and the gradient of its output (n, o)."""
    if not (_WINS and _suits(rows, grad, grad.shape[1])):
        return grad.T @ rows
    if grad.shape[1] > rows.shape[1]:  # the shorter side as rows is the faster of the two
        return _product(rows.T, grad.T).T
    return _product(grad.T, rows.T)


def gelu(x: Tensor) -> Tensor:
    """GELU (tanh form) of any shape: x times the logistic function of twice the argument of tanh.

    torch's own takes 1.4 times as long on a CPU, where it asks for a tanh of the highest precision.
    """
    if not _in_pieces(x) or (torch.is_grad_enabled() and x.requires_grad):
        return nn.functional.gelu(x, approximate="tanh")
    out = torch.empty_like(x)
    for part, found in zip(*(torch.split(tensor.view(-1), _PIECE) for tensor in (x, out)), strict=True):
        _logistic(part, torch.mul(part, part, out=found)).mul_(part)
    return out


def gelu_backward_(grad: Tensor, x: Tensor) -> Tensor:
    """Make the gradient of :func:`gelu` out of that of its output, in its place, and give GELU of x, formed anew."""
    if not (_in_pieces(x) and _in_pieces(grad)):
        grad.copy_(torch.ops.aten.gelu_backward(grad, x.to(grad.dtype), approximate="tanh"))
        return nn.functional.gelu(x, approximate="tanh")
    out = torch.empty_like(x)
    for part, found, change in zip(*(torch.split(t.view(-1), _PIECE) for t in (x, out, grad)), strict=True):
        square = part * part
        share = _logistic(part, square.clone())
        torch.mul(part, share, out=found)
        slope = square.mul_(3 * _CUBIC).add_(_LINEAR)
        change.mul_(torch.addcmul(found, found, share, value=-1).mul_(slope).add_(share))
    return out


def _logistic(x: Tensor, square: Tensor) -> Tensor:
    """Logistic function of x (linear + cubic x^2), in the place of x^2."""
    return square.mul_(_CUBIC).add_(_LINEAR).mul_(x).sigmoid_()


def _in_pieces(x: Tensor) -> bool:
    return x.is_cpu and x.dtype == torch.float32 and x.is_contiguous()


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


def _suits(x: Tensor, weight: Tensor, outputs: int) -> bool:
    return (
        _IS_HERE
        and x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * outputs >= _LEAST_WORK
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )
