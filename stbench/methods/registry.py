"""Methods by name: the class behind a card, and the settings of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from stbench.catalogue import (
    PRESETS,
    MethodCard,
    is_foreign,
    load_entry,
    load_plugin,
    method_cards,
    problem_of,
)
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.methods.base import Method
from stbench.text import named


def find_method(name: str) -> MethodCard:
    """The card of a method given by registered name or as ``path/to/file.py:Class``.

    Raises:
        UnknownNameError: nothing is registered under the name; lists the nearest ones.
        DataError: the file or package does not exist, does not import, or has no such class.
    """
    if ".py:" in name:
        return _complete(MethodCard(name="from-file", title=name, entry=name, summary="from a file"), from_file=True)
    cards = method_cards()
    if name not in cards:
        raise UnknownNameError("method", name, cards, hint="or give path/to/file.py:Class")
    known = cards[name]
    if not is_foreign(known):
        return known
    load_plugin("method", name)  # its message names the package
    return _complete(known)


def _complete(card: MethodCard, *, from_file: bool = False) -> MethodCard:
    """Fill in what a third-party class says of itself in its ``card`` attribute."""
    method = method_class(card)
    said = getattr(method, "card", {})
    if not isinstance(said, Mapping):
        raise DataError(f"card of {card.entry}: expected a dictionary, found {type(said).__name__}; mend its card")
    said = dict(said)
    name = said.pop("name", method.__name__.lower()) if from_file else card.name
    try:
        completed = MethodCard.model_validate({**card.model_dump(), "title": name, **said, "name": name})
    except ValidationError as error:
        raise DataError(f"card of {card.entry}: {problem_of(error)}") from error
    if from_file and name in method_cards():
        taken = method_cards()[name].entry
        raise UserError(f"{card.entry} calls itself {name!r}, the name of {taken}; set another name in its card")
    return completed


def method_class(card: MethodCard) -> type[Method]:
    """Import the class behind a method's card.

    Raises:
        DataError: the entry is not a subclass of :class:`stbench.methods.base.Method`.
    """
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
    values = {**card.presets.get(preset, {}), **{key: read_value(text) for key, text in overrides.items()}}
    try:
        settings = method.Settings.model_validate(values)
    except ValidationError as error:
        raise SettingError(
            f"setting of {card.name}: {problem_of(error)}; see: stbench methods show {card.name}"
        ) from error
    except Exception as error:  # a validator of foreign settings may fail in any way
        raise SettingError(f"settings of {card.name}: expected values it can check, found {named(error)}") from error
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


def as_text(value: Any) -> str:
    """A value of a setting as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def read_value(text: str) -> Any:
    """The value of a setting that a text codes: what it says as JSON, else itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
