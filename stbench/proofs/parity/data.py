"""What the released dataset class makes of a slide: windows, conditions, targets, edge correlations."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from stbench.data.normalize import normalize
from stbench.errors import DataError
from stbench.features import graph
from stbench.methods.nn.correlation import spot_correlation as correlate
from stbench.proofs.parity.reference import Reference

_ORIGINAL_VIEW = 0  # of the augmented views of a patch


def spot_correlation(reference: Reference) -> dict[str, Tensor]:
    """Correlation of spots as released, with and without a masked spot, and the ordinary one."""
    x = reference.input("x")
    found = {
        "correlation": correlate(x, reference.input("mask"), by_sum=True),
        "correlation_masked": correlate(x, reference.input("partial_mask"), by_sum=True),
        "true_pearson": correlate(x.double()),
    }
    return {name: value.unsqueeze(-1) for name, value in found.items()}


def windows(reference: Reference) -> dict[str, Tensor]:
    """Windows of a slide in the released order, and all that a window holds.

    Raises:
        DataError: the windows overlap or leave gaps.
    """
    side = reference.setting("crop_size")
    if reference.setting("stride_size") != side:
        raise DataError(f"reference {reference.path}: expected stride_size {side} as crop_size")
    rows = {int(spot): row for row, spot in enumerate(reference.input("embedding_rows"))}
    counted = reference.input("counts").sum(dim=1) > 0
    kept = torch.tensor([spot for spot in range(len(counted)) if counted[spot] and spot in rows], dtype=torch.long)
    members = [kept[torch.from_numpy(part)] for part in graph.windows(reference.input("positions")[kept].numpy(), side)]
    found = {"n_windows": torch.tensor(len(members))}
    for number, spots in enumerate(members):
        named = _window(reference, spots, torch.tensor([rows[int(spot)] for spot in spots]))
        found |= {f"window{number}/{name}": value for name, value in named.items()}
    first = {name: found[f"window0/{name}"].unsqueeze(0) for name in ("cond_e", "e_gt")}
    first["mask"] = torch.ones(1, len(members[0]), dtype=torch.bool)
    return found | {f"loader_first/{name}": value for name, value in first.items()}


def _window(reference: Reference, spots: Tensor, rows: Tensor) -> dict[str, Tensor]:
    counts = reference.input("counts")[spots].double().numpy()
    expression = torch.from_numpy(normalize(csr_matrix(counts), np.ones(len(counts)), "log2p1"))
    places = reference.input("positions")[spots]
    features = reference.input("features")[spots, _ORIGINAL_VIEW]
    return {
        "index": spots,
        "coord": places.float(),
        "cond_x": features,
        "cond_e": graph.edge_attributes(places, features),
        "x_gt": expression,
        "e_gt": correlate(expression, by_sum=True).unsqueeze(-1),
        "llm_cell_level_embeddings": reference.input("cell_embedding")[rows],
        "llm_gene_level_embeddings": reference.input("gene_embedding")[rows],
        "llm_gene_level_mask": reference.input("gene_mask")[rows],
    }
