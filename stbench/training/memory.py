"""What is done where a device has no memory left: the same numbers, more slowly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def kept_on_host() -> AbstractContextManager[object]:
    """What a forward pass inside the block leaves for the backward pass waits in the host's memory, to the bit."""
    return torch.autograd.graph.save_on_cpu()


def moved_by_passes(module: nn.Module) -> list[Tensor]:
    """What forward passes in training change: running statistics of batch normalisation."""
    return [part for norm in module.modules() if isinstance(norm, _BatchNorm) for part in norm.buffers()]


def in_halves(compute: Callable[[slice], Tensor], n: int, start: int = 0) -> Tensor:
    """Rows ``start`` to ``start + n`` of a computation, in one piece if the device has memory for it.

    Args:
        compute: gives the rows of a slice, (rows, ...); rows do not depend on each other.
        n: how many.
        start: the first.

    Raises:
        torch.OutOfMemoryError: the device has no memory for a single row.
    """
    try:
        return compute(slice(start, start + n))
    except torch.OutOfMemoryError:
        if n < 2:
            raise
    free()  # outside of the handler, whose traceback holds on to what did not fit
    half = n // 2
    return torch.cat([in_halves(compute, half, start), in_halves(compute, n - half, start + half)])


def free() -> None:
    """Give back what torch keeps of a device's memory for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
