"""Differences between two curves of a sweep, paired by seed: the tables of leaderboards/sweeps/README.md.

python benchmarks/sweep_differences.py leaderboards/sweeps/NAME.csv joint-released joint-diffusion

An effect that is not told from zero is not one of zero: behind each interval stands the smallest effect, of either
sign, that it excludes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats


def differences(table: pd.DataFrame, first: str, second: str, metric: str, row: str) -> dict[int, tuple[float, float]]:
    """Panel size to mean difference and half the 95 % t interval, over seeds, of the means over slides."""
    chosen = table[(table["metric"] == metric) & (table["row"] == row)]
    per_seed = chosen.pivot_table(index=["genes", "seed"], columns="series", values="value")
    gaps = (per_seed[first] - per_seed[second]).dropna().groupby("genes")
    found = {}
    for genes, values in gaps:
        n = len(values)
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        found[int(genes)] = (float(values.mean()), float(half))
    return found


def drop(table: pd.DataFrame, first: str, second: str, metric: str, row: str) -> tuple[int, int, float, float]:
    """Smallest and largest panel, and how much less the first curve falls between them than the second.

    Mean over seeds and half the 95 % t interval.
    """
    chosen = table[(table["metric"] == metric) & (table["row"] == row)]
    per_seed = chosen.pivot_table(index="seed", columns=["series", "genes"], values="value")
    gaps = (per_seed[first] - per_seed[second]).dropna()
    least, most = int(min(gaps.columns)), int(max(gaps.columns))
    change = gaps[most] - gaps[least]
    half = stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change))
    return least, most, float(change.mean()), float(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--metric", default="pcc")
    parser.add_argument("--row", default="declared", help="declared, 'single draw' or 'posterior mean'")
    given = parser.parse_args()
    asked = pd.read_csv(given.csv), given.first, given.second, given.metric, given.row
    for genes, (mean, half) in differences(*asked).items():
        print(f"{genes} genes: {mean:+.3f} ± {half:.3f}, excludes effects from {abs(mean) + half:.3f}")
    least, most, mean, half = drop(*asked)
    print(f"fall from {least} to {most} genes: smaller by {mean:+.3f} ± {half:.3f}")


if __name__ == "__main__":
    main()
