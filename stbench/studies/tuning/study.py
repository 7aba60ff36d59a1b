"""Carries out a study: trials are asked for, run as cells of the one engine, scored on inner folds, and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain

from stbench.errors import DataError, UserError
from stbench.evaluation.plan import Fold
from stbench.evaluation.record import Record, Tuned
from stbench.evaluation.tuned import Choice, shared_task, write_choice
from stbench.grids.cells import Cell, Listener, Outcome, finished, record_of
from stbench.grids.crew import call_early
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.grids.lock import only_one
from stbench.grids.manifest import Series, join, write_manifest
from stbench.grids.plan import Work, fold_folder
from stbench.grids.remote import carry_out_on_dask
from stbench.methods.registry import as_text, read_value
from stbench.pages.columns import direction
from stbench.reporting import Reporter
from stbench.studies.tuning.ledger import Ledger, State, Trial, means_of
from stbench.studies.tuning.plan import TuningPlan, study_name
from stbench.studies.tuning.sampling import falls_short, propose
from stbench.text import count, listed

LOCK = ".study"


@dataclass(frozen=True)
class Hands:
    """Who runs the cells of a study.

    Args:
        jobs: how many at once, and so how many trials of a method.
        listener: is told what happens to cells.
        reporter: gets a line for every trial.
        dask: address of a scheduler, None for workers of this machine.
    """

    jobs: int
    listener: Listener
    reporter: Reporter
    dask: str | None = None


def carry_out_study(plan: TuningPlan, hands: Hands) -> list[str]:
    """Run what is left to do of a study, and write ``settings.toml`` for every method in every outer fold.

    Trials of one method in one outer fold come one after the other, ``jobs`` at a time. A command that is killed goes
    on with the trials it had asked for.

    Returns:
        A line for every method in an outer fold all of whose trials failed, with the reasons.

    Raises:
        UserError: another process is at work in the folder, it belongs to another study, it cannot be written, or no
            control could be scored on an inner fold.
    """
    join(plan.out, plan.manifest)  # before anything is made
    with only_one(plan.out / LOCK), only_one(plan.out) if hands.dask is None else nullcontext():
        write_manifest(plan.out, join(plan.out, plan.manifest))
        plan.write_splits()
        ledger = Ledger(plan.out, writes=True)
        if hands.dask is None:
            call_early()
        return [*chain.from_iterable(_in_fold(plan, fold, ledger, hands) for fold in plan.plan.folds)]


def _in_fold(plan: TuningPlan, fold: Fold, ledger: Ledger, hands: Hands) -> Iterator[str]:
    bench = _Bench(plan, plan.desk(fold), hands)
    bars = _bars(plan, fold, bench)
    for series in plan.manifest.series:
        runner = _Tuning(plan, fold, series, ledger, bench, bars)
        runner.run()
        if (choice := choice_of(plan, fold, series, runner.trials)) is None:
            yield f"{series.name} in {fold.name}: {failures_of(runner.trials)}"
        else:
            write_choice(choice, plan.out / fold_folder(fold.name) / series.name)


@dataclass(frozen=True)
class _Bench:
    """Runs cells of one outer fold, those that are done not again."""

    plan: TuningPlan
    desk: Desk
    hands: Hands

    def run(self, cells: Sequence[Cell]) -> Mapping[str, Outcome]:
        out, hands = self.plan.out, self.hands
        earlier = {cell: found for cell in cells if (found := finished(out, cell)) is not None}
        work = Work(out, self.plan.manifest, list(cells), earlier)
        if not work.waiting:
            fresh: Mapping[str, Outcome] = {}
        elif hands.dask is not None:
            fresh = carry_out_on_dask(self.plan, work, hands.dask, hands.listener)
        else:
            fresh = execute(work.waiting, self.desk, out, hands.jobs, hands.listener)
        return {cell.folder: found for cell, found in earlier.items()} | dict(fresh)


@dataclass(frozen=True)
class _Bar:
    """What every control scores on an inner fold, and the task that it is."""

    task: str
    scores: Mapping[str, Mapping[str, float]]  # metric to control to value

    def best(self, metric: str) -> float:
        return best_control(metric, self.scores[metric].values())


def best_control(metric: str, scores: Iterable[float]) -> float:
    """The best of some scores, as the card of the metric has it."""
    return max(scores) if direction(metric) == "higher" else min(scores)


def _bars(plan: TuningPlan, fold: Fold, bench: _Bench) -> list[_Bar]:
    cells, say = plan.bars_of(fold), bench.hands.reporter.info
    say(f"{fold.name}: {count(len(plan.study.bars), 'control')} on {count(len(plan.inner_folds(fold)), 'inner fold')}")
    outcomes = bench.run(cells)
    objectives = {search.objective for search in plan.study.search.values()}
    found = []
    for inner in plan.inner_folds(fold):
        mine = [cell for cell in cells if cell.task.split == inner.name]
        records = [one for cell in mine if (one := record_of(plan.out, cell)) is not None and one.status == "done"]
        scores = {
            name: {one.method: v for one in records if (v := _score(one, name)) is not None} for name in objectives
        }
        if lacking := [name for name, values in scores.items() if not values]:
            reasons = Counter(str(outcomes[cell.folder].reason or f"{lacking[0]} is undefined") for cell in mine)
            raise UserError(
                f"{fold.name}: expected a control with {lacking[0]} on inner fold {inner.name}, found none: "
                f"{_grouped(reasons)}; choose another --split, --genes or --encoder"
            )
        found.append(_Bar(records[0].task.hash, scores))
    for name in sorted(objectives):
        say(f"{fold.name}: best control by {name}: {listed(f'{bar.best(name):.3f}' for bar in found)}")
    return found


def _score(record: Record, metric: str) -> float | None:
    return record.metrics[metric].mean if metric in record.metrics else None


@dataclass
class _Tuning:
    """The trials of one method in one outer fold."""

    plan: TuningPlan
    fold: Fold
    series: Series
    ledger: Ledger
    bench: _Bench
    bars: Sequence[_Bar]

    @property
    def name(self) -> str:
        return study_name(self.fold.name, self.series.name)

    @property
    def trials(self) -> list[Trial]:
        return self.ledger.trials(self.name)

    @property
    def objective(self) -> str:
        return self.plan.study.search[self.series.name].objective

    def run(self) -> None:
        while batch := self._next():
            self._batch(batch)

    def _next(self) -> list[Trial]:
        """Trials that a killed command had asked for, then new ones, as many as run at once."""
        trials, asked = self.trials, self.plan.request
        batch = [trial for trial in trials if not trial.ended]
        if spent_all(trials, asked.minutes):
            return batch
        fresh = min(self.bench.hands.jobs - len(batch), asked.trials - len(trials))
        return batch + [self._ask() for _ in range(fresh)]

    def _ask(self) -> Trial:
        knobs, frozen = self.plan.spaces[self.series.name], self.ledger.frozen(self.name)
        if not frozen:
            return self.ledger.ask(self.name, self._presets_own(), knobs, {})
        params = propose(self.name, self.plan.request.seeds[0], knobs, frozen)
        return self.ledger.ask(self.name, params, knobs, {name: as_text(value) for name, value in params.items()})

    def _presets_own(self) -> dict[str, bool | int | float | str]:
        """Knob to the preset's value, where all of them lie in their ranges; else the trial teaches TPE nothing."""
        knobs = self.plan.spaces[self.series.name]
        settings = self.series.settings
        own = {name: settings.get(name, False) for name in knobs}  # some settings are left out while they are off
        return own if all(knob.holds(own[name]) for name, knob in knobs.items()) else {}

    def _batch(self, batch: Sequence[Trial]) -> None:
        """Inner fold after inner fold, so that trials that run together meet the same ones."""
        live = {trial.number: _Run(trial, self.plan.trial_of(self.fold, self.series, trial)) for trial in batch}
        for step in range(len(self.bars)):
            outcomes = self.bench.run([cell for run in live.values() for cell in run.cells[step]])
            for number, run in list(live.items()):
                if (ended := self._after(step, run, outcomes)) is not None:
                    self._tell(ended)
                    del live[number]

    def _after(self, step: int, run: _Run, outcomes: Mapping[str, Outcome]) -> Trial | None:
        """The trial as it ended with an inner fold, None where it goes on to the next."""
        cells = run.cells[step]
        run.seconds += sum(_seconds(record_of(self.plan.out, cell), outcomes[cell.folder]) for cell in cells)
        gains, reasons = self._gains(cells, self.bars[step], outcomes)
        if reasons:
            return run.ended("failed", reason=_grouped(Counter(reasons)))
        run.inner.append(sum(gains) / len(gains))
        means = means_of(run.inner)
        if step == len(self.bars) - 1:
            return run.ended("complete", value=means[-1])
        short = falls_short([one for one in self.ledger.frozen(self.name) if one.state.is_finished()], means)
        return run.ended("pruned") if short else None

    def _gains(
        self, cells: Sequence[Cell], bar: _Bar, outcomes: Mapping[str, Outcome]
    ) -> tuple[list[float], list[str]]:
        """What a trial gains on the best control with each seed, and why it does not where it failed."""
        sign, gains, reasons = 1 if direction(self.objective) == "higher" else -1, [], []
        for cell in cells:
            record = record_of(self.plan.out, cell)
            if record is not None and record.task.hash != bar.task:
                raise DataError(
                    f"expected task {bar.task[:8]} as in the controls of the inner fold, found {record.task.hash[:8]} "
                    f"in {cell.folder}: data or code changed in between; choose another --out"
                )
            outcome = outcomes[cell.folder]
            if outcome.status != "done":
                reasons.append(f"{outcome.status}: {outcome.reason}")
            elif record is None or (score := _score(record, self.objective)) is None:
                reasons.append(f"{self.objective} is undefined")
            else:
                gains.append(sign * (score - bar.best(self.objective)))
        return gains, reasons

    def _tell(self, trial: Trial) -> None:
        self.ledger.tell(self.name, trial)
        if trial.value is not None:
            said = f"{self.objective} {trial.value:+.4f} beside the best control"
        else:
            said = "given up: below the median" if trial.state == "pruned" else f"failed: {trial.reason}"
        of = self.plan.request.trials
        self.bench.hands.reporter.info(f"{self.name}: trial {trial.number + 1} of {of}: {said}, {trial.seconds:.1f} s")


