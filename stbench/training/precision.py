"""The one place that decides how precisely a network computes, in training, validation and sampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from stbench.training.settings import TrainingSettings


def autocast_type(settings: TrainingSettings, device: str) -> torch.dtype | None:
    """The type of matrix products, None for plain float32.

    bfloat16 on a CPU gains only at large widths and needs its own instructions, so ``auto`` never takes it there.
    """
    if settings.precision == "bf16" or (settings.precision == "auto" and device == "cuda" and _gpu_has_bf16()):
        return torch.bfloat16
    return None


@contextmanager
def computing(settings: TrainingSettings, device: str) -> Iterator[None]:
    """Matrix products inside the block are as precise as the settings say.

    On a GPU, products that autocast leaves in float32 go through TF32 unless ``precision`` is ``float32``. Weights,
    losses, states of a sampler and what is learnt about genes stay float32.

    Args:
        settings: of the method.
        device: type of the device, ``"cpu"`` or ``"cuda"``.
    """
    dtype, products = autocast_type(settings, device), torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = before or (device == "cuda" and settings.precision != "float32")
    try:
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        products.allow_tf32 = before


def _gpu_has_bf16() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
