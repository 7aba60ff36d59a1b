"""What a prior with vectors per spot and gene costs FLAG: training steps and anonymous memory, beside a static table.

Run ``python benchmarks/prior.py --presets small paper``. A slide of random half-precision vectors is written to a
temporary folder (1.8 GB at the default size) and dropped afterwards. Both priors have the same width, so that what
differs is reading. The two take turns in one process; memory is measured in a process for each. ``read from disk``
drops the file from the page cache before every step, as where a cohort's vectors do not fit in memory.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.priors.per_spot import PerSpotTable
from stbench.training.loop import Trainer

_MB = 1024 * 1024
_BLOCK = 50  # spots written at once
_PITCH_PX = 250.0
KINDS = ("static", "per spot")


def anonymous_mb() -> float:
    """Resident memory that no file backs, MB: what a process holds, in contrast to pages the system may drop."""
    return memory_mb("RssAnon")


def memory_mb(name: str) -> float:
    """A line of the process's status, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def write_priors(folder: Path, spots: int, genes: int, width: int) -> None:
    """A table of genes, and a folder of vectors per spot, of one slide ``S``."""
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(genes)]
    np.savez(folder / "static.npz", genes=np.array(names), embedding=rng.normal(size=(genes, width)))
    (folder / "genes.txt").write_text("\n".join(names), encoding="utf-8")
    path, shape = folder / "S_gene_embeddings.npy", (spots, genes, width)
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    block = rng.normal(size=(_BLOCK, genes, width)).astype(np.float16)
    for start in range(0, spots, _BLOCK):
        part = vectors[start : start + _BLOCK]
        part[...] = np.roll(block, start, axis=2)[: len(part)]
    vectors.flush()


def make_slide(spots: int, genes: int) -> LabelledSlide:
    rng = np.random.default_rng(1)
    side = int(np.ceil(spots**0.5))
    xy = np.stack(np.divmod(np.arange(spots), side), axis=1).astype(np.float32) * _PITCH_PX
    features = rng.normal(size=(spots, 1024)).astype(np.float32)
    return LabelledSlide(SlideInputs("S", None, features, xy), rng.random((spots, genes), dtype=np.float32))


def make_trainer(preset: str, folder: Path, slide: LabelledSlide, *, static: bool) -> Trainer:
    card = find_method("flag")
    place = folder / "static.npz" if static else folder
    method = method_class(card)(resolve_settings(card, method_class(card), preset, {"prior": f"file:{place}"}))
    genes = tuple(f"G{i}" for i in range(slide.expression.shape[1]))
    trainer: Trainer = method._trainer([slide], [slide], Context(genes))  # type: ignore[attr-defined]
    return trainer


def drop_pages(table: PerSpotTable, path: Path) -> None:
    """Take the file out of the page cache."""
    table.vectors["S"]._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def time_steps(preset: str, options: argparse.Namespace) -> None:
    """Print the rows of one preset."""
    slide = make_slide(options.spots, options.genes)
    trainers = [make_trainer(preset, options.folder, slide, static=static) for static in (True, False)]
    for cold in (False, True):
        spent = _turns(*trainers, options, cold=cold)
        ratios = [statistics.median(b[k] / a[k] for a, b in spent) for k in (0, 1)]
        steps = [f"{statistics.median(pair[kind][k] for pair in spent):.3f}" for k in (0, 1) for kind in (0, 1)]
        found = " | ".join([*steps, *(f"{ratio:.3f}" for ratio in ratios)])
        print(f"| {preset} | {'read from disk' if cold else 'in page cache'} | {found} |", flush=True)


Spent = tuple[float, float]  # wall and CPU seconds


def _turns(static: Trainer, per_spot: Trainer, options: argparse.Namespace, *, cold: bool) -> list[tuple[Spent, Spent]]:
    """Seconds of the two in turns, so that a busy machine slows both."""
    pairs = []
    for turn in range(options.repeats + 1):
        first = _step(static, turn)
        if cold:
            drop_pages(per_spot.objective.prior, options.folder / "S_gene_embeddings.npy")  # type: ignore[attr-defined]
        pairs.append((first, _step(per_spot, turn)))
    return pairs[1:]  # the first ones pay for memory and library start-up


def _step(trainer: Trainer, turn: int) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    trainer._micro_step(turn, torch.Generator().manual_seed(turn))
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_memory(preset: str, options: argparse.Namespace) -> None:
    """Print the largest anonymous memory seen at the ends of forward passes and steps."""
    trainer = make_trainer(
        preset, options.folder, make_slide(options.spots, options.genes), static=options.only == "static"
    )
    peak = 0.0
    losses = trainer.objective.losses

    def watched(*arguments: object) -> dict[str, torch.Tensor]:
        nonlocal peak
        terms = losses(*arguments)  # type: ignore[arg-type]
        peak = max(peak, anonymous_mb())
        return terms

    trainer.objective.losses = watched  # type: ignore[method-assign]
    for turn in range(options.repeats):
        trainer._micro_step(turn, torch.Generator().manual_seed(turn))
        peak = max(peak, anonymous_mb())
    print(f"| {preset} | {options.only} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["small"])
    parser.add_argument("--spots", type=int, default=4000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--width", type=int, default=1152, help="of the vectors; Geneformer's is 1152")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the priors of an earlier call lie; made anew when left out")
    parser.add_argument("--only", choices=KINDS, help="the memory of one prior")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only:
        measure_memory(options.presets[0], options)
        return
    with tempfile.TemporaryDirectory() as name:
        if options.folder is None:
            options.folder = Path(name)
            write_priors(options.folder, options.spots, options.genes, options.width)
        size = (options.folder / "S_gene_embeddings.npy").stat().st_size / _MB
        print(f"{options.spots} spots x {options.genes} genes x {options.width}, {size:.0f} MB of float16\n")
        print("| preset | file | static s | per spot s | static CPU s | per spot CPU s | ratio | CPU ratio |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for preset in options.presets:
            time_steps(preset, options)
        print("\n| preset | prior | peak anonymous MB |\n| --- | --- | ---: |", flush=True)
        rest = [f"--{key}={getattr(options, key)}" for key in ("spots", "genes", "width", "repeats", "folder")]
        for preset in options.presets:
            for kind in KINDS:
                subprocess.run([sys.executable, __file__, "--presets", preset, "--only", kind, *rest], check=True)


if __name__ == "__main__":
    main()
