"""One section under two names: a slide that tests must not be one that trains or validates, whatever it is called."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

from stbench.data.parts import Split
from stbench.data.slide import Slide
from stbench.errors import DataError


def check_no_twins(slides: Mapping[str, Slide], split: Split) -> None:
    """Hold the spots of test slides against those of all others.

    A slide is the twin of another where every spot of the smaller one has a spot of its own in the other with the same
    counts of the panel and the same total.

    Args:
        slides: slides of the split by name, with the panel's columns.
        split: who trains, validates and tests.

    Raises:
        DataError: a test slide has a twin that trains or validates.
    """
    known = {id_: _spots(slides[id_]) for id_ in (*split.train, *split.validation)}
    for test in split.test:
        spots = _spots(slides[test])
        for id_, others in known.items():
            if spots <= others or others <= spots:
                part = "trains" if id_ in split.train else "validates"
                raise DataError(
                    f"test slide {test}: expected a section of its own, found the counts of {id_}, which {part}; leave "
                    "one of the two out"
                )


def _spots(slide: Slide) -> Counter[bytes]:
    """Hash of the panel's counts and the total of every spot, and how many spots have it."""
    facts = np.column_stack([slide.counts.toarray(), slide.total_counts]).astype("<f8")
    return Counter(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in facts)
