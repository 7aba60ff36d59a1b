"""Slides to be predicted, found and written one after the other."""

from __future__ import annotations

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
from stbench.evaluation.predictions import prediction_path
from stbench.files import whole
from stbench.reporting import SILENT, Reporter
from stbench.text import listed

ENDING = ".h5ad"


@dataclass(frozen=True)
class Wanted:
    """A slide to be predicted.

    Args:
        name: of the slide.
        read: reads it.
        out: file its predictions go to.
    """

    name: str
    read: Callable[[], Slide]
    out: Path


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

    def check(self) -> None:
        """Raise SettingError for a size that is none."""
        for option, value in (("--um-per-px", self.um_per_px), ("--pitch", self.pitch_um)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{option}: expected micrometres above 0, found {value:g}")


def pictures(model: Model, places: Sequence[Path], laid: Laid, out: Path) -> list[Wanted]:
    """Slides of pictures: files, or all of a folder.

    Raises:
        UserError: a place is neither, two slides are called the same, or predictions lie at ``out`` already.
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
    return _wanted(dict_of(names, reads), out)


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
        UserError: the cohort is not there, a slide is not in it, or predictions lie at ``out`` already.
    """
    cohort, _ = open_dataset(dataset, data_root)
    if unknown := [id_ for id_ in ids if id_ not in cohort.ids]:
        raise UnknownNameError(f"slide of {cohort.name}", unknown[0], cohort.ids)
    return _wanted({id_: partial(cohort.load, id_) for id_ in ids or cohort.ids}, out)


def _wanted(reads: dict[str, Callable[[], Slide]], out: Path) -> list[Wanted]:
    alone = out.suffix == ENDING
    if alone and len(reads) > 1:
        raise SettingError(f"--out: expected a folder for {len(reads)} slides, found {out}; leave its ending out")
    found = [
        Wanted(name, read, out if alone else out / prediction_path(out, name).name) for name, read in reads.items()
    ]
    if there := [one.out for one in found if one.out.exists()]:
        raise UserError(f"--out: expected a new file, found {there[0]} there already; choose another place")
    return found


def predict(
    model: Model,
    wanted: Sequence[Wanted],
    *,
    draws: int | None = None,
    seed: int = 0,
    keep_draws: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, int]:
    """Predict slides one after the other; each file appears when it is complete.

    Args:
        model: the fitted method.
        wanted: the slides.
        draws: samples of a generative method, the model's own number when None.
        seed: of the draws.
        keep_draws: whether every draw is kept; else their mean and spread alone.
        reporter: where progress goes, and word of slides unlike those the model was fitted on.

    Returns:
        Name of the slide to the number of its spots.
    """
    found = {}
    with reporter.track(f"{model.facts.method} predicts", len(wanted)) as advance:
        for one in wanted:
            slide = one.read()
            adata, doubts = apply(model, slide, draws=draws, seed=seed, keep_draws=keep_draws, reporter=reporter)
            for doubt in doubts:
                reporter.info(f"slide {one.name}: {doubt}")
            with whole(one.out) as part:
                write_h5ad(adata, part, compression="gzip")
            found[one.name] = slide.n_spots
            advance(note=one.name)
    return found
