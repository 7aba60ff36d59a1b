"""Ceilings of real slides beside the values that an independent calculation gave.

Run ``OMP_NUM_THREADS=1 python benchmarks/ceilings.py --data-root DATA``; it reads her2st and dlpfc there and prints
markdown tables, found and then expected. Panels are the HMHVG genes of the slides named, of the genes they share; means
are over the slides of a patient, then over patients, those of serial sections over ordered pairs of neighbouring cuts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np

from stbench.data.opening import open_dataset
from stbench.data.panel import Moments, candidate_genes, hmhvg
from stbench.data.slide import Slide
from stbench.metrics import Ceiling, Cut, Score, count_split, seed_of, serial_sections

SCALES = {"raw": "log1p", "dep": "cp10k-log1p"}
METRICS = ("pcc", "mse", "gsc", "ssc")
SPLIT = {"raw": (0.756, 0.164, 0.935, 0.929), "dep": (0.504, 0.622, 0.698, 0.868)}
SERIAL = {"raw": (0.60, None, 0.89, 0.76), "dep": (0.34, None, 0.62, 0.69)}
PATIENTS = (0.752, 0.888, 0.873, 0.834, 0.649, 0.626, 0.737, 0.692)
DLPFC = {"raw": (0.72, 0.211, 0.996, 0.993), "dep": (0.49, 0.524, 0.984, 0.988)}
DLPFC_SERIAL = {"raw": (0.60, None, 0.993, 0.97), "dep": (None,) * 4}
BOARDS = {
    ("C5", 50): {"raw": ".96", "dep": ".83-.85"},
    ("C5", 200): {"raw": ".90", "dep": ".70-.73"},
    ("B4", 50): {"raw": ".90-.92", "dep": ".60-.68"},
    ("B4", 200): {"raw": ".90-.92", "dep": ".60-.68"},
}
TRAINING = ("C2", "C3", "C4")


def columns(slide: Slide, genes: list[str]) -> list[int]:
    place = {gene: column for column, gene in enumerate(slide.genes)}
    return [place[gene] for gene in genes]


def panel(slides: Iterable[Slide], shared: Iterable[Slide], n_genes: int) -> list[str]:
    """HMHVG genes of some slides, among those that ``shared`` have in common."""
    moments = Moments(candidate_genes(set.intersection(*(set(slide.genes) for slide in shared))))
    for slide in slides:
        moments.update(slide.counts[:, columns(slide, moments.genes)])
    return [moments.genes[gene] for gene in hmhvg(moments.mean, moments.std, n_genes)]


def cut(slide: Slide, genes: list[str]) -> Cut:
    filled = slide.total_counts > 0
    counts, unit = slide.counts[:, columns(slide, genes)], slide.um_per_px or 1.0
    return Cut(counts[filled], slide.total_counts[filled], slide.xy[filled] * unit)


def values(ceiling: Ceiling) -> list[float]:
    return [float(getattr(ceiling, metric)) for metric in METRICS]


def pooled(pcc: Score) -> float:
    """``sqrt(mean_g rho_g)`` over all genes, from what is stated of single genes and the mean of all."""
    stated = pcc.per_gene[~np.isnan(pcc.per_gene)]
    n_low = pcc.n_used - len(stated)
    low = (pcc * pcc.n_used - stated.sum()) / max(n_low, 1)
    return float(np.sqrt((np.square(stated).sum() + n_low * low**2) / pcc.n_used))


def by_patient(rows: Mapping[str, list[float]], slides: Mapping[str, Slide]) -> list[np.ndarray]:
    groups = groupby(rows, key=lambda name: slides[name].patient)
    return [np.mean([rows[name] for name in names], axis=0) for _, names in groups]


def row(name: str, found: Iterable[float], expected: Iterable[float | None]) -> None:
    cells = [
        f"{value:.3f}" + ("" if wanted is None else f" ({wanted:g})")
        for value, wanted in zip(found, expected, strict=True)
    ]
    print(f"| {name} | {' | '.join(cells)} |")


def head(title: str, *names: str) -> None:
    print(f"\n{title}\n\n| | {' | '.join(names)} |\n| --- |{' ---: |' * len(names)}")


def her2st(slides: Mapping[str, Slide], neighbours: Callable[[str], list[str]]) -> None:
    genes = panel(slides.values(), slides.values(), 200)
    cuts = {name: cut(slide, genes) for name, slide in slides.items()}
    pairs = [(name, other) for name in cuts for other in neighbours(name) if other in cuts]
    head(f"her2st, {len(cuts)} sections, 200 genes", *METRICS)
    patients = {}
    for short, scale in SCALES.items():
        split = {name: values(count_split(each, scale, seed=seed_of(name))) for name, each in cuts.items()}
        serial = [values(serial_sections(cuts[name], [cuts[other]], scale)) for name, other in pairs]
        beside = {
            name: values(serial_sections(cuts[name], [cuts[other] for one, other in pairs if one == name], scale))
            for name in dict(pairs)
        }
        patients[short] = [each[0] for each in by_patient(split, slides)]
        row(f"{short}, count split, mean over patients", np.mean(by_patient(split, slides), axis=0), SPLIT[short])
        row(f"{short}, serial, mean over {len(pairs)} pairs", np.mean(serial, axis=0), SERIAL[short])
        row(f"{short}, serial, mean over patients", np.mean(by_patient(beside, slides), axis=0), SERIAL[short])
    head("PCC of count splitting by patient", *"ABCDEFGH")
    row("raw", patients["raw"], PATIENTS)


def boards(slides: Mapping[str, Slide]) -> None:
    """Single slides, on panels of the training slides of the first boards.

    What is expected was given as a range over steps, and of all genes taken together, ``sqrt(mean_g rho_g)``.
    """
    head("PCC of count splitting, panel of C2-C4", "found", "Spearman-Brown", "all genes pooled", "expected")
    for (name, n_genes), expected in BOARDS.items():
        genes = panel([slides[each] for each in TRAINING], [slides[each] for each in (*TRAINING, name)], n_genes)
        for short, scale in SCALES.items():
            found = count_split(cut(slides[name], genes), scale, seed=seed_of(name))
            steps = (found.pcc, found.pcc_spearman_brown)
            together = [pooled(each) for each in steps]
            cells = [*(f"{each:.3f}" for each in steps), f"{together[0]:.3f}-{together[1]:.3f}", expected[short]]
            print(f"| {name}, {n_genes} genes, {short} | {' | '.join(cells)} |")


def dlpfc(slides: Mapping[str, Slide]) -> None:
    pair = [slides["151673"], slides["151674"]]
    genes = panel(pair, pair, 200)
    first, second = (cut(slide, genes) for slide in pair)
    head("dlpfc, 151673, 200 genes", *METRICS)
    for short, scale in SCALES.items():
        row(f"{short}, count split", values(count_split(first, scale, seed=seed_of("151673"))), DLPFC[short])
        row(f"{short}, serial, 151674", values(serial_sections(first, [second], scale)), DLPFC_SERIAL[short])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    root = parser.parse_args().data_root
    cohort, card = open_dataset("her2st", root, require_image=False)
    slides = {name: cohort.load(name) for name in cohort.ids}
    her2st(slides, card.neighbours_of)
    boards(slides)
    cohort, _ = open_dataset("dlpfc", root)
    dlpfc({name: cohort.load(name) for name in ("151673", "151674")})


if __name__ == "__main__":
    main()
