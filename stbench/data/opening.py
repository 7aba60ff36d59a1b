"""A cohort by whatever name a user gives it: registered, generated, or a folder of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stbench.catalogue import DatasetCard, dataset_cards, find_dataset, load_entry
from stbench.data.cohort import Cohort, open_cohort, open_folder
from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.choices import pairs
from stbench.reporting import SILENT, Reporter

PAPER_SIZE = "paper"


def open_dataset(
    name: str,
    data_root: Path | None,
    simulate: tuple[str, ...] = (),
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
    *,
    require_image: bool = True,
) -> tuple[Cohort, DatasetCard]:
    """A cohort by registered name, or a folder of somebody's own slides.

    Args:
        name: registered name, else a folder.
        data_root: folder that holds one folder per registered cohort.
        simulate: ``key=value`` of a generated cohort; ``paper`` starts from the size of the paper's cohort, simulated.
        cache_dir: where generated slides are kept.
        reporter: is told of slides that are made.
        require_image: leave out slides without a picture.

    Returns:
        The cohort and its card, which says of exported simulated slides too that they are simulated.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
        UserError: the data are not there, or a setting of the simulation is wrong.
    """
    card = find_card(name)
    cohort = _open(card, name, data_root, simulate, cache_dir, reporter, require_image=require_image)
    return cohort, card.model_copy(update={"simulated": card.simulated or cohort.simulated})


def _open(
    card: DatasetCard,
    name: str,
    data_root: Path | None,
    simulate: tuple[str, ...],
    cache_dir: Path | None,
    reporter: Reporter,
    *,
    require_image: bool,
) -> Cohort:
    if simulate and card.settings is None:
        made = " or ".join(name for name, other in dataset_cards().items() if other.settings is not None)
        raise SettingError(f"--simulate: expected only with --dataset {made}, found with {name}; leave it out")
    if name not in dataset_cards():
        return open_folder(Path(name), require_image=require_image)
    if card.entry is None:
        return open_cohort(card, data_root, require_image=require_image)
    if cache_dir is None:
        raise SettingError(f"{name}: expected a cache folder for generated slides, found none; set STBENCH_CACHE")
    base = () if card.made_from is None else _base(card.made_from, data_root)
    cohort: Cohort = load_entry(card.entry)(_simulation(card, simulate), *base, cache_dir, reporter)
    return cohort


def find_card(name: str) -> DatasetCard:
    """The card of a registered cohort, or one made up for a folder.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
    """
    is_folder = name not in dataset_cards() and (Path(name).is_dir() or "/" in name)
    return _folder_card(Path(name)) if is_folder else find_dataset(name)


def _base(name: str, data_root: Path | None) -> tuple[Cohort, Path]:
    """The cohort another one is made from, pictures or not, and its folder."""
    cohort = open_cohort(find_dataset(name), data_root, require_image=False)
    assert data_root is not None  # or there would be no cohort
    return cohort, data_root / name


def _folder_card(folder: Path) -> DatasetCard:
    slug = re.sub(r"[^a-z0-9.]+", "-", folder.resolve().name.lower()).strip("-.") or "folder"
    return DatasetCard(name=slug, title=folder.name)


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
