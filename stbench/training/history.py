"""How a training went, one line per evaluation, as a table beside the checkpoint."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stbench.files import write_text

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
