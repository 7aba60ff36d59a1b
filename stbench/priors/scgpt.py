"""scGPT: gene tokens with binned values (Cui et al. 2024), for inference from a checkpoint folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.linear import quicken
from stbench.features.weights import load_strictly, read_state, weight_file
from stbench.priors.dictionaries import read_ids
from stbench.priors.transformer import EncoderSizes, PostNormEncoder
from stbench.reading import read_json

FloatArray = NDArray[np.float32]
Tie = Literal["middle", "random"]

WEIGHTS, VOCABULARY, ARGUMENTS = "best_model.pt", "vocab.json", "args.json"
CLS = "<cls>"
_LARGEST_VALUE = 512.0
_BINS = 51
_EPS = 1e-5
_UNUSED = ("decoder.", "cls_decoder.", "mvc_decoder.", "flag_encoder.", "batch_encoder.", "dsbn.", "bn.")
_SPELLINGS = {  # three layouts of the same numbers: rows q, k, v, heads contiguous in each
    "self_attn._impl.Wqkv.": "qkv.",
    "self_attn.Wqkv.": "qkv.",
    "self_attn.in_proj_": "qkv.",
    "self_attn._impl.out_proj.": "out.",
    "self_attn.out_proj.": "out.",
    "linear1.": "feed.0.",
    "linear2.": "feed.2.",
}


@dataclass(frozen=True)
class ScGptConfig:
    """What ``args.json`` says; other keys are ignored.

    Args:
        sizes: of the encoder.
        pad_token: name of the padding token.
        pad_value: value that stands beside ``<cls>``.
        bins: number of value bins, zero included.
    """

    sizes: EncoderSizes
    pad_token: str
    pad_value: float
    bins: int


def read_arguments(folder: Path) -> ScGptConfig:
    """Sizes and special values of a checkpoint folder.

    Raises:
        DataError: ``args.json`` is absent, damaged or lacks a size.
    """
    path = folder / ARGUMENTS
    try:
        said = read_json(path)
        width, heads, feed, layers = (int(said[name]) for name in ("embsize", "nheads", "d_hid", "nlayers"))
        pad_value, bins = float(said["pad_value"]), int(said.get("n_bins", _BINS))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"expected the arguments of an scGPT model in {path}, found: {error!r}") from error
    sizes = EncoderSizes(width, heads, feed, layers, _EPS)
    return ScGptConfig(sizes, str(said.get("pad_token", "<pad>")), pad_value, bins)


class ScGpt(nn.Module):
    """Gene and value embeddings summed, then the encoder; there are no positions."""

    def __init__(self, config: ScGptConfig, vocab: int) -> None:
        super().__init__()
        width = config.sizes.width
        self.genes = nn.Embedding(vocab, width)
        self.genes_norm = nn.LayerNorm(width, eps=_EPS)
        self.values = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width, _EPS))
        self.encoder = PostNormEncoder(config.sizes)

    def forward(self, ids: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """(B, L, width) states of (B, L) gene ids with their binned values; ``mask`` is True for real tokens."""
        shown = self.values(values.clamp(max=_LARGEST_VALUE).unsqueeze(-1))
        states: Tensor = self.encoder(self.genes_norm(self.genes(ids)) + shown, mask)
        return states


@dataclass(frozen=True)
class ScGptModel:
    """A checkpoint ready for use.

    Args:
        module: the network in evaluation mode.
        vocabulary: gene symbol, or special token, to id.
        config: what ``args.json`` says.
    """

    module: ScGpt
    vocabulary: Mapping[str, int]
    config: ScGptConfig


def checkpoint(folder: Path) -> Path:
    """The file of weights in a folder; raises DataError where there is none."""
    return weight_file(folder, (WEIGHTS, "model.safetensors"))


def load_scgpt(folder: Path) -> ScGptModel:
    """Read ``best_model.pt``, ``vocab.json`` and ``args.json``.

    Raises:
        DataError: a file is absent or damaged, an entry is missing, unexpected or misshapen, or vocabulary and table
            differ in size.
    """
    config, file = read_arguments(folder), checkpoint(folder)
    state = _our_names({k: v for k, v in read_state(file).items() if not k.startswith(_UNUSED)})
    table = state.get("genes.weight")
    if table is None:
        raise DataError(f"weights in {file}: expected encoder.embedding.weight, found none; is it an scGPT checkpoint?")
    vocabulary = read_ids(folder / VOCABULARY, len(table))
    if missing := [token for token in (config.pad_token, CLS) if token not in vocabulary]:
        raise DataError(f"{folder / VOCABULARY}: expected the token {missing[0]}, found none")
    if len(vocabulary) != len(table):
        raise DataError(f"{folder}: expected one vector per token, found {len(table)} for {len(vocabulary)} tokens")
    module = ScGpt(config, len(table))
    load_strictly(module, state, file)
    return ScGptModel(quicken(module.eval()), vocabulary, config)


_OUTSIDE = {
    "encoder.embedding.": "genes.",
    "encoder.enc_norm.": "genes_norm.",
    "value_encoder.linear1.": "values.0.",
    "value_encoder.linear2.": "values.2.",
    "value_encoder.norm.": "values.3.",
}


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in state.items():
        ours = name.replace("transformer_encoder.layers.", "encoder.layers.")
        for table in (_OUTSIDE, _SPELLINGS):
            for theirs, short in table.items():
                at = ours.find(theirs)
                if at >= 0 and (table is _SPELLINGS or at == 0):
                    ours = ours[:at] + short + ours[at + len(theirs) :]
        found[ours] = tensor
    return found


def bin_values(values: NDArray[Any], bins: int = _BINS, *, tie: Tie = "middle", seed: str = "") -> NDArray[np.int64]:
    """Bins of one spot's values: quantiles of the non-zero ones, zeros stay 0.

    A value on several coincident edges may take any of their bins. With counts that is the usual case and upstream
    draws; ``middle`` takes the middle one, rounded up, so that a vector is the same every time.

    Args:
        values: (n_genes,) counts, or any increasing transform that keeps zeros.
        bins: number of bins, zero included.
        tie: ``middle``, or ``random`` for a draw.
        seed: what the draw depends on, e.g. the spot's name.

    Returns:
        (n_genes,) bins from 0 to ``bins`` - 1.
    """
    found = np.zeros(len(values), dtype=np.int64)
    above = np.asarray(values) > 0
    if not above.any():
        return found
    kept = np.asarray(values, dtype=np.float64)[above]
    edges = np.quantile(kept, np.linspace(0, 1, bins - 1))
    low, high = np.digitize(kept, edges), np.digitize(kept, edges, right=True)
    share: Any = 0.5
    if tie == "random":
        digest = hashlib.sha256(seed.encode()).digest()
        share = np.random.default_rng(int.from_bytes(digest[:8], "little")).random(len(kept))
    found[above] = np.clip(np.ceil(low + share * (high - low)), 1, bins - 1).astype(np.int64)
    return found


@torch.inference_mode()
def embed(
    model: ScGptModel,
    counts: NDArray[Any],
    genes: Sequence[str],
    *,
    include_zero: bool = True,
    tie: Tie = "middle",
    spots: Sequence[str] = (),
    batch: int = 64,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Contextual vectors of genes, the whole panel in fixed order in each spot.

    Args:
        model: the checkpoint.
        counts: (n_spots, G) UMI.
        genes: (G) symbols, as the vocabulary spells them.
        include_zero: whether genes without counts are shown with value 0, as the paper does; else they are masked.
        tie: rule of :func:`bin_values`.
        spots: names of the spots, for ``tie`` random.
        batch: spots at a time.

    Returns:
        (n_spots, G, width) float32, zeros where masked, and the (n_spots, G) mask.
    """
    ids = np.array([model.vocabulary.get(gene, -1) for gene in genes])
    known = np.flatnonzero(ids >= 0)
    names = spots or [""] * len(counts)
    binned = np.stack(
        [bin_values(row, model.config.bins, tie=tie, seed=s) for row, s in zip(counts[:, known], names, strict=True)]
    )
    shown = np.ones_like(binned, dtype=np.bool_) if include_zero else binned > 0
    width = model.module.genes.embedding_dim
    vectors = np.zeros((len(counts), len(genes), width), dtype=np.float32)
    mask = np.zeros(vectors.shape[:2], dtype=np.bool_)
    mask[:, known] = shown
    tokens = torch.from_numpy(np.concatenate([[model.vocabulary[CLS]], ids[known]]))
    device = model.module.genes.weight.device
    for start in range(0, len(counts), batch):
        rows = slice(start, start + batch)
        values = nn.functional.pad(torch.from_numpy(binned[rows]).float(), (1, 0), value=model.config.pad_value)
        real = nn.functional.pad(torch.from_numpy(shown[rows]), (1, 0), value=True)
        states = model.module(tokens.expand(len(values), -1).to(device), values.to(device), real.to(device))
        vectors[rows, known] = np.where(shown[rows][..., None], states[:, 1:].float().cpu().numpy(), 0)
    return vectors, mask
