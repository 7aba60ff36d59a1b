"""From the files of a cohort of PRAD's size to a fitted ridge: wall seconds and peak memory of each command.

Run ``python benchmarks/cohort.py``; it prints a markdown table. The files are written first and not timed (2 GB in the
temporary folder, a few minutes): the slides, spots and genes of PRAD in HEST-1k's layout with simulated counts, and
features as other people's tools leave them, one ``.h5`` per slide. ``--share 0.05`` shows that it works.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from runs import measure
from stbench.catalogue import SlideEntry, find_dataset
from stbench.evaluation.record import read_record

N_GENES = 33538
WIDTH = 1024
PITCH_PX = 200
FACTORS = 8  # dimensions of a spot's hidden state, which counts and features share
_UMI = 5000
_BLOCK = 256  # spots drawn at a time


class Study(NamedTuple):
    """What all slides share.

    Args:
        share: (N_GENES,) log of each gene's share of a spot's molecules.
        genes: (FACTORS, N_GENES) how the hidden state moves it.
        looks: (FACTORS, WIDTH) how the hidden state moves the features.
    """

    share: np.ndarray
    genes: np.ndarray
    looks: np.ndarray


def draw_study(generator: np.random.Generator) -> Study:
    """Shares so uneven that about 2000 genes are found per spot, as on 10x Visium."""
    share = generator.normal(0, 2.6, N_GENES)
    genes, looks = generator.normal(0, 0.2, (FACTORS, N_GENES)), generator.normal(0, 0.5, (FACTORS, WIDTH))
    return Study(share - np.log(np.exp(share).sum()), genes, looks)


def draw_counts(state: np.ndarray, study: Study, generator: np.random.Generator) -> sparse.csr_matrix:
    """(n_spots, N_GENES) float32 Poisson counts."""
    blocks = []
    for start in range(0, len(state), _BLOCK):
        part = state[start : start + _BLOCK]
        depth = generator.lognormal(np.log(_UMI), 0.4, (len(part), 1))
        counts = generator.poisson(depth * np.exp(study.share + part @ study.genes))
        blocks.append(sparse.csr_matrix(counts.astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def write_slide(folder: Path, features: Path, entry: SlideEntry, n_spots: int, study: Study, seed: int) -> int:
    """One sample and its features; returns the number of counts that are not zero."""
    generator = np.random.default_rng(seed)
    state = generator.normal(size=(n_spots, FACTORS))
    row, column = np.divmod(np.arange(n_spots), 64)
    barcodes = ["".join("ACGT"[(i >> 2 * k) & 3] for k in range(16)) + "-1" for i in range(n_spots)]
    obs = pd.DataFrame({"in_tissue": 1, "array_row": row, "array_col": 2 * column + row % 2}, index=barcodes)
    xy = np.column_stack([200 + PITCH_PX / 2 * obs["array_col"], 200 + PITCH_PX * 3**0.5 / 2 * row])
    adata = anndata.AnnData(draw_counts(state, study, generator), obs=obs, obsm={"spatial": xy})
    adata.var_names = [f"GENE{i:05d}" for i in range(N_GENES)]
    adata.write_h5ad(folder / "st" / f"{entry.id}.h5ad")
    said = {"dataset_title": "simulated", "id": entry.id, "patient": entry.patient, "pixel_size_um_estimated": 0.5}
    (folder / "metadata" / f"{entry.id}.json").write_text(json.dumps(said))
    seen = np.tanh(state @ study.looks) + generator.normal(0, 1, (n_spots, WIDTH))
    order = generator.permutation(n_spots)
    with h5py.File(features / f"{entry.id}.h5", "w") as file:
        file["embeddings"], file["coords"] = seen[order].astype(np.float32), xy[order].astype(np.int64)
        names = np.array(barcodes, dtype=object)[order, None]
        file.create_dataset("barcodes", data=names, dtype=h5py.string_dtype())
    return int(adata.X.nnz)


def write_cohort(root: Path, share: float) -> tuple[int, int]:
    """The whole cohort under ``root``; returns its spots and the counts that are not zero."""
    folder, features = root / "prad", root / "features"
    for place in (folder / "st", folder / "metadata", features):
        place.mkdir(parents=True)
    study = draw_study(np.random.default_rng(0))
    sizes = {entry: max(30, round(entry.n_spots * share)) for entry in find_dataset("prad").slides}
    filled = sum(write_slide(folder, features, entry, n, study, seed) for seed, (entry, n) in enumerate(sizes.items()))
    return sum(sizes.values()), filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of each slide's spots")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        n_spots, filled = write_cohort(root, options.share)
        print(f"{n_spots} spots, {filled / n_spots:.0f} of {N_GENES} genes found per spot\n", flush=True)
        cohort = "prad" if options.share == 1 else str(root / "prad")  # the card holds files against PRAD's size
        data = ["--data-root", str(root)]
        given = ["--dataset", cohort, *data, "--encoder", "precomputed", "--weights", str(root / "features")]
        ridge = ["--method", "ridge", "--genes", "200", "--no-controls", "--out", str(root / "runs")]
        jobs = {
            "datasets check": ["datasets", "check", cohort, *data],
            "encode": ["encode", *given],
            "run: panel, split, ridge": ["run", *given, *ridge],
        }
        print("| command | wall s | peak MB |\n| --- | ---: | ---: |")
        total = 0.0
        for job, words in jobs.items():
            seconds, peak = measure(words, root)
            total += seconds
            print(f"| {job} | {seconds:.0f} | {peak:.0f} |", flush=True)
        print(f"| together | {total:.0f} | |\n\nPCC {read_record(root / 'runs' / 'ridge').metrics['pcc'].mean:.3f}")


if __name__ == "__main__":
    main()
