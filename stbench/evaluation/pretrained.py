"""The files of pretrained weights that a method's settings name, as a record keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stbench.catalogue import MethodCard
from stbench.data.cohort import Cohort
from stbench.errors import DataError
from stbench.evaluation.exposure import (
    METHOD,
    PRIOR,
    RELEASED,
    UNKNOWN,
    Scored,
    Used,
    named_by,
    scored_on,
    used_encoder,
    used_weights,
)
from stbench.evaluation.record import Origin
from stbench.evaluation.request import Request
from stbench.features.weights import weight_file
from stbench.files import sha256_of
from stbench.priors.origin import origin_of_prior


def pretrained_of(card: MethodCard, settings: Mapping[str, Any]) -> dict[str, str]:
    """What a record keeps of the pretrained weights a method was given: setting to ``name/sha256``.

    The hash is ``unknown`` where the file cannot be read. Weights that a method brings along without a setting stand
    under ``method``; the encoder's are not here, as its key says it all.

    Args:
        card: the method.
        settings: all its settings.
    """
    brought = card.pretrained is not None and RELEASED not in settings
    found = {METHOD: f"{card.pretrained}/{UNKNOWN}"} if brought else {}
    for setting, name in named_by(settings).items():
        name, digest = _origin(setting, str(settings[setting]), name)
        if setting == RELEASED and card.pretrained is not None:
            name = card.pretrained
        found[setting] = f"{name}/{digest or UNKNOWN}"
    return found


def used_by(card: MethodCard, settings: BaseModel, encoder: str) -> list[Used | None]:
    """The pretrained weights behind a method that was not run yet.

    Args:
        card: the method.
        settings: its settings.
        encoder: key of the encoder it will be given.
    """
    said = settings.model_dump(mode="json")
    return [used_encoder(encoder), *used_weights(said, pretrained_of(card, said))]


def scored_by(cohort: Cohort, origin: Origin, request: Request) -> Scored:
    """What the methods of a request are scored on."""
    asked = {"dataset": request.dataset, "test_dataset": request.test_dataset}
    return scored_on(cohort.name, cohort.test_name, cohort.ids, origin, asked)


def _origin(setting: str, said: str, name: str) -> tuple[str, str | None]:
    """Name and hash of the weights that a setting names."""
    if setting == PRIOR:
        return origin_of_prior(said) or (name, None)
    return name, _digest(said)


def _digest(place: str) -> str | None:
    try:
        return sha256_of(weight_file(Path(place)))
    except (OSError, DataError):
        return None
