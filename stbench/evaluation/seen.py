"""What slides look like, kept with a model; and how far another slide is from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.data.geometry import neighbour_px, pitch_px
from stbench.evaluation.given import SlideFacts
from stbench.evaluation.model import Seen

FloatArray = NDArray[np.float64]
_NEIGHBOURS = 1.25  # pitches within which a spot's neighbours lie; the next ring begins at 1.41
_SIX = 5
_RATIO = 1.25  # of the pixel size: encoders see structures this much larger or smaller
_FAR = 1.5  # times the distance of the farthest slide that was seen
_DIGITS = ".4g"


def seen_of(
    slides: Sequence[SlideFacts], features: Mapping[str, NDArray[np.float32]], tile: Sequence[float] = ()
) -> Seen:
    """What slides look like.

    Args:
        slides: those a method was fitted on.
        features: name of the slide to (n_spots, d) features; of width 0 where the method sees none.
        tile: what their encoder makes of the calibration tile; empty where it reads no pictures.
    """
    pitches = [found for slide in slides if (found := _pitch_um(slide)) is not None]
    means = np.array([features[slide.id].mean(axis=0, dtype=np.float64) for slide in slides])
    sd = np.sqrt(np.mean([features[slide.id].var(axis=0, dtype=np.float64) for slide in slides], axis=0))
    return Seen(
        um_per_px=[slide.um_per_px for slide in slides if slide.um_per_px is not None],
        pitch_um=_short(float(np.median(pitches))) if pitches else None,
        hexagonal=_six_neighbours([slide.xy for slide in slides]),
        mean=[_short(value) for value in means.mean(axis=0)],
        sd=[_short(value) for value in sd],
        apart=_apart(means, sd),
        calibration=list(tile),
    )


def _short(value: float) -> float:
    return float(f"{value:{_DIGITS}}")


def _pitch_um(slide: SlideFacts) -> float | None:
    xy, array = (
        None if places is None else np.asarray(places, dtype=np.float64) for places in (slide.xy, slide.array_xy)
    )
    found = None if xy is None else pitch_px(xy, array)
    return None if found is None or slide.um_per_px is None else found * slide.um_per_px


def _six_neighbours(places: Sequence[NDArray[np.float32]]) -> bool:
    """Whether most spots have six neighbours, on most slides."""
    found = []
    for xy in places:
        near = neighbour_px(np.asarray(xy, dtype=np.float64))
        if near is not None:
            within = cKDTree(xy).query_ball_point(xy, _NEIGHBOURS * near[1], return_length=True)
            found.append(np.median(within - 1))
    return bool(found) and float(np.median(found)) >= _SIX


def _distance(means: FloatArray, centre: FloatArray, sd: FloatArray) -> float:
    """Root mean square over the features that vary, in their standard deviations."""
    varies = sd > 0
    return float(np.sqrt(np.mean(((means - centre)[varies] / sd[varies]) ** 2))) if varies.any() else 0.0


def _apart(means: FloatArray, sd: FloatArray) -> float | None:
    if len(means) < 2 or not means.shape[1]:
        return None
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    return _short(max(_distance(one, rest, sd) for one, rest in zip(means, others, strict=True)))


def strange(seen: Seen, um_per_px: float | None, features: NDArray[np.float32]) -> Iterator[str]:
    """In what a slide is unlike those a method was fitted on, a line each.

    Args:
        seen: of those.
        um_per_px: micrometres per pixel of the slide, None when unknown.
        features: (n_spots, d) of the slide.
    """
    if um_per_px is not None and seen.um_per_px:
        low, high = min(seen.um_per_px), max(seen.um_per_px)
        if not low / _RATIO <= um_per_px <= high * _RATIO:
            known = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            yield f"{um_per_px:.3g} um per pixel, where the model was fitted on {known}"
    if seen.apart and features.shape[1] == len(seen.mean):
        far = _distance(features.mean(axis=0, dtype=np.float64), np.array(seen.mean), np.array(seen.sd)) / seen.apart
        if far > _FAR:
            yield (
                f"its features lie {far:.1f} times as far from the slides of the model as any of these from the others:"
                " another stain, scanner or tissue"
            )
