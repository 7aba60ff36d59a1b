"""How fast features are made: the handcrafted descriptor per patch, edge attributes per window.

Run ``python benchmarks/features.py``; it prints a markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from stbench.features.encoders import Handcrafted
from stbench.features.graph import edge_attributes


def milliseconds(job: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Best and median wall time of a job."""
    job()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds), 1e3 * float(np.median(seconds))


def stained_patches(count: int, side_px: int, seed: int) -> np.ndarray:
    """(count, side, side, 3) pink pictures with dark blobs."""
    import cv2

    generator = np.random.default_rng(seed)
    pictures = np.full((count, side_px, side_px, 3), (225, 170, 200), dtype=np.float64)
    for picture in pictures:
        seeds = np.zeros((side_px, side_px))
        seeds[tuple(generator.integers(0, side_px, size=(2, 150)))] = 1
        picture -= 90 * cv2.GaussianBlur(seeds, (0, 0), 3)[..., None] * 50
        picture += generator.normal(0, 6, size=picture.shape)
    return np.clip(pictures, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=32)
    parser.add_argument("--side", type=int, default=224, help="patch side in px")
    parser.add_argument("--spots", type=int, default=400)
    parser.add_argument("--width", type=int, default=1024, help="feature width")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    patches = stained_patches(options.patches, options.side, seed=0)
    generator = np.random.default_rng(0)
    xy = generator.uniform(0, 2048, (options.spots, 2)).astype(np.float32)
    features = generator.normal(size=(options.spots, options.width)).astype(np.float32)
    encoder = Handcrafted(workers=options.threads)
    white = np.full(3, 245.0)

    best, median = milliseconds(
        lambda: encoder.encode(patches, white_point=white, um_per_px=None), max(2, options.repeats // 3)
    )
    edges = milliseconds(lambda: edge_attributes(xy, features), options.repeats)
    print(f"{options.threads} thread(s)\n\n| job | best (ms) | median (ms) |\n| --- | --- | --- |")
    print(
        f"| handcrafted-v1, one {options.side} px patch | {best / len(patches):.1f} | {median / len(patches):.1f} |\n"
        f"| edge attributes, N = {options.spots}, d = {options.width} | {edges[0]:.1f} | {edges[1]:.1f} |"
    )


if __name__ == "__main__":
    main()
