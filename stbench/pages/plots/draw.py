"""All pictures of some runs as files; what the runs do not allow is left out with a reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.files import write_text
from stbench.metrics.gene_sets import FEWEST
from stbench.pages.figures import save_figure
from stbench.pages.plots.calibration import calibration
from stbench.pages.plots.domains import domain_figure
from stbench.pages.plots.forest import forest
from stbench.pages.plots.genes import gene_rows, genes_csv, told
from stbench.pages.plots.maps import draw_map, gene_map
from stbench.pages.plots.material import Material, NotPossibleError, Run, SlideView, check_gene
from stbench.pages.plots.structure import moran, network
from stbench.pages.plots.style import Canvas
from stbench.pages.plots.training import histories, training
from stbench.pages.rows import METHODS
from stbench.reporting import SILENT, Reporter
from stbench.text import first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUT = Path("plots")
_LONGEST = 60  # letters of a name in a file name
_NO_PICTURE = "slide {}: no picture, its maps are spots alone"


@dataclass
class Pictures:
    """The pictures of some runs.

    Args:
        material: the runs.
        out: folder, made when absent.
        slide: that is shown, the first test slide when None.
        genes: that are shown; the best, the median and the worst predicted when empty.
        reporter: where progress and what is left out go.
        sets: gene sets.
        gene_set: the one whose genes alone the network shows; all of the panel when None.
    """

    material: Material
    out: Path
    slide: str | None = None
    genes: Sequence[str] = ()
    reporter: Reporter = SILENT
    sets: GeneSetFile | None = None
    gene_set: str | None = None
    _views: dict[bool, SlideView] = field(default_factory=dict, init=False)

    def draw(self, kinds: Sequence[str] | None = None) -> list[Path]:
        """Write pictures as ``.png`` and ``.svg``, tables as ``.csv``.

        Args:
            kinds: of :data:`KINDS`; all that the runs allow when None.

        Returns:
            The files, in the order of the kinds.

        Raises:
            UnknownNameError: a kind, gene or slide that there is not.
            DataError: a record, a history or a prediction is damaged.
            UserError: a kind that was asked for is not possible, or the folder cannot be written.
        """
        for kind in kinds or ():
            if kind not in KINDS:
                raise UnknownNameError("kind of picture", kind, KINDS)
        self.material.check_genes(self.genes)
        written: list[Path] = []
        chosen = list(dict.fromkeys(kinds or KINDS))
        with self.reporter.track("drawing", len(chosen)) as advance:
            for kind in chosen:
                try:
                    written += KINDS[kind](self)
                except (DataError, SettingError, UnknownNameError):
                    raise
                except UserError as error:
                    if kinds:
                        raise
                    self.reporter.info(f"{kind}: left out, {first_line(error)}")
                advance(note=kind)
        return written

    def view(self, *, drawn: bool = False) -> SlideView:
        """The slide with what methods and the best control predicted of it; with everything that drew, if asked."""
        if drawn not in self._views:
            runs = self.material.sampling if drawn else self.material.predicting
            if not self._views:
                for row in self.material.without:
                    self.reporter.info(f"{row}: no stored predictions, not among the maps")
            self._views[drawn] = self.material.view(self.material.slide(self.slide), runs)
        return self._views[drawn]

    @cached_property
    def canvas(self) -> Canvas:
        """Where the spots of the slide are drawn."""
        return Canvas.of(self.view())

    def shown_genes(self, view: SlideView) -> list[str]:
        """Genes that are drawn of a slide."""
        genes = self.material.genes(self.genes, view.name)
        for gene in genes:
            check_gene(gene, view.task.genes)
        return genes

    def set_genes(self, view: SlideView) -> list[str]:
        """Genes of the set that was asked for, in the order of the panel; none where none was.

        Raises:
            SettingError: a set without a file of sets.
            UnknownNameError: there is no such set.
            NotPossibleError: the panel has too few of its genes.
        """
        if self.gene_set is None:
            return []
        if self.sets is None:
            raise SettingError("--gene-set: expected --gene-sets FILE beside it, found none")
        found = self.sets.named(self.gene_set, view.task.genes)
        if len(found) < FEWEST:
            raise NotPossibleError(
                f"expected {FEWEST} genes of {self.gene_set} in the panel of {len(view.task.genes)}, found "
                f"{len(found)}; run more --genes"
            )
        return found

    def save(self, figure: Figure, *names: str) -> list[Path]:
        """Both files of a figure, named by its kind and what it shows."""
        return save_figure(figure, self.out / "-".join(map(safe, names)))


def safe(name: str) -> str:
    """A name as part of the name of a file, on any system; a long one ends in its hash."""
    said = quote(re.sub(r"[ ,()]+", "-", name).strip("-"), safe="=+")
    short = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 9]}-{short}"


def _maps(to: Pictures) -> Iterator[Path]:
    view = to.view()
    if to.canvas.picture is None:
        to.reporter.info(_NO_PICTURE.format(view.name))
    for gene in to.shown_genes(view):
        yield from to.save(gene_map(view, to.canvas, gene), "map", view.name, gene)


def _network(to: Pictures) -> Iterator[Path]:
    view, name = to.view(), to.gene_set or ""
    said = [name] if name else []
    yield from to.save(network(view, to.set_genes(view), name), "network", view.name, *said)


def _domains(to: Pictures) -> Iterator[Path]:
    """Of the slide, or where none was named of the first test slide that carries domains."""
    name = to.slide or to.material.with_domains()
    same = name == to.view().name
    view = to.view() if same else to.material.view(name, to.material.predicting)
    yield from to.save(domain_figure(view, to.canvas if same else Canvas.of(view)), "domains", view.name)


def _moran(to: Pictures) -> Iterator[Path]:
    view = to.view()
    yield from to.save(moran(view, to.shown_genes(view)), "moran", view.name)


def _draws(to: Pictures) -> Iterator[Path]:
    """The first gene of those shown, every one that was asked for, and the calibration of all."""
    view = to.view(drawn=True)
    for gene in to.shown_genes(view)[: len(to.genes) or 1]:
        for shown in view.shown:
            if shown.run.block == METHODS:
                yield from to.save(draw_map(view, to.canvas, shown, gene), "draws", shown.run.name, view.name, gene)
    yield from to.save(calibration(view), "calibration", view.name)


def _training(to: Pictures) -> Iterator[Path]:
    runs: list[Run] = to.material.runs
    yield from to.save(training(histories(runs)), "training")


def _forest(to: Pictures) -> Iterator[Path]:
    for board in to.material.boards:
        yield from to.save(forest(board), "forest", board.name)


def _genes(to: Pictures) -> Iterator[Path]:
    for board in to.material.boards:
        rows = gene_rows(board)
        if not rows:
            raise NotPossibleError(f"expected scores per gene in the records of {board.name}, found none")
        for line in told(board, rows):
            to.reporter.info(line)
        path = to.out / f"genes-{safe(board.name)}.csv"
        write_text(path, genes_csv(rows), hint="choose another --out")
        yield path


KINDS: dict[str, Callable[[Pictures], Iterator[Path]]] = {
    "maps": _maps,
    "network": _network,
    "moran": _moran,
    "domains": _domains,
    "draws": _draws,
    "training": _training,
    "forest": _forest,
    "genes": _genes,
}
"""Kind of picture to what draws it."""
