"""Wall seconds and peak memory of ``stbench curse`` with its defaults, reading and drawing included.

Run ``python benchmarks/curse.py [--data-root DATA]``; it prints a markdown table. Without
``--data-root`` the real cohorts are left out. The simulated cohort is made anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(words: list[str], folder: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak resident MB of ``stbench curse``, with its own cache in a folder."""
    environment = {**os.environ, "STBENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "stbench", "curse", *words, "--out", str(folder)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder that holds her2st/ and dlpfc/")
    options = parser.parse_args()
    jobs = {"simulated genes alone": [], "simulated": ["--dataset", "simulated"]}
    if options.data_root:
        for name in ("her2st", "dlpfc"):
            jobs[name] = ["--dataset", name, "--data-root", str(options.data_root)]
    print("| cohort | wall s | processor s | peak MB |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for job, words in jobs.items():
            wall, processor, peak = measure(words, Path(folder))
            print(f"| {job} | {wall:.0f} | {processor:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
