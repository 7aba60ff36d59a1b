"""From cards to entries: what is registered under which name, and the object behind it.

A card is a TOML file in ``methods/``, ``datasets/``, ``metrics/``, ``papers/`` or ``pretrained/``; an installed package
adds methods and metrics through entry points (:mod:`stbench.catalogue.plugins`), and a file adds a method as
``path/to/file.py:Class``. Reading imports no method.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stbench.catalogue.cards import DatasetCard, MethodCard, MetricCard
from stbench.catalogue.inherit import inherit
from stbench.catalogue.papers import Paper
from stbench.catalogue.plugins import Registered, load_point, package_of
from stbench.catalogue.pretrained import PretrainedSheet
from stbench.errors import DataError, UnknownNameError
from stbench.text import first_line, named

_HERE = Path(__file__).parent
_SHOWN = 300  # letters of what a wrong field holds


def _folder(kind: str) -> Path:
    shipped = _HERE.parent / "_cards" / kind
    return shipped if shipped.is_dir() else _HERE.parents[1] / kind


def problem_of(error: ValidationError) -> str:
    """The first thing wrong, in one line: place, what is expected, what was found."""
    problem = error.errors()[0]
    place = "".join(f"{part}." for part in problem["loc"]).removesuffix(".")
    said = f"{place}: {problem['msg'].removeprefix('Value error, ')}" if place else problem["msg"]
    found = repr(problem.get("input"))
    shown = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}..."
    return said if problem["type"] == "value_error" else f"{said} (found {shown})"


def read_card(path: Path, model: type[Any]) -> Any:
    """Read one TOML card; ``extends = "other"`` takes what the card ``other`` beside it says, but for ``without``.

    Raises:
        DataError: not TOML, an unknown field, a wrong type, a name that differs from the file's, or nothing to extend.
    """
    try:
        card = model.model_validate(_said(path))
    except ValidationError as error:
        raise DataError(f"card {path}: {problem_of(error)}") from error
    if card.name != path.stem:
        raise DataError(f"card {path}: expected name = {path.stem!r} as the file, found {card.name!r}")
    return card


def _said(path: Path) -> dict[str, Any]:
    """What a card says, and what it takes from the one it extends."""
    said = _toml(path)
    if "extends" not in said:
        return said
    base = path.with_name(f"{said.pop('extends')}.toml")
    if not base.is_file():
        raise DataError(f"card {path}: expected to extend a card beside it, found no {base.name}")
    if "extends" in (taken := _toml(base)):
        raise DataError(f"card {path}: expected to extend a card that stands alone, found that {base.name} extends one")
    try:
        return inherit(taken, said, said.pop("without", []))
    except UnknownNameError as error:
        raise DataError(f"card {path}: {error}") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"expected TOML in {path}, found: {error}") from error


@cache
def _cards(kind: str) -> dict[str, Any]:
    model = {
        "methods": MethodCard,
        "datasets": DatasetCard,
        "metrics": MetricCard,
        "papers": Paper,
        "pretrained": PretrainedSheet,
    }[kind]
    return {path.stem: read_card(path, model) for path in sorted(_folder(kind).glob("*.toml"))}


def method_cards() -> Mapping[str, MethodCard]:
    """Every registered method by name: built-in cards, then entry points of installed packages.

    Raises:
        UserError: two different methods claim one name.
    """
    return Registered("method", _built_in_methods(), _entry_point_card)


@cache
def _built_in_methods() -> dict[str, MethodCard]:
    """Cards of this repository, each with the ablations that papers report of its method."""
    reported = [ablation for paper in paper_cards().values() for ablation in paper.ablations]
    return {
        name: card.model_copy(update={"ablations": [one for one in reported if one.method == name]})
        for name, card in _cards("methods").items()
    }


def paper_cards() -> dict[str, Paper]:
    """Every paper whose tables are kept, by its name."""
    return _cards("papers")


def find_paper(name: str) -> Paper:
    """The card of a paper; raises UnknownNameError with the nearest names."""
    if name not in paper_cards():
        raise UnknownNameError("paper", name, paper_cards())
    return paper_cards()[name]


def pretrained_sheet() -> PretrainedSheet:
    """What pretrained weights were fitted on and which cohorts they have seen."""
    sheet: PretrainedSheet = _cards("pretrained")["weights"]
    return sheet


def usual_controls(origin: str) -> list[MethodCard]:
    """Controls that run beside every method on data of an origin unless asked not to, in alphabetical order.

    Those of this repository: what an installed package says of a method's kind is in its class, not imported here.
    """
    return [card for _, card in sorted(method_cards().items()) if card.runs_beside(origin)]


def is_foreign(card: MethodCard) -> bool:
    """Whether a registered method comes from an installed package, which says the rest of its card in its class."""
    return card.name not in _cards("methods")


def _entry_point_card(point: EntryPoint) -> MethodCard:
    return MethodCard(name=point.name, title=point.name, entry=point.value, summary=f"from {package_of(point)}")


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """Every registered cohort by name; one that is made from another has that one's slides."""
    cards: dict[str, DatasetCard] = _cards("datasets")
    return {name: _with_slides(card, cards) for name, card in cards.items()}


