"""Labels that a pathologist gave the spots of a section of HER2ST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.readers.counts import check_columns, check_unique, numbers, shown
from stbench.data.readers.positions import spelling
from stbench.errors import DataError
from stbench.reading import UNREADABLE
from stbench.text import count, few, one_line

if TYPE_CHECKING:
    import pandas as pd

LABELS = "{section}_labeled_coordinates.tsv"
_COLUMNS = ("x", "y", "label")
_UNKNOWN = "undetermined"  # what the pathologist wrote where there is no saying


def read_labels(path: Path, spots: Sequence[str]) -> tuple[pd.Categorical, list[str]]:
    """The label of every spot, missing where it has none or is ``undetermined``.

    Rows are those of spots by ``round(x), round(y)``, the position on the array; the pixels of the file are those of a
    mirrored rendering and are not read.

    Args:
        path: ``data/ST-pat/lbl/<S>_labeled_coordinates.tsv``.
        spots: names ``<x>x<y>``, in the order wanted.

    Returns:
        (n_spots,) labels, and notes on rows that are no spot's.

    Raises:
        DataError: damaged, missing columns, a position that is no number, a spot twice, or no spot in common.
    """
    import pandas as pd

    table = _table(path)
    placed = table[table[["x", "y"]].notna().all(axis=1)]
    x, y = np.rint(numbers(placed, ["x", "y"], str(path))).T
    names = [f"{column:.0f}x{row:.0f}" for column, row in zip(x, y, strict=True)]
    check_unique(names, "spot", str(path))
    label = dict(zip(names, placed["label"].astype("string").str.strip(), strict=True))
    if not set(spots) & set(label):
        raise DataError(
            f"{path}: expected labels of the section's spots ({shown(spots)}), found none in common ({shown(names)}); "
            "check that the file belongs to the section, or remove it"
        )
    known = {spot: name for spot, name in label.items() if not pd.isna(name) and name not in ("", _UNKNOWN)}
    return pd.Categorical([known.get(spot) for spot in spots]), _notes(path, len(table) - len(placed), names, spots)


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        encoding, separator, _ = spelling(path)
        table = pd.read_csv(path, sep=separator, encoding=encoding, skipinitialspace=True)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: expected a table of labels, found: {one_line(str(error))}; obtain the file again, or remove it"
        ) from error
    check_columns(table, _COLUMNS, str(path))
    return table


def _notes(path: Path, n_unplaced: int, labelled: Sequence[str], spots: Sequence[str]) -> list[str]:
    there = set(spots)
    others = [spot for spot in labelled if spot not in there]
    bare = len(there - set(labelled))
    return [
        *([f"{count(n_unplaced, 'label')} of {path.name} left out: no position"] if n_unplaced else []),
        *([f"{count(len(others), 'label')} of {path.name} left out: no counts ({few(others)})"] if others else []),
        *([f"{count(bare, 'spot')} without a row in {path.name}"] if bare else []),
    ]
