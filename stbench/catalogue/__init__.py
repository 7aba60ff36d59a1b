"""Cards of methods, cohorts and metrics. Reading them imports neither torch nor scanpy.

A card is a TOML file in ``methods/``, ``datasets/`` or ``metrics/``; an installed package adds methods through the
entry-point group ``stbench.methods``, and a file adds one as ``path/to/file.py:Class``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tomllib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stbench.catalogue.ablations import Ablation, check_tables
from stbench.errors import DataError, SettingError, UnknownNameError, UserError

if TYPE_CHECKING:
    from stbench.methods.base import Method

GROUP = "stbench.methods"
_HERE = Path(__file__).parent
PRESETS = ("paper", "official", "small", "fast")


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="what people type and what the leaderboard prints")
    title: str


class Difference(BaseModel):
    """One place where a paper and its released code part ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    paper: str
    original: str
    switch: str
    default: str
    why: str


class MethodCard(_Card):
    """What is known of a method without importing it."""

    kind: Literal["generative", "discriminative", "control", "oracle"] = "discriminative"
    entry: str = Field(description='"module:Class" of a Method')
    summary: str = ""
    paper: str = ""
    original: str = ""
    licence: str = ""
    needs: list[str] = []
    optional: list[str] = []
    draws: int = Field(default=1, ge=1, description="the declared prediction is the mean of this many draws")
    encoder: str | None = Field(default=None, description="encoder the method is bound to; None takes the task's")
    presets: dict[str, dict[str, Any]] = {}
    differences: list[Difference] = []
    ablations: Annotated[list[Ablation], AfterValidator(check_tables)] = []
    notes: list[str] = []


class SlideEntry(BaseModel):
    """One slide a cohort is known to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    section: str = ""
    patient: str
    n_spots: int


class DatasetCard(_Card):
    """What is known of a cohort without opening it."""

    entry: str | None = Field(default=None, description='"module:function" that opens a generated cohort')
    settings: str | None = Field(default=None, description='"module:class" of what --simulate sets')
    made_from: str | None = Field(default=None, description="registered cohort whose files and slides it is made from")
    encoder: str = Field(default="handcrafted-v1", description="what gives features where --encoder says nothing")
    layouts: list[Literal["her2st", "hest", "spaceranger"]] = []
    organ: str = ""
    technology: str = ""
    licence: str = ""
    citation: str = ""
    source: str = Field(default="", description="how to obtain the files")
    fetch: dict[Literal["hest", "study"], str] = Field(
        default={}, description="where stbench datasets fetch gets them: repository on the hub, owner/name@commit"
    )
    patch: dict[str, float] = Field(default={"um": 112}, description="default patch side, in um or in px")
    slides: list[SlideEntry] = []
    n_slides: int = 0
    n_spots: int = 0
    simulated: bool = False
    semi_synthetic: bool = Field(default=False, description="real counts with features made from them, no picture")


class MetricCard(_Card):
    """What is known of a metric without importing it."""

    entry: str
    direction: Literal["higher", "lower", "none"]
    range: list[str | float] = []
    unit: str = ""
    needs: list[str] = []
    decimals: int = 3
    paper: str = ""
    description: str = ""


def _folder(kind: str) -> Path:
    shipped = _HERE.parent / "_cards" / kind
    return shipped if shipped.is_dir() else _HERE.parents[1] / kind


def _first_line(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']} (found {problem.get('input')!r})"


def read_card(path: Path, model: type[Any]) -> Any:
    """Read one TOML card.

    Raises:
        DataError: not TOML, an unknown field, a wrong type, or a name that differs from the file's.
    """
    try:
        card = model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"expected TOML in {path}, found: {error}") from error
    except ValidationError as error:
        raise DataError(f"card {path}: {_first_line(error)}") from error
    if card.name != path.stem:
        raise DataError(f"card {path}: expected name = {path.stem!r} as the file, found {card.name!r}")
    return card


@cache
def _cards(kind: str) -> dict[str, Any]:
    model = {"methods": MethodCard, "datasets": DatasetCard, "metrics": MetricCard}[kind]
    return {path.stem: read_card(path, model) for path in sorted(_folder(kind).glob("*.toml"))}


def method_cards() -> dict[str, MethodCard]:
    """Every registered method by name: built-in cards, then entry points of installed packages.

    Raises:
        UserError: two different methods claim one name.
    """
    cards: dict[str, MethodCard] = dict(_cards("methods"))
    for point in entry_points(group=GROUP):
        if point.name in cards:
            raise UserError(
                f"two methods are named {point.name!r}: {cards[point.name].entry} and {point.value}; rename one"
            )
        cards[point.name] = _entry_point_card(point)
    return cards


def _entry_point_card(point: EntryPoint) -> MethodCard:
    origin = f"from package {point.dist.name}" if point.dist else "from an installed package"
    return MethodCard(name=point.name, title=point.name, entry=point.value, summary=origin)


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """Every registered cohort by name; one that is made from another has that one's slides."""
    cards: dict[str, DatasetCard] = _cards("datasets")
    return {name: _with_slides(card, cards) for name, card in cards.items()}


