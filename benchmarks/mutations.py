"""What becomes of damaged cohorts in ``datasets check`` and ``run --method ridge``.

Run ``python benchmarks/mutations.py --number 300``; it prints a markdown table, and on stderr every mutation that is
not clean. Clean: a line says what is wrong, or check and scores are those of the sound cohort. Every attempt is a
process of its own that may take 2 GB more than this one and two minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.robustness import mutations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=300, help="mutations of each layout")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--layout", choices=mutations.COHORTS, action="append", help="default: all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # damaged files make libraries warn
    print("| layout | tried | " + " | ".join(mutations.VERDICTS) + " | s |")
    print("| --- |" + " ---: |" * (len(mutations.VERDICTS) + 2))
    for layout in options.layout or mutations.COHORTS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            numbers = range(options.first, options.first + options.number)
            found = Counter(one.verdict for one in mutations.main([layout], numbers, Path(place)))
        cells = [
            found.total(),
            *(found[verdict] for verdict in mutations.VERDICTS),
            f"{time.perf_counter() - start:.0f}",
        ]
        print(f"| {layout} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
