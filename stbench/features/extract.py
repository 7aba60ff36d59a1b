"""Features of a slide: patches, encoder, cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray, ImageSource, PatchSpec
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.features.cache import cached
from stbench.features.encoder import Encoder
from stbench.features.encoders import Given
from stbench.features.half import StoredArray, in_range, loses_nothing
from stbench.features.joining import Spots
from stbench.features.patches import widened
from stbench.features.precomputed import Precomputed
from stbench.reporting import SILENT, Reporter

FloatArray = NDArray[np.float32]

DEFAULT_WHITE = 245.0
_VERSION = 1  # raise it when patches, white point or rounding change
_BATCH = 64
_REDUCTION = 8
_LONGEST_THUMBNAIL_PX = 1024
_CHECKED = "half precision where it loses nothing"  # part of the key of encoders whose vectors are looked at


def slide_features(
    slide: Slide, encoder: Encoder, patch: PatchSpec, cache_dir: Path | None = None, reporter: Reporter = SILENT
) -> FloatArray:
    """Encode the patch around every spot.

    Values are rounded to float16 where that loses nothing that matters, whether or not a cache is used, so a hit equals
    a miss bit for bit. Those of this package's encoders are rounded as long as they stay in its range, those of others
    where the rounding error of every feature is at most 2 % of its spread over the slide.

    Args:
        slide: a slide with an image, or with features of its own where the encoder is ``given``. With ``precomputed``
            any slide the encoder was made for.
        encoder: what makes vectors of patches.
        patch: geometry of the patch.
        cache_dir: folder of the feature cache, None computes anew.
        reporter: where progress goes, and word of a damaged cache entry.

    Returns:
        (n_spots, encoder.dim) float32, rows in the order of the slide's spots, not standardised.

    Raises:
        DataError: the slide lacks the image, or the features of its own, that the encoder asks for; the image cannot be
            decoded; a feature is not finite; or a file of features does not fit the slide's spots.
        SettingError: the cache folder cannot be written.
    """
    if isinstance(encoder, Given):
        return _given(slide)
    if isinstance(encoder, Precomputed):
        return _precomputed(slide, encoder, cache_dir, reporter)
    image = slide.image
    if image is None:
        raise DataError(f"slide {slide.id} has no image; leave it out or choose a method that needs no features")

    def compute() -> StoredArray:
        return _compute(slide, image, encoder, patch, reporter)

    stored = (
        compute() if cache_dir is None else cached(cache_dir, _key(slide, image, encoder, patch), compute, reporter)
    )
    return stored.astype(np.float32)


def _given(slide: Slide) -> FloatArray:
    features = slide.features
    if features is None:
        raise DataError(f"slide {slide.id} brings no features along; choose an encoder of pictures with --encoder")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise DataError(
            f"slide {slide.id}, spot {slide.spot_ids[broken[0]]}: expected finite features, found others on "
            f"{len(broken)} spots; make them again"
        )
    return features


def _precomputed(slide: Slide, encoder: Precomputed, cache_dir: Path | None, reporter: Reporter) -> FloatArray:
    """Through the cache like those of pictures: text is slow to read, and training maps what the cache holds."""

    def compute() -> StoredArray:
        spots = Spots(slide.spot_ids, slide.xy, slide.orders)
        found = encoder.features(slide.id, spots, reporter)
        return found if encoder.exact else found.astype(np.float16)

    said = json.dumps([_VERSION, encoder.key.split("/")[:2], encoder.sources[slide.id], slide.spot_ids])
    places = np.ascontiguousarray(slide.xy).tobytes() if encoder.exact else b""
    key = hashlib.sha256(said.encode() + places).hexdigest()
    return (compute() if cache_dir is None else cached(cache_dir, key, compute, reporter)).astype(np.float32)


def too_small(slide: Slide, encoder: str, least_px: int, found_px: float, patch: PatchSpec) -> str:
    """What is said where patches of a slide's picture have fewer pixels than an encoder needs."""
    side = f"{patch.um:g} um, " if patch.um is not None else ""
    wide = f"{math.ceil((patch.um or 0) * least_px / (found_px - 0.5))}um" if patch.um is not None else f"{least_px}px"
    finer = "" if slide.image is None or not slide.image.finer else f"{slide.image.finer}, or "
    return (
        f"slide {slide.id}: expected patches of at least {least_px} px for {encoder}, found {side}{found_px:g} px at "
        f"this picture's resolution; {finer}give --patch {wide} or more, or --encoder mean-rgb"
    )


