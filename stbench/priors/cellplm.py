"""CellPLM: one vector per spot from all spots of a slide together (Wen et al. 2024), for inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.linear import quicken
from stbench.features.weights import load_strictly, read_state
from stbench.files import visible
from stbench.priors.identifiers import without_version
from stbench.reading import read_json

FloatArray = NDArray[np.float32]

_CONFIG, _WEIGHTS = ".config.json", ".best.ckpt"
_HEADS = 8
_GROUPS = 4
_EPS = 1e-6  # inside the products of the attention
_WRAPPER = "model_state_dict"
_UNUSED = ("decoder.", "embedder.norm0.", "embedder.pe_enc.", "mask_model.", "objective.")
_UNUSED_PARTS = (".var.", ".y_mu.", ".y_var.", ".y_mu", ".y_var")
_LATENT = "latent.layers.1.inference."


@dataclass(frozen=True)
class CellPlmConfig:
    """What the config file says.

    Args:
        genes: Ensembl ids in the order of the gene table.
        width: of the states.
        layers: of the encoder.
        latent: width of the spot's vector.
        hidden: width of the layer before it.
        clusters: components of the mixture.
        heads: attention heads.
    """

    genes: tuple[str, ...]
    width: int
    layers: int
    latent: int
    hidden: int
    clusters: int
    heads: int


class FlowAttention(nn.Module):
    """Attention over the spots of a slide in time linear in their number (Wu et al. 2022, with CellPLM's epsilons)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_projection = nn.Linear(width, width)
        self.key_projection = nn.Linear(width, width)
        self.value_projection = nn.Linear(width, width)
        self.out_projection = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (
            part(h).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (heads, N, d)
            for part in (self.query_projection, self.key_projection, self.value_projection)
        )
        q, k = torch.sigmoid(q), torch.sigmoid(k)
        incoming = 1 / _dot(q, k.sum(dim=1, keepdim=True))  # (heads, N)
        outgoing = 1 / _dot(k, q.sum(dim=1, keepdim=True))
        sink = _dot(q, (k * outgoing.unsqueeze(-1)).sum(dim=1, keepdim=True))
        source = _dot(k, (q * incoming.unsqueeze(-1)).sum(dim=1, keepdim=True)).clamp(-1, 1)
        competing = source.softmax(dim=-1) * h.shape[0]
        mixed = k.transpose(1, 2) @ (v * competing.unsqueeze(-1))
        attended = (q * incoming.unsqueeze(-1)) @ mixed * torch.sigmoid(sink).unsqueeze(-1)
        out: Tensor = self.out_projection(attended.transpose(0, 1).flatten(1))
        return out


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return ((a + _EPS) * (b + _EPS)).sum(dim=-1)


class Layer(nn.Module):
    """Pre-norm attention over spots and feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = FlowAttention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self._ff_block = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Identity(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.self_attn(self.norm1(h))
        out: Tensor = h + self._ff_block(self.norm2(h))
        return out


class CellPlm(nn.Module):
    """Gene table, encoder and mean of the mixture latent."""

    def __init__(self, config: CellPlmConfig) -> None:
        super().__init__()
        C = config.width
        self.clusters = config.clusters
        self.genes = nn.Parameter(torch.zeros(len(config.genes), C))
        self.extra = nn.ModuleDict({"linear": nn.Linear(C, C), "norm": nn.GroupNorm(_GROUPS, C)})
        self.layers = nn.ModuleList(Layer(C, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(C)
        self.logits = nn.Linear(C, config.clusters)
        self.joint = nn.Linear(C + config.clusters, config.hidden)
        self.mu = nn.Linear(config.hidden, config.latent)

    def forward(self, x: Tensor, columns: Tensor, noise: Tensor | None = None) -> Tensor:
        """One vector per spot.

        Args:
            x: (N, K) counts of known genes, all spots of one slide.
            columns: (K,) row of each gene in the table.
            noise: (N, clusters) Gumbel noise on the mixture's logits, as upstream always draws; none when None.

        Returns:
            (N, latent).
        """
        h = torch.log1p(x) @ self.genes[columns]
        h = self.extra["norm"](torch.relu(self.extra["linear"](h)))
        for layer in self.layers:
            h = layer(h)
        h = self.norm(h)
        logits = self.logits(h) if noise is None else self.logits(h) + noise
        component = nn.functional.one_hot(logits.argmax(dim=-1), self.clusters).to(h.dtype)
        mean: Tensor = self.mu(torch.relu(self.joint(torch.cat([h, component], dim=-1))))
        return mean


@dataclass(frozen=True)
class CellPlmModel:
    """A checkpoint ready for use: the network in evaluation mode and what its config says."""

    module: CellPlm
    config: CellPlmConfig


def checkpoint(folder: Path) -> Path:
    """The file of weights in a folder; raises DataError where there is none, or several."""
    return _only(folder, _WEIGHTS)


def load_cellplm(folder: Path) -> CellPlmModel:
    """Read ``<prefix>.config.json`` and ``<prefix>.best.ckpt``.

    Raises:
        DataError: a file is absent, ambiguous or damaged, or an entry is missing, unexpected or misshapen.
    """
    config_file, file = _only(folder, _CONFIG), checkpoint(folder)
    state = read_state(file, wrappers=(_WRAPPER,))
    kept = {name: tensor for name, tensor in state.items() if not _unused(name)}
    config = _read_config(config_file, {name: tuple(tensor.shape) for name, tensor in kept.items()})
    module = CellPlm(config)
    load_strictly(module, {_our_name(name): tensor for name, tensor in kept.items()}, file)
    return CellPlmModel(quicken(module.eval()), config)


def _only(folder: Path, ending: str) -> Path:
    found = sorted(visible(folder.glob(f"*{ending}")))
    if len(found) != 1:
        some = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: expected one *{ending}, found {some}; give the folder of one CellPLM checkpoint")
    return found[0]


def _unused(name: str) -> bool:
    return name.startswith(_UNUSED) or (name.startswith(_LATENT) and any(part in name for part in _UNUSED_PARTS))


def _read_config(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> CellPlmConfig:
    try:
        said: dict[str, Any] = read_json(path)
        genes = tuple(without_version(str(gene)) for gene in said["gene_list"])
        width, layers = int(said["enc_hid"]), int(said["enc_layers"])
        latent, clusters = int(said["post_latent_dim"]), int(said["num_clusters"])
        hidden = shapes.get(f"{_LATENT}inference_qzyx.0.weight", (latent,))[0]  # no key of the config states it
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"expected the config of a CellPLM model in {path}, found: {error!r}") from error
    heads = int(said.get("nhead", _HEADS))
    if width % heads or width % _GROUPS:
        raise DataError(f"{path}: expected a width that {heads} heads and {_GROUPS} groups divide, found {width}")
    return CellPlmConfig(genes, width, layers, latent, hidden, clusters, heads)


_NAMES = {
    "embedder.feat_enc.emb": "genes",
    "embedder.extra_linear.0.": "extra.linear.",
    "embedder.extra_linear.3.": "extra.norm.",
    "encoder.layers.": "layers.",
    "pre_latent_norm.norm.": "norm.",
    f"{_LATENT}inference_qyx.0.logits.": "logits.",
    f"{_LATENT}inference_qzyx.0.": "joint.",
    f"{_LATENT}inference_qzyx.2.mu.": "mu.",
}


def _our_name(name: str) -> str:
    return next((ours + name[len(theirs) :] for theirs, ours in _NAMES.items() if name.startswith(theirs)), name)


@torch.inference_mode()
def embed(
    model: CellPlmModel,
    counts: NDArray[Any],
    ensembl_ids: Sequence[str | None],
    *,
    gumbel_seed: int | None = None,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """One vector per spot; every spot sees the others of its slide, so a slide is one batch.

    Args:
        model: the checkpoint.
        counts: (n_spots, n_genes) UMI of all spots of one slide.
        ensembl_ids: of each gene, None where unknown; those the model does not know are left out.
        gumbel_seed: seed of the noise upstream draws even in evaluation; no noise when None.

    Returns:
        (n_spots, latent) float32, zeros where masked, and (n_spots,) True where a spot expresses a known gene.
    """
    row = {gene: index for index, gene in enumerate(model.config.genes)}
    places = [
        (j, row[without_version(id_)]) for j, id_ in enumerate(ensembl_ids) if id_ and without_version(id_) in row
    ]
    if not places:
        raise DataError("CellPLM expected at least one gene it knows, found none; give Ensembl ids or a symbol table")
    columns, rows = (list(part) for part in zip(*places, strict=True))
    x = torch.from_numpy(np.asarray(counts[:, columns], dtype=np.float32))
    noise = None
    if gumbel_seed is not None:
        uniform = torch.rand(len(x), model.config.clusters, generator=torch.Generator().manual_seed(gumbel_seed))
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    device = model.module.genes.device
    found = model.module(x.to(device), torch.tensor(rows, device=device), None if noise is None else noise.to(device))
    mask = (x > 0).any(dim=1).numpy()
    return np.where(mask[:, None], found.cpu().numpy(), 0).astype(np.float32), mask
