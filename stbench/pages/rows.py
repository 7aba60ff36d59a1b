"""Rows of a leaderboard: records of one task, seeds averaged, one row per way of predicting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stbench.evaluation.agreement import check_agreement
from stbench.evaluation.record import PRIMARY, DrawSummary, Record, Summary, Tuned
from stbench.evaluation.summaries import mean_of, std_of
from stbench.pages.columns import DRAW_SD
from stbench.pages.tables import NONE

NO_ENCODER = "none"
METHODS, CONTROLS, CEILINGS = "methods", "controls", "ceilings"
DECLARED, SINGLE, POSTERIOR = "declared", "single draw", "posterior mean"
"""Ways of predicting: the mean of the declared number of draws, one draw, the direct posterior mean."""
RESCORED = "re-scored"
"""Told of runs that were sent in, and ends the names of their rows."""
REFERENCES = {
    "measured": "measured panel",
    "smoothed": "smoothed by one ring",
    "half": "half of the counts",
    "coordinates": "coordinates alone",
    "depth": "quantiles of total counts",
}
"""What is known of domains without a prediction, by its name in records, to what is printed."""
_SAID_IF_ON = ("smooth_labels", "calibrate")


@dataclass(frozen=True)
class Standing:
    """Where the rows of a kind of method stand, and what they may claim.

    Args:
        block: ``methods``, ``controls`` or ``ceilings``.
        ranked: whether they may be the best of a column; what sees the truth may not.
        bracketed: whether they stand in brackets, for seeing the truth among those that do not.
    """

    block: str
    ranked: bool = True
    bracketed: bool = False


_STANDINGS = {
    "control": Standing(CONTROLS),
    "oracle": Standing(CONTROLS, ranked=False, bracketed=True),
    "ceiling": Standing(CEILINGS, ranked=False),
    "reference": Standing(CEILINGS, ranked=False, bracketed=True),
}


def standing(kind: str) -> Standing:
    """Block and rank of a kind of method, as cards and records say it; whatever is not listed is a method."""
    return _STANDINGS.get(kind, Standing(METHODS))


@dataclass(frozen=True)
class Cell:
    """One metric of one row.

    Args:
        mean: mean over slides, None where the metric is defined on none.
        std_slides: sample standard deviation over slides, None below two.
        std_draws: sample standard deviation over draws, None but for rows of single draws.
        per_slide: slide to value, averaged over seeds and draws; empty for pooled metrics.
        n_undefined: genes left out, summed over slides; the largest of the seeds.
        n_constant: genes predicted constant though the truth varies, summed over slides; the largest of the seeds.
        dressed: whether it is of a normal law around a point prediction.
        per_draw: seed to slide to one value per draw, for rows of single draws; the slide "" holds means over slides.
    """

    mean: float | None
    std_slides: float | None = None
    std_draws: float | None = None
    per_slide: dict[str, float | None] = field(default_factory=dict)
    n_undefined: int = 0
    n_constant: int = 0
    dressed: bool = False
    per_draw: dict[int, dict[str, list[float | None]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        method: name of the method.
        said: what tells its runs from other runs of the method.
        way: ``declared``, ``single draw`` or ``posterior mean``; of references the row of :data:`REFERENCES`.
        standing: its block, and whether it is ranked.
        cells: metric to cell.
        n_draws: draws of every slide behind the row, 0 for rows without draws.
        rules: :data:`stbench.metrics.score.RULES` its scores were made under, the oldest of its runs.
    """

    method: str
    said: tuple[str, ...]
    way: str
    standing: Standing
    cells: dict[str, Cell]
    n_draws: int = 0
    rules: int = 1

    @property
    def name(self) -> str:
        """Name of the runs, whichever the way of predicting."""
        return name_of(self.method, self.said)

    @property
    def label(self) -> str:
        """What is printed: name and way of predicting, in brackets where an oracle sees the truth."""
        shown = REFERENCES.get(self.way, self.name)
        if self.way == POSTERIOR:
            shown = name_of(f"{self.method}-mean", self.said)
        elif self.n_draws:
            drawn = self.way == SINGLE or self.n_draws == 1
            shown += ", 1 draw" if drawn else f", mean of {self.n_draws}"
        return f"[{shown}]" if self.standing.bracketed else shown

    @property
    def block(self) -> str:
        """``methods``, ``controls`` or ``ceilings``."""
        return self.standing.block

    @property
    def ranked(self) -> bool:
        """Whether it may carry a rank and be the best."""
        return self.standing.ranked


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Args:
        method: name of the method, or of the series.
        records: one per seed, ascending.
        said: what tells them from other runs of the method.
    """

    method: str
    records: tuple[Record, ...]
    said: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``method (what, is, said)``."""
        return name_of(self.method, self.said)

    @property
    def first(self) -> Record:
        """The run of the smallest seed."""
        return self.records[0]

    @property
    def done(self) -> list[Record]:
        """Runs that were neither refused nor failed."""
        return [record for record in self.records if record.status == "done"]

    @property
    def block(self) -> str:
        """``methods``, ``controls`` or ``ceilings``."""
        return standing(self.first.kind).block


