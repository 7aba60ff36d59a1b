"""How a training went, one line per evaluation, as a table beside the checkpoint."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.files import write_text
from stbench.reading import UNREADABLE, check_own, check_table
from stbench.text import first_line

HISTORY = "history.csv"
Line = tuple[int, float, float, float, float]


class History:
    """Lines of one training; a checkpoint keeps them, so that a resumed run leaves those of an uninterrupted one.

    Args:
        score: what validation measures; a loss counts as its negative in training and is written as it is.
        folder: where ``history.csv`` goes, None for nowhere.
    """

    def __init__(self, score: str, folder: Path | None) -> None:
        self.score, self.folder = score, folder
        self.lines: list[Line] = []
        self._losses: list[float] = []

    @property
    def columns(self) -> list[str]:
        """Updates made, mean total loss of the micro-steps since the line before, score, rate, seconds of training."""
        return ["update", "loss", f"validation_{self.score.lower()}", "learning_rate", "seconds"]

    @property
    def seconds(self) -> float:
        """Wall time up to the last line."""
        return self.lines[-1][-1] if self.lines else 0.0

    def saw(self, loss: float) -> None:
        """Count the total loss of a micro-step."""
        self._losses.append(loss)

    def evaluated(self, update: int, score: float, learning_rate: float, seconds: float) -> None:
        """Add a line; ``seconds`` are those of the whole training, interruptions left out."""
        loss, self._losses = sum(self._losses) / len(self._losses), []
        self.lines.append((update, loss, -score if self.score == "loss" else score, learning_rate, seconds))

    def write(self) -> None:
        """Replace the file by the lines so far.

        Raises:
            UserError: the file cannot be written.
        """
        if self.folder is None:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(self.columns)
        rows.writerows([update, *(f"{value:.6g}" for value in rest)] for update, *rest in self.lines)
        write_text(self.folder / HISTORY, text.getvalue())


@dataclass(frozen=True)
class Training:
    """A history read back, one value per evaluation.

    Args:
        score: name of the column of the score, ``validation_`` and what was measured.
        updates: optimiser updates made until then.
        loss: mean total loss since the evaluation before.
        validation: the score.
    """

    score: str
    updates: NDArray[np.float64]
    loss: NDArray[np.float64]
    validation: NDArray[np.float64]

    @property
    def best(self) -> int | None:
        """Place of the best evaluation, None where the score is finite at none."""
        if not np.isfinite(self.validation).any():
            return None
        return int((np.nanargmin if self.score.endswith("loss") else np.nanargmax)(self.validation))


def read_history(folder: Path) -> Training:
    """The history of a run.

    Args:
        folder: of the run.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / HISTORY
    try:
        check_own(path, folder)
        check_table(path)
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        values = np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64).reshape(-1, 5)
        if not len(values) or len(head) != 5 or not head[2].startswith("validation_"):
            raise ValueError(f"{len(values)} lines of {head}")
        return Training(head[2], values[:, 0], values[:, 1], values[:, 2])
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(
            f"expected the history of a training in {path}, found {first_line(error)}; delete it"
        ) from error
