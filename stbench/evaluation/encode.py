"""Features of a whole cohort, one slide in memory at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stbench.data.opening import open_dataset
from stbench.evaluation.choices import parse_patch
from stbench.evaluation.identity import default_patch
from stbench.evaluation.session import choose_device
from stbench.features.encoders import load_encoder, needs_pictures
from stbench.features.extract import slide_features
from stbench.reporting import SILENT, Reporter


@dataclass(frozen=True)
class Encoded:
    """A slide whose features are in the cache: name, spots, width of a vector, seconds it took."""

    id: str
    n_spots: int
    dim: int
    seconds: float


def encode_cohort(
    dataset: str,
    encoder: str | None,
    *,
    weights: Path | None,
    patch: str | None,
    simulate: tuple[str, ...],
    data_root: Path | None,
    device: str,
    cache_dir: Path,
    reporter: Reporter = SILENT,
) -> Iterator[Encoded]:
    """Compute what is missing in the feature cache.

    Args:
        dataset: registered name, or a folder in a known layout.
        encoder: name of the encoder, the cohort's own when None.
        weights: its local weight file or folder; the folder of the files where they are precomputed.
        patch: geometry, the cohort's when None.
        simulate: ``key=value`` of a generated cohort.
        data_root: folder that holds one folder per cohort.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache_dir: folder of the cache.
        reporter: where progress goes.

    Yields:
        Each slide, as soon as its features are there.

    Raises:
        UserError: a name or a file is wrong, or a picture cannot be read.
    """
    pictured = needs_pictures(encoder)
    cohort, card = open_dataset(dataset, data_root, simulate, cache_dir, reporter, require_image=pictured)
    ready = load_encoder(encoder or card.encoder, weights=weights, device=choose_device(device)).of(cohort.ids)
    geometry = parse_patch(patch) or default_patch(card)
    for ref in cohort.refs:
        start = time.perf_counter()
        features = slide_features(cohort.load(ref.id), ready, geometry, cache_dir, reporter)
        yield Encoded(ref.id, len(features), features.shape[1], time.perf_counter() - start)