def name_of(method: str, said: Sequence[str]) -> str:
    """``method (what, is, said)``."""
    return f"{method} ({', '.join(said)})" if said else method


def groups(records: Iterable[Record]) -> list[Group]:
    """Put runs that differ in their seed alone together; of two runs with one seed the later counts.

    Raises:
        DataError: two finished runs with one seed contradict each other.
    """
    found: dict[str, dict[int, Record]] = {}
    for record in sorted(
        records, key=lambda record: (record.status == "done", record.follows, record.created, record.model_dump_json())
    ):
        runs = found.setdefault(_identity(record), {})
        check_agreement(runs.get(record.seed), record)
        runs[record.seed] = record
    members = [tuple(runs[seed] for seed in sorted(runs)) for _, runs in sorted(found.items())]
    firsts = [runs[0] for runs in members]
    return [Group(runs[0].method, runs, _said(runs[0], firsts)) for runs in members]


def _identity(record: Record) -> str:
    parts: list[object] = [record.method, record.entry, record.settings, record.draws, record.encoder]
    parts += [] if record.tuned is None else [record.tuned.study]
    parts += [RESCORED] if record.rescored else []
    return json.dumps(parts, sort_keys=True)


def _said(record: Record, everybody: Sequence[Record]) -> tuple[str, ...]:
    """Whatever tells a run from the other runs of its method."""
    others = [other for other in everybody if other.method == record.method and bool(other.tuned) == bool(record.tuned)]
    said = [] if record.tuned is None else [_study(record.tuned, others)]
    if len({other.entry for other in others}) > 1:
        said.append(record.entry)
    if len({other.preset for other in others}) > 1:
        said.append(record.preset)
    if len({other.draws for other in others}) > 1:
        said.append(f"{record.draws} draws")
    asked = _asked(record)
    shown = [
        name for name in record.settings if name in asked or _varies(name, record, others) or _always_said(name, record)
    ]
    shown = [name for name in shown if record.tuned is None or name in asked]  # others differ from fold to fold
    said += [f"{name}={_brief(record.settings[name])}" for name in shown]
    bound = record.encoder not in (NO_ENCODER, record.task.encoder)
    said += [record.encoder.partition("/")[0]] if bound else []
    said += [RESCORED] if record.rescored else []
    return tuple(said)


def _study(tuned: Tuned, others: Sequence[Record]) -> str:
    several = len({other.tuned.study for other in others if other.tuned is not None}) > 1
    return f"tuned in {tuned.study[:8]}" if several else "tuned"


def _asked(record: Record) -> set[str]:
    """Settings that were given by hand, in place of the preset's."""
    words = record.request.get("overrides", ())
    return {str(word).partition("=")[0].removeprefix(f"{record.method}.") for word in words}


def _always_said(name: str, record: Record) -> bool:
    """Whether a setting is named though every run of the method has it: it changes what was learnt."""
    return name in _SAID_IF_ON and bool(record.settings[name])


def _varies(name: str, record: Record, others: Sequence[Record]) -> bool:
    same = [other for other in others if other.preset == record.preset and other.entry == record.entry]
    return len({_brief(other.settings.get(name)) for other in same}) > 1


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def rows_of(group: Group) -> list[Row]:
    """Rows of one method: mean of the draws, one draw, direct posterior mean; never mixed in one row; or references.

    None where every run was refused or failed.
    """
    if not group.done:
        return []
    record = group.first

    def row(way: str, cells: dict[str, Cell], n_draws: int = 0) -> Row:
        rules = min(run.follows for run in group.done)
        return Row(group.method, group.said, way, standing(record.kind), cells, n_draws, rules)

    if record.references:
        return [row(way, _cells([run.references[way] for run in group.done])) for way in record.references]
    declared = _cells([run.metrics for run in group.done])
    posterior = _cells([run.metrics_posterior_mean for run in group.done])
    single = _draw_cells({run.seed: run.metrics_single_draw for run in group.done})
    rows = []
    if record.draws > 1:
        rows = [row(DECLARED, declared, record.draws), *([row(SINGLE, single, record.draws)] if single else [])]
    else:
        rows = [row(DECLARED, single, 1) if single else row(DECLARED, declared)]
    return [*rows, row(POSTERIOR, posterior)] if posterior else rows


