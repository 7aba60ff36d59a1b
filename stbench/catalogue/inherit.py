"""A card that extends another: it takes everything the other says, and changes what it says itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from stbench.errors import UnknownNameError

ROWS = "differences"
KEY = "topic"


def inherit(base: Mapping[str, Any], said: Mapping[str, Any], without: list[str]) -> dict[str, Any]:
    """What a card says once everything it does not say itself is taken from another.

    Tables (presets) are merged key by key, differences by topic; anything else the card says takes the place of what
    the other says.

    Args:
        base: what the other card says.
        said: what the card says itself.
        without: what is not taken over: ``original``, ``presets.official``, ``differences.TOPIC``.

    Raises:
        UnknownNameError: the other card has nothing of a name in ``without``.
    """
    taken = copy.deepcopy(dict(base))
    for path in without:
        _drop(taken, path)
    return _over(taken, said)


def _over(taken: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**taken, **said}
    for key in taken.keys() & said.keys():
        if isinstance(taken[key], dict) and isinstance(said[key], dict):
            merged[key] = _over(taken[key], said[key])
        elif key == ROWS:
            merged[key] = list(_over(_by_topic(taken[key]), _by_topic(said[key])).values())
    return merged


def _drop(taken: dict[str, Any], path: str) -> None:
    name, _, rest = path.partition(".")
    if name not in taken:
        raise UnknownNameError("name in without", name, taken)
    if not rest:
        del taken[name]
        return
    inner = _by_topic(taken[name]) if name == ROWS else taken[name]
    _drop(inner, rest)
    taken[name] = list(inner.values()) if name == ROWS else inner


def _by_topic(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row.get(KEY, ""): row for row in rows}
