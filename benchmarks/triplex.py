"""What TRIPLEX costs on a slide of Visium's size: seconds and peak memory of predicting it and of a training step.

Run ``python benchmarks/triplex.py``; it prints a markdown table. Every row is a process of its own, so that its peak
memory is its own. ``paper`` reads 224 px patches by ResNet-18, from a file, and tiles that are encoded already;
``features`` has one vector per spot; ``features-1024`` has the sizes the released code gives features of that width.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.nn.scaling import Scale
from stbench.methods.triplex.method import Triplex
from stbench.methods.triplex.network import TriplexNetwork
from stbench.methods.triplex.objective import TrainingSlide, TriplexObjective
from stbench.methods.triplex.positions import array_cells, grid_windows
from stbench.methods.triplex.settings import TriplexSettings
from stbench.methods.triplex.views import SlideView
from stbench.training.loop import Trainer

_FEATURES = {"input": "features", "neighbours": "grid"}
_WIDE = {"emb_dim": 1024, "global_depth": 2, "neighbour_depth": 2, "fusion_heads": 8}
_WIDE |= {"fusion_mlp": 2, "global_mlp": 2, "neighbour_mlp": 2}
SIZES = {"paper": {}, "features": _FEATURES, "features-1024": _FEATURES | _WIDE}


def slide(settings: TriplexSettings, n_spots: int, folder: Path) -> SlideView:
    """A made-up slide of a hexagonal array."""
    rng = np.random.default_rng(0)
    side, width = int(np.ceil(n_spots**0.5)), settings.emb_dim
    row, column = np.divmod(np.arange(n_spots), side)
    array = np.stack([2 * column + row % 2, row], axis=1).astype(np.float32)
    context = rng.normal(size=(n_spots, width)).astype(np.float32)
    windows = grid_windows(array, array * np.float32([50, 86.6]))
    cells = array_cells(array)
    if settings.input == "features":
        return SlideView(context, context, cells, windows, None, windows >= 0)
    shape = (n_spots, settings.patch_px, settings.patch_px, 3)
    patches = np.lib.format.open_memmap(folder / "patches.npy", mode="w+", dtype=np.uint8, shape=shape)
    for one in patches:
        one[:] = rng.integers(256, size=shape[1:], dtype=np.uint8)
    tiles = rng.normal(size=(n_spots, 25, width)).astype(np.float16)
    return SlideView(patches, context, cells, None, tiles, windows >= 0)


def fitted(settings: TriplexSettings, options: argparse.Namespace) -> Triplex:
    """A method with random weights and no scaling."""
    method = Triplex(settings)
    method.gene_mean_, method.gene_std_ = np.zeros((2, options.genes), dtype=np.float32)
    network = TriplexNetwork(settings, options.genes, settings.emb_dim, settings.emb_dim)
    method.module_ = network.to(options.device).eval()
    return method


def trainer(method: Triplex, view: SlideView, options: argparse.Namespace) -> Trainer:
    """Training on one slide."""
    labels = Scale(method.gene_mean_, method.gene_std_, standardized=False).inward(
        np.random.default_rng(1).normal(size=(view.n_spots, options.genes)).astype(np.float32)
    )
    slides = [TrainingSlide(view, labels)]
    objective = TriplexObjective(method.settings, slides, lambda _: 0.0, seed=0, device=options.device)
    return Trainer(method.module_, objective, method.settings, device=options.device)


def measure(options: argparse.Namespace) -> None:
    """Print one row."""
    torch.set_num_threads(options.threads)
    settings = TriplexSettings.model_validate(SIZES[options.size])
    method = fitted(settings, options)
    with tempfile.TemporaryDirectory() as folder:
        view = slide(settings, options.spots, Path(folder))
        with PeakMemory(options.device) as memory:
            start = time.perf_counter()
            if options.job == "predict":
                method._predicted(method.module_, view)
                seconds = time.perf_counter() - start
            else:
                method.module_.train()
                seconds = trainer(method, view, options).seconds_per_update()
    parameters = sum(parameter.numel() for parameter in method.module_.parameters()) / 1e6
    peak = memory.gpu_mb if memory.gpu_mb is not None else memory.mb
    print(f"| {options.size} | {options.job} | {parameters:.1f} | {seconds:.1f} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, help="one row alone, with --job")
    parser.add_argument("--job", choices=["predict", "training step"])
    parser.add_argument("--spots", type=int, default=3600)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.size and options.job:
        measure(options)
        return
    print(f"{options.spots} spots, {options.genes} genes, {options.device}, {options.threads} threads\n")
    print("| size | job | M parameters | s | peak MB |\n| --- | --- | ---: | ---: | ---: |", flush=True)
    rest = [f"--{name}={getattr(options, name)}" for name in ("spots", "genes", "threads", "device")]
    for size in SIZES:
        for job in ("predict", "training step"):
            subprocess.run([sys.executable, __file__, "--size", size, "--job", job, *rest], check=True)


if __name__ == "__main__":
    main()