def _cells(runs: Sequence[dict[str, Summary]]) -> dict[str, Cell]:
    metrics = dict.fromkeys(name for run in runs for name in run)
    return {name: _cell([run[name] for run in runs if name in run]) for name in metrics}


def _cell(seeds: Sequence[Summary]) -> Cell:
    slides = dict.fromkeys(slide for summary in seeds for slide in summary.per_slide)
    per_slide = {slide: mean_of([summary.per_slide.get(slide) for summary in seeds]) for slide in slides}
    undefined = max((sum(summary.n_undefined.values()) for summary in seeds), default=0)
    values = list(per_slide.values()) or [summary.mean for summary in seeds]
    std = std_of(values) if per_slide else None
    dressed = any(summary.dressed for summary in seeds)
    return Cell(mean_of(values), std, None, per_slide, undefined, _constant(seeds), dressed)


def _constant(seeds: Sequence[Summary | DrawSummary]) -> int:
    return max((sum(summary.n_constant.values()) for summary in seeds), default=0)


def _draw_cells(runs: Mapping[int, dict[str, DrawSummary]]) -> dict[str, Cell]:
    """Every metric of single draws, and its standard deviation over draws as a column of its own."""
    metrics = dict.fromkeys(name for run in runs.values() for name in run)
    cells = {name: _draw_cell({seed: run[name] for seed, run in runs.items() if name in run}) for name in metrics}
    spreads = {name + DRAW_SD: Cell(cell.std_draws) for name, cell in cells.items() if cell.std_draws is not None}
    return cells | spreads


def _draw_cell(seeds: Mapping[int, DrawSummary]) -> Cell:
    runs = list(seeds.values())
    slides = dict.fromkeys(slide for summary in runs for slide in summary.per_slide)
    per_slide = {slide: mean_of([mean_of(summary.per_slide.get(slide, [])) for summary in runs]) for slide in slides}
    std_draws = mean_of([summary.std_draws for summary in runs])
    per_draw = {seed: {**summary.per_slide, "": summary.per_draw} for seed, summary in seeds.items()}
    if not per_slide:
        return Cell(mean_of([summary.mean for summary in runs]), std_draws=std_draws, per_draw=per_draw)
    values = list(per_slide.values())
    return Cell(mean_of(values), std_of(values), std_draws, per_slide, n_constant=_constant(runs), per_draw=per_draw)


def values_by_seed(group: Group, way: str, metric: str) -> dict[int, list[float | None]]:
    """Seed to one value per slide, averaged over draws, of one way of predicting."""
    found: dict[int, list[float | None]] = {}
    for record in group.done:
        if way == SINGLE or (way == DECLARED and record.draws == 1 and record.metrics_single_draw):
            drawn = record.metrics_single_draw.get(metric)
            found[record.seed] = [mean_of(values) for values in drawn.per_slide.values()] if drawn else []
        else:
            summaries = _summaries(record, way)
            found[record.seed] = list(summaries[metric].per_slide.values()) if metric in summaries else []
    return found


def _summaries(record: Record, way: str) -> dict[str, Summary]:
    """Metrics of one way of predicting, but for single draws."""
    ways = {DECLARED: record.metrics, POSTERIOR: record.metrics_posterior_mean}
    return {**record.references, **ways}[way]


def ordered(rows: Iterable[Row], block: str) -> list[Row]:
    """Rows of a block from best to worst by the primary metric; undefined ones last, ties by name."""

    def place(row: Row) -> tuple[bool, float, str]:
        mean = row.cells[PRIMARY].mean if PRIMARY in row.cells else None
        return mean is None, -(mean or 0.0), row.label

    return sorted((row for row in rows if row.block == block), key=place)


def mean_text(values: Sequence[float | None], decimals: int) -> str:
    """The mean of the values that there are, ``-`` where there are none."""
    mean = mean_of(values)
    return NONE if mean is None else f"{mean:.{decimals}f}"
