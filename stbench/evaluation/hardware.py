"""On what a run ran: machine, versions, peak memory. None of it enters the identity of a task."""

from __future__ import annotations

import os
import platform
import resource
import sys
import threading
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

_PACKAGES = ("stbench", "torch", "numpy", "scipy", "anndata", "timm")
_MB = 1024 * 1024
_SAMPLING_S = 0.05


def hardware(device: str) -> dict[str, str | int | None]:
    """Processor, cores this process may use, GPU (None on ``cpu``) and operating system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu_model(), "cores": cores, "gpu": _gpu_model(device), "system": platform.system()}


def versions() -> dict[str, str]:
    """Version of Python and of the installed packages that can move a number."""
    return dict(_versions())


@cache  # each is read from a file, for every record and model again
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_model(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device)


class PeakMemory:
    """Measures the peak of the whole process while its block runs.

    The system's own high-water mark is exact but counts from the start of the process, so it is used only when it rose
    inside the block; otherwise the resident size is sampled.

    Args:
        device: torch device; on ``cuda`` the peak of allocated GPU memory is measured as well.

    Attributes:
        mb: peak resident memory, MB of 1024 x 1024 bytes.
        gpu_mb: peak of allocated GPU memory, None on ``cpu``.
    """

    def __init__(self, device: str) -> None:
        self.mb = 0.0
        self.gpu_mb: float | None = None
        self._device = device
        self._stop = threading.Event()

    def __enter__(self) -> PeakMemory:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        self._before = _high_water_mb()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        after = _high_water_mb()
        if after > self._before:
            self.mb = after
        if self._device.startswith("cuda"):
            import torch

            self.gpu_mb = torch.cuda.max_memory_allocated(self._device) / _MB

    def _sample(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self.mb = max(self.mb, process.memory_info().rss / _MB)
            if self._stop.wait(_SAMPLING_S):
                return


def _high_water_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MB if sys.platform == "darwin" else peak / 1024
