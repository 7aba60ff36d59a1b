"""Losses of joint node-edge diffusion (paper Eqs. 2-3, 15 and 34)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stbench.methods.graph_diffusion.state import unpack
from stbench.methods.nn.precondition import Network, Parameterization
from stbench.methods.nn.windows import real


def pair_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, N, N) values over ordered pairs of two different real spots; 0 where there are none.

    Args:
        values: any finite values, those of padding and diagonal not read.
        mask: (B, N) True for real spots.
    """
    pairs = mask.unsqueeze(1) & mask.unsqueeze(2) & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return torch.where(pairs, values, 0).sum() / pairs.sum().clamp(min=1)


JointErrors = tuple[Tensor, Tensor, Tensor]


def joint_errors(
    network: Network,
    p: Parameterization,
    clean: Tensor,
    sigma: Tensor,
    z: Tensor,
    implied: Callable[[Tensor], Tensor],
) -> JointErrors:
    """What the three terms of the joint objective are means of, unweighted, from one pass of the network.

    Args:
        network: F on the joint state.
        p: what F means, for nodes and edges alike.
        clean: (B, N, G + N) clean state.
        sigma: (B,) levels.
        z: (B, N, G + N) unit noise.
        implied: (B, N, N) correlation that denoised nodes (B, N, G) imply.

    Returns:
        (B, N, G) of the spots and (B, N, N) of the pairs (Eq. 15, each the parameterisation's weighted square), and
        (B, N, N) gaps between edges and what the nodes imply (Eq. 34).
    """
    outputs: list[Tensor] = []

    def recorded(x: Tensor, t: Tensor) -> Tensor:
        outputs.append(network(x, t))
        return outputs[0]

    nodes, edges = unpack(p.loss(recorded, clean, sigma, z))
    noisy = clean + sigma[:, None, None] * z
    x, e = unpack(p.denoise(lambda *_: outputs[0], noisy, sigma))
    return nodes, edges, (e - implied(x)).abs()


def joint_terms(errors: JointErrors, mask: Tensor, rows: Tensor | None = None) -> dict[str, Tensor]:
    """The three terms of the joint objective, unweighted.

    Args:
        errors: of :func:`joint_errors`.
        mask: (B, N) True for real spots.
        rows: (S,) places of the real spots in the mask, see :class:`stbench.methods.nn.windows.WindowBatch`.

    Returns:
        ``score`` and ``edge`` (Eq. 15) and ``consistency`` (Eq. 34).
    """
    nodes, edges, gaps = errors
    return {
        "score": real(nodes, mask, rows).mean(),
        "edge": pair_mean(edges, mask),
        "consistency": pair_mean(gaps, mask),
    }


def joint_total(terms: dict[str, Tensor], edge_weight: float, consistency_weight: float) -> Tensor:
    """Eq. 3: what is minimised."""
    return terms["score"] + edge_weight * terms["edge"] + consistency_weight * terms["consistency"]
