"""A cohort by whatever name a user gives it: registered, generated, or a folder of their own."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from stbench.catalogue import DatasetCard, dataset_cards, find_dataset, load_entry
from stbench.data.beside import with_genes, with_patients
from stbench.data.cohort import Cohort
from stbench.data.patients import one_spelling
from stbench.data.readers import READERS, readers
from stbench.data.readers.scanpy_h5ad import SUFFIX as H5AD
from stbench.data.readers.spatialdata_listing import SUFFIX as ZARR
from stbench.data.remembered import remembering
from stbench.data.secret import Secret
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.files import visible
from stbench.reporting import SILENT, Reporter
from stbench.text import misnamed, pairs

PAPER_SIZE = "paper"


class Listing(Protocol):
    """What a cohort's card tells its reader: ids, sections and patients of the slides it is known to hold."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def fetch(self) -> dict: ...  # type: ignore[type-arg]
    @property
    def layouts(self) -> list: ...  # type: ignore[type-arg]
    @property
    def slides(self) -> list: ...  # type: ignore[type-arg]


def open_dataset(
    name: str,
    data_root: Path | None,
    simulate: tuple[str, ...] = (),
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
    *,
    require_image: bool = True,
    secret: Secret | None = None,
    patients: Path | None = None,
    genes_table: Path | None = None,
) -> tuple[Cohort, DatasetCard]:
    """A cohort by registered name, or a folder of somebody's own slides.

    Args:
        name: registered name, else a folder.
        data_root: folder that holds one folder per registered cohort.
        simulate: ``key=value`` of a generated cohort; ``paper`` starts from the size of the paper's cohort, simulated.
        cache_dir: where generated slides are kept.
        reporter: is told of slides that are made.
        require_image: leave out slides without a picture.
        secret: what a generated cohort is keyed by in place of its public seed.
        patients: table of slides and patients of somebody's own slides; ``patients.csv`` of their folder when None.
        genes_table: table of genes, whose symbols take the place of ids and older symbols.

    Returns:
        The cohort and its card, which says of exported simulated slides too that they are simulated.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
        UserError: the data are not there, or a setting of the simulation is wrong.
    """
    card = find_card(name)
    if simulate:
        check_generated(card, name, "--simulate")
    if secret is not None:
        check_generated(card, name, "--secret")
    if patients is not None and name in dataset_cards():
        raise SettingError(f"--patients: expected with a folder of your own, found {name}, whose card says patients")
    with remembering(cache_dir, reporter):
        if name not in dataset_cards():
            cohort = open_folder(Path(name), require_image=require_image, patients=patients)
        else:
            cohort = _open(card, data_root, simulate, cache_dir, reporter, require_image=require_image, secret=secret)
    cohort = with_genes(_remembering(cohort, cache_dir, reporter), genes_table)
    return cohort, card.model_copy(update={"simulated": card.simulated or cohort.simulated})


def _remembering(cohort: Cohort, cache_dir: Path | None, reporter: Reporter) -> Cohort:
    def read(slide_id: str) -> Slide:
        with remembering(cache_dir, reporter):
            return cohort.reader(slide_id)

    return replace(cohort, reader=read)


def _open(
    card: DatasetCard,
    data_root: Path | None,
    simulate: tuple[str, ...],
    cache_dir: Path | None,
    reporter: Reporter,
    *,
    require_image: bool,
    secret: Secret | None,
) -> Cohort:
    if card.entry is None:
        return open_cohort(card, data_root, require_image=require_image)
    if cache_dir is None:
        raise SettingError(f"{card.name}: expected a cache folder for generated slides, found none; set STBENCH_CACHE")
    base = () if card.made_from is None else _base(card.made_from, data_root, cache_dir, reporter)
    settings = _simulation(card, simulate)
    keyed = settings if secret is None else settings.keyed(secret)
    cohort: Cohort = load_entry(card.entry)(keyed, *base, cache_dir, reporter)
    return cohort


def check_generated(card: DatasetCard, name: str, option: str) -> None:
    """Raise SettingError where an option of generated cohorts is given with another one."""
    if card.settings is None:
        made = " or ".join(name for name, other in dataset_cards().items() if other.settings is not None)
        raise SettingError(f"{option}: expected only with --dataset {made}, found with {name}; leave it out")


