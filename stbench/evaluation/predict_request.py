"""What a user asks of one ``stbench predict``. Light: the command line's help reads it."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.request import METHOD, RESULT, TASK, Request, altered, option
from stbench.files import sha256_of
from stbench.text import first_line, listed, parse_numbers

ASKED = (
    "model", "slides", "dataset", "um_per_px", "pitch_um", "spots", "draws", "seeds", "weights", "out", "to",
    "keep_draws", "data_root", "device",
)  # fmt: skip


H5AD, SPATIALDATA = "h5ad", "spatialdata"
ENDINGS = {H5AD: ".h5ad", SPATIALDATA: ".zarr"}


@dataclass(frozen=True, kw_only=True)
class PredictRequest(Request):
    """Slides, and the model that predicts them."""

    COMMAND: ClassVar[str] = "predict"

    model: Path = option(
        MISSING, "Folder that stbench fit wrote.", "--model",
        group=METHOD, role="shared", order=1, metavar="PATH",
    )  # fmt: skip
    slides: tuple[str, ...] = option(
        (), "Picture, or a folder of pictures; with --dataset a slide of it by name. Repeatable.", "--slide",
        group=TASK, role="cells", order=2, metavar="TEXT",
    )  # fmt: skip
    dataset: str = altered(
        Request, "dataset", "", said=False,
        help="Registered name or folder whose slides are predicted, all unless named.",
    )  # fmt: skip
    genes: tuple[int, ...] = altered(Request, "genes", (), said=False)  # the model's
    um_per_px: float | None = option(
        None, "Micrometres per pixel of the picture, if it does not say it.", "--um-per-px",
        group=TASK, role="shared", order=11, metavar="UM",
    )  # fmt: skip
    pitch_um: float | None = option(
        None, "Micrometres between spots; default: the model's.", "--pitch",
        group=TASK, role="shared", order=11.3, metavar="UM",
    )  # fmt: skip
    spots: Path | None = option(
        None, "CSV or TSV of spots, pixel_x and pixel_y, in place of a grid over the tissue.", "--spots",
        group=TASK, role="shared", order=11.6,
    )  # fmt: skip
    seeds: tuple[int, ...] = altered(
        Request, "seeds", (0,), help="Seed of the draws.", flags=("--seed",), metavar="S",
        read=partial(parse_numbers, "--seed", least=0),
    )  # fmt: skip
    out: Path = option(
        MISSING, "New file, or a folder for several slides.", "--out",
        group=RESULT, role="place", order=29, metavar="PATH",
    )  # fmt: skip
    to: str = option(
        H5AD, "h5ad, or spatialdata: a .zarr store per slide.", "--to",
        group=RESULT, role="shared", order=29.2, metavar="FORMAT",
    )  # fmt: skip
    keep_draws: bool = option(
        False, "Keep every draw as a layer beside mean and spread.", "--keep-draws",
        group=RESULT, role="shared", order=29.5,
    )  # fmt: skip

    @property
    def ending(self) -> str:
        """Of the files that are written."""
        return ENDINGS[self.to]

    def check(self) -> None:
        """Raise UserError where no slide is named, or for a size, a seed, a format or a table of spots that is none."""
        if self.to not in ENDINGS:
            raise UnknownNameError("--to", self.to, ENDINGS)
        if self.out.suffix in ENDINGS.values() and self.out.suffix != self.ending:
            raise SettingError(f"--out: expected {self.ending} with --to {self.to}, found {self.out}; name it so")
        if not self.slides and not self.dataset:
            raise SettingError("--slide: expected a picture, found none; name one, or a cohort with --dataset")
        if len(self.seeds) != 1:
            raise SettingError(f"--seed: expected one, found {listed(self.seeds) or 'none'}")
        try:
            self.laid()
        except OSError as error:
            raise SettingError(f"--spots: expected a table of spots, found: {first_line(error)}") from error
        for flag, value in (("--um-per-px", self.um_per_px), ("--pitch", self.pitch_um)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{flag}: expected micrometres above 0, found {value:g}")

    def laid(self) -> str:
        """Everything that decides where spots lie on a picture, as text."""
        table = None if self.spots is None else sha256_of(self.spots)
        return json.dumps([self.um_per_px, self.pitch_um, table])
