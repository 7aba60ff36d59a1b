"""Prediction from the measured spots nearest in the common space, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stbench.methods.base import FloatArray

_QUERIES = 1024
_KEYS = 2**16  # bank spots compared at a time: 2^26 similarities with the queries, 256 MB


def retrieve(query: FloatArray, bank: FloatArray, k: int, *, queries: int = _QUERIES, keys: int = _KEYS) -> Tensor:
    """(Q, k) rows of the bank with the highest cosine similarity to each query, best first.

    Memory beside the bank is that of ``queries x keys`` similarities, whatever the sizes of both.

    Args:
        query: (Q, d) image embeddings.
        bank: (M, d) spot embeddings.
        k: neighbours per query; all M where the bank is smaller.
        queries: queries compared at a time.
        keys: rows of the bank compared at a time.
    """
    parts = torch.split(F.normalize(torch.from_numpy(query), dim=1), queries)
    best: list[tuple[Tensor, Tensor]] = [_nothing(len(part)) for part in parts]
    for start, key in _normalized_keys(bank, keys):
        for number, part in enumerate(parts):
            similarity, rows = (part @ key.T).topk(min(k, len(key)), dim=1)
            best[number] = _merged(best[number], (similarity, rows + start), k)
    return torch.cat([rows for _, rows in best])


def _nothing(n: int) -> tuple[Tensor, Tensor]:
    return torch.empty(n, 0), torch.empty(n, 0, dtype=torch.long)


def _normalized_keys(bank: FloatArray, size: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(bank), size):
        yield start, F.normalize(torch.from_numpy(bank[start : start + size]), dim=1)


def _merged(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    similarity, rows = (torch.cat(pair, dim=1) for pair in zip(first, second, strict=True))
    similarity, order = similarity.topk(min(k, similarity.shape[1]), dim=1)
    return similarity, rows.gather(1, order)


def predict_from(
    query: FloatArray, bank: FloatArray, expression: FloatArray, rows: Tensor, how: str, *, queries: int = _QUERIES
) -> FloatArray:
    """(Q, G) expression of each query from its neighbours.

    Args:
        query: (Q, d) image embeddings, not normalised.
        bank: (M, d) spot embeddings, not normalised.
        expression: (M, G) measured expression of the bank.
        rows: (Q, k) neighbours, best first.
        how: ``simple``: the best one; ``average``: the mean; ``weighted_average``: under
            softmax(-||bank - query||^2).
        queries: queries averaged at a time.
    """
    found = np.empty((len(query), expression.shape[1]), dtype=np.float32)
    for start in range(0, len(query), queries):
        part = slice(start, start + queries)
        chosen = rows[part].numpy()
        if how == "simple":
            found[part] = expression[chosen[:, 0]]
        elif how == "average":
            found[part] = expression[chosen].mean(axis=1, dtype=np.float64)
        else:
            found[part] = _weighted(query[part], bank[chosen], expression[chosen])
    return found


def _weighted(query: FloatArray, keys: FloatArray, expression: FloatArray) -> FloatArray:
    """(q, G) weighted means; keys (q, k, d), expression (q, k, G)."""
    squared = np.square(keys.astype(np.float64) - query[:, None]).sum(axis=2)
    weights = np.exp(squared.min(axis=1, keepdims=True) - squared)  # a common factor cancels
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("qk,qkg->qg", weights, expression).astype(np.float32)
