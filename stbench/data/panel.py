"""Gene panels of exact size, chosen on training slides only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.gene_names import EXCLUDED_PREFIXES, is_excluded
from stbench.errors import SettingError, UserError

_FEWEST = 2  # a correlation needs two


def candidate_genes(genes: Iterable[str]) -> list[str]:
    """Sorted gene names without mitochondrial and ribosomal ones (``MT-``, ``RPS``, ``RPL``; any case and genome)."""
    return sorted(gene for gene in genes if not is_excluded(gene))


@dataclass(frozen=True)
class Panel:
    """Genes of a task.

    Args:
        chosen: genes chosen on the training slides, most highly ranked first.
        lacking: those among them that the cohort that tests does not name; none where the cohort tests itself.
    """

    chosen: tuple[str, ...]
    lacking: tuple[str, ...] = ()

    @classmethod
    def of(cls, chosen: Sequence[str], there: set[str] | None) -> Panel:
        """A panel of the genes chosen; ``there`` are names that all test slides of another cohort have."""
        return cls(tuple(chosen), () if there is None else tuple(gene for gene in chosen if gene not in there))

    @property
    def genes(self) -> list[str]:
        """Genes that are predicted, in column order."""
        return [gene for gene in self.chosen if gene not in self.lacking]

    def loss(self, test_name: str) -> str:
        """How many genes were left out, in words."""
        return f"{len(self.lacking)} of {len(self.chosen)} genes left out, which {test_name} does not name"

    def check(self, test_name: str) -> None:
        """Raise UserError where fewer than two genes are left."""
        if len(self.genes) < _FEWEST:
            raise UserError(
                f"--test-dataset {test_name}: expected at least {_FEWEST} genes of the panel among its genes, found "
                f"{len(self.genes)} of {len(self.chosen)} ({self.lacking[0]} is not there); compare its gene names, or "
                "ask for more --genes"
            )


class Moments:
    """Streaming mean and standard deviation of raw counts per gene, one training slide at a time."""

    def __init__(self, genes: Sequence[str]) -> None:
        self.genes = list(genes)
        self._n = 0
        self._sum = np.zeros(len(self.genes))
        self._squares = np.zeros(len(self.genes))

    def update(self, counts: csr_matrix) -> None:
        """Add the spots of a slide: (n_spots, n_genes) UMI, columns in the order of ``genes``."""
        values = counts.astype(np.float64)
        self._n += values.shape[0]
        self._sum += np.asarray(values.sum(axis=0)).ravel()
        self._squares += np.asarray(values.multiply(values).sum(axis=0)).ravel()

    @property
    def n_spots(self) -> int:
        """Spots added so far."""
        return self._n

    @property
    def mean(self) -> NDArray[np.float64]:
        """(n_genes,) UMI per spot."""
        return self._sum / max(self._n, 1)

    @property
    def std(self) -> NDArray[np.float64]:
        """(n_genes,) standard deviation over spots, UMI."""
        return np.sqrt(np.maximum(self._squares / max(self._n, 1) - self.mean**2, 0))


def hmhvg(mean: NDArray[np.float64], std: NDArray[np.float64], n_genes: int) -> NDArray[np.int64]:
    """Genes that rank high both by mean and by standard deviation (paper Eq. 17), exactly ``n_genes`` of them.

    The paper intersects the top K of both rankings and searches K. The intersection grows by up to two genes with K, so
    an exact size needs a rule: genes are ordered by the worse of their two ranks (the K at which they enter), then by
    the rank of their mean, and the first ``n_genes`` are taken. Equal values rank in the order given.

    Args:
        mean: (n,) mean counts.
        std: (n,) standard deviation of counts.
        n_genes: size of the panel.

    Returns:
        (n_genes,) indices, most highly ranked first.

    Raises:
        SettingError: fewer than 2 genes asked for, or more than there are.
    """
    if n_genes < 2:
        raise SettingError(f"expected at least 2 genes (a correlation needs two), found --genes {n_genes}")
    if n_genes > len(mean):
        raise SettingError(
            f"expected at most {len(mean)} genes (those common to all slides, without {', '.join(EXCLUDED_PREFIXES)}), "
            f"found --genes {n_genes}; ask for fewer"
        )
    by_mean, by_std = _ranks(mean), _ranks(std)
    return np.lexsort((by_mean, np.maximum(by_mean, by_std)))[:n_genes]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks
