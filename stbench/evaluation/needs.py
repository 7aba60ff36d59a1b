"""What a card says its method needs, held against what there is: the harness refuses on the card's behalf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pydantic import BaseModel

from stbench.catalogue import MethodCard
from stbench.methods.base import SlideInputs

HAS: Mapping[str, Callable[[SlideInputs], bool]] = {
    "features": lambda slide: bool(slide.features.shape[1]),
    "xy": lambda slide: bool(len(slide.xy)),
    "array_xy": lambda slide: slide.array_xy is not None,
    "um_per_px": lambda slide: slide.um_per_px is not None,
    "patient": lambda slide: slide.patient is not None,
    "patches": lambda slide: slide.patches is not None,
    "total_counts": lambda slide: slide.total_counts is not None,
    "oracle_expression": lambda slide: slide.oracle_expression is not None,
    "source": lambda slide: slide.source is not None,
}
"""What a card's ``needs`` may name to whether a slide has it."""


def without_validation(card: MethodCard, settings: BaseModel, n_validation: int) -> str | None:
    """Why a method cannot do without validation slides, None where there are some or it can.

    Args:
        card: the method.
        settings: its settings, resolved.
        n_validation: number of validation slides.
    """
    if n_validation or not card.validation:
        return None
    setting = card.validation
    if isinstance(setting, bool):
        return "needs validation slides, found none; leave out --validation none"
    if getattr(settings, setting, None) is not None:
        return None
    return f"chooses {setting} on validation slides, found none; give it with --set {setting}=..."


def unmet(card: MethodCard, slides: Iterable[SlideInputs]) -> str | None:
    """Why a method cannot run on some slides, None where everything its card needs is there."""
    slides = list(slides)
    for need in card.needs:
        without = [slide.slide_id for slide in slides if not HAS[need](slide)]
        if without:
            more = f" and {len(without) - 1} more" if len(without) > 1 else ""
            return f"needs {need}, found none on slide {without[0]}{more}"
    return None
