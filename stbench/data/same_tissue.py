"""One tissue under two names: slides with the same counts, or with spots at the same places of one picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from stbench.data.gene_names import normalised
from stbench.data.parts import PARTS, Split
from stbench.data.same_picture import Probed, same_colours
from stbench.data.slide import Slide
from stbench.errors import DataError, UserError
from stbench.text import few, listed

Keys = NDArray[np.uint64]

_SHARED = 0.5  # of the spots of the smaller slide: a part of a section is of its tissue too
_SHARED_WITHOUT_NAMES = 0.8  # values alone agree sooner by chance
_SAME_PLACES = 0.9
_TELLING = 0.8  # of the spots have counts no other spot of their slide has, or counts tell nothing
_FEWEST_SPOTS = 3
_ENOUGH_GENES = 5
_BATCH = 2**20  # counts hashed at once
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))  # splitmix64


@dataclass(frozen=True)
class Twins:
    """Slides of one tissue, and what says so: their counts, or their picture."""

    slides: tuple[str, ...]
    by: Literal["counts", "picture"]

    def said(self) -> str:
        """What was found, in words."""
        found = "the same counts" if self.by == "counts" else "one picture with spots at the same places"
        return f"{few(self.slides)}: {found}, so one tissue under {len(self.slides)} names"


@dataclass
class SameTissue:
    """Finds slides of one tissue, whatever they, their spots and their genes are called and in whatever order.

    Args:
        pictures: whether pictures are compared too: their files, and where spots lie alike the colours there.
    """

    pictures: bool = True
    _counts: dict[str, Keys] = field(default_factory=dict)
    _values: dict[str, Keys] = field(default_factory=dict)
    _drawn: dict[str, list[tuple[str, NDArray[np.float32]]]] = field(default_factory=dict)
    _probed: dict[str, Probed] = field(default_factory=dict)

    def add(self, slide: Slide) -> None:
        """Keep what tells a slide from others: a number per spot, and where its spots lie on which picture."""
        genes = np.array([_number(normalised(gene)) for gene in slide.genes], dtype=np.uint64)
        self._counts[slide.id] = _telling(slide.counts, genes)
        self._values[slide.id] = _telling(slide.counts, np.zeros_like(genes))
        if self.pictures and (digest := _digest(slide)):
            self._drawn.setdefault(digest, []).append((slide.id, slide.xy))
        if self.pictures and (probed := Probed.of(slide)) is not None:
            self._probed[slide.id] = probed

    def twins(self) -> list[Twins]:
        """Slides of one tissue, together."""
        by_counts = self._by_counts()
        drawn = {pair for slides in self._drawn.values() for pair in _at_one_place(slides)} | self._by_colours()
        return [*_together(by_counts, "counts"), *_together(drawn - by_counts, "picture")]

    def _by_colours(self) -> set[tuple[str, str]]:
        alike = _sharing({id_: np.unique(one.places) for id_, one in self._probed.items()}, _SAME_PLACES)
        return {(a, b) for a, b in alike if same_colours(self._probed[a], self._probed[b])}

    def _by_counts(self) -> set[tuple[str, str]]:
        return _sharing(self._counts, _SHARED) | _sharing(self._values, _SHARED_WITHOUT_NAMES)

    def notes(self, split: Split) -> list[str]:
        """One line per tissue, with the parts its slides are in."""
        parts = {slide: part for part in PARTS for slide in getattr(split, part)}
        return [f"{twins.said()} ({listed(dict.fromkeys(map(parts.get, twins.slides)))})" for twins in self.twins()]

    def check(self, split: Split) -> None:
        """Raise DataError where a test slide holds the counts of one that trains or validates."""
        pairs = self._by_counts()
        known = [(test, other) for test in split.test for other in (*split.train, *split.validation)]
        copies = [(test, other) for test, other in known if {(test, other), (other, test)} & pairs]
        if not copies:
            return
        (test, other), *more = copies
        also = f" (and {few([f'{one} those of {its}' for one, its in more])})" if more else ""
        raise DataError(
            f"test slide {test}: expected a section of its own, found the counts of {other}, which "
            f"{'trains' if other in split.train else 'validates'}{also}; leave one of the two out: move its files "
            "elsewhere, or name the others in --split FILE"
        )


def _together(pairs: set[tuple[str, str]], by: Literal["counts", "picture"]) -> list[Twins]:
    """Pairs that share a slide as one group."""
    groups: list[set[str]] = []
    for pair in sorted(pairs):
        met = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in met] + [set(pair).union(*met)]
    return [Twins(tuple(sorted(group)), by) for group in groups]


def _telling(counts: csr_matrix, genes: Keys) -> Keys:
    """Numbers of the spots that no other spot of the slide has; none where too few are left to tell slides apart."""
    n_genes = np.diff(counts.indptr)
    some = n_genes[n_genes > 0]
    if not len(some):
        return np.empty(0, dtype=np.uint64)
    numbers = _numbers(counts, genes)[n_genes >= min(_ENOUGH_GENES, np.median(some))]
    found, times = np.unique(numbers, return_counts=True)
    once = found[times == 1]
    return once if len(once) >= max(_TELLING * len(numbers), _FEWEST_SPOTS) else once[:0]


def _numbers(counts: csr_matrix, genes: Keys) -> Keys:
    """(n_spots,) one number per spot, whatever the order of its genes."""
    numbers = np.zeros(counts.shape[0], dtype=np.uint64)
    rows = np.searchsorted(counts.indptr, np.arange(0, counts.nnz + _BATCH, _BATCH))
    for first, last in pairwise(rows):
        start, end = counts.indptr[first], counts.indptr[min(last, counts.shape[0])]
        values = _mixed(genes[counts.indices[start:end]] + counts.data[start:end].astype(np.uint64) * _MIX[2])
        total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)])
        edges = counts.indptr[first : last + 1] - start
        numbers[first : first + len(edges) - 1] = np.diff(total[edges])
    return numbers


def _mixed(values: Keys) -> Keys:
    for factor, shift in ((_MIX[0], 30), (_MIX[1], 27)):
        values = (values ^ (values >> np.uint64(shift))) * factor
    return values ^ (values >> np.uint64(31))


@lru_cache(2**18)
def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _sharing(keys: dict[str, Keys], share: float) -> set[tuple[str, str]]:
    """Slides that have a share of their numbers in common, two by two."""
    slides = sorted(slide for slide, own in keys.items() if len(own))
    if len(slides) < 2:
        return set()
    sizes = np.array([len(keys[slide]) for slide in slides])
    _, number = np.unique(np.concatenate([keys[slide] for slide in slides]), return_inverse=True)
    there = csr_matrix((np.ones(len(number), dtype=np.int64), (number, np.repeat(np.arange(len(slides)), sizes))))
    common = csr_matrix(there.T @ there).toarray()
    first, second = np.nonzero(np.triu(common >= share * np.minimum(sizes, sizes[:, None]), k=1))
    return {(slides[a], slides[b]) for a, b in zip(first, second, strict=True)}


def _at_one_place(slides: Sequence[tuple[str, NDArray[np.float32]]]) -> set[tuple[str, str]]:
    """Slides on one picture of which half of the smaller one's spots lie nearer to a spot of the other than its own."""
    pairs = set()
    for place, (slide, xy) in enumerate(slides):
        for other, its_xy in slides[:place]:
            smaller, larger = sorted((xy, its_xy), key=len)
            if len(smaller) >= _FEWEST_SPOTS and _overlap(smaller, larger) >= _SHARED:
                pairs.add((min(slide, other), max(slide, other)))
    return pairs


def _overlap(smaller: NDArray[np.float32], larger: NDArray[np.float32]) -> float:
    tree = cKDTree(larger)
    pitch = np.median(np.asarray(tree.query(larger, k=2)[0])[:, 1])
    return float(np.mean(tree.query(smaller)[0] < pitch))


def _digest(slide: Slide) -> str:
    """Hash of the picture; empty where there is none, or where it cannot be read, which others say."""
    try:
        return "" if slide.image is None else slide.image.digest()
    except UserError:
        return ""