def _with_slides(card: DatasetCard, cards: dict[str, DatasetCard]) -> DatasetCard:
    if card.made_from is None:
        return card
    base = cards[card.made_from]
    return card.model_copy(update={"slides": base.slides, "n_slides": base.n_slides, "n_spots": base.n_spots})


def metric_cards() -> dict[str, MetricCard]:
    """Every registered metric by name."""
    return _cards("metrics")


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


def find_method(name: str) -> MethodCard:
    """The card of a method given by registered name or as ``path/to/file.py:Class``.

    Raises:
        UnknownNameError: nothing is registered under the name; lists the nearest ones.
        DataError: the file does not exist, does not import, or has no such class.
    """
    if ".py:" in name:
        return _complete(MethodCard(name="from-file", title=name, entry=name, summary="from a file"), from_file=True)
    cards = method_cards()
    if name not in cards:
        raise UnknownNameError("method", name, cards, hint="or give path/to/file.py:Class")
    known = cards[name]
    return known if name in _cards("methods") else _complete(known)


def _complete(card: MethodCard, *, from_file: bool = False) -> MethodCard:
    """Fill in what a third-party class says of itself in its ``card`` attribute."""
    method = method_class(card)
    said = dict(getattr(method, "card", {}))
    name = said.pop("name", method.__name__.lower()) if from_file else card.name
    try:
        completed = MethodCard.model_validate({**card.model_dump(), "title": name, **said, "name": name})
    except ValidationError as error:
        raise DataError(f"card of {card.entry}: {_first_line(error)}") from error
    if from_file and name in method_cards():
        taken = method_cards()[name].entry
        raise UserError(f"{card.entry} calls itself {name!r}, the name of {taken}; set another name in its card")
    return completed


def load_entry(entry: str) -> Any:
    """The object behind ``"package.module:name"`` or ``"path/to/file.py:name"``.

    Raises:
        DataError: the module cannot be imported or has no such name.
    """
    where, _, name = entry.rpartition(":")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except (ImportError, SyntaxError, FileNotFoundError) as error:
        raise DataError(f"expected to import {where!r} for {entry!r}, found: {error}") from error
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


def method_class(card: MethodCard) -> type[Method]:
    """Import the class behind a method's card.

    Raises:
        DataError: the entry is not a subclass of :class:`stbench.methods.base.Method`.
    """
    from stbench.methods.base import Method

    found = load_entry(card.entry)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise DataError(f"expected a subclass of stbench.methods.base.Method at {card.entry!r}, found {found!r}")
    return found


def resolve_settings(card: MethodCard, method: type[Method], preset: str, overrides: dict[str, str]) -> BaseModel:
    """Settings of a run: the class defaults, then the card's preset, then ``--set``.

    Args:
        card: the method's card; a preset it does not have means the defaults.
        method: its class.
        preset: name of the preset.
        overrides: setting name to text; text is read as JSON where it is JSON.

    Raises:
        UnknownNameError: a setting the method does not have.
        SettingError: a value of the wrong type or out of range.
    """
    for key in overrides:
        if key not in method.Settings.model_fields:
            raise UnknownNameError(f"setting of {card.name}", key, method.Settings.model_fields)
    values = {**card.presets.get(preset, {}), **{key: _value(text) for key, text in overrides.items()}}
    try:
        settings = method.Settings.model_validate(values)
    except ValidationError as error:
        raise SettingError(
            f"setting of {card.name}: {_first_line(error)}; see: stbench methods show {card.name}"
        ) from error
    _check_oracle(card, settings)
    return settings


def _check_oracle(card: MethodCard, settings: BaseModel) -> None:
    """Refuse settings that show the truth to a method that is not marked as an oracle."""
    if not getattr(settings, "sees_truth", False) or card.kind == "oracle":
        return
    oracles = [other.name for other in method_cards().values() if other.kind == "oracle" and other.entry == card.entry]
    raise SettingError(
        f"setting of {card.name}: expected settings that keep the truth hidden, found ones that show it to a method of "
        f"kind {card.kind}; use {' or '.join(oracles) or 'a card of kind oracle'}"
    )


def check_preset(preset: str, cards: list[MethodCard]) -> None:
    """Raise UnknownNameError for a preset no method has: a typing error must not be taken for the defaults."""
    known = set(PRESETS).union(*(card.presets for card in cards))
    if preset not in known:
        raise UnknownNameError("preset", preset, known)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
