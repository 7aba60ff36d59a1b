"""How many draws stay on disk once they are scored; in place of the others their mean and spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stbench.errors import DataError, SettingError
from stbench.evaluation.predictions import OfAll, SlidePrediction, StoredPrediction, rewrite_prediction
from stbench.evaluation.record import Record

ALL, NONE = "all", "none"
ASKED = "draws_kept"  # the field of a request


def most_kept(said: str) -> int | None:
    """Draws to keep of a slide, None for all.

    Raises:
        SettingError: neither ``none``, ``all`` nor a number.
    """
    if said == ALL:
        return None
    if said == NONE:
        return 0
    if said.isascii() and said.isdigit():
        return int(said)
    raise SettingError(f"--keep-draws: expected none, all or a number of draws, found {said!r}")


def kept_of(record: Record) -> int:
    """Draws of each test slide that the run of a record left on disk; a lone draw is its mean and stays."""
    return left_of(record.draws, _asked(record.request))


def left_of(drawn: int, said: str) -> int:
    """Draws that stay of so many; raises as :func:`most_kept`."""
    most = most_kept(said)
    return drawn if most is None or drawn == 1 else min(most, drawn)


def _asked(request: Mapping[str, Any]) -> str:
    return str(request.get(ASKED, ALL))


def keep_draws(folder: Path, stored: StoredPrediction, request: Mapping[str, Any]) -> SlidePrediction:
    """Leave the first draws in a slide's file, as many as a run was asked to keep.

    Args:
        folder: the run folder.
        stored: what lies in the file.
        request: of the run.

    Returns:
        What the file holds now.

    Raises:
        UserError: the file cannot be written.
    """
    kept = thinned(stored.prediction, most_kept(_asked(request)))
    if kept is not stored.prediction:
        rewrite_prediction(folder, replace(stored, prediction=kept))
    return kept


def thinned(prediction: SlidePrediction, most: int | None) -> SlidePrediction:
    """A prediction with its first draws alone, the mean and the spread of all beside them; a lone draw is its mean.

    Args:
        prediction: with all its draws.
        most: draws to keep, None for all.
    """
    if most is None or len(prediction.draws) <= max(most, 1):
        return prediction
    return replace(prediction, draws=prediction.draws[:most].copy(), of_all=OfAll.of(prediction.draws))


def check_whole(stored: StoredPrediction, folder: Path) -> None:
    """Raise DataError where draws of a slide were not kept."""
    if stored.prediction.of_all is not None:
        raise _lacking(folder, len(stored.prediction.draws), int(stored.facts["n_drawn"]))


def check_kept(record: Record, folder: Path) -> None:
    """Raise DataError where a run did not keep its draws, for what needs all of them."""
    if kept_of(record) < record.draws:
        raise _lacking(folder, kept_of(record), record.draws)


def _lacking(folder: Path, kept: int, drawn: int) -> DataError:
    return DataError(
        f"{folder}: expected every draw of each slide, found {kept} of {drawn} kept; run it in another folder with "
        "--keep-draws all"
    )
