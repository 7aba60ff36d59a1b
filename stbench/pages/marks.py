"""What the marks of a board say, which of its rows may be ranked, and how far they come to the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stbench.evaluation.exposure import contamination
from stbench.evaluation.public import is_public
from stbench.evaluation.record import PRIMARY
from stbench.pages.columns import direction
from stbench.pages.patients import difference, group_of_best, holm, paired_p
from stbench.pages.protocol import Line, Protocol
from stbench.pages.rows import CONTROLS, DECLARED, METHODS
from stbench.pages.tuned import chosen_on

BEST, NOT_ABOVE, TUNED, IMPOSSIBLE, DRESSED, SAW, MAY_HAVE_SEEN = "=", "!", "T", "?", "n", "C", "c"
COUNT_SPLIT, SAMPLER_BAR = "ceiling-count-split", "linear-gaussian"
CRPS = "crps"
LIMITS = (COUNT_SPLIT, "best-from-own-spot", "best-from-image")
"""Ceilings in PCC: of real slides, of features that know a share of each spot, of pictures and patients."""
ABOVE = 0.01
"""How far a PCC may lie above the count-split ceiling, whose splits vary by less."""
NEAREST = 0.05
"""Nearer than this to the ceiling, the best control leaves nothing to be shared out."""
MEANINGS = {
    BEST: "not told from the best ranked row (paired t tests, Holm)",
    NOT_ABOVE: (
        "a method not above the best control by more than noise (the same); in CRPS, a sampler not below "
        f"`{SAMPLER_BAR}`"
    ),
    TUNED: "its preset was tuned on a test slide or another cut of its block; not ranked",
    SAW: "pretrained weights behind it saw slides of the cohort; not ranked where they saw expression",
    MAY_HAVE_SEEN: "pretrained weights behind it may have seen slides of the cohort",
    IMPOSSIBLE: f"PCC above the count-split ceiling by {ABOVE}; not ranked",
    DRESSED: (
        "CRPS of a normal law around a point prediction, per gene with the standard deviation of its residuals on the "
        "validation slides"
    ),
}


def ranked(board: Protocol) -> list[Line]:
    """Rows with a place, the best first: run on every fold, defined on every test slide, and nothing against them."""
    return [line for line in eligible(board) if not knows_seed(board, line)]


def eligible(board: Protocol) -> list[Line]:
    """What would be ranked if the truth were not known to everybody."""
    scale, folds = board.scales[0], len(board.folds)
    whole = [line for line in board.lines if line.standing.ranked and line.is_whole(scale, PRIMARY, folds)]
    return [line for line in whole if not against(board, line)]


def knows_seed(board: Protocol, line: Line) -> bool:
    """Whether a row predicts new patients whose truth it could have generated; known ones make no claim to be kept."""
    return board.is_clean and any(is_public(record) for record in line.records)


def against(board: Protocol, line: Line) -> str:
    """Marks that keep a row out of the ranking."""
    if not line.standing.ranked:
        return ""
    tuned = any(chosen_on(record) for record in line.records)
    labels = any(contamination(record).labels for record in line.records)
    return (TUNED if tuned else "") + (SAW if labels else "") + (IMPOSSIBLE if _is_impossible(board, line) else "")


def seen(line: Line) -> str:
    """Whether pretrained weights behind a row saw slides of the cohort (``C``), or may have (``c``)."""
    found = {contamination(record).mark for record in line.records}
    return SAW if SAW in found else MAY_HAVE_SEEN if MAY_HAVE_SEEN in found else ""


def _is_impossible(board: Protocol, line: Line) -> bool:
    """Ceilings of generated cohorts bound most predictors and a finite number of spots nearly, so nobody is accused."""
    limit = ceiling(board)
    if limit is None or limit.method != COUNT_SPLIT:
        return False
    means = [(line.mean(scale), limit.mean(scale)) for scale in board.scales]
    return any(mine is not None and most is not None and mine > most + ABOVE for mine, most in means)


def ceiling(board: Protocol) -> Line | None:
    """The row whose PCC is the most there is to be had, None where there is none; it depends on the data."""
    lines = {line.method: line for line in board.lines}
    return next((lines[name] for name in LIMITS if name in lines), None)


def best_control(board: Protocol) -> Line | None:
    """The best legal control by the primary metric, None where there is none."""
    return next((line for line in eligible(board) if line.standing.block == CONTROLS), None)


def share(board: Protocol, line: Line) -> float | None:
    """How much of the way from the best legal control to the ceiling a row goes in PCC.

    Returns:
        0 for the control, 1 for the ceiling; None where the two are nearer than 0.05, or one of the three is not there.
    """
    scale, limit, control = board.scales[0], ceiling(board), best_control(board)
    if limit is None or control is None:
        return None
    values = [one.mean(scale) for one in (line, limit, control)]
    mine, most, least = values
    if mine is None or most is None or least is None or most - least < NEAREST:
        return None
    return (mine - least) / (most - least)


def marks(board: Protocol) -> dict[str, str]:
    """Label to the marks of its row."""
    able = {line.label: line.patients(board.scales[0]) for line in ranked(board)}
    barred = {line.label: against(board, line) for line in board.lines}
    said = {
        line.label: (seen(line) if SAW not in barred[line.label] else "") + barred[line.label] for line in board.lines
    }
    if board.has_intervals and len(able) > 1:
        best, below = group_of_best(able, higher=True), _below(board)
        for label in able:
            said[label] = (BEST if label in best else "") + (NOT_ABOVE if label in below else "") + said[label]
    return said


def _below(board: Protocol) -> set[str]:
    control, scale = best_control(board), board.scales[0]
    if control is None:
        return set()
    methods = [line for line in ranked(board) if line.standing.block == METHODS]
    return not_better({line.label: line.patients(scale) for line in methods}, control.patients(scale), PRIMARY)


def samplers_not_better(board: Protocol) -> set[str]:
    """Labels of methods' draws whose CRPS is not below that of the control for samplers by more than noise."""
    scale = board.scales[0]
    declared = [line for line in board.lines if line.way == DECLARED and line.patients(scale, CRPS)]
    drawn = [line for line in declared if any(row.n_draws > 1 for row in line.rows.get(scale, []))]
    bar = next((line for line in drawn if line.method == SAMPLER_BAR), None)
    if bar is None or not board.has_intervals:
        return set()
    rows = {line.label: line.patients(scale, CRPS) for line in drawn if line.standing.block == METHODS}
    return not_better(rows, bar.patients(scale, CRPS), CRPS)


def not_better(rows: Mapping[str, Mapping[str, float]], bar: Mapping[str, float], metric: str) -> set[str]:
    """Rows that are not better than another one by more than noise: paired t tests, Holm over the rows.

    Args:
        rows: label to patient means.
        bar: patient means of the row they are held against.
        metric: its card says which values are better.
    """
    sign = -1 if direction(metric) == "lower" else 1
    labels: Sequence[str] = list(rows)
    told = holm([paired_p(rows[label], bar) for label in labels])
    gaps = [difference(rows[label], bar) for label in labels]
    return {
        label
        for label, is_told, gap in zip(labels, told, gaps, strict=True)
        if not is_told or gap is None or sign * gap.mean <= 0
    }
