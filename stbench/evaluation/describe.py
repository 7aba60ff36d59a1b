"""What is written beside a fitted method, so that it can be applied to a slide that nobody has seen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stbench.catalogue import MethodCard, dataset_cards
from stbench.evaluation.fit_request import bare
from stbench.evaluation.folder import FACTS
from stbench.evaluation.given import Given
from stbench.evaluation.hardware import hardware, versions
from stbench.evaluation.model import ModelFacts, Seen
from stbench.evaluation.seen import seen_of
from stbench.evaluation.task import NO_ENCODER, Task
from stbench.features.calibration import calibration
from stbench.features.encoders import needs_pictures
from stbench.files import sha256_of, write_sealed

_SHA256 = re.compile(r"[0-9a-f]{64}")


def described(
    task: Task,
    card: MethodCard,
    given: Given,
    file: Path,
    *,
    encoder: str,
    preset: str,
    settings: Mapping[str, Any],
    seed: int,
    draws: int,
    seconds: float,
    device: str,
    command: str,
    request: Mapping[str, Any],
) -> ModelFacts:
    """What a model is, what it was fitted on and what these slides look like; no path of this machine.

    Args:
        task: what it was fitted on.
        card: the method.
        given: what the method was given of the task.
        file: the model file.
        encoder: name of the encoder of its features, ``none`` without.
        preset: name of the preset.
        settings: every resolved setting.
        seed: of fitting.
        draws: samples per slide.
        seconds: wall time of fitting.
        device: torch device it was fitted on.
        command: that repeats it.
        request: everything the user asked for.
    """
    facts, patch = task.facts, task.patch
    weights = _SHA256.search(given.encoder) if task.settings.weights is not None else None
    data = dataset_cards().get(facts.dataset)
    return ModelFacts(
        method=card.name,
        title=card.title,
        kind=card.kind,
        entry=bare(card.entry),
        preset=preset,
        settings=bare(dict(settings)),
        seed=seed,
        draws=draws,
        dataset=facts.dataset,
        origin=facts.origin,
        about=facts.about,
        genes=facts.genes,
        normalization=task.settings.normalization,
        encoder_name=encoder,
        encoder=given.encoder,
        weights=weights[0] if weights and encoder != NO_ENCODER else None,
        patch={"um": patch.um, "px": patch.px, "out_px": patch.out_px},
        train=facts.train,
        validation=facts.validation,
        patients={id_: facts.patients[id_] for id_ in (*facts.train, *facts.validation)},
        n_spots={id_: facts.n_spots[id_] for id_ in (*facts.train, *facts.validation)},
        left_out=facts.left_out,
        licence="" if data is None else data.licence,
        seen=_seen(task, given, encoder),
        data_digest=facts.data_digest,
        file=file.name,  # type: ignore[arg-type]  # one of the two, or it is no model
        model=sha256_of(file),
        seconds=round(seconds, 3),
        hardware=hardware(device),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        request=dict(request),
    )


def _seen(task: Task, given: Given, encoder: str) -> Seen:
    slides = [given.facts[id_] for id_ in (*given.train, *given.validation)]
    pictured = encoder != NO_ENCODER and needs_pictures(encoder)
    tile = calibration(task.encoder_named(encoder), task.cache_dir) if pictured else []
    return seen_of(slides, given.features.fresh(), tile)


def write_model_facts(facts: ModelFacts, folder: Path) -> None:
    """Write ``model.json``; it appears only when complete."""
    write_sealed(folder / FACTS, json.loads(facts.model_dump_json()))
