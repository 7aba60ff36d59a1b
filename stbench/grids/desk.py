"""The parent's side of a cell: builds its task, and reads the cohort as seldom as memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.slide import Slide
from stbench.errors import DataError, StbenchError
from stbench.evaluation.build import build_task
from stbench.evaluation.plan import Plan
from stbench.evaluation.record import Record
from stbench.evaluation.run import Prepared, encoder_of, prepare
from stbench.evaluation.task import Task, TaskSettings
from stbench.features.encoder import Encoder
from stbench.grids.cells import Cell
from stbench.reporting import Reporter

_BUDGET_BYTES = 1024**3


@dataclass
class Desk:
    """Builds tasks; whatever is read or encoded for one serves the next.

    Args:
        cohort: the slides.
        card: the cohort's card.
        encoder: the encoder of every task.
        cache_dir: folder of the caches.
        device: torch device.
        encoders: names of those that the cells will ask for; each picture is decoded once for all of them.
        tasks: how many built tasks are kept, for cells that go to and fro between them.
    """

    cohort: Cohort
    card: DatasetCard
    encoder: Encoder
    cache_dir: Path | None
    device: str
    encoders: tuple[str, ...] = ()
    tasks: int = 1
    _built: dict[TaskSettings, Task | StbenchError] = field(default_factory=dict, init=False)
    _said: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.cohort = replace(self.cohort, reader=_Remembering(self.cohort))

    @classmethod
    def of(cls, plan: Plan, encoders: tuple[str, ...] = ()) -> Desk:
        """The desk of a plan."""
        return cls(plan.cohort, plan.card, plan.encoder, plan.cache_dir, plan.device, encoders)

    def prepare(self, cell: Cell, out: Path, reporter: Reporter) -> Prepared | Record:
        """Build the task of a cell and claim its folder.

        Raises:
            StbenchError: the task is not possible, is another than finished cells have, or the folder is in use.
        """
        task, run = self.task(cell.task, reporter), cell.run
        if cell.expected not in (None, task.facts.hash):
            raise DataError(
                f"expected task {str(cell.expected)[:8]} as in the finished cells, found {task.facts.hash[:8]}: data "
                "or code changed in between; choose another --out"
            )
        return prepare(
            task,
            run.card,
            folder=out / cell.folder,
            preset=run.preset,
            overrides=run.overrides,
            seed=cell.seed,
            draws=run.draws,
            device=self.device,
            resume=True,
            command=cell.command,
            request=cell.request,
            tuned=run.tuned,
            reporter=reporter,
        )

    def warm_up(self, cells: Sequence[Cell], reporter: Reporter) -> None:
        """Build the task that some cells share, with its features where one of them uses those.

        Raises:
            StbenchError: the task is not possible: better said at once than by every cell.
        """
        task = self.task(cells[0].task, reporter)
        if any(encoder_of(cell.run.card) is None for cell in cells):
            task.given()

    def task(self, settings: TaskSettings, reporter: Reporter) -> Task:
        """The task of some settings; those built last are kept, and so is why there is none.

        Raises:
            StbenchError: the task is not possible.
        """
        if settings not in self._built:
            while len(self._built) >= self.tasks:  # before the next one is built: one more need not fit into memory
                del self._built[next(iter(self._built))]
            self._built[settings] = self._build(settings, reporter)
        built = self._built[settings]
        if isinstance(built, StbenchError):
            raise built
        return built

    def _build(self, settings: TaskSettings, reporter: Reporter) -> Task | StbenchError:
        """The task, or why there is none: asked again, the answer would be the same."""
        try:
            once = _Once(reporter, self._said)
            task = build_task(self.cohort, self.card, settings, self.cache_dir, once, self.device, self.encoder)
            task.encode(self.encoders)
            return task
        except StbenchError as error:
            return error


class _Once:
    """Says what was not said of an earlier task: folds share their slides."""

    def __init__(self, reporter: Reporter, said: set[str]) -> None:
        self._reporter, self._said, self.track = reporter, said, reporter.track

    def info(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._reporter.info(message)


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
