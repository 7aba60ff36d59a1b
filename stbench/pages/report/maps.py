"""Maps and gene networks of test slides, as numbers that the page draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.evaluation.record import TaskFacts
from stbench.evaluation.summaries import mean_of
from stbench.metrics.domains import MOST_DOMAINS
from stbench.pages.plots.material import Material, NotPossibleError, Run, Shown, SlideView
from stbench.pages.plots.structure import correlations, gene_order
from stbench.pages.plots.style import Canvas, bar_length, limits
from stbench.pages.protocol import Protocol, scale_of
from stbench.pages.report.compact import data_uri, levels, places, rounded
from stbench.pages.rows import CONTROLS, METHODS
from stbench.reporting import SILENT, Reporter
from stbench.text import count, first_line

ARCHIVED = "the records come from an archive"
_MOST_LETTERS = 900_000  # of all maps of a page, and
_MOST_PAIRS = 400_000  # of all its networks
_MOST_SPOTS = 2_000_000  # of all maps of three genes
_LEAST_GENES = 3
_PICTURE_PX, _SMALL_PX, _FEW_SLIDES = 720, 420, 8


@dataclass
class Maps:
    """What a page holds of slides.

    Args:
        slides: what its scripts draw, in the order of the folds.
        said: what is not there, and why.
    """

    slides: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fold:
    """Predictions of one task, in the order of the board.

    Args:
        task: facts of the task.
        material: its runs.
        runs: one seed of every method, and the best control.
    """

    task: TaskFacts
    material: Material
    runs: Sequence[Run]


@dataclass(frozen=True)
class _Sizes:
    """How much of every slide a page can hold."""

    genes: int
    spots: int
    network: int
    picture_px: int


def maps_of(board: Protocol, material: Material, asked: Sequence[str], reporter: Reporter = SILENT) -> Maps:
    """Every test slide of the first scale of a board.

    Args:
        board: whose runs have predictions.
        material: those runs.
        asked: genes that must be among the maps.
        reporter: where progress goes.

    Raises:
        UnknownNameError: a gene that is in no panel.
        DataError: a prediction is damaged, or not the one that was scored.
        NotPossibleError: genes are asked for, and there are no maps.
    """
    material.check_genes(asked)
    found = Maps(said=_without(board, material))
    try:
        _check_folders(board, material)
        folds = _folds(board, material)
        sizes = _sizes(folds)
        genes = shown_genes(folds, asked, sizes.genes)
        if (several := len(board.scales)) > 1:
            found.said.append(f"Maps and networks are of the first of {several} scales, {board.scales[0]}.")
        found.said += _fewer(folds, genes)
        with reporter.track("maps", sum(len(fold.task.test) for fold in folds)) as advance:
            for fold in folds:
                for slide in fold.task.test:
                    found.slides.append(_slide(fold, slide, genes, sizes, found))
                    advance(note=slide)
    except NotPossibleError as error:
        if asked:
            raise
        return Maps(said=[f"No maps and no networks: {first_line(error)}."])
    return found


def _check_folders(board: Protocol, material: Material) -> None:
    ours = {id(record) for record in board.records}
    if all(run.folder is None for run in material.runs if id(run.record) in ours):
        raise NotPossibleError(f"{ARCHIVED}, which holds no predictions; give the folder that stbench run wrote")


def _without(board: Protocol, material: Material) -> list[str]:
    hashes = {section.task.hash for section in board.sections if scale_of(section) == board.scales[0]}
    ours = {run.label for run in material.runs if run.record.task.hash in hashes}
    rows = [row for row in material.without if row in ours]
    return [f"No stored predictions, not among the maps: {'; '.join(rows)}."] if rows else []


def _folds(board: Protocol, material: Material) -> list[Fold]:
    """Folds with predictions, rows in the order of the board, the best control last.

    Raises:
        NotPossibleError: there is none.
    """
    order = [line.label for line in board.lines]
    found, reasons = [], []
    for section in board.sections:
        if scale_of(section) != board.scales[0]:
            continue
        fold = material.fold(section.task.hash)
        try:
            runs = fold.predicting
        except NotPossibleError as error:
            reasons.append(error)
            continue
        place = {
            run.label: (run.block == CONTROLS, order.index(run.label) if run.label in order else -1) for run in runs
        }
        found.append(Fold(section.task, fold, sorted(runs, key=lambda run: place[run.label])))
    if not found:
        raise reasons[0]
    return found


def _sizes(folds: Sequence[Fold]) -> _Sizes:
    slides = [(fold, slide) for fold in folds for slide in fold.task.test]
    layers = 1 + max(len(fold.runs) for fold in folds)
    spots = max(_MOST_SPOTS // (_LEAST_GENES * layers * len(slides)), 400)
    letters = sum(min(fold.task.n_spots.get(slide, 0), spots) * (1 + len(fold.runs)) for fold, slide in slides)
    pairs = _MOST_PAIRS / (layers * len(slides))
    return _Sizes(
        genes=max(_MOST_LETTERS // max(letters, 1), _LEAST_GENES),
        spots=spots,
        network=max(int((1 + (1 + 8 * pairs) ** 0.5) / 2), 10),
        picture_px=_PICTURE_PX if len(slides) <= _FEW_SLIDES else _SMALL_PX,
    )


def shown_genes(folds: Sequence[Fold], asked: Sequence[str], most: int) -> list[str]:
    """Genes asked for, then others from the best to the worst predicted by the best method, evenly along the ranking.

    Where enough genes are in the panels of all folds, only these.

    Args:
        folds: at least one.
        asked: come first, whatever their number.
        most: how many there may be in all.
    """
    panels = [set(fold.task.genes) for fold in folds]
    common = set.intersection(*panels)
    among = common if len(common) >= most else set.union(*panels)
    scores: dict[str, list[float | None]] = {gene: [] for fold in folds for gene in fold.task.genes if gene in among}
    for fold in folds:
        for slide in fold.task.test:
            for gene, score in zip(fold.task.genes, fold.runs[0].gene_scores(slide), strict=False):
                if gene in scores:
                    scores[gene].append(score)
    means = {gene: mean_of(values) for gene, values in scores.items()}
    order = sorted(means, key=lambda gene: (means[gene] is None, -(means[gene] or 0.0), gene))
    rest = min(max(most - len(asked), 0), len(order))
    even = np.linspace(0, len(order) - 1, rest).round().astype(int)
    return list(dict.fromkeys([*asked, *(order[place] for place in even)]))


def _fewer(folds: Sequence[Fold], genes: Sequence[str]) -> list[str]:
    panel = {gene for fold in folds for gene in fold.task.genes}
    if len(genes) >= len(panel):
        return []
    return [
        f"Maps of {len(genes)} of {count(len(panel), 'gene')}, evenly from the best to the worst predicted by "
        f"`{folds[0].runs[0].label}`; `--gene` adds others."
    ]


def _slide(fold: Fold, name: str, genes: Sequence[str], sizes: _Sizes, to: Maps) -> dict[str, Any]:
    view = fold.material.view(name, fold.runs)
    canvas = Canvas.of(view)
    low, high = canvas.corners
    size = high - low
    kept = _thinned(len(canvas.xy), sizes.spots)
    if len(kept) < len(canvas.xy):
        to.said.append(f"Of slide {name} {len(kept)} of {len(canvas.xy)} spots are drawn.")
    if canvas.picture is None:
        to.said.append(f"Slide {name} has no picture: spots alone.")
    mine = [gene for gene in genes if gene in fold.task.genes] or fold.task.genes[:1]
    length, said = bar_length(float(size[0]), canvas.um_per_px)
    return {
        "slide": name,
        "patient": fold.task.patients.get(name),
        "title": view.title,
        "scale": view.scale,
        "aspect": rounded(float(size[1] / size[0]), 4),
        "spot": rounded(canvas.diameter / float(size[0]), 5),
        "bar": [rounded(length / float(size[0]), 4), said],
        "places": places(canvas.xy[kept], low, size),
        "picture": _picture(canvas, sizes.picture_px),
        "layers": [{"name": "measured", "block": ""}, *_layers(view)],
        "genes": [_gene(view, gene, kept) for gene in mine],
        "network": _network(view, sizes.network),
        "domains": _domains(view, kept),
    }


def _thinned(spots: int, most: int) -> NDArray[np.int64]:
    return np.arange(0, spots, -(-spots // most))


def _layers(view: SlideView) -> Iterator[dict[str, str]]:
    for one in view.shown:
        yield {"name": one.label, "block": METHODS if one.run.block == METHODS else CONTROLS}


def _picture(canvas: Canvas, most_px: int) -> dict[str, Any] | None:
    """The part of the picture that a panel shows, and where it lies in it, in shares of its width and height."""
    if canvas.picture is None:
        return None
    height, width = canvas.picture.shape[:2]
    scale = width / canvas.extent[1]
    (left, top), (right, bottom) = (
        np.clip(corner * scale, 0, (width, height)).astype(int) for corner in canvas.corners
    )
    if right <= left or bottom <= top:
        return None
    low, high = canvas.corners
    start, end = np.array([left, top]) / scale, np.array([right, bottom]) / scale
    box = [*(start - low) / (high - low), *(end - start) / (high - low)]
    part = canvas.picture[top:bottom, left:right]
    return {"uri": data_uri(_reduced(part, most_px)), "box": [rounded(float(side), 4) for side in box]}


def _reduced(picture: NDArray[np.uint8], most_px: int) -> NDArray[np.uint8]:
    import cv2

    share = min(most_px / max(picture.shape[:2]), 1.0)
    size = (max(round(picture.shape[1] * share), 1), max(round(picture.shape[0] * share), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _gene(view: SlideView, gene: str, kept: NDArray[np.int64]) -> dict[str, Any]:
    column, truth = view.column(gene), view.measured(gene)
    low, high = limits(truth)
    predicted = [one.prediction.mean[:, column] for one in view.shown]
    return {
        "name": gene,
        "range": [rounded(low), rounded(high)],
        "values": [levels(np.asarray(values)[kept], low, high) for values in (truth, *predicted)],
        "pcc": [None, *(_score(one, view, column) for one in view.shown)],
    }


def _score(shown: Shown, view: SlideView, column: int) -> Any:
    scores = shown.run.gene_scores(view.name)
    return rounded(scores[column]) if scores else None


def _network(view: SlideView, most: int) -> dict[str, Any]:
    """Correlations above the diagonal, row by row, of all genes or of some evenly along their order."""
    truth = correlations(view.truth.expression)
    order = gene_order(truth)
    order = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    above = np.triu_indices(len(order), 1)
    matrices = [truth, *(correlations(one.prediction.mean) for one in view.shown)]
    gsc = [one.run.record.metrics.get("gsc") for one in view.shown]
    return {
        "genes": [view.task.genes[gene] for gene in order],
        "of": view.task.n_genes,
        "values": [levels(matrix[np.ix_(order, order)][above], -1, 1) for matrix in matrices],
        "gsc": [None, *(None if one is None else rounded(one.per_slide.get(view.name)) for one in gsc)],
    }


def _domains(view: SlideView, kept: NDArray[np.int64]) -> dict[str, Any] | None:
    """Names of the domains that the slide carries, and the number of each spot's, a dot where it has none."""
    if view.truth.domains is None:
        return None
    labels = view.truth.domains[kept]
    names = sorted({str(label) for label in labels} - {""})
    if len(names) > MOST_DOMAINS:
        return None
    numbers = [names.index(label) if label else np.nan for label in labels]
    return {"names": names, "values": levels(numbers, 0, 63)}