def white_point(image: ImageSource) -> NDArray[np.float64]:
    """(3,) colour of bare glass, 0-255: the 99th percentile of each channel of the coarse picture.

    245 where there are patches only, because what they show need not include glass.
    """
    size = image.size()
    if size is None:
        return np.full(3, DEFAULT_WHITE)
    longest = max(1, min(max(size) // _REDUCTION, _LONGEST_THUMBNAIL_PX))
    thumbnail = image.thumbnail(longest)
    return np.asarray(np.percentile(thumbnail.reshape(-1, 3), 99, axis=0), dtype=np.float64)


def _key(slide: Slide, image: ImageSource, encoder: Encoder, patch: PatchSpec) -> str:
    geometry = [patch.um, patch.px, patch.out_px, slide.um_per_px]
    rule = [] if encoder.bounded else [_CHECKED]
    said = json.dumps(
        [_VERSION, encoder.key, geometry, image.content(widened(patch, encoder.context)), slide.spot_ids, *rule]
    )
    return hashlib.sha256(said.encode() + np.ascontiguousarray(slide.xy).tobytes()).hexdigest()


def _compute(slide: Slide, image: ImageSource, encoder: Encoder, patch: PatchSpec, reporter: Reporter) -> StoredArray:
    rows = [np.empty((0, encoder.dim), dtype=np.float32)]
    with image.held():
        white = white_point(image)
        patches = image.patches(slide.spot_ids, slide.xy, widened(patch, encoder.context))
        with reporter.track(f"features of {slide.id}", slide.n_spots) as advance:
            for batch in _batches(patches):
                if batch.shape[1] < encoder.least_px * encoder.context:
                    name, side = encoder.key.partition("/")[0], batch.shape[1] / encoder.context
                    raise DataError(too_small(slide, name, encoder.least_px, side, patch))
                pixel = _um_per_px(patch, slide.um_per_px, batch.shape[1] / encoder.context)
                rows.append(encoder.encode(batch, white_point=white, um_per_px=pixel))
                advance(len(batch))
    features = np.concatenate(rows)
    _check(features, slide, encoder)
    keeps = in_range if encoder.bounded else loses_nothing
    return features.astype(np.float16) if keeps(features) else features


def _check(features: FloatArray, slide: Slide, encoder: Encoder) -> None:
    if features.shape != (slide.n_spots, encoder.dim):
        raise DataError(
            f"slide {slide.id}: expected {slide.n_spots} x {encoder.dim} features from {encoder.key}, "
            f"found {features.shape[0]} x {features.shape[1]}; its image serves the wrong number of patches"
        )
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise DataError(
            f"slide {slide.id}, spot {slide.spot_ids[broken[0]]}: {encoder.key} gave a feature that is not finite "
            f"({len(broken)} spots in all); check the encoder's weights"
        )


def _batches(patches: Iterator[ImageArray]) -> Iterator[ImageArray]:
    while batch := list(islice(patches, _BATCH)):
        yield np.stack(batch)


def _um_per_px(patch: PatchSpec, slide_um_per_px: float | None, side_px: float) -> float | None:
    """Micrometres per pixel of patches that came out ``side_px`` wide."""
    if patch.um is not None:
        return patch.um / side_px
    if patch.px is not None and slide_um_per_px is not None:
        return slide_um_per_px * patch.px / side_px
    return None
