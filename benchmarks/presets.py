"""How preset small is chosen: the same trials for every method, on patients that no board of pictures tests.

Run ``python benchmarks/presets.py --data-root DATA --out FOLDER``; it prints a markdown table of trials and what is
best. A trial fits a method with some settings of the space on its card, the first with the preset's own, in two folds:
one of a simulated cohort with a seed of its own (no slide of another seed's is among them), one of
``her2st-semisynthetic`` made from patients F, G and H of HER2ST alone (one trains, one validates, one tests). Its value
is the mean over folds of what the objective on its card gains on the best control of the fold; one below the median of
four complete trials after the first fold is given up. What the preset was before is no candidate, for it had seen other
slides. The same command continues, and two may share a folder with different ``--method``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

import stbench
from stbench.catalogue import method_cards
from stbench.evaluation.record import Record, read_record
from stbench.methods.registry import as_text, method_class, resolve_settings
from stbench.pages.columns import direction
from stbench.studies.tuning.ledger import distribution_of, means_of
from stbench.studies.tuning.sampling import falls_short, propose
from stbench.studies.tuning.space import space_of
from stbench.studies.tuning.study import best_control

METHODS = ["flag", "joint-diffusion", "node-diffusion", "histogene", "bleep", "triplex", "stem", "stflow"]
PATIENTS = "FGH"
SEED = 1
DRAWS = {"stem": 2}  # of its 20, which take most of the time; fair CRPS does not depend on how many there are


@dataclass(frozen=True)
class Fold:
    """One task that trials are judged on."""

    name: str
    options: dict[str, Any]


def folds(data_root: Path, out: Path) -> list[Fold]:
    """One of each cohort."""
    counts = some_patients(data_root, out / "data")
    return [
        Fold("simulated-P02", {"dataset": "simulated", "simulate": {"seed": SEED}, "split": "lopo-P02", "genes": 50}),
        Fold(
            "her2st-semisynthetic-patient_g",
            {"dataset": "her2st-semisynthetic", "data_root": counts, "split": "lopo-patient_g", "genes": 50},
        ),
    ]


def some_patients(data_root: Path, here: Path) -> Path:
    """A data root with the counts of patients F, G and H of HER2ST, linked."""
    for path in sorted((data_root / "her2st").rglob("*")):
        name = path.name.partition(".")[0].removesuffix("_selection")
        if path.is_file() and len(name) == 2 and name[0] in PATIENTS and name[1].isdigit():
            link = here / path.relative_to(data_root)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path.resolve())
    return here


@dataclass
class Search:
    """The trials of one method."""

    method: str
    folds: Sequence[Fold]
    out: Path
    trials: list[FrozenTrial] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.card = method_cards()[self.method]
        self.knobs = space_of(self.card, "small", {})
        self.objective = self.card.search.objective if self.card.search else "pcc"

    def run(self, most: int) -> None:
        """Ask for trials and carry them out, up to a number of them."""
        while len(self.trials) < most:
            params = propose(f"small/{self.method}", 0, self.knobs, self.trials) if self.trials else {}
            self._try(params)

    def _try(self, params: dict[str, Any]) -> None:
        settings = {name: as_text(value) for name, value in params.items()}
        gains: list[float] = []
        seconds, short = 0.0, False
        for fold in self.folds:
            record = self._fit(fold, settings)
            gains.append(self._gain(fold, record))
            seconds += sum(value for name, value in record.seconds.items() if name not in ("read", "features"))
            short = len(gains) < len(self.folds) and falls_short(self.trials, means_of(gains))
            if short:
                break
        self._note(params, settings, gains, seconds, short=short)

    def _fit(self, fold: Fold, settings: dict[str, str]) -> Record:
        here = self.out / fold.name / self.method / f"trial-{len(self.trials):02}"
        runs = stbench.run(
            self.method, out=here, preset="small", set=settings, controls=False, draws=DRAWS.get(self.method),
            **fold.options,
        )  # fmt: skip
        if runs.troubles:
            sys.exit(f"{here}: {runs.troubles}")
        return next(record for record in runs.records if record.method == self.method)

    def _gain(self, fold: Fold, record: Record) -> float:
        sign = 1 if direction(self.objective) == "higher" else -1
        score = record.metrics[self.objective].mean
        return sign * ((score or 0.0) - bar(fold, self.out, self.objective))

    def _note(
        self, params: dict[str, Any], settings: dict[str, str], gains: list[float], seconds: float, *, short: bool
    ) -> None:
        """Keep a trial for what is proposed next, and for the table."""
        preset = resolve_settings(self.card, method_class(self.card), "small", {})
        own = params or {name: getattr(preset, name) for name in self.knobs}
        state = TrialState.PRUNED if short else TrialState.COMPLETE
        self.trials.append(create_trial(
            state=state, params=own, distributions={name: distribution_of(knob) for name, knob in self.knobs.items()},
            value=fmean(gains), intermediate_values=dict(enumerate(means_of(gains))),
        ))  # fmt: skip
        self.rows.append({
            "method": self.method, "trial": len(self.rows), "value": fmean(gains), "gains": gains,
            "given up": bool(short), "seconds": round(seconds, 1), "settings": settings,
        })  # fmt: skip
        print(self.rows[-1], flush=True)


def bar(fold: Fold, out: Path, objective: str) -> float:
    """What the best legal control of a fold scores."""
    here = out / fold.name / "controls"
    records = [read_record(path) for path in sorted(here.rglob("record.json"))]
    if not records:
        records = list(stbench.run(["ridge", "linear-gaussian"], out=here, **fold.options).records)
    scores = [r.metrics[objective].mean for r in records if r.kind == "control" and objective in r.metrics]
    return best_control(objective, [score for score in scores if score is not None])


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a row per method, its first trial beside the best one."""
    yield "| method | trials, given up | preset before | best | seconds | settings of the best |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        best = max((row for row in mine[1:] if not row["given up"]), key=lambda row: row["value"])
        said = ", ".join(f"{name}={value}" for name, value in best["settings"].items())
        yield (
            f"| {method} | {len(mine)}, {sum(row['given up'] for row in mine)} | {mine[0]['value']:+.4f} | "
            f"{best['value']:+.4f} | {sum(row['seconds'] for row in mine):.0f} | {said} |"
        )


def main() -> None:
    """Run the trials, write them as CSV, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--method", nargs="+", default=METHODS)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for method in asked.method:
        search = Search(method, folds(asked.data_root, asked.out), asked.out)
        search.run(asked.trials)
        rows += search.rows
        with (asked.out / f"{method}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
            writer.writeheader()
            writer.writerows(search.rows)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
