"""Features of a whole cohort, one slide in memory at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stbench.evaluation.asked import choose_device, open_asked
from stbench.evaluation.identity import default_patch
from stbench.evaluation.request import Request, parse_patch
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.reporting import SILENT, Reporter


@dataclass(frozen=True)
class Encoded:
    """A slide whose features are in the cache: name, spots, width of a vector, seconds it took."""

    id: str
    n_spots: int
    dim: int
    seconds: float


def encode_cohort(request: Request, cache_dir: Path, reporter: Reporter = SILENT) -> Iterator[Encoded]:
    """Compute what is missing in the feature cache.

    Args:
        request: dataset, encoder, its weights and the geometry of patches; the rest changes nothing.
        cache_dir: folder of the cache.
        reporter: where progress goes.

    Yields:
        Each slide, as soon as its features are there.

    Raises:
        UserError: a name or a file is wrong, or a picture cannot be read.
    """
    cohort, card = open_asked(request, cache_dir, reporter)
    name, device = request.encoder or card.encoder, choose_device(request.device)
    ready = load_encoder(name, weights=request.weights, device=device).of(cohort.ids)
    geometry = parse_patch(request.patch) or default_patch(card)
    for ref in cohort.refs:
        start = time.perf_counter()
        features = slide_features(cohort.load(ref.id), ready, geometry, cache_dir, reporter)
        if ready.remark and ref is cohort.refs[0]:
            reporter.info(f"note: {ready.remark}")
        yield Encoded(ref.id, len(features), features.shape[1], time.perf_counter() - start)
