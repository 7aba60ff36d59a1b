"""The best prediction from a spot's own features, read without error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError

FloatArray = NDArray[np.float64]

NOISY = "noisy_expression"  # layer: what the features say of each gene
SHARE = "share"  # uns[MADE][SHARE]
MADE = "semisynthetic"  # uns
SCALES = {"log1p": 1.0, "log2p1": 1 / np.log(2)}
"""Scale of expression to its factor on log1p; on other scales the best prediction is not known."""


def best_from_own_spot(slide: Slide, genes: Sequence[str], normalisation: str = "log1p") -> NDArray[np.float32]:
    """Best guess of each gene given its noisy value t in the spot's features, and how it is distributed on the slide.

    The better in squared error, gene by gene, of the line ``(1 - share) mean(y) + sqrt(share) t`` and of the posterior
    mean ``sum_v v p(v) N(t; sqrt(share) v, (1 - share) var) / sum_v p(v) N(...)`` over the values v the gene takes on
    the slide, with their frequencies p and its variance there. The posterior mean knows that counts are whole numbers,
    but takes the noise to be normal, which on one slide it is roughly.

    Its squared error is a lower bound, up to chance, for predictors that are linear in what the features say, of
    whatever spots and genes; it is no bound for one that combines several genes or spots in another way, or that knows
    more than the features, such as the expression of a neighbouring section.

    Args:
        slide: a slide of a semi-synthetic cohort.
        genes: panel, in the order of the result.
        normalisation: ``log1p`` or ``log2p1``.

    Returns:
        (n_spots, n_genes) on that scale.

    Raises:
        DataError: the slide is not semi-synthetic.
        UnknownNameError: a gene the slide does not have.
        SettingError: another scale.
    """
    if normalisation not in SCALES:
        raise SettingError(
            f"expected a scale on which the features were made, {' or '.join(SCALES)}; found {normalisation}"
        )
    if NOISY not in slide.adata.layers or MADE not in slide.adata.uns:
        raise DataError(f"slide {slide.id}: expected the layer {NOISY!r} of a semi-synthetic slide, found none")
    place = {gene: i for i, gene in enumerate(slide.genes)}
    if missing := sorted(set(genes) - set(place)):
        raise UnknownNameError(f"gene of slide {slide.id}", missing[0], slide.genes[:20])
    columns = [place[gene] for gene in genes]
    expression = np.log1p(slide.counts[:, columns].toarray().astype(np.float64))
    noisy = np.asarray(slide.adata.layers[NOISY][:, columns], dtype=np.float64)
    share = float(slide.adata.uns[MADE][SHARE])
    best = [_best(y, t, share) for y, t in zip(expression.T, noisy.T, strict=True)]
    return (np.stack(best, axis=1) * SCALES[normalisation]).astype(np.float32)


def _best(expression: FloatArray, noisy: FloatArray, share: float) -> FloatArray:
    """(n_spots,) the better of line and posterior mean of one gene."""
    line = (1 - share) * expression.mean() + np.sqrt(share) * noisy
    guesses = (_posterior(expression, noisy, share), line)
    return min(guesses, key=lambda guess: float(np.square(guess - expression).sum()))


def _posterior(expression: FloatArray, noisy: FloatArray, share: float) -> FloatArray:
    """(n_spots,) posterior mean of one gene."""
    values, counts = np.unique(expression, return_counts=True)
    variance = max((1 - share) * expression.var(), 1e-12)
    log_weight = np.log(counts) - np.square(noisy[:, None] - np.sqrt(share) * values) / (2 * variance)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return np.asarray(weight @ values / weight.sum(axis=1))
