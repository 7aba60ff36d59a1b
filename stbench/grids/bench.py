"""Carries out cells in one process, reading cohort, panel and features as seldom as memory allows."""

from __future__ import annotations

import gc
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.opening import open_dataset
from stbench.data.slide import Slide
from stbench.errors import DataError, StbenchError
from stbench.evaluation.ceilings import write_ceilings
from stbench.evaluation.run import run_method
from stbench.evaluation.task import Task, TaskSettings, build_task
from stbench.features.encoders import needs_pictures
from stbench.files import whole
from stbench.grids.grid import Cell, MethodRun, Outcome, Source, outcome_of
from stbench.reporting import Reporter
from stbench.text import one_line

ERRORS = "errors.log"
_BUDGET_BYTES = 1024**3


class Bench:
    """Runs cells one after the other; whatever goes wrong in one ends that one.

    Args:
        source: the cohort.
        out: folder of the grid.
    """

    def __init__(self, source: Source, out: Path) -> None:
        self._source, self._out = source, out
        self._opened: tuple[Cohort, DatasetCard] | None = None
        self._built: tuple[TaskSettings, Task | StbenchError] | None = None

    def run(self, cell: Cell, reporter: Reporter) -> Outcome:
        """Carry out a cell and leave its record in its folder."""
        start = time.perf_counter()
        try:
            outcome = self._attempt(cell, reporter)
        except StbenchError as error:
            outcome = Outcome("failed", one_line(str(error)))
        except Exception as error:  # noqa: BLE001  a full disk or a foreign reader must not end the other cells
            self._log(cell)
            outcome = Outcome("failed", one_line(f"{type(error).__name__}: {error}"))
        self._release()
        return replace(outcome, seconds=round(time.perf_counter() - start, 3))

    def _log(self, cell: Cell) -> None:
        with suppress(OSError), (self._out / ERRORS).open("a", encoding="utf-8") as file:
            file.write(f"{cell.folder}\n{traceback.format_exc()}\n")

    def _release(self) -> None:
        """Give GPU memory back to the other workers on the device."""
        if self._source.device.startswith("cuda"):
            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def _attempt(self, cell: Cell, reporter: Reporter) -> Outcome:
        task = self._task(cell.task, reporter)
        if cell.expected not in (None, task.facts.hash):
            raise DataError(
                f"expected task {str(cell.expected)[:8]} as in the finished cells, found {task.facts.hash[:8]}: data "
                "or code changed in between; choose another --out"
            )
        if cell.run is None:
            return self._ceilings(task, cell)
        return self._method(task, cell, cell.run, reporter)

    def _method(self, task: Task, cell: Cell, run: MethodRun, reporter: Reporter) -> Outcome:
        record = run_method(
            task,
            run.card,
            folder=self._out / cell.folder,
            preset=run.preset,
            overrides=run.overrides,
            seed=cell.seed,
            draws=run.draws,
            device=self._source.device,
            resume=True,
            command=cell.command,
            reporter=reporter,
        )
        return outcome_of(record)

    def _ceilings(self, task: Task, cell: Cell) -> Outcome:
        """Either all ceilings appear or none, so that an interruption leaves nothing half done."""
        with whole(self._out / cell.folder) as part:
            part.mkdir()
            if not list(write_ceilings(task, part, cell.command)):
                return Outcome("refused", "this cohort has no ceilings")
        return Outcome("done")

    def _task(self, settings: TaskSettings, reporter: Reporter) -> Task:
        if self._built is None or self._built[0] != settings:
            self._built = None  # before the next one is built: two tasks need not fit into memory
            self._built = settings, self._build(settings, reporter)
        built = self._built[1]
        if isinstance(built, StbenchError):
            raise built
        return built

    def _build(self, settings: TaskSettings, reporter: Reporter) -> Task | StbenchError:
        """The task, or why there is none: asked again, the answer would be the same."""
        try:
            cohort, card = self._cohort(reporter)
            return build_task(cohort, card, settings, self._source.cache_dir, reporter, self._source.device)
        except StbenchError as error:
            return error

    def _cohort(self, reporter: Reporter) -> tuple[Cohort, DatasetCard]:
        if self._opened is None:
            choices, cache = self._source.choices, self._source.cache_dir
            pictured = needs_pictures(choices.encoder)
            cohort, card = open_dataset(
                choices.dataset, choices.data_root, choices.simulate, cache, reporter, require_image=pictured
            )
            self._opened = replace(cohort, reader=_Remembering(cohort)), card
        return self._opened


class _Remembering:
    """Reads slides of a cohort, and keeps those that fit into a budget of memory."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._kept: dict[str, Slide] = {}
        self._left = _BUDGET_BYTES

    def __call__(self, slide_id: str) -> Slide:
        if slide_id not in self._kept:
            slide = self._cohort.load(slide_id)
            size = _bytes(slide)
            if size > self._left:
                return slide
            self._kept[slide_id] = slide
            self._left -= size
        return self._kept[slide_id]


def _bytes(slide: Slide) -> int:
    counts = slide.counts
    sparse = counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    return int(sparse + sum(getattr(layer, "nbytes", 0) for layer in slide.adata.layers.values()))
