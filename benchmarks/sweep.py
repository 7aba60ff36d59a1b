"""Wall seconds and peak memory of ``stbench sweep-genes`` on the simulated cohort, with one worker and with two.

Run ``python benchmarks/sweep.py``; it prints a markdown table. Three methods, four panel sizes, one seed, preset small:
give it half an hour of an idle machine. ``--preset test`` takes a few minutes and shows that it works. Slides and
features are made before the clock starts.
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

METHODS = "flag,joint-diffusion,node-diffusion"
GENES = "10,50,100,200"
_SAMPLING_S = 0.2


def measure(words: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MB, of all processes together, of ``stbench sweep-genes``."""
    environment = {**os.environ, "STBENCH_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with (folder / "output.txt").open("a") as output:
        command = [sys.executable, "-m", "stbench", "sweep-genes", "--dataset", "simulated", *words]
        process = psutil.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(_SAMPLING_S)
    if process.returncode:
        sys.exit((folder / "output.txt").read_text())
    return time.perf_counter() - start, peak / 1024**2


def _resident(process: psutil.Process) -> int:
    total = 0
    for one in _family(process):
        try:
            total += int(one.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return total


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--genes", default=GENES)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    sweep = ["--methods", options.methods, "--genes", options.genes, "--preset", options.preset]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(["--methods", "ridge", "--genes", "10", "--out", str(folder / "warm")], folder)
        print("| jobs | wall s | peak MB |\n| ---: | ---: | ---: |", flush=True)
        for jobs in options.jobs:
            seconds, peak = measure([*sweep, "--jobs", str(jobs), "--out", str(folder / f"jobs{jobs}")], folder)
            print(f"| {jobs} | {seconds:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
