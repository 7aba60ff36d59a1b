"""How fast features are made: handcrafted or by a network, reading HEST's patches, edge attributes per window.

Run ``python benchmarks/features.py``; it prints a markdown table. Reading includes the hash of the file, as a run
computes it, and finds the file in the system's cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from stbench.data.image import PatchSpec
from stbench.data.images import PatchFile
from stbench.features.encoders import Handcrafted
from stbench.features.graph import edge_attributes
from stbench.features.linear import quicken
from stbench.features.network_encoder import import_timm
from stbench.features.patches import SlidePatches

SIDE = 224  # px, as HEST-1k stores patches


def milliseconds(job: Callable[[], object], repeats: int) -> np.ndarray:
    """(2,) best and median wall time of a job."""
    job()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return 1e3 * np.array([min(seconds), np.median(seconds)])


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


def patch_file(path: Path, patches: np.ndarray) -> list[str]:
    """Write patches as HEST-1k does, one to a chunk and uncompressed; returns the barcodes."""
    barcodes = [f"spot{i:05d}" for i in range(len(patches))]
    corners = np.zeros((len(patches), 2), dtype=np.int64)
    with h5py.File(path, "w") as file:
        file.create_dataset("img", data=patches, chunks=(1, *patches.shape[1:]), maxshape=(None, *patches.shape[1:]))
        file.create_dataset("coords", data=corners, maxshape=(None, 2))
        file.create_dataset("barcode", data=np.array(barcodes, dtype=object)[:, None], dtype=h5py.string_dtype())
    return barcodes


def read(path: Path, spots: list[str]) -> None:
    """What a run does with a patch file before and between encoding."""
    os.utime(path)  # or its hash would be remembered
    image = PatchFile(path, um_per_px=0.5)
    image.digest()
    everywhere = np.zeros((len(spots), 2), dtype=np.float32)
    for batch in SlidePatches(image, spots, everywhere, PatchSpec(um=0.5 * SIDE)).batches(SIDE):
        assert batch.shape[1:] == (SIDE, SIDE, 3)


@torch.inference_mode()
def networks(architecture: str, patches: np.ndarray, repeats: int) -> dict[str, np.ndarray]:
    """Times of a timm network with torch's own linear maps, then with ours."""
    network = import_timm().create_model(architecture, pretrained=False, num_classes=0).eval()
    images = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255
    plain = milliseconds(lambda: network(images), repeats)
    quicken(network)
    quick = milliseconds(lambda: network(images), repeats)
    return {
        f"{architecture}, one patch, torch's linear maps": plain / len(patches),
        f"{architecture}, one patch, ours": quick / len(patches),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=32)
    parser.add_argument("--network", default="vit_small_patch16_224", help="a timm architecture")
    parser.add_argument("--stored", type=int, default=512, help="patches in the file that is read")
    parser.add_argument("--spots", type=int, default=400)
    parser.add_argument("--width", type=int, default=1024, help="feature width")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    patches = stained_patches(options.patches, SIDE, seed=0)
    generator = np.random.default_rng(0)
    xy = generator.uniform(0, 2048, (options.spots, 2)).astype(np.float32)
    features = generator.normal(size=(options.spots, options.width)).astype(np.float32)
    encoder = Handcrafted(workers=options.threads)
    white = np.full(3, 245.0)

    encoding = milliseconds(
        lambda: encoder.encode(patches, white_point=white, um_per_px=None), max(2, options.repeats // 3)
    )
    stored = stained_patches(options.stored, SIDE, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.h5"
        spots = patch_file(path, stored)
        reading = milliseconds(lambda: read(path, spots), max(2, options.repeats // 3))
    edges = milliseconds(lambda: edge_attributes(xy, features), options.repeats)
    rows = {
        f"handcrafted-v1, one {SIDE} px patch": encoding / len(patches),
        f"reading and hashing one {SIDE} px patch of a file": reading / len(stored),
        f"edge attributes, N = {options.spots}, d = {options.width}": edges,
        **networks(options.network, patches, max(2, options.repeats // 3)),
    }
    print(f"{options.threads} thread(s)\n\n| job | best (ms) | median (ms) |\n| --- | --- | --- |")
    for job, (best, median) in rows.items():
        print(f"| {job} | {best:.2f} | {median:.2f} |")


if __name__ == "__main__":
    main()
