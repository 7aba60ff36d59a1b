"""Predicting a whole-slide picture of which there is nothing else: seconds, peak memory, and the reader's share.

Run ``python benchmarks/slides.py --data-root DATA``; it prints a markdown table. The picture is written first and not
timed (a BigTIFF pyramid of 40,000 x 40,000 px, JPEG in tiles of 256 px, 0.4 GB in the temporary folder, a minute or
two): a piece of section B4 of HER2ST repeated over a disc, glass around it. Then a ridge is fitted on C2 to C5. The
reader's share is of CPU time, which other work on the machine does not move: cutting the same patches once more, and
nothing else. ``--folder`` keeps picture and model for another run; ``--pitch 400`` shows that it works.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
import tifffile

from runs import measure
from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile

SIDE, PIECE, TILE, LEVELS = 40_000, 2048, 256, 6
UM_PER_PX = 0.69  # that of HER2ST
RADIUS = 0.46  # of the disc of tissue, in sides
GLASS = (238, 226, 236)
SECTIONS = ("C2", "C3", "C4", "C5")


def tissue(data: Path) -> np.ndarray:
    """(PIECE, PIECE, 3) RGB of section B4, around the place with the most spots."""
    study = data / "her2st" / "data"
    spots = pd.read_csv(study / "ST-spotfiles" / "B4_selection.tsv", sep="\t")[["pixel_x", "pixel_y"]].to_numpy()
    near = [(np.abs(spots - spot).max(axis=1) < PIECE / 2).sum() for spot in spots]
    left, top = (spots[int(np.argmax(near))] - PIECE / 2).astype(int)
    (path,) = (study / "ST-imgs" / "B" / "B4").glob("*.jpg")
    return cv2.imread(str(path))[top : top + PIECE, left : left + PIECE, ::-1]


def tiles(piece: np.ndarray, side: int, reduced: int) -> Iterator[np.ndarray]:
    """Tiles of a level, row by row; its picture is never whole in memory."""
    period, radius = len(piece), RADIUS * SIDE
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            y, x = np.arange(top, top + TILE), np.arange(left, left + TILE)
            away = np.hypot(y[:, None] * reduced - SIDE / 2, x[None] * reduced - SIDE / 2)
            yield np.where((away < radius)[..., None], piece[np.ix_(y % period, x % period)], np.uint8(GLASS))


def write_picture(path: Path, piece: np.ndarray) -> None:
    """A pyramid with a factor of two between its levels."""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(LEVELS):
            reduced = 2**level
            side, small = SIDE // reduced, cv2.resize(piece, None, fx=1 / reduced, fy=1 / reduced, interpolation=3)
            file.write(
                tiles(small, side, reduced), shape=(side, side, 3), dtype="uint8", tile=(TILE, TILE),
                photometric="rgb", subsampling=(2, 2), compression="jpeg", compressionargs={"level": 80},
                subfiletype=int(level > 0), metadata=None, resolution=(1e4 / UM_PER_PX,) * 2, resolutionunit=3,
            )  # fmt: skip


def write_cohort(folder: Path, data: Path) -> None:
    """The four sections that the model is fitted on, as links."""
    for pattern in ("data/ST-cnts/{}.tsv.gz", "data/ST-spotfiles/{}_selection.tsv", "data/ST-imgs/C/{}"):
        for section in SECTIONS:
            link = folder / pattern.format(section)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((data / "her2st" / pattern.format(section)).resolve())


def reading_s(picture: Path, predictions: Path, patch: PatchSpec) -> float:
    """CPU seconds of cutting the patches of all spots and nothing else."""
    adata = anndata.read_h5ad(predictions)
    xy = np.asarray(adata.obsm["spatial"], dtype=np.float32)
    start = time.process_time()
    for _ in ImageFile(picture, UM_PER_PX).patches(list(adata.obs_names), xy, patch):
        pass
    return time.process_time() - start


def children_s() -> float:
    """CPU seconds of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds her2st/")
    parser.add_argument("--folder", type=Path, help="where the picture and the model stay")
    parser.add_argument("--pitch", type=float, default=100, help="micrometres between spots")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch, kept = Path(name), options.folder or Path(name)
        kept.mkdir(exist_ok=True)
        picture, model, cohort = kept / "slide.tif", kept / "model", kept / "cohort"
        if not picture.exists():
            write_picture(picture, tissue(options.data_root))
        if not model.exists():
            write_cohort(cohort, options.data_root)
            measure(["fit", "--method", "ridge", "--dataset", str(cohort), "--genes", "50", "--out", str(model)], kept)
        out = scratch / "slide.h5ad"
        words = ["predict", "--model", str(model), "--slide", str(picture), "--pitch", f"{options.pitch:g}"]
        before = children_s()
        wall, peak = measure([*words, "--out", str(out)], scratch)
        cpu = children_s() - before
        reading = reading_s(picture, out, PatchSpec(um=112))
        n_spots = anndata.read_h5ad(out, backed="r").n_obs
        print(
            "| spots | wall s | CPU s | peak MB | reading, CPU s | share |\n| ---: | ---: | ---: | ---: | ---: | ---: |"
        )
        print(f"| {n_spots} | {wall:.0f} | {cpu:.0f} | {peak:.0f} | {reading:.0f} | {reading / cpu:.1%} |")


if __name__ == "__main__":
    main()
