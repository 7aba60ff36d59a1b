"""What BLEEP's retrieval costs: seconds and memory above the bank, beside a search that stores every similarity.

Run ``python benchmarks/bleep.py``; it prints a markdown table. Every row runs in a process of its own, so that its peak
memory is its own. The search over all similarities needs 4 bytes x queries x bank and is run where that fits
``--room``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.base import FloatArray
from stbench.methods.bleep.retrieval import predict_from, retrieve

_MB = 2**20


def all_at_once(query: FloatArray, bank: FloatArray, k: int) -> Tensor:
    """The rows a search over the whole similarity matrix finds."""
    keys, queries = (F.normalize(torch.from_numpy(part), dim=1) for part in (bank, query))
    return (queries @ keys.T).topk(min(k, len(bank)), dim=1).indices


SEARCHES = {"chunked": retrieve, "all at once": all_at_once}


def problem(queries: int, bank: int, dim: int, genes: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Embeddings of queries and bank, and the expression of the bank, in float32."""
    generator = np.random.default_rng(0)
    shapes = ((queries, dim), (bank, dim), (bank, genes))
    query, keys, expression = (generator.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return query, keys, expression


def measure(name: str, options: argparse.Namespace) -> None:
    """Print the row of one search."""
    torch.set_num_threads(options.threads)
    query, bank, expression = problem(options.queries, options.bank, options.dim, options.genes)
    before = psutil.Process().memory_info().rss / _MB
    with PeakMemory("cpu") as peak:
        start = time.perf_counter()
        rows = SEARCHES[name](query, bank, options.k)
        searched = time.perf_counter()
        predict_from(query, bank, expression, rows, "average")
        averaged = time.perf_counter()
    print(f"| {name} | {searched - start:.1f} | {averaged - searched:.1f} | {peak.mb - before:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--bank", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--genes", type=int, default=50)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--room", type=float, default=4096.0, help="MB the search over all similarities may take")
    options = parser.parse_args()
    if len(options.searches) == 1:
        measure(options.searches[0], options)
        return
    print(
        f"{options.queries} queries, bank {options.bank} x {options.dim}, k = {options.k}, {options.threads} threads\n"
    )
    print("| search | search s | average s | MB above the bank |\n| --- | ---: | ---: | ---: |", flush=True)
    rest = [f"--{name}={getattr(options, name)}" for name in vars(options) if name != "searches"]
    for name in options.searches:
        needed = 4 * options.queries * options.bank / _MB
        if name == "all at once" and needed > options.room:
            print(f"| {name} | not run | not run | {needed:.0f} for the similarities alone |", flush=True)
        else:
            subprocess.run([sys.executable, __file__, "--searches", name, *rest], check=True)


if __name__ == "__main__":
    main()
