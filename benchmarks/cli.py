"""Wall seconds of commands that should feel immediate. Run: python benchmarks/cli.py"""

import statistics
import subprocess
import sys
import time

COMMANDS = (
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["methods", "list"],
    ["datasets", "list"],
    ["metrics", "list"],
)
REPEATS = 7


def seconds(words: list[str]) -> float:
    """Median over a few fresh processes."""
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "stbench", *words], check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def main() -> None:
    for words in COMMANDS:
        print(f"stbench {' '.join(words):<14} {seconds(words):.2f} s")


if __name__ == "__main__":
    main()
