"""What a large slide costs: CPU seconds and peak memory by number of spots, and how both grow.

Run ``OMP_NUM_THREADS=1 python benchmarks/large.py``; it prints a markdown table. Spots lie on a square grid of 16 px,
Visium HD's bins of 8 um at 0.5 um a pixel, 16,384 of them in a window of 2048 px. Methods are fitted on a few spots in
two updates; predicting the large slide is measured, ridge's fit too. Solvers of diffusion methods make two passes:
what a pass holds does not depend on how many there are; nor does STFlow's, whose passes ``--steps`` says. Every
measurement is a process of its own; memory is anonymous, beyond what the process held before, so inputs do not count;
with ``--resident`` it is all that is resident, libraries and inputs too. ``--store FOLDER`` has predictions checked and
written as a run does, and metrics read what was written last. The exponent is that of a power law through all sizes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from memory import Peak
from prior import anonymous_mb, memory_mb
from stbench import metrics
from stbench.data.opening import open_dataset
from stbench.data.panel import Moments, hmhvg
from stbench.evaluation.predictions import SlidePrediction, read_prediction, write_prediction
from stbench.evaluation.worker import drawn
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.metrics.summary import add_slide, over_slides

_PITCH_PX, _WIDTH = 16.0, 64
_CANDIDATES, _DENSITY = 5, 0.1  # genes of a file for each of the panel, share of them with counts
_FIT = {"max_updates": "2"}
_DIFFUSION = {**_FIT, "solver": "euler", "passes": "2", "validation_passes": "2"}
SETTINGS: dict[str, dict[str, str]] = {
    "ridge": {},
    "linear-gaussian": {},
    "bleep": _FIT,
    "triplex": _FIT,
    "histogene": _FIT,
    "stflow": {**_FIT, "batch_windows": "1", "visits": "2", "epochs": "1"},
    "stem": _FIT,
    "flag": _DIFFUSION,
    "node-diffusion": _DIFFUSION,
    "joint-diffusion": _DIFFUSION,
}
Job = Callable[[], object]


def make_slide(n_spots: int, options: argparse.Namespace) -> LabelledSlide:
    generator = np.random.default_rng(n_spots)
    array = np.stack(np.divmod(np.arange(n_spots), int(n_spots**0.5)), axis=1).astype(np.float32)
    features = generator.standard_normal((n_spots, _WIDTH), dtype=np.float32)
    expression = np.log1p(generator.poisson(2.0, (n_spots, options.genes))).astype(np.float32)
    inputs = SlideInputs(f"grid-{n_spots}", None, features, array * _PITCH_PX, array, 0.5)
    return LabelledSlide(inputs, expression)


def make_counts(n_spots: int, options: argparse.Namespace) -> csr_matrix:
    generator, n_genes = np.random.default_rng(0), options.genes * _CANDIDATES
    per_spot, step = int(n_genes * _DENSITY), int(1 / _DENSITY)
    genes = generator.integers(0, step, (n_spots, per_spot)) + np.arange(per_spot) * step
    counts = generator.integers(1, 9, n_spots * per_spot, dtype=np.int32)
    return csr_matrix((counts, genes.ravel(), np.arange(0, counts.size + 1, per_spot)), (n_spots, n_genes))


def reading(n_spots: int, options: argparse.Namespace, folder: Path) -> Job:
    """Open a cohort of one ``.h5ad`` file and load its slide."""
    from anndata import AnnData

    adata = AnnData(make_counts(n_spots, options), obsm={"spatial": make_slide(n_spots, options).inputs.xy})
    adata.write_h5ad(folder / "large.h5ad")
    del adata

    def job() -> None:
        cohort, _ = open_dataset(str(folder), None, (), folder, require_image=False)
        cohort.load(cohort.ids[0])

    return job


def choosing(n_spots: int, options: argparse.Namespace, folder: Path) -> Job:
    """Choose a panel on one slide."""
    counts = make_counts(n_spots, options)
    found = Moments([f"G{gene}" for gene in range(counts.shape[1])])

    def job() -> None:
        found.update(counts)
        hmhvg(found.mean, found.std, options.genes)

    return job


def scoring(n_spots: int, options: argparse.Namespace, folder: Path) -> Job:
    """Every registered metric of a prediction and its draws."""
    slide = make_slide(n_spots, options)
    truth, inputs, together = slide.expression, slide.inputs, over_slides()
    made = None if options.store else SlidePrediction(make_draws(truth, options.draws))
    facts = {"xy": inputs.xy, "log_depth": np.log1p(np.expm1(truth).sum(axis=1)), "patient": "P0"}
    facts["spread"] = np.full(options.genes, 0.5)  # what a lone prediction is dressed with

    def job() -> None:
        found = made or read_prediction(options.store, inputs.slide_id).prediction
        mean = found.mean
        metrics.score_slide(truth, mean, draws=found.draws if len(found.draws) > 1 else None, **facts)
        add_slide(together, truth, mean, facts)

    return job


def make_draws(truth: np.ndarray, n_draws: int) -> np.ndarray:
    draws = np.random.default_rng(1).standard_normal((n_draws, *truth.shape), dtype=np.float32)
    draws += truth
    return draws


def gene_structure(n_spots: int, options: argparse.Namespace, folder: Path) -> Job:
    """GSC alone, for panels of thousands of genes."""
    truth = make_slide(n_spots, options).expression
    return lambda: metrics.gsc(truth, truth[::-1])


def predicting(method: str, n_spots: int, options: argparse.Namespace) -> Job:
    fitted = _method(method, options)
    slide, few = make_slide(n_spots, options), make_slide(options.few_spots, options)
    context, known = Context(tuple(f"G{gene}" for gene in range(options.genes))), [few]
    if method != "ridge":
        fitted.fit(known, known, context)
        return lambda: _predict(fitted, slide.inputs, context, options)

    def job() -> None:
        fitted.fit([slide], known, context)
        _predict(fitted, slide.inputs, context, options)

    return job


def _predict(fitted: Method, inputs: SlideInputs, context: Context, options: argparse.Namespace) -> None:
    if not options.store:
        fitted.predict(inputs, options.draws, 0)
        return
    said = drawn(fitted, inputs, options.draws, 0, context.n_genes)
    write_prediction(options.store, inputs, [str(n) for n in range(inputs.n_spots)], list(context.genes), said, {})


def _method(name: str, options: argparse.Namespace) -> Method:
    card = find_method(name)
    cls = method_class(card)
    preset = options.preset if options.preset in card.presets else ""
    said = dict(SETTINGS[name])
    if name in ("flag", "node-diffusion", "joint-diffusion") and options.most_spots:
        said["window_most_spots"] = str(options.most_spots)
    if name == "stflow" and options.steps:
        said["refinement_steps"] = str(options.steps)
    return cls(resolve_settings(card, cls, preset, said))


OTHERS = {"reader": reading, "panel": choosing, "metrics": scoring, "gsc": gene_structure}


def measure(what: str, n_spots: int, options: argparse.Namespace) -> None:
    """Print CPU seconds and MB of one measurement as JSON."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        job = OTHERS[what](n_spots, options, Path(folder)) if what in OTHERS else predicting(what, n_spots, options)
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and is still held would hide what is taken
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
        before, start = anonymous_mb(), time.process_time()
        with Peak() as peak:
            job()
        mb = memory_mb("VmHWM") if options.resident else peak.mb - before
    print(json.dumps([time.process_time() - start, mb]))


