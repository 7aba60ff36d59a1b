"""What pictures are made of: the records of runs, and their predictions of one slide beside what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os.path import commonpath
from pathlib import Path

import numpy as np

from stbench.data.slide import Slide
from stbench.errors import DataError, UnknownNameError, UserError
from stbench.evaluation.kept_draws import kept_of
from stbench.evaluation.predictions import FloatArray, SlidePrediction, prediction_path
from stbench.evaluation.record import PRIMARY, Record, TaskFacts
from stbench.evaluation.rescore import Truths, scored_prediction, truth_of
from stbench.evaluation.summaries import mean_of
from stbench.evaluation.task import TestSlide
from stbench.pages.archive import read_runs
from stbench.pages.marks import SAMPLER_BAR, best_control
from stbench.pages.protocol import Protocol, boards_of
from stbench.pages.rows import METHODS, rows_of, standing
from stbench.pages.sections import sections
from stbench.text import listed

_MOST_NAMED = 20  # genes in a message


class NotPossibleError(UserError):
    """A picture that these runs do not allow; others may be drawn."""


@dataclass(frozen=True)
class Run:
    """A run as it lies on the disk.

    Args:
        folder: of the run, None for a record in an archive.
        record: its record.
        name: of the runs that differ from it in their seed alone.
        label: what tables print of its declared prediction.
    """

    folder: Path | None
    record: Record
    name: str
    label: str

    @property
    def block(self) -> str:
        """``methods``, ``controls`` or ``ceilings``."""
        return standing(self.record.kind).block

    def gene_scores(self, slide: str, metric: str = PRIMARY) -> list[float | None]:
        """One value per gene of the panel; empty where the record holds none of the slide."""
        return self.record.per_gene.get(metric, {}).get(slide, [])


@dataclass(frozen=True)
class Shown:
    """One prediction of the slide.

    Args:
        run: whose it is.
        prediction: (n_draws, n_spots, n_genes) draws on the scale of the task.
    """

    run: Run
    prediction: SlidePrediction

    @property
    def label(self) -> str:
        """What tables print of it."""
        return self.run.label


@dataclass(frozen=True)
class SlideView:
    """A slide with everything that is known of it.

    Args:
        task: facts of the task.
        truth: positions in full-resolution pixels and expression on the scale of the task.
        slide: of the cohort, None where the truth came out of the prediction's file.
        shown: predictions of it, methods first.
    """

    task: TaskFacts
    truth: TestSlide
    slide: Slide | None
    shown: list[Shown]

    @property
    def name(self) -> str:
        """Name of the slide."""
        return self.truth.inputs.slide_id

    @property
    def title(self) -> str:
        """``slide B4 (her2st)``, and whether methods validated on it."""
        part = "" if self.name in self.task.test else ", validation"
        return f"slide {self.name} ({self.task.dataset}{part})"

    @property
    def scale(self) -> str:
        """Scale of expression, in words."""
        return self.task.normalization.replace(":", ",", 1)

    def column(self, gene: str) -> int:
        """Column of a gene of the panel."""
        return self.task.genes.index(gene)

    def measured(self, gene: str) -> FloatArray:
        """(n_spots,) truth of a gene."""
        return self.truth.expression[:, self.column(gene)]


class Material:
    """Runs and where the truth of their test slides comes from; predictions are read when first asked for.

    Args:
        runs: folder, None for archives, and record of every run.
        truths: where the truth comes from.

    Raises:
        UserError: no run has finished.
    """

    def __init__(self, runs: Iterable[tuple[Path | None, Record]], truths: Truths) -> None:
        found = list(runs)
        self.truths = truths
        self.boards: list[Protocol] = boards_of(sections([record for _, record in found]))
        self.runs = _labelled(found, self.boards)
        if not self.runs:
            raise UserError("expected a finished run, found none; run stbench run first, or see its record.json")

    @classmethod
    def at(cls, places: Sequence[Path], truths: Truths) -> Material:
        """Of every run at or below some folders, files of records and archives of boards."""
        return cls(read_runs(places), truths)

    def fold(self, task: str) -> Material:
        """The same with the runs of one task alone; the best control remains that of the board."""
        found = copy(self)
        found.runs = [run for run in self.runs if run.record.task.hash == task]
        return found

    @property
    def predicting(self) -> list[Run]:
        """Methods with stored predictions of one task, the best first, one seed of each, and the best control.

        Where no method ran, the controls that did.

        Raises:
            NotPossibleError: no run has any, or they are of several tasks.
        """
        having = [run for run in self.runs if _has_predictions(run)]
        methods = [run for run in having if run.block == METHODS]
        if not having:
            raise NotPossibleError(
                "expected a run with predictions of test slides, found none; give the folder that stbench run wrote"
            )
        if len({run.record.task.hash for run in having}) > 1:
            raise NotPossibleError(_several(having))
        return _one_seed(methods) + self._controls(having) if methods else _one_seed(having)

    @property
    def without(self) -> list[str]:
        """Rows of methods of which no run has stored predictions."""
        rows = dict.fromkeys(run.label for run in self.runs if run.block == METHODS)
        return [row for row in rows if not any(run.label == row and _has_predictions(run) for run in self.runs)]

    def _controls(self, having: Sequence[Run]) -> list[Run]:
        """The best control of the board, where its predictions are there."""
        task = having[0].record.task.hash
        board = next(board for board in self.boards if any(record.task.hash == task for record in board.records))
        best = best_control(board)
        mine = [] if best is None else [run for run in having if any(run.record is one for one in best.records)]
        return [replace(run, label=f"best control: {run.label}") for run in mine[:1]]

    @property
    def sampling(self) -> list[Run]:
        """Methods that kept several draws, and the control for them.

        Raises:
            NotPossibleError: no method has several draws, or as :attr:`predicting`.
        """
        methods = [run for run in self.predicting if run.block == METHODS and kept_of(run.record) > 1]
        if not methods:
            raise NotPossibleError(
                "expected a generative method with two draws or more on disk, found none; run with --draws 8"
            )
        bar = [run for run in self.runs if run.record.method == SAMPLER_BAR and _has_predictions(run)]
        bar = [run for run in bar if kept_of(run.record) > 1]
        return methods + bar[:1]

    def slide(self, name: str | None) -> str:
        """A slide that was predicted, the first test slide when None.

        Raises:
            UnknownNameError: there is no such slide.
            NotPossibleError: there are no predictions.
        """
        task = self.predicting[0].record.task
        known = [*task.test, *(slide for slide in task.validation if slide in self.predicting[0].record.predictions)]
        if name is not None and name not in known:
            raise UnknownNameError("slide", name, known, hint="test and validation slides of the task")
        return task.test[0] if name is None else name

    def with_domains(self) -> str:
        """The first test slide that carries tissue domains.

        Raises:
            NotPossibleError: none does, or there are no predictions, or the cohort is not there.
        """
        record = self.predicting[0].record
        for name in record.task.test:
            slide = self._source(record, name)
            if slide is not None and slide.domains is not None and (slide.domains != "").any():
                return name
        raise NotPossibleError("expected tissue domains (obs['domain']) on a test slide, found none")

    def check_genes(self, genes: Sequence[str]) -> None:
        """Raise UnknownNameError for a gene that is in no panel."""
        panels = {gene for run in self.runs for gene in run.record.task.genes}
        for gene in genes:
            check_gene(gene, panels)

    def genes(self, asked: Sequence[str], slide: str) -> list[str]:
        """The genes asked for, else those that the best method predicts best, at the median and worst on a slide."""
        if asked:
            return list(dict.fromkeys(asked))
        best = self.predicting[0]
        task = best.record.task
        panel, scores = task.genes, best.gene_scores(slide) or best.gene_scores(task.test[0])
        known = sorted((score, gene) for score, gene in zip(scores, panel, strict=False) if score is not None)
        order = [gene for _, gene in reversed(known)] or panel
        return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))

    def view(self, slide: str, runs: Sequence[Run]) -> SlideView:
        """A slide, its truth, and what runs of one task predicted of it.

        Raises:
            DataError: a prediction is damaged, or not the one that was scored.
            NotPossibleError: the cohort is not there, or its data are not those of the records.
        """
        stored = [(run, scored_prediction(_folder(run), run.record, slide)) for run in runs]
        first, prediction = stored[0]
        source = self._source(first.record, slide)
        truth = truth_of(_folder(first), first.record, prediction, self.truths)
        for run, other in stored:
            if other.spot_ids != truth.spot_ids:
                raise DataError(f"{run.folder}: expected the spots of slide {slide}, found others; run it again")
        shown = [Shown(run, other.prediction) for run, other in stored]
        return SlideView(first.record.task, truth, source, shown)

    def _source(self, record: Record, slide: str) -> Slide | None:
        """The slide of the cohort; none for schema 1, which stored the truth and does not say where its cohort lies."""
        if not record.predictions:
            return None
        try:
            return self.truths.of(record)[slide]
        except UserError as error:
            raise NotPossibleError(f"the truth is not there: {error}") from error


def check_gene(gene: str, panel: Collection[str]) -> None:
    """Raise UnknownNameError, with the nearest names of a large panel, where a gene is not in it."""
    if gene not in panel:
        near = get_close_matches(gene, panel, n=_MOST_NAMED, cutoff=0.0) if len(panel) > _MOST_NAMED else panel
        raise UnknownNameError("gene", gene, near, hint=f"nearest of {len(panel)} genes of the panel")


def _labelled(found: Sequence[tuple[Path | None, Record]], boards: Sequence[Protocol]) -> list[Run]:
    """Finished runs that tables have a row of, in the order of the boards."""
    folders = {id(record): folder for folder, record in found}
    groups = [group for board in boards for section in board.sections for group in section.groups if group.done]
    return [
        Run(folders[id(record)], record, group.name, rows_of(group)[0].label)
        for group in groups for record in group.done
    ]  # fmt: skip


def _has_predictions(run: Run) -> bool:
    return run.folder is not None and any(prediction_path(run.folder, one).is_file() for one in run.record.task.test)


def _folder(run: Run) -> Path:
    assert run.folder is not None  # those without are not among :attr:`Material.predicting`
    return run.folder


def _one_seed(runs: Sequence[Run]) -> list[Run]:
    """The first seed of every row, the best row first."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.label, run)

    def place(run: Run) -> tuple[float, str]:
        mean = mean_of(list(run.record.metrics[PRIMARY].per_slide.values())) if PRIMARY in run.record.metrics else None
        return np.inf if mean is None else -mean, run.label

    return sorted(first.values(), key=place)


def _several(runs: Sequence[Run]) -> str:
    tasks: dict[str, list[str]] = {}
    for run in runs:
        tasks.setdefault(run.record.task.hash[:8], []).append(str(run.folder))
    one = commonpath(next(iter(tasks.values())))
    return f"expected predictions of one task, found {len(tasks)}: {listed(tasks)}; give the runs of one, such as {one}"