@dataclass
class _Run:
    """A trial at work: its cells by inner fold, and what came of those that ended."""

    trial: Trial
    cells: Sequence[Sequence[Cell]]
    inner: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def ended(self, state: State, value: float | None = None, reason: str = "") -> Trial:
        return replace(
            self.trial, state=state, value=value, inner=tuple(self.inner), seconds=round(self.seconds, 3), reason=reason
        )  # fmt: skip


def _seconds(record: Record | None, outcome: Outcome) -> float:
    """Of a cell; reading and features are the task's, whose cells share them."""
    own = {} if record is None else {k: v for k, v in record.seconds.items() if k not in ("read", "features")}
    return sum(own.values()) if own else outcome.seconds


def spent_all(trials: Sequence[Trial], minutes: float | None) -> bool:
    """Whether trials took the minutes that a method has in an outer fold."""
    return minutes is not None and sum(trial.seconds for trial in trials) >= 60 * minutes


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the largest gain, the first of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.value is not None]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def failures_of(trials: Sequence[Trial]) -> str:
    """Why trials failed, equal reasons together."""
    return f"all {len(trials)} trials failed: {_grouped(Counter(trial.reason for trial in trials if trial.reason))}"


def _grouped(reasons: Counter[str]) -> str:
    return "; ".join(f"{n} times {reason}" if n > 1 else reason for reason, n in reasons.most_common())


def choice_of(plan: TuningPlan, fold: Fold, series: Series, trials: Sequence[Trial]) -> Choice | None:
    """What a study chose for a method in an outer fold, None where nothing could be."""
    best = best_of(trials)
    if best is None or best.value is None:
        return None
    slides = sorted({slide for split in plan.inner[fold.name].splits for slide in split.slides})
    settings = {name: read_value(text) for name, text in {**series.overrides, **best.overrides}.items()}
    tuned = Tuned(
        study=plan.study.identity_of(series), trial=best.number, trials=len(trials),
        objective=plan.study.search[series.name].objective, value=best.value, default=trials[0].value,
        slides=slides, settings=settings,
    )  # fmt: skip
    return Choice(
        method=series.name, fold=fold.name, test=sorted(fold.split.test), task=shared_task(plan.request), tuned=tuned
    )
