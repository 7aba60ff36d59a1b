"""What a study found: the trials of its folder by outer fold and method, and their numbers as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.errors import DataError, UserError
from stbench.evaluation.record import Record, TaskFacts, find_records, read_record
from stbench.evaluation.summaries import mean_of
from stbench.grids.manifest import FoldSlides, Series, read_manifest
from stbench.grids.plan import fold_folder
from stbench.studies.tuning.ledger import Ledger, Trial
from stbench.studies.tuning.manifest import TuningManifest
from stbench.studies.tuning.plan import CONTROLS, study_name
from stbench.studies.tuning.sampling import importance_of
from stbench.studies.tuning.study import best_control, best_of, spent_all
from stbench.text import csv_cell


@dataclass(frozen=True)
class Tuning:
    """The trials of one method in one outer fold.

    Args:
        fold: the outer fold.
        series: the method.
        trials: in order.
        importance: knob to its share of what differs between trials; empty where there are few.
        cut: whether the minutes ended it before the trials did.
    """

    fold: FoldSlides
    series: Series
    trials: Sequence[Trial]
    importance: dict[str, float]
    cut: bool

    @property
    def best(self) -> Trial | None:
        """The trial that was chosen, None where all failed or none ended."""
        return best_of(self.trials)

    @property
    def default(self) -> float | None:
        """The gain of the preset's own settings."""
        return self.trials[0].value if self.trials else None

    @property
    def seconds(self) -> float:
        """Of fitting, predicting and scoring, all trials together."""
        return sum(trial.seconds for trial in self.trials)

    def number(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True)
class Results:
    """Everything a study's folder holds.

    Args:
        manifest: what its trials follow from.
        tunings: method by method, outer fold by outer fold.
        controls: outer fold to the records of controls on its inner folds.
    """

    manifest: TuningManifest
    tunings: list[Tuning]
    controls: dict[str, list[Record]]

    @property
    def task(self) -> TaskFacts | None:
        """Facts of an inner fold, None before there are some."""
        return next((record.task for records in self.controls.values() for record in records), None)

    def bar(self, tuning: Tuning) -> float | None:
        """What the best control scores in the method's objective, mean over inner folds."""
        metric = self.manifest.search[tuning.series.name].objective
        scores: dict[str, list[float]] = {}
        for record in self.controls[tuning.fold.name]:
            if metric in record.metrics and (score := record.metrics[metric].mean) is not None:
                scores.setdefault(record.task.hash, []).append(score)
        return mean_of([best_control(metric, values) for values in scores.values()])

    def of(self, series: Series) -> list[Tuning]:
        """Those of a method, a fold each."""
        return [one for one in self.tunings if one.series.name == series.name]

    def importance(self, series: Series) -> dict[str, float]:
        """Knob to its mean share over the outer folds with trials enough, the largest first."""
        found = [one.importance for one in self.of(series) if one.importance]
        shares = {name: mean_of([one.get(name, 0.0) for one in found]) or 0.0 for one in found for name in one}
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def read_study(out: Path) -> Results:
    """Read the folder of a study.

    Raises:
        UserError: it belongs to no study, or its journal cannot be read.
    """
    manifest = read_manifest(out, TuningManifest)
    if manifest is None:
        raise UserError(f"expected a study in {out}, found none; give the folder that stbench tune wrote")
    ledger = Ledger(out)
    pairs = [(fold, series) for series in manifest.series for fold in manifest.folds]
    controls = {fold.name: _controls(out / fold_folder(fold.name) / CONTROLS) for fold in manifest.folds}
    return Results(manifest, [_tuning(ledger, manifest, *pair) for pair in pairs], controls)


def _tuning(ledger: Ledger, manifest: TuningManifest, fold: FoldSlides, series: Series) -> Tuning:
    name, asked = study_name(fold.name, series.name), manifest.asked
    trials = ledger.trials(name)
    cut = len(trials) < asked.trials and spent_all(trials, asked.minutes)
    return Tuning(fold, series, trials, importance_of(ledger.frozen(name)), cut)


def _controls(folder: Path) -> list[Record]:
    try:
        records = [read_record(path) for path in find_records([folder])]
    except DataError:  # before they ended
        return []
    return [record for record in records if record.status == "done"]


def trials_csv(results: Results) -> str:
    """One line per trial.

    Columns ``method``, ``fold`` (the outer one), ``trial``, ``state`` (complete, pruned, failed, running), ``chosen``,
    ``value`` (mean over inner folds of what it gains on the best control in the objective), ``inner`` (the gain in each
    inner fold, blanks between), ``seconds``, ``settings`` (JSON, over the preset's), ``reason``.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["method", "fold", "trial", "state", "chosen", "value", "inner", "seconds", "settings", "reason"])
    for tuning in results.tunings:
        for line in _lines(tuning):
            write(line)
    return text.getvalue()


def _lines(tuning: Tuning) -> Iterator[list[object]]:
    for trial in tuning.trials:
        yield [
            csv_cell(tuning.series.name), csv_cell(tuning.fold.name), trial.number, trial.state,
            int(trial == tuning.best), "" if trial.value is None else repr(trial.value),
            " ".join(repr(gain) for gain in trial.inner), trial.seconds,
            json.dumps({**tuning.series.overrides, **trial.overrides}), csv_cell(trial.reason),
        ]  # fmt: skip
