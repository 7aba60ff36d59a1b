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
        simulate: ``key=value`` of the simulated cohort; ``paper`` starts from the size of the paper's cohort.
        cache_dir: where simulated slides are kept.
        reporter: is told of slides that are made.
        require_image: leave out slides without a picture.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
        UserError: the data are not there, or a setting of the simulation is wrong.
    """
    is_folder = name not in dataset_cards() and (Path(name).is_dir() or "/" in name)
    card = _folder_card(Path(name)) if is_folder else find_dataset(name)
    if simulate and not card.simulated:
        raise SettingError(f"--simulate: expected only with --dataset simulated, found with {name}; leave it out")
    if is_folder:
        return open_folder(Path(name), require_image=require_image), card
    if card.entry is None:
        return open_cohort(card, data_root, require_image=require_image), card
    if cache_dir is None:
        raise SettingError(f"{name}: expected a cache folder for generated slides, found none; set STBENCH_CACHE")
    return load_entry(card.entry)(_simulation(simulate), cache_dir, reporter), card


def _folder_card(folder: Path) -> DatasetCard:
    slug = re.sub(r"[^a-z0-9.]+", "-", folder.resolve().name.lower()).strip("-.") or "folder"
    return DatasetCard(name=slug, title=folder.name)


def _simulation(texts: tuple[str, ...]) -> Any:
    from stbench.data.simulator import SimulationSettings, paper_size

    base = paper_size().model_dump() if PAPER_SIZE in texts else {}
    said = pairs("--simulate", [text for text in texts if text != PAPER_SIZE])
    for key in said:
        if key not in SimulationSettings.model_fields:
            raise UnknownNameError("setting of simulated", key, SimulationSettings.model_fields)
    try:
        return SimulationSettings.model_validate({**base, **said})
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise SettingError(f"--simulate {place}: {problem['msg']}, found {problem['input']!r}") from error
