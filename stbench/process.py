"""How a process of ours treats memory and threads. Settles speed alone; no number depends on it."""

from __future__ import annotations

import ctypes
import os

_SPINS = "GOMP_SPINCOUNT"
_FEW_SPINS = "2000"  # about 10 us
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h
_KEPT_BYTES = 2**26
_LARGEST_KEPT = 2**25  # the most that glibc takes


def settle() -> None:
    """Keep freed memory for the next tensor, and let idle threads sleep; to be called before torch is loaded.

    glibc gives large blocks back to the system at once and gets them again page by page, which takes up to a fifth of
    a training step of small networks. Threads of GNU OpenMP spin for milliseconds before they sleep: two processes that
    share their cores so wait for each other, and a step can take fifty times as long. What the environment says of
    either is left alone.
    """
    os.environ.setdefault(_SPINS, _FEW_SPINS)
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
