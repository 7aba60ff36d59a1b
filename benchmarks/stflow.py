"""What STFlow costs on large slides: seconds and peak memory of sampling and of training, by number of spots.

Run ``python benchmarks/stflow.py --spots 1000 10000 100000``; it prints a markdown table. Spots lie on a hexagonal
grid, where neighbours tie everywhere; training makes four updates on one patch set each. Every measurement runs in a
process of its own, so that its peak memory is its own, features and truth included. On a GPU the memory is that of
the GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
import torch

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.registry import find_method, method_class, resolve_settings

_PITCH_PX = 200.0
_UPDATES = 4
_FEW_SPOTS = 100


def slide(options: argparse.Namespace, spots: int) -> LabelledSlide:
    """Random features and counts on a hexagonal grid."""
    generator = np.random.default_rng(0)
    row, column = np.divmod(np.arange(spots), int(spots**0.5))
    xy = np.stack([column + row % 2 / 2, row * 3**0.5 / 2], axis=1) * _PITCH_PX
    features = generator.standard_normal((spots, options.features), dtype=np.float32)
    expression = np.log1p(generator.poisson(2.0, (spots, options.genes))).astype(np.float32)
    return LabelledSlide(SlideInputs(f"grid-{spots}", None, features, xy.astype(np.float32)), expression)


def fitted(options: argparse.Namespace, train: LabelledSlide, few: LabelledSlide) -> Method:
    card = find_method("stflow")
    changes = {"batch_windows": 1, "visits": _UPDATES, "epochs": 1, "max_updates": _UPDATES}
    cls = method_class(card)
    method = cls(resolve_settings(card, cls, options.preset, {name: str(value) for name, value in changes.items()}))
    method.fit([train], [few], Context(tuple(map(str, range(options.genes))), device=options.device))
    return method


def measure(options: argparse.Namespace, spots: int, job: str) -> None:
    """Print the row of one measurement."""
    torch.set_num_threads(options.threads)
    large, few = slide(options, spots), slide(options, _FEW_SPOTS)
    start = time.perf_counter()
    with PeakMemory(options.device) as memory:
        if job == "train":
            fitted(options, large, few)
        else:
            method = fitted(options, few, few)
            start = time.perf_counter()
            method.predict(large.inputs, options.draws, 0)
    seconds = time.perf_counter() - start
    peak = memory.gpu_mb if memory.gpu_mb is not None else memory.mb
    print(f"| {spots} | {job} | {seconds:.1f} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spots", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--jobs", nargs="+", default=["predict", "train"])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--genes", type=int, default=50)
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if len(options.spots) == len(options.jobs) == 1:
        measure(options, options.spots[0], options.jobs[0])
        return
    print(
        f"preset {options.preset}, {options.genes} genes, {options.features} features, {options.draws} draws, "
        f"{options.device}, {options.threads} threads\n"
    )
    print("| spots | job | s | peak MB |\n| ---: | --- | ---: | ---: |", flush=True)
    rest = [f"--{name}={getattr(options, name)}" for name in vars(options) if name not in ("spots", "jobs")]
    for spots in options.spots:
        for job in options.jobs:
            command = [sys.executable, __file__, "--spots", str(spots), "--jobs", job, *rest]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
