"""Slides to be predicted, found and written one after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stbench.data.bare import PICTURES, bare_slide
from stbench.data.hdf5_writing import write_h5ad
from stbench.data.opening import open_dataset
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.evaluation.apply import Model, apply
from stbench.evaluation.predictions import FACTS, prediction_path
from stbench.files import remove_parts, sha256_of, whole
from stbench.reading import check_regular
from stbench.reporting import SILENT, Reporter
from stbench.text import first_line, listed

ENDING = ".h5ad"


@dataclass(frozen=True)
class Wanted:
    """A slide to be predicted.

    Args:
        name: of the slide.
        read: reads it.
        out: file its predictions go to.
        laid: how its spots are laid; empty for a slide that has its own.
    """

    name: str
    read: Callable[[], Slide]
    out: Path
    laid: str = ""


@dataclass(frozen=True)
class Laid:
    """How spots are laid over a picture where the model does not say it.

    Args:
        um_per_px: micrometres per full-resolution pixel, None takes what the picture says.
        pitch_um: distance of neighbouring spots, None takes the model's.
        spots: table of positions in place of a grid.
    """

    um_per_px: float | None = None
    pitch_um: float | None = None
    spots: Path | None = None

    def said(self) -> str:
        """Everything that decides where spots lie, as text."""
        table = None if self.spots is None else sha256_of(self.spots)
        return json.dumps([self.um_per_px, self.pitch_um, table])

    def check(self) -> None:
        """Raise SettingError for a size that is none, or a table of spots that cannot be read."""
        try:
            self.said()
        except OSError as error:
            raise SettingError(f"--spots: expected a table of spots, found: {first_line(error)}") from error
        for option, value in (("--um-per-px", self.um_per_px), ("--pitch", self.pitch_um)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{option}: expected micrometres above 0, found {value:g}")


def pictures(model: Model, places: Sequence[Path], laid: Laid, out: Path) -> list[Wanted]:
    """Slides of pictures: files, or all of a folder.

    Raises:
        UserError: a place is neither, or two slides are called the same.
    """
    laid.check()
    seen = model.facts.seen
    found = [picture for place in places for picture in _pictures(place)]
    if laid.spots is not None and len(found) > 1:
        raise SettingError(f"--spots: expected one picture beside a table of its spots, found {len(found)}; name one")
    names = [path.name.removesuffix(path.suffix).removesuffix(".ome") for path in found]
    reads = [
        partial(
            bare_slide, path, um_per_px=laid.um_per_px, pitch_um=laid.pitch_um or seen.pitch_um,
            hexagonal=seen.hexagonal, spots=laid.spots,
        )
        for path in found
    ]  # fmt: skip
    return _wanted(dict_of(names, reads), out, laid.said())


def _pictures(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(path for path in place.glob("*") if path.suffix.lower() in PICTURES) if place.is_dir() else []
    if not found:
        state = "a folder without one" if place.is_dir() else "neither"
        raise DataError(
            f"--slide: expected a picture, or a folder of pictures ({listed(PICTURES)}), at {place}, found {state}"
        )
    return found


def dict_of(names: Sequence[str], reads: Sequence[Callable[[], Slide]]) -> dict[str, Callable[[], Slide]]:
    """Names to readers; raises DataError where a name comes twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"--slide: expected slides of different names, found {twice[0]} again; rename a picture")
    return dict(zip(names, reads, strict=True))


def slides_of(dataset: str, ids: Sequence[str], data_root: Path | None, out: Path) -> list[Wanted]:
    """Slides of a cohort in any layout; their counts are not looked at.

    Raises:
        UserError: the cohort is not there, or a slide is not in it.
    """
    cohort, _ = open_dataset(dataset, data_root)
    if unknown := [id_ for id_ in ids if id_ not in cohort.ids]:
        raise UnknownNameError(f"slide of {cohort.name}", unknown[0], cohort.ids)
    return _wanted({id_: partial(cohort.load, id_) for id_ in ids or cohort.ids}, out)


def _wanted(reads: dict[str, Callable[[], Slide]], out: Path, laid: str = "") -> list[Wanted]:
    alone = out.suffix == ENDING
    if alone and len(reads) > 1:
        raise SettingError(f"--out: expected a folder for {len(reads)} slides, found {out}; leave its ending out")
    places = {name: out if alone else out / prediction_path(out, name).name for name in reads}
    return [Wanted(name, read, places[name], laid) for name, read in reads.items()]


def _n_spots(path: Path, asked: str) -> int:
    """Spots of predictions that are there; raises UserError where they are of something else."""
    import h5py

    try:
        check_regular(path)
        with h5py.File(path) as file:
            if file["uns/stbench/asked"].asstr()[()] == asked:
                return int(file["X"].shape[0])
            found = "predictions of another model, seed, number of draws or places of spots"
    except Exception as error:  # noqa: BLE001  a damaged or foreign file ends in whatever the library trips over
        found = first_line(error)
    raise UserError(f"--out: expected a new file, or predictions of this model, at {path}, found {found}; move it away")


def predict(
    model: Model,
    wanted: Sequence[Wanted],
    *,
    draws: int | None = None,
    seed: int = 0,
    keep_draws: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, int]:
    """Predict slides one after the other; each file appears when it is complete, and one that is there is kept.

    Args:
        model: the fitted method.
        wanted: the slides.
        draws: samples of a generative method, the model's own number when None.
        seed: of the draws.
        keep_draws: whether every draw is kept; else their mean and spread alone.
        reporter: where progress goes, and word of slides unlike those the model was fitted on.

    Returns:
        Name of the slide to the number of its spots.

    Raises:
        UserError: something else than predictions of this model with this seed lies where one is to go; nothing is
            predicted then. Or a slide cannot be read or predicted.
    """
    n_draws = draws or model.facts.draws
    asked = {one.name: json.dumps([model.facts.model, seed, n_draws, keep_draws, one.laid]) for one in wanted}
    found = {one.name: _n_spots(one.out, asked[one.name]) for one in wanted if os.path.lexists(one.out)}
    for folder in {one.out.parent for one in wanted}:
        remove_parts(folder)
    with reporter.track(f"{model.facts.method} predicts", len(wanted)) as advance:
        for one in wanted:
            if one.name in found:
                reporter.info(f"slide {one.name}: {one.out} is there and is kept")
                advance(note=one.name)
                continue
            slide = one.read()
            adata, doubts = apply(model, slide, draws=draws, seed=seed, keep_draws=keep_draws, reporter=reporter)
            adata.uns[FACTS]["asked"] = asked[one.name]
            for doubt in doubts:
                reporter.info(f"slide {one.name}: {doubt}")
            with whole(one.out) as part:
                write_h5ad(adata, part, compression="gzip")
            found[one.name] = slide.n_spots
            advance(note=one.name)
    return found
