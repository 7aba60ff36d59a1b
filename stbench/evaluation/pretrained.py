"""The files of pretrained weights that a method's settings name, as a record keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stbench.catalogue import MethodCard
from stbench.errors import DataError
from stbench.evaluation.exposure import METHOD, PRIOR, UNKNOWN, named_by
from stbench.features.weights import weight_file
from stbench.files import sha256_of
from stbench.priors.origin import origin_of_prior


def pretrained_of(card: MethodCard, settings: Mapping[str, Any]) -> dict[str, str]:
    """What a record keeps of the pretrained weights a method was given: setting to ``name/sha256``.

    The hash is ``unknown`` where the file cannot be read. ``method`` stands for weights a method brings along; the
    encoder is not among them, as its key says it all.

    Args:
        card: the method.
        settings: all its settings.
    """
    found = {} if card.pretrained is None else {METHOD: card.pretrained}
    for setting, name in named_by(settings).items():
        if setting == PRIOR:
            name, digest = origin_of_prior(settings[PRIOR]) or (name, None)
        else:
            digest = _digest(str(settings[setting]))
        found[setting] = f"{name}/{digest or UNKNOWN}"
    return found


def _digest(place: str) -> str | None:
    try:
        return sha256_of(weight_file(Path(place)))
    except (OSError, DataError):
        return None
