"""What is done where a device has no memory left: the same numbers, more slowly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from stbench.training.together import MicroBatch, PassBudget

_IN_CACHE = 2**20  # numbers


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


@contextmanager
def weighing(budget: PassBudget, batches: Sequence[MicroBatch], device: str) -> Iterator[None]:
    """Tell a budget what the pass of some micro-steps inside the block takes of a GPU's memory; waits for nothing."""
    if device != "cuda":
        yield
        return
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    budget.weigh(batches, torch.cuda.max_memory_allocated() - before, torch.cuda.mem_get_info()[0] + kept)


def values_at_once(device: torch.device) -> int:
    """How many numbers of its widest state a sampling pass may hold: a CPU's cache, a 64th of a GPU's memory."""
    if device.type != "cuda":
        return _IN_CACHE
    return torch.cuda.get_device_properties(device).total_memory // (64 * torch.float32.itemsize)


def free() -> None:
    """Give back what torch keeps of a device's memory for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
