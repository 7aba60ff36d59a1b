"""Cohorts: cheap lists of slides that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stbench.data.slide import Slide, SlideRef
from stbench.errors import DataError, UnknownNameError

SIMULATED = "simulated"  # layout of a simulated cohort, and what its export gives as the technology


class Listing(Protocol):
    """What a cohort's card tells its reader: ids, sections and patients of the slides it is known to hold."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def layouts(self) -> list: ...  # type: ignore[type-arg]
    @property
    def slides(self) -> list: ...  # type: ignore[type-arg]


@dataclass(frozen=True)
class Cohort:
    """Slides of one study.

    Args:
        name: name of the cohort.
        layout: how it lies on disk: ``her2st``, ``hest``, ``spaceranger`` or ``simulated``.
        refs: slides that can be used, in the card's order.
        reader: reads a slide by its id.
        left_out: slides that cannot be used, with the reason.
        about: how generated data were made, one line; empty for data as they were measured.
        simulated: the slides are of no tissue, wherever they lie.
    """

    name: str
    layout: str
    refs: tuple[SlideRef, ...]
    reader: Callable[[str], Slide]
    left_out: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    simulated: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(ref.id for ref in self.refs)

    def load(self, slide_id: str) -> Slide:
        """Read a slide.

        Raises:
            UnknownNameError: not a usable slide of the cohort.
            DataError: its files do not hold what their format promises.
        """
        if slide_id not in self.ids:
            raise UnknownNameError(f"slide of {self.name}", slide_id, self.ids)
        return self.reader(slide_id)


def open_cohort(card: Listing, data_root: Path | None, *, require_image: bool = True) -> Cohort:
    """Find a cohort on disk in whichever of its card's layouts is there.

    Args:
        card: the cohort's card.
        data_root: folder that holds one folder per cohort.
        require_image: leave out slides without a picture.

    Raises:
        DataError: nothing is there; says what was looked for where and how to obtain it.
    """
    from stbench.data.readers import READERS

    if data_root is None:
        raise DataError(
            f"{card.name}: no data root given; set --data-root or STBENCH_DATA to the folder that holds {card.name}/"
        )
    folder = data_root / card.name
    for layout in card.layouts:
        if READERS[layout].recognises(folder):
            return READERS[layout].open(card.name, folder, card.slides, require_image=require_image)
    wanted = " or ".join(f"{layout} layout ({READERS[layout].signature})" for layout in card.layouts)
    raise DataError(f"{card.name}: expected {wanted} in {folder}, found {_state(folder)}; to obtain it: {card.source}")


def open_folder(folder: Path, *, require_image: bool = True) -> Cohort:
    """Open somebody's own slides: any folder in one of the known layouts.

    Raises:
        DataError: the folder is in none of them.
    """
    from stbench.data.readers import READERS

    for layout in READERS.values():
        if layout.recognises(folder):
            return layout.open(folder.resolve().name, folder, [], require_image=require_image)
    wanted = "; ".join(f"{name}: {layout.signature}" for name, layout in READERS.items())
    raise DataError(f"expected slides in {folder} in a known layout ({wanted}), found {_state(folder)}")


def _state(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    names = sorted(path.name for path in folder.iterdir())[:5]
    return f"only {', '.join(names)}" if names else "an empty folder"
