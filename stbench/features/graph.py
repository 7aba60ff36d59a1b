"""Windows of spots and the edge attributes of the graph on a window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WINDOW_PX = 2048.0
SIGMA_PX = 224.0
_TINY = 1e-8


def windows(
    xy: NDArray[np.float32], size_px: float = WINDOW_PX, most_spots: int | None = None
) -> list[NDArray[np.int64]]:
    """Cut a slide into square windows on a grid; every spot lies in exactly one.

    Windows are half open, empty ones are left out, columns of windows follow each other from left to right and run from
    top to bottom. Spots of a window are sorted by ``size_px * x + y`` (the order of the original FLAG code). A window
    of more than ``most_spots`` is cut in two of about as many spots across its longer side, and each part again.

    Args:
        xy: (n_spots, 2) spot centres in pixels.
        size_px: side of a window in pixels.
        most_spots: most spots of a window; None for any number.

    Returns:
        For each window the indices of its spots.
    """
    places = np.asarray(xy, dtype=np.float64)
    if len(places) == 0:
        return []
    cells = np.floor(places / size_px).astype(np.int64)
    order = np.lexsort((places @ (size_px, 1.0), cells[:, 1], cells[:, 0]))
    changes = np.any(np.diff(cells[order], axis=0) != 0, axis=1)
    whole = [part.astype(np.int64) for part in np.split(order, np.flatnonzero(changes) + 1)]
    return whole if most_spots is None else [part for window in whole for part in _parts(places, window, most_spots)]


def _parts(places: NDArray[np.float64], window: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """A window as the leaves of a k-d tree, each of at most so many spots in the order they had."""
    n_parts = -(-len(window) // most)
    if n_parts == 1:
        return [window]
    inside = places[window]
    axis = int(np.ptp(inside[:, 1]) > np.ptp(inside[:, 0]))
    order = np.lexsort((inside[:, 1 - axis], inside[:, axis]))
    cut = len(window) * (n_parts // 2) // n_parts
    halves = (window[np.sort(half)] for half in (order[:cut], order[cut:]))
    return [part for half in halves for part in _parts(places, half, most)]


def edge_attributes(
    xy: Tensor | NDArray[np.float32], features: Tensor | NDArray[np.float32], sigma_px: float = SIGMA_PX
) -> Tensor:
    """Distance kernel and image similarity of every pair of spots, paper Eq. 58.

    Args:
        xy: (..., N, 2) spot centres in pixels.
        features: (..., N, d) image features, on the same device.
        sigma_px: width of the distance kernel in pixels.

    Returns:
        (..., N, N, 2) float32 on the inputs' device: ``exp(-distance^2 / (2 sigma^2))`` in [0, 1] and the cosine of the
        features in [-1, 1], 0 for a zero vector. Symmetric, 0 on the diagonal.
    """
    places = torch.as_tensor(xy, dtype=torch.float32)
    vectors = torch.as_tensor(features, dtype=torch.float32)
    gaps = places.unsqueeze(-2) - places.unsqueeze(-3)
    kernel = torch.exp(-gaps.square().sum(dim=-1) / (2 * sigma_px**2))
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    cosine = (vectors @ vectors.transpose(-1, -2)) / (norms.unsqueeze(-1) * norms.unsqueeze(-2) + _TINY)
    cosine = (cosine + cosine.transpose(-1, -2)) / 2
    off_diagonal = 1 - torch.eye(places.shape[-2], device=places.device)
    return torch.stack([kernel * off_diagonal, cosine * off_diagonal], dim=-1)
