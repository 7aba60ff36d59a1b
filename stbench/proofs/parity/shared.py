"""Parts that FLAG shares with the graph-diffusion methods or with the harness."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stbench.features import graph
from stbench.methods.nn.time import fourier, sinusoid
from stbench.metrics.accuracy import PooledPcc, mae, mse
from stbench.metrics.score import centred
from stbench.proofs.parity.reference import Reference
from stbench.proofs.parity.steps import reference_sde

_WIDE = 256
_TOP = (10, 50)


def vesde(reference: Reference) -> dict[str, Tensor]:
    """Noise level, diffusion coefficient, perturbed data and the drift back."""
    sde = reference_sde(reference)
    t, each = reference.input("t"), reference.input("t_batch")[:, None, None]
    return {
        "sigma": sde.sigma(t),
        "g": sde.g(t),
        "log_ratio": torch.tensor(sde.log_ratio, dtype=torch.float64),
        "perturb_sigma": sde.sigma(each),
        "perturbed": reference.input("x") + sde.sigma(each) * reference.input("noise"),
        "reverse_g": sde.g(each),
        "reverse_drift": -(sde.g(each) ** 2) * reference.input("score"),
    }


def edge_attributes(reference: Reference) -> dict[str, Tensor]:
    """Distance kernel and cosine of every pair of spots; the graph is complete, pairs in row-major order."""
    positions, features = reference.input("positions"), reference.input("features")
    edges = graph.edge_attributes(positions, features, reference.setting("sigma"))
    spots = torch.arange(len(positions))
    pairs = torch.cartesian_prod(spots, spots).T.reshape(2, -1)
    return {"edge_attr": edges, "edge_attr_collated": edges, "edge_index": pairs}


def time_embeddings(reference: Reference) -> dict[str, Tensor]:
    """Features of noise times before any learned map."""
    t = reference.input("t")
    return {
        "fourier": fourier(t, reference.setting("dim")),
        "sinusoid256": sinusoid(t, _WIDE),
        "sinusoid_odd": sinusoid(t, reference.setting("odd_dim")),
    }


def metrics(reference: Reference) -> dict[str, Tensor]:
    """Correlation over the spots of all windows together, its best genes, and errors."""
    windows = range(reference.setting("n_windows"))
    pairs = [[reference.input(f"{side}{window}").numpy() for side in ("gt", "pred")] for window in windows]
    pooled = PooledPcc()
    for true, pred in pairs:
        pooled.update(true, pred)
    score = pooled.value()
    true, pred = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    per_gene = np.full(pred.shape[1], np.nan) if score.per_gene is None else score.per_gene
    # the original leaves out genes that are constant in the prediction; ours scores them 0
    varying = per_gene[~np.isnan(per_gene) & ~centred(pred.astype(np.float64)).constant]
    best = np.sort(varying)[::-1]
    # the original leaves a top score undefined where fewer genes are valid
    tops = {f"PCC-{n}": best[:n].mean() if len(best) >= n else np.nan for n in _TOP}
    values = {
        "PCC-valid": varying.mean() if len(varying) else np.nan,
        "MSE": mse(true, pred),
        "MAE": mae(true, pred),
        "nan_count": len(per_gene) - len(varying),
        **tops,
    }
    found = {name: torch.tensor(float(value), dtype=torch.float64) for name, value in values.items()}
    return found | {"valid_count": torch.tensor(len(varying))}
