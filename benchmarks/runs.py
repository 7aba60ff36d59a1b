"""Wall seconds and peak memory of whole runs: the demo, and FLAG small on the real sections twice.

Run ``python benchmarks/runs.py --data-root DATA``; it prints a markdown table. Without ``--data-root`` only the
demo is measured. Caches start empty; the second run on the real sections finds its features in the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

DEMO = ["run", "--dataset", "simulated", "--method", "flag", "--preset", "small", "--genes", "50"]
REAL = ["run", "--dataset", "her2st", "--method", "flag", "--preset", "small", "--genes", "50"]
_SAMPLING_S = 0.1


def measure(words: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MB of an ``stbench`` command, with its own cache in a folder."""
    environment = {**os.environ, "STBENCH_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with (folder / "output.txt").open("a") as output:
        command = [sys.executable, "-m", "stbench", *words]
        process = psutil.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(_SAMPLING_S)
    if process.returncode:
        sys.exit((folder / "output.txt").read_text())
    return time.perf_counter() - start, peak / 1024**2


def _resident(process: psutil.Popen) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder that holds her2st/")
    options = parser.parse_args()
    print("| run | wall s | peak MB |\n| --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {"demo": DEMO}
        if options.data_root:
            real = [*REAL, "--data-root", str(options.data_root)]
            jobs |= {"real sections, features computed": real, "real sections, features cached": real}
        for place, (job, words) in enumerate(jobs.items()):
            seconds, peak = measure([*words, "--out", str(folder / f"run{place}")], folder)
            print(f"| {job} | {seconds:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
