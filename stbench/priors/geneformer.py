"""Geneformer: rank-value tokens of a spot and their contextual states (Theodoris et al. 2023, V2 2024).

Written for inference from ``config.json`` and ``model.safetensors`` alone; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.linear import quicken
from stbench.features.weights import load_strictly, read_state, weight_file
from stbench.priors.dictionaries import read_ids, read_names, read_numbers
from stbench.priors.identifiers import without_version
from stbench.priors.transformer import EncoderSizes, PostNormEncoder, in_batches
from stbench.reading import read_json

FloatArray = NDArray[np.float32]
Layer = Literal["last", "penultimate"]

PAD, CLS, EOS = "<pad>", "<cls>", "<eos>"
_SPECIAL = (PAD, "<mask>", CLS, EOS)
_CONFIG = (
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "num_hidden_layers",
    "vocab_size",
    "max_position_embeddings",
)
_UNUSED = ("cls.", "bert.pooler.", "bert.embeddings.position_ids")
_FILES = {  # what each dictionary is called, with or without its generation behind it
    "tokens": "token_dictionary",
    "medians": "gene_median_dictionary",
    "aliases": "ensembl_mapping_dict",
    "symbols": "gene_name_id_dict",
}


@dataclass(frozen=True)
class GeneformerConfig:
    """Sizes as ``config.json`` states them."""

    sizes: EncoderSizes
    vocab: int
    positions: int


def read_config(folder: Path) -> GeneformerConfig:
    """The sizes of a checkpoint folder.

    Raises:
        DataError: no such file, or one that lacks a size or asks for another activation than ReLU.
    """
    path = folder / "config.json"
    try:
        said = read_json(path)
        width, heads, feed, layers, vocab, positions = (int(said[name]) for name in _CONFIG)
        eps, activation = float(said.get("layer_norm_eps", 1e-12)), said.get("hidden_act", "relu")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"expected the config of a Geneformer model in {path}, found: {error!r}") from error
    if activation != "relu" or width % heads:
        raise DataError(f"{path}: expected ReLU and a width that heads divide, found {activation}, {width} / {heads}")
    return GeneformerConfig(EncoderSizes(width, heads, feed, layers, eps), vocab, positions)


class Geneformer(nn.Module):
    """The BERT encoder, without its language head."""

    def __init__(self, config: GeneformerConfig) -> None:
        super().__init__()
        width = config.sizes.width
        self.words = nn.Embedding(config.vocab, width)
        self.positions = nn.Embedding(config.positions, width)
        self.token_type = nn.Parameter(torch.zeros(2, width))
        self.norm = nn.LayerNorm(width, eps=config.sizes.eps)
        self.encoder = PostNormEncoder(config.sizes)

    def forward(self, ids: Tensor, mask: Tensor, layer: Layer) -> Tensor:
        """(B, L, width) states of (B, L) tokens; ``mask`` is True for real ones."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.token_type[0]
        used = len(self.encoder.layers) - (layer == "penultimate")
        states: Tensor = self.encoder(self.norm(x), mask, layers=used)
        return states


def load_geneformer(folder: Path) -> Geneformer:
    """The model of a checkpoint folder, in evaluation mode.

    Raises:
        DataError: the config or the weights cannot be read, or an entry is missing, unexpected or misshapen.
    """
    file = weight_file(folder)
    module = Geneformer(read_config(folder))
    state = {name: tensor for name, tensor in read_state(file).items() if not name.startswith(_UNUSED)}
    load_strictly(module, _our_names(state, file), file)
    return quicken(module.eval())


_OUTSIDE = {
    "embeddings.word_embeddings.weight": "words.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    "embeddings.token_type_embeddings.weight": "token_type",
    "embeddings.LayerNorm.": "norm.",
}
_INSIDE = {
    "attention.output.dense.": "out.",
    "attention.output.LayerNorm.": "norm1.",
    "intermediate.dense.": "feed.0.",
    "output.dense.": "feed.2.",
    "output.LayerNorm.": "norm2.",
}
_ROLES = ("query", "key", "value")


