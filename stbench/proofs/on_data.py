"""Checks of a method on a real task, in the worker processes that real runs use: no peeking, independent draws."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import MethodCard, method_cards
from stbench.data.cohort import Cohort
from stbench.errors import DataError, SettingError
from stbench.evaluation.given import SIGHTS
from stbench.evaluation.plan import Plan, ceilings_of
from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.record import Record
from stbench.evaluation.run import Prepared, encoder_of, samples
from stbench.evaluation.seals import seal_file
from stbench.evaluation.worker import Report
from stbench.grids.cells import Cell, MethodRun, SilentListener, record_of
from stbench.grids.crew import Crew
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.proofs.contract import CheckResult
from stbench.proofs.draws import MOST_VALUES, SEEDS_APART, dependence
from stbench.proofs.scramble import digest_of_inputs, scrambled
from stbench.reporting import SILENT, Reporter
from stbench.text import count

SCRAMBLE, DRAWS = "label scramble", "independent draws on data"
BAIT = "total-counts"  # an oracle: its predictions betray the truth to a method that reads what other runs left
_POINT = CheckResult(DRAWS, True, "a point prediction")
_RUNS = 8
_UNBAITED = "; no oracle could run beside it, so what it would read there is not known"
_GENERATED = "; a generated cohort whose seed is published can be generated again, which no scramble shows"


@dataclass(frozen=True)
class _Left:
    """What a run left: its record, a hash of what its method saw, and whether something lay beside it to be read."""

    record: Record
    inputs: str
    baited: bool


def check_on_data(plan: Plan, folder: Path, reporter: Reporter = SILENT) -> list[CheckResult]:
    """Run a method on the first fold of a task, and again with the counts of the test slides moved over their spots.

    Whatever the method may see is the same both times, so its predictions must be, bit for bit. Each run goes the way
    of real runs, in a folder of its own beside the runs of an oracle and of the ceilings of the data; the folder of the
    first is gone when the second begins, and so is the truth in this process.

    Args:
        plan: one method, one panel size, one scale and one seed.
        folder: an empty folder for the runs.
        reporter: where messages go.

    Returns:
        Whether the method looks at the truth, and whether its draws are independent (see
        :mod:`stbench.proofs.draws`).

    Raises:
        SettingError: more than one of something.
        DataError: what the method may see depends on the counts of test slides.
    """
    _check_single(plan)
    return _Checks(plan, folder, reporter).results()


def _check_single(plan: Plan) -> None:
    asked = plan.request
    for flag, values in (("--genes", asked.genes), ("--normalize", asked.normalization), ("--seeds", asked.seeds)):
        if len(values) != 1:
            raise SettingError(f"{flag}: expected one for a check, found {len(values)}; leave one")


class _Checks:
    def __init__(self, plan: Plan, folder: Path, reporter: Reporter) -> None:
        self._plan, self._folder, self._listener = plan, folder, _Says(reporter)
        self._card, self._fold = plan.runs[0].card, plan.folds[0]

    def results(self) -> list[CheckResult]:
        if self._exempt and not samples(self._card):
            return [self._exempt, _POINT]
        with self._run(self._plan.cohort) as (first, desk, out):
            if first.record.status != "done":
                reason = f"{first.record.status}: {first.record.reason}"
                return [CheckResult(name, False, f"not checked: {reason}") for name in (SCRAMBLE, DRAWS)]
            draws = self._draws(desk, out)
        del desk  # with the truth
        return [self._scramble(first), draws]

    def _scramble(self, first: _Left) -> CheckResult:
        if self._exempt:
            return self._exempt
        second = self._again(scrambled(self._plan.cohort, self._fold.split.test))
        if first.inputs != second.inputs:
            raise DataError(
                f"expected features that are fixed before the counts of test slides are moved, found that encoder "
                f"{self._plan.encoder_name} reads counts; choose another --encoder"
            )
        if second.record.status != "done":
            reason = f"{second.record.status} with the counts of test slides moved: {second.record.reason}"
            return CheckResult(SCRAMBLE, False, reason)
        other = self._other(first, second)
        if not other:
            known = self._plan.origin != "real" and self._plan.cohort.secret is None
            remarks = ("" if second.baited else _UNBAITED) + (_GENERATED if known else "")
            return CheckResult(SCRAMBLE, True, f"{self._slides()} predicted the same{remarks}")
        if self._other(first, self._again(self._plan.cohort)):
            return CheckResult(SCRAMBLE, False, "cannot tell: the same run twice does not predict the same")
        return CheckResult(
            SCRAMBLE, False, f"moving the counts of {self._slides()} changes what is predicted of {other}"
        )

    @property
    def _exempt(self) -> CheckResult | None:
        kind = self._card.kind
        return (
            CheckResult(SCRAMBLE, True, f"exempt: a method of kind {kind} is given the truth")
            if kind in SIGHTS
            else None
        )

    def _slides(self) -> str:
        return count(len(self._fold.split.test), "test slide")

    def _other(self, one: _Left, two: _Left) -> str:
        """Test slides that are predicted otherwise, empty where there are none."""
        hashes = one.record.predictions, two.record.predictions
        return ", ".join(id_ for id_ in sorted(self._fold.split.test) if hashes[0].get(id_) != hashes[1].get(id_))

    def _again(self, cohort: Cohort) -> _Left:
        with self._run(cohort) as (left, _, _):
            pass
        return left

    @contextmanager
    def _run(self, cohort: Cohort) -> Iterator[tuple[_Left, Desk, Path]]:
        """The method and its bait on a cohort; all that was left is gone afterwards."""
        gc.collect()  # of the run before
        plan, out = self._plan, Path(tempfile.mkdtemp(dir=self._folder))
        desk = Desk(cohort, plan.card, plan.encoder, plan.cache_dir, plan.device)
        cell = self._cell(self._card, weight=0.0)
        task = desk.task(cell.task, self._listener.reporter)
        inputs = digest_of_inputs(task.given(encoder_of(self._card)))
        del task
        outcomes = execute([*map(self._cell, self._baits()), cell], desk, out, 1, self._listener)
        record = record_of(out, cell)
        if record is None:
            raise DataError(f"{self._card.name}: {outcomes[cell.folder].reason}")
        try:
            baited = any(outcomes[bait.name].status == "done" for bait in self._baits())
            yield _Left(record, inputs, baited), desk, out
        finally:
            shutil.rmtree(out)

    def _baits(self) -> list[MethodCard]:
        cards = [method_cards()[BAIT], *ceilings_of(self._plan.origin)]
        return [card for card in cards if card.name != self._card.name]

    def _cell(self, card: MethodCard, weight: float = 1.0, seed: int | None = None) -> Cell:
        """A cell; the heavier ones run first."""
        asked, run = self._plan.request, self._plan.runs[0]
        overrides = run.overrides if card is self._card else {}
        return Cell(
            folder=card.name if seed is None else f"{card.name}-seed{seed}",
            row=card.name,
            column="",
            task=self._plan.task(self._fold, asked.genes[0], asked.normalization[0]),
            run=MethodRun(card, asked.preset, overrides, asked.draws),
            seed=asked.seeds[0] if seed is None else seed,
            weight=weight,
        )

    def _draws(self, desk: Desk, out: Path) -> CheckResult:
        if not samples(self._card):
            return _POINT
        fitted = out / self._card.name
        drawn = [self._values(fitted)]
        if drawn[0].shape[0] == 1:
            return _POINT
        crew = Crew(out, 1)
        try:
            for run in range(1, _RUNS):
                drawn.append(self._values(self._drawn_again(crew, desk, out, fitted, run)))
        finally:
            crew.stop()
        found = dependence(np.stack(drawn))
        said = f"{_RUNS} seeds of {drawn[0].shape[0]} draws"
        return CheckResult(DRAWS, found.reason is None, found.reason or said)

    def _drawn_again(self, crew: Crew, desk: Desk, out: Path, fitted: Path, run: int) -> Path:
        """Folder with the draws of the fitted method under another seed."""
        cell = self._cell(self._card, seed=self._plan.request.seeds[0] + run * SEEDS_APART)
        prepared = desk.prepare(cell, out, self._listener.reporter)
        assert isinstance(prepared, Prepared)  # the folder is new
        shutil.copy(fitted / prepared.job.folder.checkpoint.name, prepared.job.folder.checkpoint)
        seal_file(prepared.job.folder.path, prepared.job.folder.checkpoint)
        job = replace(prepared.job, given=replace(prepared.job.given, validation=()))
        crew.hand(self._fold.name, job)
        report = _report(crew)
        if report.status != "done":
            raise DataError(f"{self._card.name} under another seed: {report.status}: {report.reason}")
        return prepared.job.folder.path

    def _values(self, folder: Path) -> NDArray[np.float32]:
        """(n_draws, n_values) of all test slides; of large ones the same part in every run."""
        test, found = self._fold.split.test, []
        for id_ in sorted(test):
            drawn = read_prediction(folder, id_).prediction.draws
            flat = drawn.reshape(len(drawn), -1)
            most = min(flat.shape[1], MOST_VALUES // len(test) + 1)
            found.append(flat[:, np.random.default_rng(0).choice(flat.shape[1], most, replace=False)])
        return np.concatenate(found, axis=1)


def _report(crew: Crew) -> Report:
    """What the one busy worker reports."""
    while True:
        for _, kind, said in crew.news():
            if kind in ("finished", "died"):
                return said if kind == "finished" else Report("failed", said)


class _Says(SilentListener):
    """Hands on what a run says."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def said(self, cell: Cell, message: str) -> None:
        self.reporter.info(message)
