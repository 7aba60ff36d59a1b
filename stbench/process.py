"""How a process of ours treats memory and threads, and how it ends. No number depends on it."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SPINS = "GOMP_SPINCOUNT"
_FEW_SPINS = "2000"  # about 10 us
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h
_KEPT_BYTES = 2**26
_LARGEST_KEPT = 2**25  # the most that glibc takes
_ENDINGS = ("SIGTERM", "SIGHUP")
_AT_ONCE_S = 5.0


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


def hold() -> None:
    """Leave what is loaded out of the collector's sight: looking through it copies every page that workers share."""
    gc.collect()
    gc.freeze()


@contextmanager
def loading() -> Iterator[None]:
    """A block of a command that imports: what is there at its end stays, and is looked through for circles no more.

    A tenth of a command without training went into that.
    """
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if looked:
            gc.enable()


@contextmanager
def ending_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that closes, end the block as Ctrl-C does: what is half done is removed.

    Batch systems and ``timeout`` send SIGTERM, some of them twice at once: the second is no reason to leave off
    removing. A signal that whoever started the process has made it ignore (``nohup``) or handles stays as it is, and
    so do all outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    ours, interrupt = [number for number in numbers if before[number] == signal.SIG_DFL], _Interrupt()
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def uninterrupted() -> Iterator[Callable[[], None]]:
    """Put off what signals raise until the block ends, or until the call that it yields.

    For work in which a C library calls Python back: what a signal raises there is lost in it, and so is the call.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal is handled in another
        yield lambda: None
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", *_ENDINGS) if hasattr(signal, name)]
    before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    pending: list[int] = []

    def raise_now() -> None:
        if pending:
            number = pending.pop()
            pending.clear()
            before[number](number, None)

    for number in before:
        signal.signal(number, lambda number, frame: pending.append(number))
    try:
        yield raise_now
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise_now()


class _Interrupt:
    """Raises KeyboardInterrupt, once for signals that come together."""

    def __init__(self) -> None:
        self._raised = -_AT_ONCE_S

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._raised >= _AT_ONCE_S:
            self._raised = now
            raise KeyboardInterrupt