def _our_names(state: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    joint: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        bare = name.removeprefix("bert.")
        if not bare.startswith("encoder.layer."):
            found[_renamed(bare, _OUTSIDE) or name] = tensor
            continue
        index, _, part = bare.removeprefix("encoder.layer.").partition(".")
        role, _, kind = part.removeprefix("attention.self.").partition(".")
        if part.startswith("attention.self.") and role in _ROLES:
            joint.setdefault(f"encoder.layers.{index}.qkv.{kind}", {})[role] = tensor
            continue
        ours = _renamed(part, _INSIDE)
        found[name if ours is None else f"encoder.layers.{index}.{ours}"] = tensor
    for name, roles in joint.items():
        if missing := [role for role in _ROLES if role not in roles]:
            raise DataError(f"weights in {file}: expected query, key and value for {name}, found no {missing[0]}")
        found[name] = torch.cat([roles[role] for role in _ROLES])
    return found


def _renamed(name: str, table: Mapping[str, str]) -> str | None:
    for theirs, ours in table.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return None


@dataclass(frozen=True)
class GeneformerVocabulary:
    """What turns counts into tokens.

    Args:
        tokens: Ensembl id, or special token, to token id.
        medians: Ensembl id to non-zero median of its normalised expression in pretraining.
        aliases: old Ensembl id to the current one.
        symbols: gene symbol to Ensembl id.
    """

    tokens: Mapping[str, int]
    medians: Mapping[str, float]
    aliases: Mapping[str, str]
    symbols: Mapping[str, str]

    @property
    def wraps(self) -> bool:
        """Whether sequences begin with ``<cls>`` and end with ``<eos>``, as those of V2 do."""
        return CLS in self.tokens

    def current(self, ensembl_id: str) -> str:
        """The id under which the model knows a gene."""
        bare = without_version(ensembl_id)
        return self.aliases.get(bare, bare)

    def knows(self, ensembl_id: str | None) -> bool:
        """Whether a gene has a token and a median."""
        gene = None if ensembl_id is None else self.current(ensembl_id)
        return gene in self.tokens and gene in self.medians


def read_vocabulary(folder: Path, vocab: int) -> GeneformerVocabulary:
    """The four dictionaries, as pickles or JSON, the ones of symbols and of aliases optional.

    Args:
        folder: where they lie.
        vocab: size of the model's table.

    Raises:
        DataError: one is absent, ambiguous, damaged, not safe, or does not fit the model.
    """
    tokens = read_ids(_dictionary(folder, "tokens"), vocab)
    medians = read_numbers(_dictionary(folder, "medians"))
    broken = [gene for gene, median in medians.items() if gene not in _SPECIAL and median <= 0]
    if broken or PAD not in tokens:
        what = f"{medians[broken[0]]} for {broken[0]}" if broken else f"no {PAD} among the tokens"
        raise DataError(f"dictionaries in {folder}: expected positive medians and a {PAD} token, found {what}")
    aliases, symbols = (_optional(folder, kind) for kind in ("aliases", "symbols"))
    return GeneformerVocabulary(tokens, medians, aliases, symbols)


def _optional(folder: Path, kind: str) -> dict[str, str]:
    return read_names(_dictionary(folder, kind)) if _candidates(folder, kind) else {}


def _candidates(folder: Path, kind: str) -> list[Path]:
    paths = [path for ending in ("json", "pkl", "pickle") for path in folder.glob(f"{_FILES[kind]}*.{ending}")]
    return sorted(paths)


def _dictionary(folder: Path, kind: str) -> Path:
    found = _candidates(folder, kind)
    if len({path.stem for path in found}) != 1:
        some = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: expected one {_FILES[kind]}*.pkl or .json, found {some}; keep one generation there")
    return found[0]


def tokenize(
    counts: NDArray[np.integer], ensembl_ids: Sequence[str | None], vocabulary: GeneformerVocabulary, positions: int
) -> list[Tensor]:
    """Rank-value encoding: known genes of each spot by falling count over median.

    Depth and target sum are common to a spot's genes and change no order, so raw counts are ranked. Ties keep the order
    of the genes; upstream leaves them to the platform.

    Args:
        counts: (n_spots, n_genes) UMI.
        ensembl_ids: of each gene, None where unknown.
        vocabulary: tokens, medians and aliases.
        positions: longest sequence of the model.

    Returns:
        (L,) token ids for each spot, empty where no known gene is expressed.
    """
    genes = [None if id_ is None or not vocabulary.knows(id_) else vocabulary.current(id_) for id_ in ensembl_ids]
    names = list(dict.fromkeys(gene for gene in genes if gene is not None))
    place = {gene: column for column, gene in enumerate(names)}
    merged = np.zeros((len(counts), len(names)))
    for column, gene in enumerate(genes):
        if gene is not None:
            merged[:, place[gene]] += counts[:, column]
    ranked = merged / np.array([vocabulary.medians[gene] for gene in names])
    token = np.array([vocabulary.tokens[gene] for gene in names], dtype=np.int64)
    return [_sequence(row, token, vocabulary, positions) for row in ranked]


def _sequence(
    values: NDArray[np.float64], token: NDArray[np.int64], vocabulary: GeneformerVocabulary, positions: int
) -> Tensor:
    order = np.argsort(-values, kind="stable")
    ids = token[order[values[order] > 0]]
    if not len(ids):
        return torch.empty(0, dtype=torch.int64)
    if not vocabulary.wraps:
        return torch.from_numpy(ids[:positions])
    kept = ids[: positions - 2]
    return torch.from_numpy(np.concatenate([[vocabulary.tokens[CLS]], kept, [vocabulary.tokens[EOS]]]))


def embed(
    module: Geneformer,
    sequences: list[Tensor],
    panel_tokens: NDArray[np.int64],
    vocabulary: GeneformerVocabulary,
    layer: Layer = "last",
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Contextual vectors of the panel genes.

    Args:
        module: the model.
        sequences: tokens of each spot.
        panel_tokens: (G,) token of each panel gene, -1 where it has none.
        vocabulary: for the padding token.
        layer: ``last``, as the paper states, or ``penultimate``, as its authors recommend for general use.

    Returns:
        (n_spots, G, width) float32, zeros where masked, and (n_spots, G) True where the spot expresses the gene.
    """
    width = module.norm.normalized_shape[0]
    vectors = np.zeros((len(sequences), len(panel_tokens), width), dtype=np.float32)
    mask = np.zeros(vectors.shape[:2], dtype=np.bool_)
    column = torch.full((module.words.num_embeddings,), -1)
    known = panel_tokens >= 0
    column[torch.from_numpy(panel_tokens[known])] = torch.from_numpy(np.flatnonzero(known))
    device = module.words.weight.device

    def run(ids: Tensor, real: Tensor, chosen: list[int]) -> None:
        states = module(ids.to(device), real.to(device), layer).float().cpu()
        where = torch.where(real, column[ids], -1)
        rows, places = torch.nonzero(where >= 0, as_tuple=True)
        spots, genes = np.asarray(chosen)[rows.numpy()], where[rows, places].numpy()
        vectors[spots, genes] = states[rows, places].numpy()
        mask[spots, genes] = True

    in_batches(sequences, vocabulary.tokens[PAD], run)
    return vectors, mask