def row(what: str, options: argparse.Namespace) -> str:
    found = []
    for n_spots in options.spots:
        words = ["--genes", str(options.genes), "--draws", str(options.draws), "--preset", options.preset]
        words += ["--most-spots", str(options.most_spots), "--few-spots", str(options.few_spots)]
        words += ["--steps", str(options.steps), "--cell", what, "--spots", str(n_spots)]
        words += [*(["--store", str(options.store)] if options.store else []), *["--resident"] * options.resident]
        done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    cells = [f"{seconds:.2f} s, {mb:.0f} MB" for seconds, mb in found]
    rises = [_exponent(options.spots, column) for column in zip(*found, strict=True)]
    return f"| {what} | {' | '.join(cells)} | {' | '.join(rises)} |"


def _exponent(sizes: list[int], values: tuple[float, ...]) -> str:
    if len(sizes) < 2 or min(values) <= 0:
        return "-"
    return f"{np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", nargs="+", default=["reader", "panel", "metrics", "ridge", "linear-gaussian"])
    parser.add_argument("--spots", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--most-spots", type=int, default=0, help="of a window; 0: the setting's default")
    parser.add_argument("--few-spots", type=int, default=256, help="of the slide that methods are fitted on")
    parser.add_argument("--steps", type=int, default=0, help="passes of STFlow for a draw; 0: the setting's default")
    parser.add_argument("--store", type=Path, help="folder that predictions are written to and scored from")
    parser.add_argument("--resident", action="store_true", help="all resident memory, in place of what a job adds")
    parser.add_argument("--cell", help="one measurement, as JSON; the process of a table's cell")
    options = parser.parse_args()
    if options.cell:
        measure(options.cell, options.spots[0], options)
        return
    sizes = [f"{n:,} spots" for n in options.spots]
    print(f"| {' | '.join(['what', *sizes, 'seconds ~ spots^', 'memory ~ spots^'])} |", flush=True)
    print(f"| --- |{' ---: |' * (len(sizes) + 2)}", flush=True)
    for what in options.what:
        print(row(what, options), flush=True)


if __name__ == "__main__":
    main()
