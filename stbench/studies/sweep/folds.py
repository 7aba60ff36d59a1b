"""What the page of a sweep says where it has several folds: means over patients, as boards give them."""

from __future__ import annotations

from stbench.pages import leaderboard
from stbench.pages.facts import title_of
from stbench.pages.protocol import Line, Protocol
from stbench.pages.tables import NONE
from stbench.pages.wording import means_of
from stbench.studies.sweep.results import Results
from stbench.text import count, listed


def largest(results: Results) -> Protocol:
    """The board of the largest panel that was run."""
    return results.boards[max(results.boards)]


def title(results: Results) -> str:
    """``her2st, lopo (origin)``, with ``L`` where a patient trains or validates in the fold that tests it."""
    board = largest(results)
    return title_of(board.task, results.manifest.asked.split, leaky=not board.is_clean)


def facts(results: Results) -> dict[str, str]:
    """What was predicted from what, but for panels and seeds, of which there are several."""
    board = largest(results)
    missing = [fold.name for fold in results.manifest.folds if fold.name not in board.folds]
    gone = {"not run": f"{count(len(missing), 'fold')}: {listed(missing)}"} if missing else {}
    return {**leaderboard.facts(board), **gone}


def tested(results: Results) -> str:
    """``6 test slides of 4 patients in 3 folds``."""
    board, slides = largest(results), len(results.manifest.test)
    patients = set(board.patients.values())
    known = "unknown patients" if None in patients else count(len(patients), "patient")
    return f"{count(slides, 'test slide')} of {known} in {count(len(board.folds), 'fold')}"


def cells(results: Results, name: str, genes: int, metric: str) -> dict[str, str]:
    """Row to cell of a series on one panel size; of fewer runs than asked for, their number behind it."""
    lines = results.boards[genes].lines if genes in results.boards else []
    return {line.label: _cell(results, line, metric) for line in lines if line.method == name}


def _cell(results: Results, line: Line, metric: str) -> str:
    text = leaderboard.number_text(next(iter(line.numbers.values())).get(metric), metric)
    manifest = results.manifest
    seeds = len(manifest.seeds) if line.method in {series.name for series in results.asked} else 1
    fewer = text != NONE and len(line.records) < seeds * len(manifest.folds)
    return f"{text} n={len(line.records)}" if fewer else text


def reading(results: Results) -> str:
    """What a cell says."""
    board = largest(results)
    return f"{means_of(board)} `n=` runs where fewer than one per fold and seed finished; `-` undefined or not there."