def find_card(name: str) -> DatasetCard:
    """The card of a registered cohort, or one made up for a folder.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
    """
    is_path = "\0" not in name and ("/" in name or Path(name).is_dir() or name.endswith((H5AD, ZARR)))
    is_folder = name not in dataset_cards() and is_path
    return _folder_card(Path(name)) if is_folder else find_dataset(name)


def _base(name: str, data_root: Path | None, cache_dir: Path, reporter: Reporter) -> tuple[Cohort, Path]:
    """The cohort another one is made from, pictures or not, and its folder."""
    cohort = open_cohort(find_dataset(name), data_root, require_image=False)
    assert data_root is not None  # or there would be no cohort
    return _remembering(cohort, cache_dir, reporter), data_root / name


def _folder_card(folder: Path) -> DatasetCard:
    slug = re.sub(r"[^a-z0-9.]+", "-", _called(folder).lower()).strip("-.") or "folder"
    return DatasetCard(name=slug, title=folder.name)


def _called(folder: Path) -> str:
    """A cohort is called by its folder, or by its file or store without the ending."""
    place = folder.resolve()
    return place.stem if place.is_file() or place.suffix == ZARR else place.name


def _simulation(card: DatasetCard, texts: tuple[str, ...]) -> Any:
    model = load_entry(str(card.settings))
    base = {}
    if card.simulated and PAPER_SIZE in texts:
        from stbench.data.simulator import paper_size

        base, texts = paper_size().model_dump(), tuple(text for text in texts if text != PAPER_SIZE)
    asked = pairs("--simulate", texts)
    for key in asked:
        if key not in model.model_fields:
            raise UnknownNameError(f"setting of {card.name}", key, model.model_fields)
    try:
        return model.model_validate({**base, **asked})
    except ValidationError as error:
        problem = error.errors()[0]
        place = "".join(f" {part}" for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        raise SettingError(f"--simulate{place}: {said}, found {problem['input']!r}") from error


def open_cohort(card: Listing, data_root: Path | None, *, require_image: bool = True) -> Cohort:
    """Find a cohort on disk in whichever of its card's layouts is there.

    Args:
        card: the cohort's card.
        data_root: folder that holds one folder per cohort.
        require_image: leave out slides without a picture.

    Raises:
        DataError: nothing is there; says what was looked for where and how to obtain it.
    """
    if data_root is None:
        raise DataError(
            f"{card.name}: no data root given; set --data-root or STBENCH_DATA to the folder that holds {card.name}/"
            + (f", or get it with {_fetch(card, 'DIR')}" if card.fetch else "")
        )
    folder = data_root / card.name
    for layout in card.layouts:
        if READERS[layout].recognises(folder):
            found = READERS[layout].open(card.name, folder, card.slides, require_image=require_image)
            return replace(one_spelling(found), folder=folder)
    wanted = " or ".join(f"{layout} layout ({READERS[layout].signature})" for layout in card.layouts)
    how = f"{_fetch(card, str(data_root))}; {card.source}" if card.fetch else card.source
    raise DataError(f"{card.name}: expected {wanted} in {folder}, found {_state(folder)}; to obtain it: {how}")


def _fetch(card: Listing, root: str) -> str:
    return shlex.join(["stbench", "datasets", "fetch", card.name, "--data-root", root])


def open_folder(folder: Path, *, require_image: bool = True, patients: Path | None = None) -> Cohort:
    """Open somebody's own slides: any folder in one of the known layouts, or one ``.h5ad`` file.

    Args:
        folder: where they lie.
        require_image: leave out slides without a picture.
        patients: table of slides and patients; ``patients.csv`` of the folder when None.

    Raises:
        DataError: the folder is in none of them, or the table is none.
    """
    known = readers()
    for layout in known.values():
        if layout.recognises(folder):
            if reason := misnamed(name := _called(folder)):
                raise DataError(f"{folder}: {reason}")
            found = replace(layout.open(name, folder, [], require_image=require_image), folder=folder)
            return one_spelling(with_patients(found, patients))
    wanted = "; ".join(f"{name}: {layout.signature}" for name, layout in known.items())
    raise DataError(f"expected slides in {folder} in a known layout ({wanted}), found {_state(folder)}")


def _state(folder: Path) -> str:
    if folder.is_file():
        return "another file"
    if not folder.is_dir():
        return "no such file" if folder.suffix == H5AD else "no such folder"
    names = sorted(path.name for path in visible(folder.iterdir()))[:5]
    return f"only {', '.join(names)}" if names else "an empty folder"
