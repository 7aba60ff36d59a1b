"""GPUs of workers: where several are visible each worker sees one, that with the fewest workers."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable

VISIBLE = "CUDA_VISIBLE_DEVICES"


def own_gpu(taken: Iterable[str | None]) -> str | None:
    """Name of the GPU for a new worker, None where there are not several to choose from.

    Args:
        taken: GPUs of the workers that live.
    """
    visible, used = _visible(), Counter(taken)
    return min(visible, key=lambda gpu: used[gpu]) if len(visible) > 1 else None


def _visible() -> list[str]:
    said = os.environ.get(VISIBLE)
    if said is not None:
        return [name.strip() for name in said.split(",") if name.strip()]
    torch = sys.modules.get("torch")  # loaded where a method or the choice of a device wants it
    return [str(number) for number in range(torch.cuda.device_count())] if torch is not None else []
