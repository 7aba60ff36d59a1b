"""How fast a slide is scored.

Run ``OMP_NUM_THREADS=1 python benchmarks/metrics.py``; it prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from stbench import metrics


def seconds(job: Callable[[], object], repeats: int) -> float:
    """Best wall time of a job."""
    job()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        found.append(time.perf_counter() - start)
    return min(found)


def slide(n_spots: int, n_genes: int, n_draws: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, draws and positions on a square grid."""
    generator = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n_spots)))
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n_spots].astype(np.float32)
    true = np.log1p(generator.poisson(3, (n_spots, n_genes))).astype(np.float32)
    noise = generator.normal(size=(n_draws, n_spots, n_genes)).astype(np.float32)
    return true, true + noise, xy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spots", type=int, default=14_000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    true, draws, xy = slide(options.spots, options.genes, options.draws, seed=0)
    pred, depth = draws[0], np.log1p(np.expm1(true).sum(axis=1))
    counts = csr_matrix(np.rint(np.expm1(true)).astype(np.int32))
    cut = metrics.Cut(counts, 4 * np.asarray(counts.sum(axis=1)).ravel(), xy)
    jobs: dict[str, Callable[[], object]] = {
        "pcc": lambda: metrics.pcc(true, pred),
        "mse": lambda: metrics.mse(true, pred),
        "gsc": lambda: metrics.gsc(true, pred),
        "ssc": lambda: metrics.ssc(true, pred, xy),
        "pc1-share": lambda: metrics.pc1_share(true, pred),
        "pc1-pcc": lambda: metrics.pc1_pcc(true, pred),
        "partial-pcc": lambda: metrics.partial_pcc(true, pred, depth),
        "variance-ratio": lambda: metrics.variance_ratio(true, pred),
        f"crps, {options.draws} draws": lambda: metrics.crps(true, draws),
        f"draw-variance, {options.draws} draws": lambda: metrics.draw_variance(true, draws),
        f"coverage-error, {options.draws} draws": lambda: metrics.coverage_error(true, draws),
        "every registered metric": lambda: metrics.score_slide(true, pred, xy, draws=draws, log_depth=depth),
        "ceiling by count splitting, log1p": lambda: metrics.count_split(cut, "log1p"),
        "ceiling by count splitting, cp10k-log1p": lambda: metrics.count_split(cut, "cp10k-log1p"),
    }
    best = {name: seconds(job, options.repeats) for name, job in jobs.items()}
    print(f"{options.spots} spots, {options.genes} genes, best of {options.repeats}\n\n| metric | s |\n| --- | --- |")
    print("\n".join(f"| {name} | {value:.3f} |" for name, value in best.items()))
    print(f"| pcc + mse + gsc + ssc | {sum(best[name] for name in ('pcc', 'mse', 'gsc', 'ssc')):.3f} |")


if __name__ == "__main__":
    main()