def _with_slides(card: DatasetCard, cards: dict[str, DatasetCard]) -> DatasetCard:
    if card.made_from is None:
        return card
    base = cards[card.made_from]
    taken = ("slides", "neighbours", "n_slides", "n_spots")
    return card.model_copy(update={field: getattr(base, field) for field in taken})


def metric_cards() -> Mapping[str, MetricCard]:
    """Every registered metric by name; the card of one from an installed package is read when it is asked for.

    Raises:
        UserError: two different metrics claim one name.
    """
    return Registered("metric", _cards("metrics"), _metric_card)


@cache
def _metric_card(point: EntryPoint) -> MetricCard:
    """What a third-party function says of itself in its ``card`` attribute."""
    found = load_point("metric", point)
    said = getattr(found, "card", None)
    where = f"metric {point.name!r} of {package_of(point)}"
    if not callable(found) or not isinstance(said, Mapping):
        raise DataError(f"{where}: expected a function with a dictionary as its attribute card, found {said!r}")
    try:
        return MetricCard.model_validate({"title": point.name, **said, "name": point.name, "entry": point.value})
    except ValidationError as error:
        raise DataError(f"card of {where}: {problem_of(error)}") from error


def find_dataset(name: str) -> DatasetCard:
    """The card of a cohort; raises UnknownNameError with the nearest names."""
    if name not in dataset_cards():
        raise UnknownNameError("dataset", name, dataset_cards())
    return dataset_cards()[name]


def find_metric(name: str) -> MetricCard:
    """The card of a metric; raises UnknownNameError with the nearest names."""
    if name not in metric_cards():
        raise UnknownNameError("metric", name, metric_cards())
    return metric_cards()[name]


def load_entry(entry: str) -> Any:
    """The object behind ``"package.module:name"`` or ``"path/to/file.py:name"``.

    Raises:
        DataError: the module cannot be imported or has no such name.
    """
    where, _, name = entry.rpartition(":")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except FileNotFoundError as error:
        raise DataError(
            f"expected to import {where!r} for {entry!r}, found: {first_line(error)}; check the part before the colon"
        ) from error
    except (Exception, SystemExit) as error:  # foreign code may fail in any way
        raise DataError(
            f"expected to import {where!r} for {entry!r}, found {named(error)}; mend it, or install what it lacks"
        ) from error
    if not hasattr(module, name):
        raise DataError(f"expected {name!r} in {where!r}, found no such name; check the part behind the colon")
    return getattr(module, name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"stbench_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes defined in it must be able to find their module
    spec.loader.exec_module(module)
    return module
