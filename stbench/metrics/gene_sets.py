"""Gene sets: are the maps of pathways, and the relations of their genes, those of the truth?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.errors import DataError
from stbench.metrics.accuracy import pcc
from stbench.metrics.score import FloatArray, Score, as_held, centred, held_pair, over_genes
from stbench.metrics.structure import gsc

FEWEST = 5  # genes of a set in the panel, below which it is left out
_NONE = f"no gene set has {FEWEST} genes in the panel"


def gene_set_pcc(true: ArrayLike, pred: ArrayLike, genes: Sequence[str], sets: Mapping[str, Sequence[str]]) -> Score:
    """Correlation over spots of true and predicted scores of gene sets, mean over sets.

    A set's score is the mean of its genes in the panel, each of mean 0 and variance 1 over the spots of the slide (the
    combined z-score of Lee et al., PLoS Comput Biol 2008, but for its factor). Range [-1, 1], higher is better. Sets
    with fewer than 5 genes in the panel are left out; a set predicted constant scores 0, as a gene does in PCC.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        genes: (n_genes,) names of the columns.
        sets: name to genes, e.g. of :func:`stbench.data.gene_sets.read_gene_sets`.

    Returns:
        ``per_gene`` holds one value per set, in the order of ``sets``, NaN for those left out; ``n_used`` counts sets.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = held_pair(true, pred)
    members = _members(genes, sets, truth.shape[1])
    used = [columns for columns in members if len(columns) >= FEWEST]
    if not used:
        return Score(None, 0, len(members), np.full(len(members), np.nan), _NONE)
    found = pcc(_scores(truth, used), _scores(prediction, used))
    return _spread_out(found.per_gene, members, found.reason, found.n_constant)


def gene_set_gsc(true: ArrayLike, pred: ArrayLike, genes: Sequence[str], sets: Mapping[str, Sequence[str]]) -> Score:
    """:func:`stbench.metrics.gsc` of the genes of a set, mean over sets: do its genes vary together as in the truth?

    Range [-1, 1], higher is better. Sets with fewer than 5 genes in the panel, and those whose own GSC is undefined,
    are left out and counted.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        genes: (n_genes,) names of the columns.
        sets: name to genes.

    Returns:
        As of :func:`gene_set_pcc`.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = held_pair(true, pred)
    members = _members(genes, sets, truth.shape[1])
    used = [columns for columns in members if len(columns) >= FEWEST]
    each = np.array([float(gsc(truth[:, columns], prediction[:, columns])) for columns in used])
    return _spread_out(each, members, "the GSC of every gene set is undefined" if used else _NONE)


def usable(sets: Mapping[str, Sequence[str]], genes: Sequence[str]) -> dict[str, list[str]]:
    """The sets that have 5 genes among some, in their order, with all their genes."""
    there = set(genes)
    return {name: list(members) for name, members in sets.items() if len(there & set(members)) >= FEWEST}


def set_scores(expression: ArrayLike, genes: Sequence[str], sets: Mapping[str, Sequence[str]]) -> dict[str, FloatArray]:
    """(n_spots,) score of each set that has 5 genes in the panel, by name; see :func:`gene_set_pcc`.

    Args:
        expression: (n_spots, n_genes), any scale.
        genes: (n_genes,) names of the columns.
        sets: name to genes.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    values = as_held(expression, "expression")
    found = dict(zip(sets, _members(genes, sets, values.shape[1]), strict=True))
    used = {name: columns for name, columns in found.items() if len(columns) >= FEWEST}
    return dict(zip(used, _scores(values, list(used.values())).T, strict=True)) if used else {}


def _members(genes: Sequence[str], sets: Mapping[str, Sequence[str]], n_genes: int) -> list[list[int]]:
    """Columns of the panel of each set, in the order of the panel."""
    if len(genes) != n_genes:
        raise DataError(f"expected names of {n_genes} genes as in the truth, found {len(genes)}")
    return [[column for column, gene in enumerate(genes) if gene in wanted] for wanted in map(set, sets.values())]


def _scores(values: NDArray[np.floating], members: Sequence[Sequence[int]]) -> FloatArray:
    """(n_spots, n_sets); constant genes are 0 everywhere."""
    found = centred(values.astype(np.float64, copy=False))
    z, sd = found.z, np.sqrt(found.sum_squares / len(values))
    z /= np.where(found.constant, 1.0, sd)
    z[:, found.constant] = 0.0
    return np.stack([z[:, columns].mean(axis=1) for columns in members], axis=1)


def _spread_out(each: FloatArray | None, members: Sequence[Sequence[int]], reason: str, n_constant: int = 0) -> Score:
    """One value per set, those left out among them, and their mean."""
    per_set = np.full(len(members), np.nan)
    per_set[[len(columns) >= FEWEST for columns in members]] = each
    return over_genes(per_set, reason, n_constant=n_constant)
